//! What can go wrong between an image and a mounted file system.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;

use crate::mount::Contents;
use crate::state::MappedSpec;

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
    /// A program has the device open.
    #[error("{} is in use by {program} (process {pid})", device.display())]
    OpenBy {
        /// The device.
        device: PathBuf,
        /// The program's name.
        program: String,
        /// Its number.
        pid: i32,
    },
    /// What is on the device cannot be mounted, and may not be overwritten.
    #[error("{} is not mounted: there is {} on it", device.display(), contents.describe())]
    NotMountable {
        /// The device.
        device: PathBuf,
        /// What is on it.
        contents: Contents,
    },
    /// A program that makes or checks file systems failed.
    #[error("{program} failed on {} ({status}): {said}", device.display())]
    Tool {
        /// The program.
        program: &'static str,
        /// The device.
        device: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// The same is mapped already.
    #[error("{spec} is already mapped{}", as_device(device.as_ref()))]
    AlreadyMapped {
        /// What.
        spec: Box<MappedSpec>,
        /// As what; none if it is not ready yet.
        device: Option<PathBuf>,
    },
    /// The daemon could not do what it was started for.
    #[error("{message}")]
    Daemon {
        /// What to exit with.
        exit_code: u8,
        /// What it said.
        message: String,
    },
    /// The daemon is there and does not answer.
    #[error("the daemon (process {pid}) does not answer")]
    Silent {
        /// Its number.
        pid: i32,
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
    /// The closest errno, for the exit status of a command.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Path { source, .. } | Self::System { source, .. } | Self::Nbd { source, .. } => {
                return source.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            }
            Self::Daemon { exit_code, .. } => return i32::from(*exit_code),
            Self::DriverMissing { .. } => Errno::NODEV,
            Self::Busy { .. } | Self::OpenBy { .. } | Self::AlreadyMapped { .. } => Errno::BUSY,
            Self::NotMountable { .. } => Errno::INVAL,
            Self::TimedOut { .. } | Self::Silent { .. } => Errno::TIMEDOUT,
            Self::Netlink(_) | Self::Tool { .. } => Errno::IO,
        };
        errno.raw_os_error()
    }

    /// What happened, with all that it came from, in one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }

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

fn as_device(device: Option<&PathBuf>) -> String {
    device.map_or_else(String::new, |device| format!(" as {}", device.display()))
}

/// What fails with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
