//! What can go wrong between a caller and the cluster.

use std::sync::Arc;
use std::time::Duration;

use denc::{DecodeError, EntityAddr, OsdId, PoolId};

use crate::Errno;

/// Why something could not be done.
///
/// Cheap to clone: one lost connection can fail many operations.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong or incomplete.
    #[error(transparent)]
    Config(Arc<crate::config::ConfigError>),
    /// No monitor could be reached or none would have us.
    #[error("no monitor could be reached within {} s: {attempts}", waited.as_secs())]
    NoMonitor {
        /// How long was tried.
        waited: Duration,
        /// What happened at every address, the last time it was tried.
        attempts: Attempts,
    },
    /// The monitors refuse the user or its key.
    #[error("the monitor at {addr} refuses {user}: {reason}")]
    AuthRefused {
        /// The monitor.
        addr: EntityAddr,
        /// The user, `client.admin` for example.
        user: String,
        /// Why, as far as it says.
        reason: String,
    },
    /// There is no such pool.
    #[error("no pool {name:?}")]
    NoSuchPool {
        /// The name asked for.
        name: String,
    },
    /// There is no pool of this number, or no longer.
    #[error("pool {pool} does not exist")]
    PoolGone {
        /// The number.
        pool: PoolId,
    },
    /// The OSDs refused or failed an operation.
    #[error("{pool}/{object}: {errno}")]
    Operation {
        /// The pool's name, or its number where the name is not known.
        pool: String,
        /// The object.
        object: String,
        /// The cause.
        errno: Errno,
    },
    /// The monitors refused or failed a command.
    #[error("monitor command {command:?} failed: {errno}{}{status}", if status.is_empty() { "" } else { ": " })]
    Command {
        /// The command's name, its `prefix`.
        command: String,
        /// The cause.
        errno: Errno,
        /// What the monitors say.
        status: String,
    },
    /// A watch may be gone: its OSD has not confirmed it for longer than the watch may be silent.
    #[error("{pool}/{object}: the watch has not been confirmed for {} s", silence.as_secs_f64())]
    WatchExpired {
        /// The pool's name.
        pool: String,
        /// The object.
        object: String,
        /// How long it may be silent.
        silence: Duration,
    },
    /// The cluster has blocklisted this client: nothing it sends is carried out any more.
    #[error("this client ({addr}) has been blocklisted")]
    Blocklisted {
        /// The address that is on the blocklist.
        addr: EntityAddr,
    },
    /// Bytes from the cluster make no sense.
    #[error("{from} sent something that cannot be understood")]
    Decode {
        /// Who sent them: an object, an OSD, a monitor.
        from: String,
        /// What is wrong with them.
        #[source]
        source: DecodeError,
    },
    /// An operation on an object took longer than `rados_osd_op_timeout` allows. It may be carried out
    /// all the same: a write that has been sent is seen through, and ahead of later ones to its object.
    #[error("{pool}/{object}: {} within {} s", unanswered(*.osd), limit.as_secs_f64())]
    OperationTimedOut {
        /// The pool's name, or its number where the name is not known.
        pool: String,
        /// The object.
        object: String,
        /// The OSD that has not answered; `None` if there was none to ask.
        osd: Option<OsdId>,
        /// How long.
        limit: Duration,
    },
    /// It took longer than the caller was willing to wait.
    #[error("{what} did not end within {} s", limit.as_secs_f64())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// The client was shut down.
    #[error("the connection to the cluster has been shut down")]
    ShutDown,
}

impl Error {
    /// The closest errno: what the kernel or a command's exit status is told.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Config(_) => Errno::EINVAL,
            Self::NoMonitor { .. }
            | Self::OperationTimedOut { .. }
            | Self::TimedOut { .. }
            | Self::WatchExpired { .. } => Errno::ETIMEDOUT,
            Self::AuthRefused { .. } => Errno::EACCES,
            Self::NoSuchPool { .. } | Self::PoolGone { .. } => Errno::ENOENT,
            Self::Operation { errno, .. } | Self::Command { errno, .. } => *errno,
            Self::Blocklisted { .. } | Self::ShutDown => Errno::ESHUTDOWN,
            Self::Decode { .. } => Errno::EBADMSG,
        }
    }
}

fn unanswered(osd: Option<OsdId>) -> String {
    match osd {
        Some(osd) => format!("osd.{osd} has not answered"),
        None => "there was no OSD to send the operation to".to_string(),
    }
}

impl From<crate::config::ConfigError> for Error {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Config(Arc::new(error))
    }
}

/// What happened at each address that was tried.
#[derive(Clone, Debug, Default)]
pub struct Attempts(pub Vec<(String, String)>);

impl std::fmt::Display for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none is known");
        }
        for (index, (addr, outcome)) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{addr}: {outcome}")?;
        }
        Ok(())
    }
}
