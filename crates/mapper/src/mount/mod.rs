//! From a block device to a mounted file system, and back.
//!
//! [`mount`] looks at what is on the device. An ext file system is checked and repaired before it is mounted; any other is
//! mounted as it is; and only if there is nothing at all, ext4 is made. Whatever else is there is left alone.

mod mountinfo;
mod options;
mod probe;
mod signatures;
mod tools;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tracing::{info, warn};

pub use mountinfo::MountPoint;
pub use options::MountFlagsAndData;
pub use probe::{Contents, Kind, PROBED_BYTES, Signature};

use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::kernel::block;
use crate::sync;

/// How a device is to be mounted.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// Whether nothing is to be written to the device: no repair, no journal replay, no new file system.
    pub is_read_only: bool,
    /// Options as `mount -o` takes them.
    pub options: Vec<String>,
    /// Whether a file system is made if there is nothing on the device.
    pub may_format: bool,
    /// Whether the image is known to have never been written to, so that making a file system need not discard and zero
    /// it.
    pub is_never_written: bool,
}

/// A file system that has been mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub directory: PathBuf,
    /// Of what type.
    pub fs_type: &'static str,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Looks at what is on a device.
///
/// # Errors
/// If it cannot be read.
pub async fn probe(device: &Path) -> Result<Contents> {
    let path = device.to_owned();
    blocking("look at a device", move || {
        let device = block::open(&path, true)?;
        let read = || -> std::io::Result<Contents> {
            let size = size_of(&device)?;
            let probed = size.min(PROBED_BYTES as u64);
            let mut head = vec![0; usize::try_from(probed).unwrap_or(PROBED_BYTES)];
            let mut tail = head.clone();
            device.read_exact_at(&mut head, 0)?;
            device.read_exact_at(&mut tail, size - probed)?;
            Ok(Contents::probe(&head, &tail))
        };
        read().map_err(Error::path("read", path))
    })
    .await
}

fn size_of(mut device: &File) -> std::io::Result<u64> {
    use std::io::{Seek, SeekFrom};

    // What `stat` says of a block device has no size in it.
    device.seek(SeekFrom::End(0))
}

/// Mounts a device at a directory, as told at the [module](self).
///
/// **Cancellation:** the device may be mounted nevertheless.
///
/// # Errors
/// If there is nothing on the device and nothing may be made, if there is something that is no file system or cannot be
/// told from one, if the file system is damaged, or if it cannot be mounted. Nothing is mounted then.
pub async fn mount(device: &Path, directory: &Path, options: &MountOptions) -> Result<Mounted> {
    // Found out now rather than after making a file system for it.
    if !directory.is_dir() {
        return Err(Error::Path {
            action: "mount at",
            path: directory.to_owned(),
            source: Errno::NOTDIR.into(),
        });
    }
    let contents = probe(device).await?;
    info!(device = %device.display(), contents = %contents.describe(), "probed");
    let mut is_new = false;
    let signature = match contents {
        Contents::One(signature) if signature.kind == Kind::FileSystem => {
            if signature.is_ext() && !options.is_read_only {
                tools::check_ext(device).await?;
            }
            signature
        }
        Contents::Nothing if options.may_format && !options.is_read_only => {
            tools::make_ext4(device, options.is_never_written).await?;
            is_new = true;
            Signature {
                name: "ext4",
                kind: Kind::FileSystem,
                needs_recovery: false,
            }
        }
        contents => {
            return Err(Error::NotMountable {
                device: device.to_owned(),
                contents,
            });
        }
    };
    mount_as(device, directory, signature, options).await?;
    Ok(Mounted {
        directory: directory.to_owned(),
        fs_type: signature.name,
        is_new,
    })
}

async fn mount_as(
    device: &Path,
    directory: &Path,
    signature: Signature,
    options: &MountOptions,
) -> Result<()> {
    let mut parsed = MountFlagsAndData::parse(&options.options);
    if options.is_read_only {
        parsed.make_read_only(signature);
    }
    if signature.name == "xfs" {
        // Snapshots and clones of a mounted image carry the same identity.
        parsed.add_data("nouuid");
    }
    let (device, directory) = (device.to_owned(), directory.to_owned());
    blocking("mount a device", move || {
        let data = parsed.data()?;
        rustix::mount::mount(&device, &directory, signature.name, parsed.flags(), &*data)
            .map_err(Error::path("mount", device))
    })
    .await
}

/// Unmounts what is mounted at a directory.
///
/// Everything is written back first, so that a device that does not answer does not leave the file system half unmounted.
///
/// **Cancellation:** it may be unmounted nevertheless.
///
/// # Errors
/// If nothing is mounted there, if it is in use, or if writing back takes longer than `limit`; it is still mounted then.
pub async fn unmount(directory: &Path, limit: Duration) -> Result<()> {
    let action = "unmount a file system";
    match sync::file_system(directory, limit).await {
        Err(error @ Error::TimedOut { .. }) => return Err(error),
        // Of a device that fails everything, nothing more can be saved.
        Err(error) => {
            warn!(directory = %directory.display(), error = error.with_causes(), "not all is written")
        }
        Ok(()) => {}
    }
    let path = directory.to_owned();
    let unmounted = blocking(action, move || unmount_at(path, UnmountFlags::NOFOLLOW));
    tokio::time::timeout(limit, unmounted)
        .await
        .map_err(|_| Error::TimedOut { action, limit })?
}

/// Takes what is mounted at a directory out of the tree of files. It is unmounted when the last of those who use it goes.
///
/// # Errors
/// If nothing is mounted there.
pub fn unmount_lazily(directory: &Path) -> Result<()> {
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    unmount_at(directory.to_owned(), flags)
}

fn unmount_at(path: PathBuf, flags: UnmountFlags) -> Result<()> {
    match rustix::mount::unmount(&path, flags) {
        Err(Errno::BUSY) => Err(Error::Busy { device: path }),
        unmounted => unmounted.map_err(Error::path("unmount", path)),
    }
}
