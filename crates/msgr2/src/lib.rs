//! Ceph messenger v2: frames, handshake, secure mode and sessions.
//!
//! The core knows nothing of sockets, clocks or randomness: [`Connection`] is given the bytes that
//! arrive and asked for the bytes to write, and everything else it needs is in its options. The
//! module `driver` (feature `tokio`, on by default) runs connections on sockets.
//! Authentication is up to an implementation of [`auth::ClientAuth`]; what messages mean is up to
//! the layers above.
//!
//! # A frame
//!
//! ```text
//! preamble, 32 bytes                            segments              end
//! +-----+-------+---------------------+---------+---------+-----------+----------+
//! | tag | count | 4 x length, align   | flags,0 | crc     | 0 control | epilogue |
//! | u8  | u8    | u32, u16            | u8, u8  | u32     | 1 front   |          |
//! |     | 1..4  |                     |         |         | 2 middle  |          |
//! |     |       |                     |         |         | 3 data    |          |
//! +-----+-------+---------------------+---------+---------+-----------+----------+
//! ```
//! [Control frames](frame::Control) have the first segment only; a [message](Message) has its
//! [header](frame::message::Header) there, and its three parts in the others. How segments are
//! protected depends on the mode agreed on during authentication: with checksums (crc) or encrypted
//! (secure), and on the [revision](Revision) agreed on in the [banners](Banner), 2.1 or 2.0. Where
//! [compression](CompressionOptions) was agreed on too, messages are compressed before that.
//!
//! # A connection
//!
//! ```text
//! client                                         server
//!   | banner ----------------------------- banner |   both at once
//!   | HELLO -------------------------------- HELLO |   the client learns its own IP
//!   | AUTH_REQUEST ------------------------------> |
//!   | <--- AUTH_BAD_METHOD: another AUTH_REQUEST   |
//!   | <--- AUTH_REPLY_MORE, AUTH_REQUEST_MORE ---> |   as often as the method needs
//!   | <--------------------------------- AUTH_DONE |   from here on as the mode says
//!   | AUTH_SIGNATURE -------------- AUTH_SIGNATURE |   each over all it received so far
//!   | COMPRESSION_REQUEST -----------------------> |   if both banners offer compression
//!   | <-------------------------- COMPRESSION_DONE |   from here on as it says
//!   | CLIENT_IDENT ------------------------------> |   a new session
//!   | <------------------------------ SERVER_IDENT |   or IDENT_MISSING_FEATURES, WAIT
//!   |        or                                    |
//!   | SESSION_RECONNECT -------------------------> |   an earlier one
//!   | <---------------------- SESSION_RECONNECT_OK |   or RETRY, RETRY_GLOBAL, RESET, WAIT
//!   | MESSAGE, ACK, KEEPALIVE2(_ACK) ------------- |   either way, until the end
//! ```
//! A *lossy* session ends with its connection; that is what clients have with monitors, OSDs and
//! managers, and what was not answered is asked again over a new one. A lossless [`Session`] goes on
//! over further connections, and what was not acknowledged is sent again.
//!
//! # Peers that mean harm
//!
//! Every way to break the protocol is refused with a variant of [`Error`] of its own. All maxima are
//! in [`limits`]; before a session is open nothing larger than a control frame is accepted, and
//! buffers grow as bytes arrive, not as lengths promise.
#![forbid(unsafe_code)]

pub mod auth;
mod banner;
mod codec;
mod compression;
mod connection;
mod crc;
#[cfg(feature = "tokio")]
pub mod driver;
mod error;
pub mod frame;
mod handshake;
pub mod limits;
mod message;
mod receiver;
mod sender;
mod session;
mod transcript;

pub use banner::{Banner, ProtocolFeatures, Revision};
pub use codec::{Form, decode_frames};
pub use compression::{CompressionMethod, CompressionOptions, DecompressError};
pub use connection::{Connection, Event, Open};
pub use error::{AuthError, Error};
pub use frame::auth::{AuthMethod, ConnectionMode};
pub use handshake::ConnectionInfo;
pub use handshake::client::{ClientOptions, SessionRequest};
pub use handshake::server::{OpenReply, ReconnectReply, ServerOptions, Sessions};
pub use message::{Message, MessageType, Payload};
pub use receiver::{Incoming, Receiver};
pub use sender::{Outgoing, Sender};
pub use session::Session;

#[cfg(test)]
mod tests;
