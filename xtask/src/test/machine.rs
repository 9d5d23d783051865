//! Tests of devices of the kernel's NBD driver, in a virtual machine that has it whatever this machine has.

use std::env;

use anyhow::Context;

use super::{Outcome, cargo};
use crate::{vm, workspace};

/// Runs the tests of a selection in virtual machines: cargo builds them here and has the machines run them. Clusters are started
/// in the machine, too, if `has_cluster`.
pub(super) fn test(selection: &[&str], has_cluster: bool) -> anyhow::Result<Outcome> {
    if !cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        return Ok(Outcome::Skipped("the machine is an x86-64".into()));
    }
    // What it takes is said here rather than by the first test.
    vm::prepare()?;
    let xtask = env::current_exe().context("this program")?;
    let loopback = if has_cluster { "--own-loopback " } else { "" };
    let runner = format!(
        "{} vm --time-limit {TIME_LIMIT_SECONDS} {loopback}-- env {ENVIRONMENT}",
        xtask.display()
    );
    let mut command = workspace::cargo();
    command
        .args(["test", "--no-fail-fast", "--workspace"])
        .args(selection)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    cargo::count(&mut command)
}

/// One at a time, since the emulated processors are slow, and the tests have limits of time.
const ENVIRONMENT: &str =
    "ORBD_TEST_DEVICE_TYPE=nbd ORBD_REQUIRE_NBD=1 RUST_TEST_THREADS=1 RUST_BACKTRACE=1";
/// More than any of the programs takes on a loaded machine.
const TIME_LIMIT_SECONDS: u32 = 1800;
