//! The direction out of an open session.

use std::collections::VecDeque;
use std::io::IoSlice;

use denc::UTime;

use crate::codec::{Encoder, Form, Output, Prepared};
use crate::frame::ack::Ack;
use crate::frame::keepalive::{Keepalive, KeepaliveAck};
use crate::session::Sent;
use crate::{Error, Message, limits};

/// Turns messages into bytes that wait to be written.
#[derive(Debug)]
pub struct Sender {
    encoder: Encoder,
    output: Output,
    /// Messages whose frames are not put together yet: what is encrypted takes memory, and is in the
    /// processor's cache when it is written soon.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    sent: Sent,
    is_lossy: bool,
}

/// A message with what is counted when it is sent.
#[derive(Debug)]
struct Waiting {
    message: Prepared,
    seq: u64,
    ack_seq: u64,
}

/// A message that is ready to be sent: compressed, if that was agreed on, its checksums computed.
#[derive(Debug)]
pub struct Outgoing(Prepared);

impl Outgoing {
    /// Compresses if that was agreed on, and computes the checksums, unless the connection is secure
    /// and has none. These are the only passes over the data, and the only part of sending that takes
    /// longer with it.
    ///
    /// # Errors
    /// [`Error::MessageTooLong`] if no peer would accept a part of the message.
    pub fn new(message: Message, form: Form) -> Result<Self, Error> {
        message.check()?;
        Ok(Self(Prepared::new(message, form)))
    }
}

impl Sender {
    /// Messages that the peer has not acknowledged yet go out first, again.
    pub(crate) fn new(
        encoder: Encoder,
        output: Output,
        sent: Sent,
        is_lossy: bool,
        ack_seq: u64,
    ) -> Result<Self, Error> {
        let mut sender = Self {
            encoder,
            output,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sent,
            is_lossy,
        };
        let form = sender.encoder.form();
        let again = sender.sent.unacked().map(|(seq, message)| Waiting {
            message: Prepared::new(message.clone(), form),
            seq,
            ack_seq,
        });
        for message in again.collect::<Vec<_>>() {
            sender.queue(message)?;
        }
        Ok(sender)
    }

    /// What is to be done to messages before they are sent. The same from now on.
    pub const fn form(&self) -> Form {
        self.encoder.form()
    }

    /// How many messages have been sent compressed.
    pub const fn compressed_frames(&self) -> u64 {
        self.encoder.compressed_frames()
    }

    /// Queues a message. `ack_seq` is the number of the last message received.
    ///
    /// # Errors
    /// [`Error::NoncesUsedUp`].
    pub fn send(&mut self, message: Outgoing, ack_seq: u64) -> Result<(), Error> {
        let seq = if self.is_lossy {
            self.sent.count()
        } else {
            self.sent.push(message.0.message.clone())
        };
        tracing::trace!(seq, kind = %message.0.message.kind, tid = %message.0.message.tid, "send");
        self.queue(Waiting {
            message: message.0,
            seq,
            ack_seq,
        })
    }

    fn queue(&mut self, message: Waiting) -> Result<(), Error> {
        if self.waiting.is_empty() && self.output.len() < limits::ENCODED {
            return self.encode(&message);
        }
        self.waiting_bytes += message.message.message.len_bytes();
        self.waiting.push_back(message);
        Ok(())
    }

    fn encode(&mut self, message: &Waiting) -> Result<(), Error> {
        let Waiting {
            message,
            seq,
            ack_seq,
        } = message;
        self.encoder
            .message(message, *seq, *ack_seq, &mut self.output)
    }

    /// Queues an acknowledgement of the messages up to number `seq`.
    ///
    /// # Errors
    /// [`Error::NoncesUsedUp`].
    pub fn ack(&mut self, seq: u64) -> Result<(), Error> {
        self.encoder.control(&Ack(seq).into(), &mut self.output)
    }

    /// Queues a request for a sign of life.
    ///
    /// # Errors
    /// [`Error::NoncesUsedUp`].
    pub fn keepalive(&mut self, stamp: UTime) -> Result<(), Error> {
        self.encoder
            .control(&Keepalive(stamp).into(), &mut self.output)
    }

    /// Queues a sign of life, the answer to a request with this stamp.
    ///
    /// # Errors
    /// [`Error::NoncesUsedUp`].
    pub fn keepalive_ack(&mut self, stamp: UTime) -> Result<(), Error> {
        self.encoder
            .control(&KeepaliveAck(stamp).into(), &mut self.output)
    }

    /// The peer has the messages up to number `seq`.
    ///
    /// # Errors
    /// [`Error::AckBeyondSent`].
    pub fn acknowledged(&mut self, seq: u64) -> Result<(), Error> {
        self.sent.acknowledge(seq)
    }

    /// Bytes queued and not written yet.
    pub const fn queued_bytes(&self) -> usize {
        self.output.len() + self.waiting_bytes
    }

    /// Bytes of messages kept until they are acknowledged; 0 in lossy sessions.
    pub const fn unacknowledged_bytes(&self) -> usize {
        self.sent.unacked_bytes()
    }

    /// The number of the last message sent.
    pub const fn last_sent(&self) -> u64 {
        self.sent.seq
    }

    /// Fills `slices` with what is to be written next and says how many there are.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.slices(slices)
    }

    /// The first `written` bytes have been written.
    ///
    /// # Errors
    /// [`Error::NoncesUsedUp`].
    pub fn advance(&mut self, written: usize) -> Result<(), Error> {
        self.output.advance(written);
        while self.output.len() < limits::ENCODED
            && let Some(message) = self.waiting.pop_front()
        {
            self.waiting_bytes -= message.message.message.len_bytes();
            self.encode(&message)?;
        }
        Ok(())
    }

    /// Drops what is queued: nothing will be written any more.
    #[cfg(feature = "tokio")]
    pub(crate) fn discard_queued(&mut self) {
        self.output.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    pub(crate) fn into_sent(self) -> Sent {
        self.sent
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }
}
