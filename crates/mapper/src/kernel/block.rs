//! What can be done with any block device of the kernel.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};
use tokio::time::timeout_at;
use tracing::debug;

use super::openers;
use crate::blocking::blocking;
use crate::device::Limits;
use crate::error::{Error, Result};
use crate::mount::MountPoint;
use crate::{sync, sys};

/// Opens a block device.
pub(crate) fn open(path: &Path, is_read_only: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(!is_read_only)
        .open(path)
        .map_err(Error::path("open", path))
}

/// Opens a block device that nobody has mounted or claimed otherwise, and keeps it that way.
pub(crate) fn open_exclusively(path: &Path) -> Result<File> {
    let flags = OFlags::EXCL.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(Error::Busy {
            device: path.to_owned(),
        }),
        opened => opened.map_err(Error::path("open", path)),
    }
}

/// Writes back and drops what the page cache has for a device. Gives the device, which nobody can mount while it is open;
/// by force it may be in use, and there is nothing to give then.
///
/// **Cancellation:** safe.
///
/// # Errors
/// If the device is in use, unless by force; if it cannot be written back, or that takes longer than `limit`. Nothing has
/// changed then.
pub(crate) async fn write_back(
    path: &Path,
    limit: Duration,
    is_forced: bool,
) -> Result<Option<File>> {
    let deadline = Instant::now() + limit;
    let device = path.to_owned();
    let action = "open a device";
    // Waits for whoever opens it at the same time, and he for the kernel that looks for partitions.
    let opening = blocking(action, move || open_exclusively(&device));
    let opened = timeout_at(deadline.into(), opening)
        .await
        .map_err(|_| Error::TimedOut { action, limit })?;
    let ours = match opened {
        Err(Error::Busy { .. }) if is_forced => None,
        opened => Some(opened?),
    };
    if !is_forced {
        openers::wait_until_none(path).await?;
    }
    if ours.is_none() {
        for mounted in MountPoint::of(path)? {
            sync::file_system(&mounted.path, deadline.duration_since(Instant::now())).await?;
        }
    }
    sync::file(path, deadline.duration_since(Instant::now())).await?;
    let device = path.to_owned();
    let dropped = blocking("drop the cache of a device", move || {
        let opened = open(&device, true)?;
        sys::flush_buffers(&opened).map_err(Error::path("drop the cache of", device))
    });
    let action = "write a device back";
    timeout_at(deadline.into(), dropped)
        .await
        .map_err(|_| Error::TimedOut { action, limit })??;
    Ok(ours)
}

/// The kernel's own number for what is at a path now, where it tells.
pub(crate) fn diskseq(path: &Path) -> Option<u64> {
    let file = Path::new("/sys/block")
        .join(path.file_name()?)
        .join("diskseq");
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Where a device like `loop3` is. Makes the node where nobody else does, as in many containers.
pub(crate) fn node(name: &str) -> Result<PathBuf> {
    let path = Path::new("/dev").join(name);
    if path.exists() {
        return Ok(path);
    }
    let sysfs = Path::new("/sys/block").join(name).join("dev");
    let numbers = std::fs::read_to_string(&sysfs).map_err(Error::path("read", &sysfs))?;
    let parse = || {
        let (major, minor) = numbers.trim().split_once(':')?;
        Some(rustix::fs::makedev(
            major.parse().ok()?,
            minor.parse().ok()?,
        ))
    };
    let number = parse().ok_or_else(|| Error::Path {
        action: "find a device number in",
        path: sysfs,
        source: io::ErrorKind::InvalidData.into(),
    })?;
    let mode = Mode::RUSR | Mode::WUSR;
    let made = rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::BlockDevice, mode, number);
    match made {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(path),
        Err(error) => Err(Error::path("make", path)(error)),
    }
}

/// Fits a device's queue to what is behind it, as far as the kernel lets us.
pub(crate) fn tune_queue(name: &str, limits: Limits) {
    let queue = Path::new("/sys/block").join(name).join("queue");
    let hardware_limit = std::fs::read_to_string(queue.join("max_hw_sectors_kb"))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    let largest = (limits.maximum_bytes / 1024).min(hardware_limit.unwrap_or(u32::MAX));
    // Requests as large as what is behind can take at once; reading ahead that far keeps all of it busy.
    let request = (limits.optimal_bytes / 1024).clamp(MIN_REQUEST_KIB.min(largest), largest);
    for (setting, value) in [
        // Ordering requests is for disks with heads.
        ("scheduler", "none".to_owned()),
        ("max_sectors_kb", request.to_string()),
        ("read_ahead_kb", request.max(MIN_READ_AHEAD_KIB).to_string()),
        ("rotational", "0".to_owned()),
        ("add_random", "0".to_owned()),
    ] {
        if let Err(error) = std::fs::write(queue.join(setting), value) {
            debug!(name, setting, %error, "queue setting not taken");
        }
    }
}

/// Smaller requests than this would only cost, whatever the layout.
const MIN_REQUEST_KIB: u32 = 512;

/// The kernel's own default.
const MIN_READ_AHEAD_KIB: u32 = 128;
