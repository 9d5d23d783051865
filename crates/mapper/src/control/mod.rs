//! How a mapping's daemon is talked to: over a Unix socket next to its file in the [registry](crate::state).
//!
//! Each line is a JSON value. Whoever connects sends one [`Request`]; the daemon answers with one [`Answer`], and before
//! that, while it takes time to stop, with [`Answer::Waiting`] every now and then.
//!
//! What a daemon is doing is not written to a file but asked for, because a file would still say that all is well when the
//! daemon hangs or has died: who does not answer within a time is [silent](crate::Error::Silent).

mod client;
mod server;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::device::{Tally, Traffic};
use crate::error::{Error, Result};
#[cfg(test)]
use crate::state::Mapping;
use crate::state::ProcessId;

pub use client::{status, stop};
pub use server::{Control, StopRequest, Subject};

/// What is asked of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// How it is; the cluster may take this long to answer.
    Status(Duration),
    /// To stop.
    Stop(Stop),
}

/// How a daemon is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Whether to give up a device that is in use, and requests that are not answered.
    pub is_forced: bool,
    /// How long to wait: for everything to be written back; by force, for any request to be answered.
    pub patience: Duration,
}

impl Stop {
    /// Writes everything back, and refuses if the device is in use.
    pub const GRACEFUL: Self = Self {
        is_forced: false,
        patience: Duration::from_secs(60),
    };
    /// Gives the device up at any rate.
    pub const FORCED: Self = Self {
        is_forced: true,
        patience: Duration::from_secs(10),
    };
}

/// What a daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// How it is.
    Status(Status),
    /// It is about to stop, and this is how its requests are getting on.
    Waiting(Status),
    /// The device has been given up, which lost this, and the daemon is about to end.
    Stopped(Tally),
    /// The device has not been given up.
    Refused {
        /// Why, for scripts.
        errno: i32,
        /// Why, for people.
        message: String,
    },
}

/// How a daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether it is stopping.
    pub is_stopping: bool,
    /// How requests are getting on.
    pub traffic: Traffic,
    /// What the cluster has to say.
    pub cluster: ClusterState,
}

/// What a cluster has to say to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// It answers.
    Answers,
    /// Nobody there answers.
    Silent,
    /// The monitors do not answer. Requests still get to OSDs, as long as those stay where they are.
    MonitorsSilent,
    /// The OSD that keeps the image's header does not answer.
    OsdsSilent,
    /// It answers, but another client has the image's lock, which this one needs.
    Locked,
    /// It has blocklisted the client: whatever it asks is refused.
    Fenced,
}

/// Where a daemon listens.
pub fn socket(directory: &Path, process: ProcessId) -> PathBuf {
    directory.join(format!("{}.sock", process.pid()))
}

/// Another path to the same socket, which is never too long for an address. It holds as long as the file is open.
fn short_path(path: &Path) -> Result<(File, PathBuf)> {
    use std::os::fd::AsRawFd;

    let directory = path.parent().unwrap_or(path);
    let opened = File::open(directory).map_err(Error::path("open", directory))?;
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    short.extend(path.file_name());
    Ok((opened, short))
}

/// How often somebody who waits is told how it goes.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 10;

#[cfg(test)]
mod tests;
