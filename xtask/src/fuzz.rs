//! Fuzz targets, for as long as asked.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::command::{diagnostics, output};
use crate::workspace;

/// Runs fuzz targets.
#[derive(Args)]
pub(crate) struct Task {
    /// The targets; all of them unless given
    targets: Vec<String>,

    /// How long each of them runs, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u32,

    /// Add what reached new code to the corpora, small inputs only
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let programs = programs()?.context("there is no nightly toolchain, which fuzzing needs")?;
    let chosen = chosen(programs, &task.targets)?;
    run_all(&chosen, task.seconds, task.keep)
}

/// The programs of all targets, built; none if there is no nightly toolchain.
pub(crate) fn programs() -> anyhow::Result<Option<Vec<PathBuf>>> {
    let Ok(host) = host_of_nightly() else {
        return Ok(None);
    };
    let programs = build(&host)?;
    ensure!(!programs.is_empty(), "there are no fuzz targets");
    Ok(Some(programs))
}

/// Runs these programs for so long each, all of them even if one finds something. If wanted, inputs of interest are added to the
/// corpora.
pub(crate) fn run_all(programs: &[PathBuf], seconds: u32, keep: bool) -> anyhow::Result<()> {
    let queue = Mutex::new(programs.iter());
    let next = || queue.lock().ok()?.next();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<anyhow::Result<()>> = thread::scope(|scope| {
        let worker = || {
            let mut result = Ok(());
            while let Some(program) = next() {
                let outcome = fuzz(program, seconds, keep);
                if let Err(error) = &outcome {
                    eprintln!("{error:#}");
                }
                result = result.and(outcome);
            }
            result
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let panicked = || Err(anyhow::anyhow!("a thread that ran fuzz targets panicked"));
        let ended = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ended.map(|r| r.unwrap_or_else(|_| panicked())).collect()
    });
    results.into_iter().collect::<anyhow::Result<()>>()?;
    println!("{} targets, {seconds} s each", programs.len());
    Ok(())
}

/// The directory of the package.
pub(crate) fn dir() -> PathBuf {
    workspace::root().join("fuzz")
}

fn chosen(programs: Vec<PathBuf>, targets: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    if targets.is_empty() {
        return Ok(programs);
    }
    let find = |target: &String| {
        let is_it = |program: &&PathBuf| program.file_name().is_some_and(|n| n == target.as_str());
        match programs.iter().find(is_it) {
            Some(program) => Ok(program.clone()),
            None => bail!("there is no fuzz target {target}"),
        }
    };
    targets.iter().map(find).collect()
}

/// Runs one target; what it found is shown if it fails.
fn fuzz(program: &Path, seconds: u32, keep: bool) -> anyhow::Result<()> {
    let target = program.file_name().context("a program without a name")?;
    // What it finds to be of interest goes to the first directory, not to the sources.
    let found = tempfile::tempdir()?;
    let artifacts = dir().join("artifacts").join(target);
    std::fs::create_dir_all(&artifacts)?;
    let mut run = Command::new(program);
    run.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=60", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(found.path());
    let seeds = dir().join("corpus").join(target);
    if seeds.exists() {
        run.arg(&seeds);
    }
    let target = target.display();
    let said = diagnostics(&mut run).with_context(|| format!("fuzz target {target}"))?;
    let executed = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let executed = executed.context("a fuzz target does not say how much it did")?;
    println!("{target}: {} inputs, nothing found", executed.trim());
    if keep {
        std::fs::create_dir_all(&seeds)?;
        add_to_corpus(program, &seeds, found.path())?;
    }
    Ok(())
}

/// Adds as few of these inputs to a corpus as reach all that is reached by them and not by the corpus.
fn add_to_corpus(program: &Path, corpus: &Path, found: &Path) -> anyhow::Result<()> {
    let mut merge = Command::new(program);
    merge
        .args(["-set_cover_merge=1", "-use_counters=0"])
        .arg(format!("-max_len={KEPT_BYTES}"))
        .args([corpus, found]);
    diagnostics(&mut merge).context("add to a corpus")?;
    Ok(())
}

/// What is longer is cut to this length before it is looked at.
const KEPT_BYTES: usize = 2048;

/// Builds the targets as cargo-fuzz does with `--sanitizer none`: safe code has no use for the
/// address sanitizer, and gets further without.
fn build(host: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut build = nightly("cargo");
    build
        .args(["build", "--quiet", "--bins", "--features", "libfuzzer"])
        .arg("--manifest-path")
        .arg(dir().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace::target_dir().join("fuzz"))
        // Build scripts and macros are not to be instrumented.
        .args(["--target", host])
        .arg("--message-format=json-render-diagnostics")
        .env("RUSTFLAGS", INSTRUMENTATION)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = build.output().context("cargo of the nightly toolchain")?;
    ensure!(output.status.success(), "the fuzz targets do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .collect())
}

/// What the nightly compiler builds for, if there is a nightly compiler.
fn host_of_nightly() -> anyhow::Result<String> {
    let version = output(nightly("rustc").arg("-vV"))?;
    let mut lines = version.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// A program of the nightly toolchain. The toolchain that runs this is not to be inherited.
fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", program])
        .current_dir(workspace::root());
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";
