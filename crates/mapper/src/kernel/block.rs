//! What can be done with any block device of the kernel.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use tracing::debug;

use crate::device::Limits;
use crate::error::{Error, Result};
use crate::sys;

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

/// Writes back and drops what the page cache has for a device.
pub(crate) fn write_back(device: &File, path: &Path) -> Result<()> {
    device.sync_all().map_err(Error::path("write back", path))?;
    sys::flush_buffers(device).map_err(Error::path("drop the cache of", path))
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
