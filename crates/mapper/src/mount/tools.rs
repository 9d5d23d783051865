//! The programs that make and check file systems.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;
use tracing::info;

use crate::error::{Error, Result};

/// Checks an ext file system and repairs what can be repaired without asking.
pub(super) async fn check_ext(device: &Path) -> Result<()> {
    // `-p` is what `fsck -a` does.
    let output = run("e2fsck", &["-p"], device).await?;
    match output.status.code() {
        Some(0) => Ok(()),
        // Repaired; and repaired so that a system that had it mounted would have to be restarted.
        Some(1 | 2) => {
            info!(device = %device.display(), "file system repaired");
            Ok(())
        }
        _ => Err(failed("e2fsck", device, &output)),
    }
}

/// Makes an ext4 file system.
pub(super) async fn make_ext4(device: &Path, is_never_written: bool) -> Result<()> {
    let extended = if is_never_written {
        // All of it reads as zeroes, journal and inode tables included.
        "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
    } else {
        // What was written here once must not be taken for a journal or for inodes.
        "lazy_itable_init=0,lazy_journal_init=0"
    };
    let output = run("mkfs.ext4", &["-q", "-m0", "-E", extended], device).await?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed("mkfs.ext4", device, &output))
    }
}

async fn run(program: &'static str, args: &[&str], device: &Path) -> Result<Output> {
    Command::new(program)
        .args(args)
        .arg(device)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(Error::path("run", program))
}

fn failed(program: &'static str, device: &Path, output: &Output) -> Error {
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Error::Tool {
        program,
        device: device.to_owned(),
        status: output.status,
        said: said.trim().to_owned(),
    }
}
