//! An NBD server: serves [devices](crate::device::BlockDevice) to any NBD client, over TCP, Unix sockets,
//! or a socket pair whose other end belongs to the kernel.
//!
//! What the protocol says is decided by parts without I/O: the [`Handshake`] negotiates, the
//! [`RequestDecoder`] takes requests out of the stream of bytes, and a [`Session`] checks them. They can be fed any
//! bytes. [`Server`] and [`transmit`] bring them together with sockets.
//!
//! The way of a request has no copies and no hops: a large payload is read from the socket into a buffer of
//! its own, which is what the device gets; all requests of a connection run as futures inside the
//! connection's own task; and whatever replies are ready go out in one vectored write, tried on the spot.
//!
//! Not supported: TLS, extended (64-bit) headers, `NBD_CMD_RESIZE`.
//!
//! Source: NetworkBlockDevice/nbd, `doc/proto.md`.

#[cfg(feature = "bench")]
mod bench;
mod error;
mod handshake;
mod proto;
#[cfg(test)]
mod recorded_tests;
mod reply;
mod request;
mod server;
mod session;
mod transmission;
pub(crate) mod unix_socket;

#[cfg(feature = "bench")]
pub use bench::Replies;
pub use error::{ConnectionError, ProtocolError};
pub use handshake::{ExportInfo, Handshake, Negotiated, Step};
pub use request::{Incoming, RequestDecoder, RequestHeader};
pub use server::{Export, Listener, Server, ServerOptions};
pub use session::{Refusal, Request, Session};
pub use transmission::{TransmissionOptions, transmit};
pub use unix_socket::UnixSocket;
