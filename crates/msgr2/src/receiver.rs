//! The direction in of an open session.

use bytes::BytesMut;
use bytes::buf::Limit;
use denc::{Decode, UTime};

use crate::codec::Decoder;
use crate::frame::message::Header;
use crate::frame::{Control, Frame, Tag};
use crate::session::Arrival;
use crate::{Error, Message};

/// Turns arriving bytes into messages and the small frames around them.
#[derive(Debug)]
pub struct Receiver {
    decoder: Decoder,
    /// The last message received.
    in_seq: u64,
}

/// What has arrived.
#[derive(Debug)]
#[non_exhaustive]
pub enum Incoming {
    /// A message, and the number of the last message that the peer had received when it sent it.
    Message(Message, u64),
    /// The number of the last message that the peer has received.
    Ack(u64),
    /// The peer wants a sign of life: the stamp is to be sent back.
    Keepalive(UTime),
    /// A sign of life, with the stamp that was sent.
    KeepaliveAck(UTime),
}

impl Receiver {
    pub(crate) const fn new(mut decoder: Decoder, in_seq: u64) -> Self {
        decoder.allow_messages();
        Self { decoder, in_seq }
    }

    /// Where the next bytes go; never empty. A long piece of a message is read straight into a
    /// buffer of its own.
    pub fn space(&mut self) -> Limit<&mut BytesMut> {
        self.decoder.space()
    }

    /// The number of the last message received.
    pub const fn last_received(&self) -> u64 {
        self.in_seq
    }

    /// How many frames have come compressed.
    pub const fn compressed_frames(&self) -> u64 {
        self.decoder.compressed_frames()
    }

    /// The next thing that has arrived completely. Messages that were received before are passed
    /// over.
    ///
    /// # Errors
    /// If the peer breaks the protocol. The connection is then of no more use.
    pub fn poll_incoming(&mut self) -> Result<Option<Incoming>, Error> {
        while let Some(frame) = self.decoder.next_frame()? {
            if let Some(incoming) = self.handle(frame)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    fn handle(&mut self, frame: Frame) -> Result<Option<Incoming>, Error> {
        let [control, front, middle, data] = frame.segments;
        if frame.tag == Tag::Message {
            let header = Header::decode_all("message header", &control)?;
            return match Arrival::of(header.seq, self.in_seq)? {
                Arrival::Again => {
                    tracing::debug!(seq = header.seq, "message was here before");
                    Ok(None)
                }
                Arrival::New => {
                    self.in_seq = header.seq;
                    tracing::trace!(seq = header.seq, kind = %header.kind, tid = %header.tid, "received");
                    let message = Message {
                        tid: header.tid,
                        kind: header.kind,
                        priority: header.priority,
                        version: header.version,
                        compat_version: header.compat_version,
                        front,
                        middle,
                        data: data.into(),
                    };
                    Ok(Some(Incoming::Message(message, header.ack_seq)))
                }
            };
        }
        Ok(Some(match Control::decode(frame.tag, &control)? {
            Control::Ack(ack) => Incoming::Ack(ack.0),
            Control::Keepalive(keepalive) => Incoming::Keepalive(keepalive.0),
            Control::KeepaliveAck(ack) => Incoming::KeepaliveAck(ack.0),
            other => {
                return Err(Error::UnexpectedFrame {
                    tag: other.tag(),
                    state: "messages",
                });
            }
        }))
    }
}
