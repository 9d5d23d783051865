//! The steps that cargo does.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use minicluster::Release;

use super::{Outcome, passed};
use crate::workspace;

/// How many tests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    pub(crate) fn total(self) -> u64 {
        self.passed + self.failed + self.ignored
    }

    /// Reads the line that ends a run: `test result: ok. 5 passed; 0 failed; 0 ignored; ...`.
    fn from_line(line: &str) -> Option<Self> {
        let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let number = |name: &str| {
            let mut parts = numbers.split("; ");
            parts.find_map(|part| part.strip_suffix(name)?.trim().parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            ignored: number("ignored")?,
        })
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests passed", self.passed)?;
        if self.failed > 0 {
            write!(f, ", {} FAILED", self.failed)?;
        }
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

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

/// Runs tests, shows what they print, and counts them.
pub(super) fn count(command: &mut Command) -> anyhow::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("the output of the tests")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some(run) = Counts::from_line(&line) {
            counts += run;
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "{counts}");
    ensure!(counts.passed > 0, "there were no tests");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_run_is_counted() {
        let line = "test result: FAILED. 15 passed; 2 failed; 1 ignored; 0 measured; 7 filtered \
                    out; finished in 1.24s";
        let counts = Counts::from_line(line).unwrap();
        assert_eq!(
            counts,
            Counts {
                passed: 15,
                failed: 2,
                ignored: 1
            }
        );
        assert_eq!(counts.to_string(), "15 tests passed, 2 FAILED, 1 ignored");
        assert_eq!(Counts::from_line("test one ... ok"), None);
        assert_eq!(Counts::from_line("test result: ok. nothing"), None);
    }
}
