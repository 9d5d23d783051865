//! Why a connection ended before its time.

use std::io;

/// Why a connection of the NBD server ended other than by the client's wish or the server's stopping.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[from] io::Error),
    /// The client broke the protocol in a way that leaves no common ground.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The client went away in the middle of an option or a request.
    #[error("the client went away in the middle of a message")]
    Truncated,
    /// The client did not finish the negotiation in time.
    #[error("the client did not finish the negotiation in time")]
    HandshakeTimeout,
    /// The client did not take its last replies when the server stopped.
    #[error("the client did not take its last replies in time")]
    DrainTimeout,
}

/// How a client can break the protocol so that only disconnecting is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message does not begin with its magic number.
    #[error("{message} begins with {found:#x}")]
    BadMagic {
        /// The message.
        message: &'static str,
        /// What it begins with.
        found: u64,
    },
    /// Handshake flags nobody offered.
    #[error("client flags {0:#x} include some that were not offered")]
    UnknownClientFlags(u32),
    /// An option with more data than anybody wants to read.
    #[error("option {option} has {len_bytes} bytes of data")]
    OptionTooLong {
        /// The option's number.
        option: u32,
        /// The length of its data.
        len_bytes: u32,
    },
    /// Options without end.
    #[error("the client keeps negotiating without coming to a decision")]
    TooManyOptions,
    /// `NBD_OPT_EXPORT_NAME` for an export that is not there; this option has no error reply.
    #[error("there is no export {0:?}")]
    UnknownExport(String),
}
