//! A short run of every fuzz target.

use std::process::{Command, Stdio};

use anyhow::ensure;

use super::{Outcome, cargo, passed};
use crate::command::output;
use crate::workspace;

/// With the nightly toolchain and `cargo-fuzz`, every target runs for [`SECONDS`] from its corpus.
/// Without, the tests of the fuzz package put the corpora through the targets' bodies.
pub(super) fn run() -> anyhow::Result<Outcome> {
    let dir = workspace::root().join("fuzz");
    ensure!(
        dir.join("Cargo.toml").exists(),
        "there is no package in {}",
        dir.display()
    );
    let list = output(fuzz().arg("list").stderr(Stdio::null()));
    let Ok(list) = list else {
        println!("no nightly cargo fuzz: the corpora alone");
        let mut tests = workspace::cargo();
        tests
            .args(["test", "--manifest-path"])
            .arg(dir.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(workspace::target_dir());
        return cargo::count(&mut tests);
    };
    let targets: Vec<&str> = list.split_whitespace().collect();
    ensure!(!targets.is_empty(), "there are no fuzz targets");
    for target in &targets {
        // What it finds to be of interest goes to the first directory, not to the sources.
        let found = tempfile::tempdir()?;
        let mut run = fuzz();
        run.args(["run", "--features", "libfuzzer", target])
            .arg(found.path());
        let seeds = dir.join("corpus").join(target);
        if seeds.exists() {
            run.arg(seeds);
        }
        run.args(["--", &format!("-max_total_time={SECONDS}"), "-verbosity=0"]);
        ensure!(run.status()?.success(), "fuzz target {target}");
    }
    println!("{} targets, {SECONDS} s each", targets.len());
    Ok(passed())
}

/// The `cargo` of rustup, which knows toolchains; the one that runs this does not.
fn fuzz() -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "fuzz"])
        .current_dir(workspace::root());
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

const SECONDS: u32 = 10;
