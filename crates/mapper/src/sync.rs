//! Writing back what the kernel has in its caches, for a time that ends.
//!
//! Who waits for that waits in the kernel, where no signal reaches, and until the end of that no process ends. So `sync` of
//! the coreutils does it, which nobody has to wait for longer than he likes to. Above all the daemon of the very device that is
//! written back must not be the one to wait: if it were killed then, its end would wait for the device, and the device for
//! its end.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::blocking::blocking;
use crate::error::{Error, Result};

/// Writes a file or a device back.
///
/// **Cancellation:** safe; it is still being written back.
///
/// # Errors
/// If something cannot be written, or it takes longer than `limit`.
pub(crate) async fn file(path: &Path, limit: Duration) -> Result<()> {
    sync(path, None, limit).await
}

/// Writes back all of the file system that is mounted at a directory.
///
/// **Cancellation:** safe; it is still being written back.
///
/// # Errors
/// If something cannot be written, or it takes longer than `limit`.
pub(crate) async fn file_system(directory: &Path, limit: Duration) -> Result<()> {
    sync(directory, Some("--file-system"), limit).await
}

async fn sync(path: &Path, option: Option<&str>, limit: Duration) -> Result<()> {
    let action = "write back";
    let child = Command::new("sync")
        .args(option)
        .args([OsStr::new("--"), path.as_os_str()])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let ended = match child {
        Ok(child) => timeout(limit, child.wait_with_output()).await,
        // Better at a risk than not at all.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return timeout(limit, here(path, option.is_some()))
                .await
                .map_err(|_| Error::TimedOut { action, limit })?;
        }
        Err(error) => return Err(Error::path("run", "sync")(error)),
    };
    let output = ended
        .map_err(|_| Error::TimedOut { action, limit })?
        .map_err(Error::path("run", "sync"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::path(action, path)(io::Error::other(
        said.trim().to_owned(),
    )))
}

/// The same in this process.
async fn here(path: &Path, is_file_system: bool) -> Result<()> {
    let path = path.to_owned();
    blocking("write back", move || {
        let file = File::open(&path).map_err(Error::path("open", &path))?;
        if is_file_system {
            rustix::fs::syncfs(&file).map_err(Error::path("write back", path))
        } else {
            file.sync_all().map_err(Error::path("write back", path))
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_there_is_written_back_and_what_is_not_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "x").unwrap();
        file(&path, LIMIT).await.unwrap();
        file_system(directory.path(), LIMIT).await.unwrap();
        here(&path, false).await.unwrap();
        here(directory.path(), true).await.unwrap();
        let failed = file(&directory.path().join("gone"), LIMIT)
            .await
            .unwrap_err();
        assert!(failed.with_causes().contains("No such file"), "{failed:?}");
    }
}
