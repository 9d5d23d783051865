//! How a command ends: the line on stderr and the exit status.

use std::fmt;
use std::process::ExitCode;

use rados::Errno;

/// Why a command failed: one line for a person, one number for a script.
///
/// The numbers are upstream's: 1 where the command line could not be read, the errno of the failure
/// everywhere else.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    message: String,
}

/// What a command gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The command line cannot be read.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            status: 1,
            message: message.to_string(),
        }
    }

    /// The command line can be read but does not make sense.
    pub(crate) fn invalid(message: impl fmt::Display) -> Self {
        Self::plain(Errno::EINVAL, message)
    }

    /// A failure whose message says everything.
    pub(crate) fn plain(errno: Errno, message: impl fmt::Display) -> Self {
        Self {
            status: status(errno),
            message: message.to_string(),
        }
    }

    /// Something failed with an errno: `what: (2) No such file or directory`.
    pub(crate) fn errno(what: impl fmt::Display, errno: Errno) -> Self {
        Self::plain(
            errno,
            format_args!("{what}: ({}) {}", errno.0, errno.text()),
        )
    }

    /// As [`errno`](Self::errno), with what more is known about the cause.
    pub(crate) fn because(what: impl fmt::Display, errno: Errno, cause: impl fmt::Display) -> Self {
        Self::plain(
            errno,
            format_args!("{what}: ({}) {}: {cause}", errno.0, errno.text()),
        )
    }

    /// Something failed on an image.
    pub(crate) fn rbd(what: impl fmt::Display, error: &rbd::Error) -> Self {
        match error {
            rbd::Error::NoSuchNamespace { namespace, .. } => Self::plain(
                error.errno(),
                format_args!("namespace '{namespace}' does not exist."),
            ),
            _ => Self::because(what, error.errno(), error),
        }
    }

    /// A local system call failed.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::errno(what, Errno(errno)),
            None => Self::plain(Errno::EIO, format_args!("{what}: {error}")),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.message = format!("{}; {hint}", self.message);
        self
    }

    /// The exit status.
    pub(crate) const fn status(&self) -> u8 {
        self.status
    }
}

/// The message alone, without the name of the program.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The exit status of an errno; 1 for what does not fit into one.
fn status(errno: Errno) -> u8 {
    u8::try_from(errno.0)
        .ok()
        .filter(|status| *status != 0)
        .unwrap_or(1)
}

/// Says on stderr how it ended, if badly, and gives the exit status.
pub(crate) fn report(outcome: &Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("orbd: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_errno_and_never_success() {
        assert_eq!(Failure::errno("x", Errno::ENOENT).status(), 2);
        assert_eq!(Failure::errno("x", Errno(0)).status(), 1);
        assert_eq!(Failure::errno("x", Errno(4095)).status(), 1);
        assert_eq!(Failure::errno("x", Errno(-5)).status(), 1);
        assert_eq!(
            Failure::errno("error opening pool 'p'", Errno::ENOENT)
                .hint("ask someone")
                .to_string(),
            "error opening pool 'p': (2) No such file or directory; ask someone"
        );
    }
}
