//! Who has a device open.
//!
//! The kernel says whether somebody has mounted a device or has it to himself otherwise, but not whether somebody just reads
//! and writes it. Such a program would see its device fail.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::blocking::blocking;
use crate::error::{Error, Result};

/// Waits a moment until no other process has a device open, as far as `/proc` tells: programs that look at any device that
/// changes, such as udev, do not take long.
///
/// **Cancellation:** safe.
///
/// # Errors
/// [`Error::OpenBy`] if there is one that keeps it open.
pub(super) async fn wait_until_none(device: &Path) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let path = device.to_owned();
        let found = blocking("look who has a device open", move || Ok(any(&path)));
        let Some((pid, program)) = found.await? else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(Error::OpenBy {
                device: device.to_owned(),
                program,
                pid,
            });
        }
        sleep(INTERVAL).await;
    }
}

/// The number and the name of another process that has a device open.
fn any(device: &Path) -> Option<(i32, String)> {
    let ours = rustix::process::getpid().as_raw_pid();
    // What disappears meanwhile is not open any more.
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let pid: i32 = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = std::fs::read_dir(process.path().join("fd")).ok()?;
        let has_it = descriptors.any(|descriptor| {
            descriptor
                .and_then(|descriptor| std::fs::read_link(descriptor.path()))
                .is_ok_and(|target| is_same(&target, device))
        });
        let name = || std::fs::read_to_string(process.path().join("comm"));
        (has_it && pid != ours).then(|| (pid, name().unwrap_or_default().trim_end().to_owned()))
    })
}

/// Whether a descriptor's path is a device's. In other mount namespaces it may be somewhere else, but not called otherwise.
fn is_same(target: &Path, device: &Path) -> bool {
    target == device || target.starts_with("/dev") && target.file_name() == device.file_name()
}

/// How long programs may take that only look.
const LIMIT: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_called_the_same_everywhere() {
        let device = Path::new("/dev/loop7");
        assert!(is_same(device, device));
        assert!(is_same(Path::new("/dev/block/loop7"), device));
        assert!(!is_same(Path::new("/home/loop7"), device));
        assert!(!is_same(Path::new("/dev/loop70"), device));
    }

    #[tokio::test]
    async fn a_program_that_keeps_a_file_open_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        wait_until_none(file.path()).await.unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .stdin(file.reopen().unwrap())
            .spawn()
            .unwrap();
        let refused = wait_until_none(file.path()).await;
        child.kill().unwrap();
        child.wait().unwrap();
        match refused {
            Err(Error::OpenBy { program, pid, .. }) => {
                assert_eq!(program, "sleep");
                assert_eq!(pid.cast_unsigned(), child.id());
            }
            other => panic!("{other:?}"),
        }
    }
}
