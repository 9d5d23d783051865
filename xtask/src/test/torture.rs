//! Three minutes of torture, while the compiler works: most of it is waiting.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use super::{Outcome, passed};

/// Torture in the background, always with the same faults. Ends with this process at the latest.
pub(super) struct Torture(Child);

impl Torture {
    /// Begins, if this is root.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(std::env::current_exe()?)
            .args(["torture", "--minutes", MINUTES, "--seed", SEED])
            .stdin(Stdio::null())
            // A pipe holds more than it says.
            .stdout(Stdio::piped())
            .spawn()
            .context("setpriv")?;
        Ok(Some(Self(child)))
    }

    /// Waits for the end, and shows what it had to say.
    pub(super) fn wait(torture: Option<Self>) -> anyhow::Result<Outcome> {
        let Some(Self(mut child)) = torture else {
            return Ok(Outcome::Skipped("this is not root".into()));
        };
        let mut text = String::new();
        let output = child.stdout.as_mut().context("the output")?;
        output.read_to_string(&mut text)?;
        println!("{text}");
        let status = child.wait()?;
        ensure!(
            status.success(),
            "cargo xtask torture --minutes {MINUTES} --seed {SEED}: {status}"
        );
        Ok(passed())
    }
}

const MINUTES: &str = "3";
const SEED: &str = "7";
