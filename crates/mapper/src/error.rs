//! What can go wrong between an image and a mounted file system.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an image could not be attached, mounted, listed or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel has no driver of this name, or it cannot be loaded.
    #[error("the kernel has no {driver} driver ({hint})")]
    DriverMissing {
        /// The driver's module.
        driver: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// A file, device or directory refused something.
    #[error("cannot {action} {}", path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The operating system refused something that has no path.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What came back.
        source: io::Error,
    },
    /// The kernel's NBD driver refused a command.
    #[error("the kernel's nbd driver refused to {action}")]
    Nbd {
        /// What was tried.
        action: &'static str,
        /// What came back.
        source: io::Error,
    },
    /// Netlink did not work as it should.
    #[error("netlink: {0}")]
    Netlink(String),
    /// Somebody uses the device: a file system is mounted on it, or a program has it to itself.
    #[error("{} is in use", device.display())]
    Busy {
        /// The device or mount point.
        device: PathBuf,
    },
    /// Something took longer than it may.
    #[error("{action} took longer than {limit:?}")]
    TimedOut {
        /// What.
        action: &'static str,
        /// How long it may.
        limit: Duration,
    },
}

impl Error {
    /// A failure of an action on a path, for `map_err`.
    pub(crate) fn path<E: Into<io::Error>>(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Path {
            action,
            path: path.into(),
            source: source.into(),
        }
    }

    /// A failure of an action, for `map_err`.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System {
            action,
            source: source.into(),
        }
    }
}

/// What fails with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
