//! What frames say. A frame is a tag and up to four segments; only [messages](message) use more than
//! the first (ceph: src/msg/async/frames_v2.h, doc/dev/msgr2.rst).

pub mod ack;
pub mod auth;
pub mod compression;
pub mod hello;
pub mod ident;
pub mod keepalive;
pub mod message;
pub mod session;

mod epilogue;
mod preamble;

use std::fmt;

use bytes::Bytes;
use denc::{Decode, DecodeError, Encode, Reader};

pub(crate) use epilogue::LateStatus;
pub(crate) use preamble::Preamble;

use crate::{Error, limits};

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident($contents:ty) = $number:literal, $text:literal;)*) => {
        /// The number that says what a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Tag {
            $($(#[$doc])* $name = $number,)*
            /// A message, the only frame with more than one segment.
            Message = 17,
        }

        impl Tag {
            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Message => "MESSAGE",
                }
            }
        }

        impl TryFrom<u8> for Tag {
            type Error = Error;

            fn try_from(number: u8) -> Result<Self, Error> {
                Ok(match number {
                    $($number => Self::$name,)*
                    17 => Self::Message,
                    unknown => return Err(Error::UnknownTag(unknown)),
                })
            }
        }

        /// A frame that is all in one segment: everything but a message.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Control {
            $($(#[$doc])* $name($contents),)*
        }

        impl Control {
            /// The frame's tag.
            pub const fn tag(&self) -> Tag {
                match self {
                    $(Self::$name(_) => Tag::$name,)*
                }
            }

            /// Reads the segment of a frame with the given tag.
            ///
            /// # Errors
            /// If the bytes make no sense for the tag, and for messages, which are no control frames.
            pub fn decode(tag: Tag, segment: &[u8]) -> Result<Self, Error> {
                let mut reader = Reader::new(tag.name(), segment);
                // Later versions may append fields, so bytes left over are no error.
                Ok(match tag {
                    $(Tag::$name => Self::$name(reader.get()?),)*
                    Tag::Message => {
                        return Err(Error::UnexpectedFrame { tag, state: "a control frame" });
                    }
                })
            }
        }

        impl Encode for Control {
            fn encode(&self, writer: &mut denc::Writer) {
                match self {
                    $(Self::$name(contents) => contents.encode(writer),)*
                }
            }
        }

        $(impl From<$contents> for Control {
            fn from(contents: $contents) -> Self {
                Self::$name(contents)
            }
        })*
    };
}

frames! {
    /// Who each side is and where it sees the other.
    Hello(hello::Hello) = 1, "HELLO";
    /// The client starts to authenticate.
    AuthRequest(auth::AuthRequest) = 2, "AUTH_REQUEST";
    /// The server refuses the method.
    AuthBadMethod(auth::BadMethod) = 3, "AUTH_BAD_METHOD";
    /// The server asks for more.
    AuthReplyMore(auth::AuthReplyMore) = 4, "AUTH_REPLY_MORE";
    /// The client gives more.
    AuthRequestMore(auth::AuthRequestMore) = 5, "AUTH_REQUEST_MORE";
    /// The server is satisfied.
    AuthDone(auth::AuthDone) = 6, "AUTH_DONE";
    /// Each side signs what it received.
    AuthSignature(auth::AuthSignature) = 7, "AUTH_SIGNATURE";
    /// The client asks for a new session.
    ClientIdent(ident::ClientIdent) = 8, "CLIENT_IDENT";
    /// The server grants it.
    ServerIdent(ident::ServerIdent) = 9, "SERVER_IDENT";
    /// The server refuses it for want of features.
    IdentMissingFeatures(ident::IdentMissingFeatures) = 10, "IDENT_MISSING_FEATURES";
    /// The client asks to go on with a session.
    SessionReconnect(session::SessionReconnect) = 11, "SESSION_RECONNECT";
    /// The server knows the session no more.
    SessionReset(session::SessionReset) = 12, "SESSION_RESET";
    /// The server has seen a later attempt on this session.
    SessionRetry(session::SessionRetry) = 13, "SESSION_RETRY";
    /// The server has seen a later connection of this client.
    SessionRetryGlobal(session::SessionRetryGlobal) = 14, "SESSION_RETRY_GLOBAL";
    /// The server goes on with the session.
    SessionReconnectOk(session::SessionReconnectOk) = 15, "SESSION_RECONNECT_OK";
    /// The server is connecting to this side at the same time.
    Wait(session::Wait) = 16, "WAIT";
    /// Asks for a sign of life.
    Keepalive(keepalive::Keepalive) = 18, "KEEPALIVE2";
    /// A sign of life.
    KeepaliveAck(keepalive::KeepaliveAck) = 19, "KEEPALIVE2_ACK";
    /// Messages have arrived.
    Ack(ack::Ack) = 20, "ACK";
    /// The client's wish for compression.
    CompressionRequest(compression::CompressionRequest) = 21, "COMPRESSION_REQUEST";
    /// The server's decision on compression.
    CompressionDone(compression::CompressionDone) = 22, "COMPRESSION_DONE";
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A whole frame as it came, its checksums or tags verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub tag: Tag,
    /// Its segments; those left out are empty.
    pub segments: [Bytes; limits::SEGMENTS],
}

/// A list that may have no more than `max` items.
fn decode_list<T: Decode>(
    reader: &mut Reader<'_>,
    what: &'static str,
    max: usize,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.clone().u32()?;
    if count as usize > max {
        return Err(reader.invalid(what, count.into()));
    }
    reader.get()
}

#[cfg(test)]
mod tests;
