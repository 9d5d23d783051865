//! What can go wrong between two parties that do not trust each other yet.

use denc::{AuthEntityName, DecodeError, EntityType};

use crate::KeyType;

/// Why authentication failed, sorted by who is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes from the other side that do not follow the protocol.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A key of a type this version does not know.
    #[error("key type {0} is not supported, only aes and aes256k are")]
    KeyType(KeyType),
    /// A key whose secret is too short or too long for its type.
    #[error("a key of type {kind} has {expected} bytes, not {found}")]
    KeyLength {
        /// The type of the key.
        kind: KeyType,
        /// Bytes a key of this type has.
        expected: usize,
        /// Bytes this one has.
        found: usize,
    },
    /// A text that should be a key and is not base64.
    #[error("a key is base64 text, such as `ceph auth print-key` prints; this is not")]
    NotBase64,
    /// Something encrypted that this key does not open.
    #[error("cannot decrypt {what}: made with another key, or changed on the way")]
    Undecipherable {
        /// What was being decrypted.
        what: &'static str,
    },
    /// A server whose answer shows that it does not know the secret it must know.
    #[error("the {service} cannot prove that it belongs to the cluster, so it is not trusted")]
    ServerUnproven {
        /// What the server claims to be.
        service: EntityType,
    },
    /// A monitor that answered with an error number inside an answer of success.
    #[error("the monitor refused to authenticate us: error {status}")]
    Refused {
        /// A negative errno.
        status: i32,
    },
    /// An answer to a question that was not asked.
    #[error("the monitor answered request {found:#06x}, asked was {expected:#06x}")]
    OtherRequest {
        /// The request that was made.
        expected: u16,
        /// The request that the answer names.
        found: u16,
    },
    /// An answer of the monitor that lacks what it was asked for.
    #[error("the monitor's answer has no {service} ticket")]
    TicketMissing {
        /// The service the ticket would be for.
        service: EntityType,
    },
    /// A payload that does not come at this point of the exchange.
    #[error("{message} does not come {state}")]
    OutOfOrder {
        /// What came.
        message: &'static str,
        /// Where the exchange stands.
        state: &'static str,
    },
    /// The session has no ticket for the service: ask the monitors for one first.
    #[error("there is no ticket for the {service} service yet")]
    NoTicket {
        /// The service.
        service: EntityType,
    },
    /// A client that gave a name the answering side does not know.
    #[error("there is no user {0}")]
    UnknownUser(AuthEntityName),
    /// A client whose proof does not fit its key.
    #[error("{what} of the client is not right")]
    ClientUnproven {
        /// What does not fit.
        what: &'static str,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;
