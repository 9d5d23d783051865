//! Ceph authentication: keys, keyrings, the cephx exchange, tickets and authorizers.
//!
//! A client shares a secret [key](CryptoKey) with the monitors and proves to one of them that it has
//! it. It gets an identity, the *global id*, and *tickets*: one for each kind of service, with a
//! session key that the client and the service learn independently. To connect to an OSD, the client
//! shows the ticket with a proof that it knows the session key, and the OSD proves the same in
//! return.
//!
//! ```text
//! client                               monitor
//!   name, old global id ---------------->
//!   <---------------------------- challenge
//!   proof, old AUTH ticket ------------->
//!   <-------- global id, AUTH ticket, connection secret, tickets for OSDs and managers
//!
//! client                               OSD
//!   ticket, sealed nonce --------------->
//!   <---------------------------- sealed challenge
//!   ticket, sealed nonce, challenge + 1 ->
//!   <---------------------------- sealed nonce + 1, connection secret
//! ```
//! All of it travels as opaque payloads in the handshake frames of the messenger. [`ClientSession`]
//! lives as long as the client does and makes one [`MonitorHandshake`] or [`ServiceHandshake`] for
//! each connection; [`server`] answers them.
//!
//! The crate does no I/O: bytes, the time and [randomness](Random) are arguments.
//!
//! ```
//! use cephx::{ClientSession, Keyring};
//! use denc::AuthEntityName;
//!
//! let name: AuthEntityName = "client.admin".parse()?;
//! let keyring: Keyring = "[client.admin]
//!     key = AQDoUwNrCDHEMhAA4f/lymn87nZe++dDU8YVjA==".parse()?;
//! let session = ClientSession::new(name.clone(), keyring.key(&name)?.clone());
//! let first_payload = session.monitor_handshake().request();
//! # assert_eq!(first_payload.len(), 22);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod authorizer;
mod crypto;
mod error;
pub mod ini;
mod key;
mod keyring;

mod monitor;
pub mod none;
mod proto;
mod renewal;
mod secret;
pub mod server;
mod session;
mod tickets;

pub use authorizer::ServiceHandshake;
pub use crypto::KeyUsage;
pub use error::{Error, Result};
pub use key::{CryptoKey, KeyType};
pub use keyring::{Keyring, KeyringError, User};

pub use monitor::{ConnectionKeys, MonitorHandshake};
#[doc(hidden)]
pub use proto::decode_any;
pub use renewal::Renewal;
pub use secret::{Random, Secret};
pub use session::{ClientSession, Grant, TicketId};
pub use tickets::Services;

#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod recorded_tests;
