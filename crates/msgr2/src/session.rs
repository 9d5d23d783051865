//! What outlives a connection when a session is not lossy, and how messages are counted in any
//! session.

use std::collections::VecDeque;
use std::fmt;

use denc::{EntityAddrVec, Features};

use crate::{Error, Message};

/// A lossless session between two connections: what it takes to go on with it.
///
/// Messages that were sent but not acknowledged are kept and sent again on the next connection,
/// unless the peer says that it has them.
#[derive(Clone)]
pub struct Session {
    pub(crate) client_cookie: u64,
    pub(crate) server_cookie: u64,
    /// Attempts to go on, counted upwards.
    pub(crate) connect_seq: u64,
    /// The last message received.
    pub(crate) in_seq: u64,
    pub(crate) sent: Sent,
    pub(crate) peer: Peer,
}

/// What a peer said of itself when the session began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) addrs: EntityAddrVec,
    pub(crate) id: i64,
    pub(crate) features: Features,
}

impl Session {
    /// The client's name for the session.
    pub const fn client_cookie(&self) -> u64 {
        self.client_cookie
    }

    /// The server's name for the session.
    pub const fn server_cookie(&self) -> u64 {
        self.server_cookie
    }

    /// The number of the last message received.
    pub const fn last_received(&self) -> u64 {
        self.in_seq
    }

    /// The attempts made to go on with the session.
    pub const fn connect_seq(&self) -> u64 {
        self.connect_seq
    }

    /// Queues a message to be sent on the next connection.
    ///
    /// # Errors
    /// If a part of it is too long for any peer.
    pub fn push(&mut self, message: Message) -> Result<(), Error> {
        message.check()?;
        self.sent.push(message);
        Ok(())
    }

    /// The messages the peer has not acknowledged, oldest first.
    pub fn unacknowledged(&self) -> impl ExactSizeIterator<Item = &Message> {
        self.sent.unacked.iter()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("client_cookie", &self.client_cookie)
            .field("server_cookie", &self.server_cookie)
            .field("connect_seq", &self.connect_seq)
            .field("in_seq", &self.in_seq)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// The messages of a session in the direction out.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    /// The number of the last message.
    pub(crate) seq: u64,
    /// The last messages up to that one, which the peer has not acknowledged. Empty in lossy
    /// sessions.
    unacked: VecDeque<Message>,
    /// Bytes in them.
    unacked_bytes: usize,
}

impl Sent {
    /// Counts a message that will not be kept and gives its number.
    pub(crate) const fn count(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Counts a message, keeps it and gives its number.
    pub(crate) fn push(&mut self, message: Message) -> u64 {
        self.unacked_bytes += message.len_bytes();
        self.unacked.push_back(message);
        self.count()
    }

    /// Drops the messages up to number `seq`, which the peer has.
    pub(crate) fn acknowledge(&mut self, seq: u64) -> Result<(), Error> {
        if seq > self.seq {
            return Err(Error::AckBeyondSent {
                found: seq,
                last: self.seq,
            });
        }
        while self.seq - (self.unacked.len() as u64) < seq {
            let Some(message) = self.unacked.pop_front() else {
                break;
            };
            self.unacked_bytes -= message.len_bytes();
        }
        Ok(())
    }

    /// The messages to send again, with their numbers.
    pub(crate) fn unacked(&self) -> impl Iterator<Item = (u64, &Message)> {
        let first = self.seq - self.unacked.len() as u64 + 1;
        (first..).zip(&self.unacked)
    }

    /// Bytes kept for sending again.
    pub(crate) const fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }
}

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent")
            .field("seq", &self.seq)
            .field("unacked", &self.unacked.len())
            .field("unacked_bytes", &self.unacked_bytes)
            .finish()
    }
}

/// What to do with a message by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one.
    New,
    /// Was here before: to be passed over.
    Again,
}

impl Arrival {
    /// Judges message `seq` after message `last`.
    pub(crate) const fn of(seq: u64, last: u64) -> Result<Self, Error> {
        if seq <= last {
            Ok(Self::Again)
        } else if seq - last == 1 {
            Ok(Self::New)
        } else {
            Err(Error::SequenceGap { found: seq, last })
        }
    }
}

#[cfg(test)]
mod tests {
    use denc::Tid;

    use super::*;

    fn message(tid: u64) -> Message {
        Message {
            tid: Tid(tid),
            front: vec![0; 10].into(),
            ..Message::default()
        }
    }

    fn sent(count: u64) -> Sent {
        let mut sent = Sent::default();
        for tid in 1..=count {
            assert_eq!(sent.push(message(tid)), tid);
        }
        sent
    }

    #[test]
    fn keeps_what_is_not_acknowledged() {
        let mut sent = sent(5);
        sent.acknowledge(3).unwrap();
        sent.acknowledge(1).unwrap();
        let kept: Vec<_> = sent
            .unacked()
            .map(|(seq, message)| (seq, message.tid.0))
            .collect();
        assert_eq!(kept, [(4, 4), (5, 5)]);
        assert_eq!(sent.unacked_bytes(), 20);
        sent.acknowledge(5).unwrap();
        assert_eq!((sent.unacked().count(), sent.unacked_bytes()), (0, 0));
    }

    #[test]
    fn refuses_an_acknowledgement_of_the_future() {
        assert!(matches!(
            sent(5).acknowledge(6),
            Err(Error::AckBeyondSent { found: 6, last: 5 })
        ));
    }

    #[test]
    fn messages_come_one_after_the_other() {
        assert_eq!(Arrival::of(4, 3).unwrap(), Arrival::New);
        assert_eq!(Arrival::of(3, 3).unwrap(), Arrival::Again);
        assert_eq!(Arrival::of(0, 0).unwrap(), Arrival::Again);
        assert!(matches!(
            Arrival::of(5, 3),
            Err(Error::SequenceGap { found: 5, last: 3 })
        ));
        assert!(Arrival::of(u64::MAX, 0).is_err());
    }
}
