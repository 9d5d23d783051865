//! A short run of every fuzz target.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Outcome, cargo, passed};
use crate::command::{checked, output};
use crate::workspace;

/// With the nightly toolchain every target runs for [`SECONDS`] from its corpus. Without, the tests
/// of the fuzz package put the corpora through the targets' bodies.
///
/// cargo-fuzz is not needed: it would build the same programs with the same options.
pub(super) fn run() -> anyhow::Result<Outcome> {
    let dir = workspace::root().join("fuzz");
    let manifest = dir.join("Cargo.toml");
    ensure!(manifest.exists(), "there is no {}", manifest.display());
    let Ok(host) = host_of_nightly() else {
        println!("no nightly toolchain: the corpora alone");
        let mut tests = workspace::cargo();
        tests
            .args(["test", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(workspace::target_dir());
        return cargo::count(&mut tests);
    };
    let programs = build(&manifest, &host)?;
    ensure!(!programs.is_empty(), "there are no fuzz targets");
    let queue = Mutex::new(programs.iter());
    let next = || queue.lock().ok()?.next();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<anyhow::Result<()>> = thread::scope(|scope| {
        let worker = || {
            let mut result = Ok(());
            while let Some(program) = next() {
                let outcome = fuzz(program, &dir);
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
    println!("{} targets, {SECONDS} s each", programs.len());
    Ok(passed())
}

/// Runs one target; what it found is shown if it fails.
fn fuzz(program: &Path, dir: &Path) -> anyhow::Result<()> {
    let target = program.file_name().context("a program without a name")?;
    // What it finds to be of interest goes to the first directory, not to the sources.
    let found = tempfile::tempdir()?;
    let artifacts = dir.join("artifacts").join(target);
    std::fs::create_dir_all(&artifacts)?;
    let mut run = Command::new(program);
    run.arg(format!("-max_total_time={SECONDS}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(found.path());
    let seeds = dir.join("corpus").join(target);
    if seeds.exists() {
        run.arg(seeds);
    }
    checked(&mut run).with_context(|| format!("fuzz target {}", target.display()))
}

/// Builds the targets as cargo-fuzz does with `--sanitizer none`: safe code has no use for the
/// address sanitizer, and gets further without.
fn build(manifest: &Path, host: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut build = nightly("cargo");
    build
        .args(["build", "--quiet", "--bins", "--features", "libfuzzer"])
        .arg("--manifest-path")
        .arg(manifest)
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

const SECONDS: u32 = 3;
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";
