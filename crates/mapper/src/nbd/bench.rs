//! A way in for benchmarks to what puts replies together, which is private (feature `bench`).

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::reply::{Outcome, ReplyQueue, Written};
use super::session::Session;
use crate::device::ReadData;

/// Replies on their way to a client.
#[derive(Debug)]
pub struct Replies(ReplyQueue);

impl Replies {
    /// None yet.
    pub fn new(session: &Session) -> Self {
        Self(ReplyQueue::new(session))
    }

    /// Queues the reply to a request that gives nothing but its end.
    pub fn push_done(&mut self, cookie: u64) {
        self.0.push(cookie, 1, Outcome::Done);
    }

    /// Queues the reply to a read of `data` at `offset`, which is in bytes.
    pub fn push_data(&mut self, cookie: u64, offset: u64, data: Bytes) {
        let outcome = Outcome::Data {
            offset,
            data: ReadData::from(data),
            in_one: false,
        };
        self.0.push(cookie, 1, outcome);
    }

    /// Writes as much as the socket takes, and says how many replies have been written completely.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut written = Written::default();
        self.0
            .poll_write(context, socket, &mut written)
            .map_ok(|()| written.replies)
    }
}
