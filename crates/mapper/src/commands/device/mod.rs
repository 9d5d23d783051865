//! Commands about images as devices: served, mapped, mounted.

pub(crate) mod daemon;
mod list;
mod map;
mod mount;
mod serve;
mod unmap;

pub(crate) use list::run as list;
pub(crate) use map::run as map;
pub(crate) use mount::{run as mount, undo as umount};
pub(crate) use serve::run as serve;
pub(crate) use unmap::run as unmap;

use std::time::Duration;

use mapper::Error;
use rados::Errno;

use crate::exit::Failure;

/// How long a device may take to write back what is not written yet.
const DETACH_LIMIT: Duration = Duration::from_secs(60);

/// The failure of something that has to do with devices.
fn failure(what: &str, error: &Error) -> Failure {
    let errno = match error {
        Error::Path { source, .. } | Error::System { source, .. } | Error::Nbd { source, .. } => {
            source.raw_os_error().map_or(Errno::EIO, Errno)
        }
        Error::DriverMissing { .. } => ENODEV,
        Error::Busy { .. } | Error::AlreadyMapped { .. } => Errno::EBUSY,
        Error::NotMountable { .. } => Errno::EINVAL,
        Error::TimedOut { .. } => Errno::ETIMEDOUT,
        Error::Daemon { exit_code, .. } => {
            return Failure::plain(Errno(i32::from(*exit_code)), error);
        }
        _ => Errno::EIO,
    };
    let mut text = format!("{what}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Failure::plain(errno, text)
}

/// No such device.
const ENODEV: Errno = Errno(19);
