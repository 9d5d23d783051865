//! Commands about images as devices: served, mapped, mounted.

mod condition;
pub(crate) mod daemon;
mod give_up;
mod image_end;
mod image_size;
mod list;
mod lock_choice;
mod map;
mod mount;
mod serve;
mod unmap;

pub(crate) use list::run as list;
pub(crate) use map::run as map;
pub(crate) use mount::{run as mount, undo as umount};
pub(crate) use serve::run as serve;
pub(crate) use unmap::run as unmap;

use mapper::Error;
use rados::Errno;

use crate::exit::Failure;

/// The failure of something that has to do with devices.
fn failure(what: &str, error: &Error) -> Failure {
    let errno = Errno(error.errno());
    match error {
        Error::Daemon { .. } => Failure::plain(errno, error),
        _ => Failure::plain(errno, format_args!("{what}: {}", error.with_causes())),
    }
}
