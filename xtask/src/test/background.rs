//! Steps in the background, while the compiler works or clusters are waited for: torture is mostly waiting itself, and
//! instructions are as many whatever else a machine does.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use super::{Outcome, passed};

/// A command of xtask in the background. Ends with this process at the latest.
pub(super) struct Background {
    child: Child,
    command: String,
}

impl Background {
    /// Begins torture, always with the same faults, if this is root.
    pub(super) fn torture() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        Self::start("torture --minutes 3 --seed 7").map(Some)
    }

    /// Begins to count what requests cost, if this is a machine for which something is expected.
    pub(super) fn guard() -> anyhow::Result<Option<Self>> {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Ok(None);
        }
        Self::start("guard --kind read-4k --kind write-4k --kind read-64k --kind write-64k")
            .map(Some)
    }

    fn start(command: &str) -> anyhow::Result<Self> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(std::env::current_exe()?)
            .args(command.split(' '))
            .stdin(Stdio::null())
            // A pipe holds more than it says.
            .stdout(Stdio::piped())
            .spawn()
            .context("setpriv")?;
        Ok(Self {
            child,
            command: command.to_owned(),
        })
    }

    /// Waits for the end, and shows what it had to say. `why_not` is why there may be none.
    pub(super) fn wait(background: Option<Self>, why_not: &str) -> anyhow::Result<Outcome> {
        let Some(Self { mut child, command }) = background else {
            return Ok(Outcome::Skipped(why_not.into()));
        };
        let mut text = String::new();
        let output = child.stdout.as_mut().context("the output")?;
        output.read_to_string(&mut text)?;
        println!("{text}");
        let status = child.wait()?;
        ensure!(status.success(), "cargo xtask {command}: {status}");
        Ok(passed())
    }
}
