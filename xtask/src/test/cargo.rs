//! The steps that cargo does.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use minicluster::Release;

use super::harness::{Counts, Output};
use super::{Outcome, passed};
use crate::workspace;

/// A cargo command that either succeeds or does not.
pub(super) fn plain(args: &[&str]) -> anyhow::Result<Outcome> {
    succeed(workspace::cargo().args(args))
}

pub(super) fn clippy() -> anyhow::Result<Outcome> {
    plain(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
}

pub(super) fn documentation() -> anyhow::Result<Outcome> {
    let mut doc = workspace::cargo();
    doc.args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    succeed(&mut doc)
}

/// Advisories are left out: they change without a change here, and need a download.
pub(super) fn deny() -> anyhow::Result<Outcome> {
    if !minicluster::packages::is_program_there("cargo-deny") {
        return Ok(Outcome::Skipped("cargo-deny is not installed".into()));
    }
    plain(&["deny", "check", "licenses", "bans", "sources"])
}

/// `cargo test`, its tests counted.
pub(super) fn test(args: &[&str]) -> anyhow::Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["test", "--no-fail-fast"]).args(args);
    count(&mut command)
}

/// `cargo test` with clusters of this release.
pub(super) fn test_on(release: Release, selections: &[&[&str]]) -> anyhow::Result<Outcome> {
    let mut counts = Counts::default();
    let mut result = Ok(());
    // These tests wait for daemons more than they compute.
    let threads = 2 * thread::available_parallelism().map_or(1, usize::from);
    for selection in selections {
        let mut command = workspace::cargo();
        command
            .args(["test", "--no-fail-fast"])
            .args(*selection)
            .env(Release::VARIABLE, release.name())
            .env("RUST_TEST_THREADS", threads.to_string());
        match count(&mut command) {
            Ok(Outcome::Passed(passed)) => counts += passed,
            Ok(_) => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    result.map(|()| Outcome::Passed(counts))
}

/// Runs tests, shows what is of interest of what they print, and counts them. The command is a
/// `cargo test` without arguments for the test programs.
pub(super) fn count(command: &mut Command) -> anyhow::Result<Outcome> {
    let mut child = command
        .args(["--", "--show-output"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("the output of the tests")?;
    let mut output = Output::default();
    for line in BufReader::new(stdout).lines() {
        if let Some(shown) = output.line(line?) {
            println!("{shown}");
        }
    }
    let counts = output.counts();
    let status = child.wait()?;
    ensure!(status.success(), "{counts}");
    ensure!(counts.passed() > 0, "there were no tests");
    Ok(Outcome::Passed(counts))
}

fn succeed(command: &mut Command) -> anyhow::Result<Outcome> {
    let shown = crate::command::shown(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| shown.clone())?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(passed())
}
