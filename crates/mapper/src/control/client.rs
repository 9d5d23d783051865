//! The side of those who ask.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Answer, MAX_LINE, NEWS_INTERVAL, Request, Status, Stop, short_path};
use crate::device::Tally;
use crate::error::{Error, Result};
use crate::state::Mapping;

/// Asks a mapping's daemon how it is. The cluster may take as long as `limit` to answer the daemon; the daemon itself has
/// that long and three seconds more.
///
/// **Cancellation:** safe.
///
/// # Errors
/// [`Error::Silent`] if it does not answer.
pub async fn status(directory: &Path, mapping: &Mapping, limit: Duration) -> Result<Status> {
    let asked = Conversation::begin(directory, mapping, Request::Status(limit), limit + SLACK);
    match asked.await?.next().await? {
        Answer::Status(status) => Ok(status),
        _ => Err(silent(mapping)),
    }
}

/// Has a mapping's daemon give its device up, and says what was lost thereby. While that takes time, `news` hears how it goes.
/// When this returns, the daemon is about to end.
///
/// **Cancellation:** the daemon stops nevertheless, if it can.
///
/// # Errors
/// [`Error::Daemon`] with what it says if it refuses, and [`Error::Silent`] if it does not answer.
pub async fn stop(
    directory: &Path,
    mapping: &Mapping,
    stop: Stop,
    mut news: impl FnMut(&Status),
) -> Result<Tally> {
    let begun = Conversation::begin(directory, mapping, Request::Stop(stop), SLACK);
    let mut conversation = begun.await?;
    loop {
        match conversation.next().await? {
            Answer::Waiting(status) => news(&status),
            Answer::Stopped(dropped) => return Ok(dropped),
            Answer::Refused { errno, message } => {
                let exit_code = u8::try_from(errno).unwrap_or(1);
                return Err(Error::Daemon { exit_code, message });
            }
            Answer::Status(_) => return Err(silent(mapping)),
        }
    }
}

struct Conversation<'a> {
    mapping: &'a Mapping,
    socket: BufReader<UnixStream>,
    /// How long each answer may take.
    limit: Duration,
}

impl<'a> Conversation<'a> {
    async fn begin(
        directory: &Path,
        mapping: &'a Mapping,
        request: Request,
        limit: Duration,
    ) -> Result<Self> {
        let path = super::socket(directory, mapping.process);
        let (_directory, short) = short_path(&path)?;
        let failed = "ask the daemon";
        let mut line = serde_json::to_vec(&request).map_err(Error::system(failed))?;
        line.push(b'\n');
        // Without room in its queue a daemon that does not take anybody in is as good as gone.
        let connected = timeout(limit, UnixStream::connect(short)).await;
        let Ok(Ok(mut socket)) = connected else {
            return Err(silent(mapping));
        };
        socket.write_all(&line).await.map_err(|_| silent(mapping))?;
        Ok(Self {
            mapping,
            socket: BufReader::new(socket),
            limit: limit.max(NEWS_INTERVAL * 2 + SLACK),
        })
    }

    async fn next(&mut self) -> Result<Answer> {
        let mut line = String::new();
        let mut socket = (&mut self.socket).take(MAX_LINE);
        let read = timeout(self.limit, socket.read_line(&mut line)).await;
        match read {
            Ok(Ok(len)) if len > 0 => {
                serde_json::from_str(&line).map_err(Error::system("understand the daemon's answer"))
            }
            _ => Err(silent(self.mapping)),
        }
    }
}

const fn silent(mapping: &Mapping) -> Error {
    Error::Silent {
        pid: mapping.process.pid(),
    }
}

/// How long a daemon that has something to say may take to say it.
const SLACK: Duration = Duration::from_secs(3);
