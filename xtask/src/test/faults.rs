//! A short `cargo xtask torture`, beside what keeps the processors busy: it mostly waits.

use std::fs::File;
use std::io::{self, Seek};
use std::process::{Child, Command, Stdio};

use anyhow::ensure;

use super::{Outcome, passed};

/// A run under way. Dropping it ends it.
pub(super) struct Faults {
    child: Child,
    /// What it prints, to be shown when it has ended.
    output: File,
}

impl Faults {
    pub(super) fn start() -> anyhow::Result<Self> {
        let output = tempfile::tempfile()?;
        let child = Command::new(std::env::current_exe()?)
            .args(["torture", "--minutes", MINUTES, "--seed", SEED])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()?;
        Ok(Self { child, output })
    }

    /// Waits for the end, shows what was printed, and says whether anything was found.
    pub(super) fn finish(mut self) -> anyhow::Result<Outcome> {
        let status = self.child.wait()?;
        self.output.rewind()?;
        io::copy(&mut self.output, &mut io::stdout())?;
        ensure!(status.success(), "torture: {status}");
        Ok(passed())
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MINUTES: &str = "3";
/// Any will do; the same one every time, so that a failure can be looked at again.
const SEED: &str = "1";
