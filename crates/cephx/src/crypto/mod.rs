//! The two ciphers behind the key types, each over plain byte slices.

pub(crate) mod cbc;
pub(crate) mod krb5;

use std::fmt;

/// What a key is used for, so that a ciphertext made for one purpose cannot be passed off as one for
/// another (ceph: src/auth/cephx/CephxProtocol.h, `CEPHX_KEY_USAGE_*`). Keys of type `aes` ignore it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyUsage(pub u32);

impl KeyUsage {
    /// The connection secret in a monitor's last answer.
    pub const CONNECTION_SECRET: Self = Self(0x03);
    /// The client's part of a ticket: session key and validity.
    pub const TICKET_SESSION_KEY: Self = Self(0x04);
    /// A renewed ticket, encrypted with the session key of the one before.
    pub const TICKET_BLOB: Self = Self(0x05);
    /// The client's proof to a service.
    pub const AUTHORIZE: Self = Self(0x10);
    /// A service's challenge to that proof.
    pub const AUTHORIZE_CHALLENGE: Self = Self(0x11);
    /// A service's own proof.
    pub const AUTHORIZE_REPLY: Self = Self(0x12);
    /// The contents of a ticket, which only the service can read.
    pub const SERVICE_TICKET: Self = Self(0x30);
}

impl fmt::Debug for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyUsage({:#04x})", self.0)
    }
}
