//! A short run of every fuzz target.

use super::{Outcome, cargo, passed};
use crate::fuzz;
use crate::workspace;

/// With the nightly toolchain every target runs for [`SECONDS`] from its corpus. Without, the tests
/// of the fuzz package put the corpora through the targets' bodies.
///
/// cargo-fuzz is not needed: it would build the same programs with the same options.
pub(super) fn run() -> anyhow::Result<Outcome> {
    if let Some(programs) = fuzz::programs()? {
        fuzz::run_all(&programs, SECONDS, false)?;
        return Ok(passed());
    }
    println!("no nightly toolchain: the corpora alone");
    let mut tests = workspace::cargo();
    tests
        .args(["test", "--manifest-path"])
        .arg(fuzz::dir().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace::target_dir());
    cargo::count(&mut tests)
}

const SECONDS: u32 = 3;
