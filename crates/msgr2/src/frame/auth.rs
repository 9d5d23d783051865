//! The frames of authentication. What their payloads mean is up to the method.

use std::fmt;

use bytes::Bytes;
use denc::{Decode, DecodeError, Encode, GlobalId, Reader, Writer};
use smallvec::SmallVec;

use super::decode_list;
use crate::limits;

/// A method of authentication (ceph: src/include/ceph_fs.h, `CEPH_AUTH_*`). An open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthMethod(pub u32);

impl AuthMethod {
    /// None: everybody is who they say they are.
    pub const NONE: Self = Self(1);
    /// Shared secrets and tickets.
    pub const CEPHX: Self = Self(2);
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::CEPHX => f.write_str("cephx"),
            Self(other) => write!(f, "method {other}"),
        }
    }
}

/// How the bytes are protected once authentication is done (`CEPH_CON_MODE_*`). An open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionMode(pub u32);

impl ConnectionMode {
    /// Checksums against accidents.
    pub const CRC: Self = Self(1);
    /// AES-128-GCM against everybody.
    pub const SECURE: Self = Self(2);
}

impl fmt::Display for ConnectionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CRC => f.write_str("crc"),
            Self::SECURE => f.write_str("secure"),
            Self(other) => write!(f, "mode {other}"),
        }
    }
}

macro_rules! numbers {
    ($($name:ident),*) => {$(
        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                writer.u32(self.0);
            }
        }

        impl Decode for $name {
            const MIN_LEN: usize = 4;

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.u32().map(Self)
            }
        }
    )*};
}

numbers!(AuthMethod, ConnectionMode);

/// AUTH_REQUEST: the client proposes a method.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// The method.
    pub method: AuthMethod,
    /// The modes the client accepts, the one it likes best first.
    pub modes: SmallVec<[ConnectionMode; 2]>,
    /// The method's first word.
    pub payload: Bytes,
}

impl Encode for AuthRequest {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.method).put(&self.modes).put(&self.payload);
    }
}

impl Decode for AuthRequest {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            method: reader.get()?,
            modes: decode_list(reader, "number of modes", limits::AUTH_CHOICES)?.into(),
            payload: reader.get()?,
        })
    }
}

/// AUTH_BAD_METHOD: the server refuses the method, the mode or the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMethod {
    /// The method refused.
    pub method: AuthMethod,
    /// Why, as a negative errno.
    pub result: i32,
    /// The methods the server accepts instead.
    pub allowed_methods: Vec<AuthMethod>,
    /// The modes the server accepts.
    pub allowed_modes: Vec<ConnectionMode>,
}

impl Encode for BadMethod {
    fn encode(&self, writer: &mut Writer) {
        writer
            .put(&self.method)
            .i32(self.result)
            .put(&self.allowed_methods)
            .put(&self.allowed_modes);
    }
}

impl Decode for BadMethod {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            method: reader.get()?,
            result: reader.get()?,
            allowed_methods: decode_list(reader, "number of methods", limits::AUTH_CHOICES)?,
            allowed_modes: decode_list(reader, "number of modes", limits::AUTH_CHOICES)?,
        })
    }
}

/// AUTH_DONE: the server is satisfied.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthDone {
    /// The number of the client instance.
    pub global_id: GlobalId,
    /// The mode the server has chosen from the client's.
    pub mode: ConnectionMode,
    /// The method's last word.
    pub payload: Bytes,
}

impl Encode for AuthDone {
    fn encode(&self, writer: &mut Writer) {
        writer
            .put(&self.global_id)
            .put(&self.mode)
            .put(&self.payload);
    }
}

impl Decode for AuthDone {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            global_id: reader.get()?,
            mode: reader.get()?,
            payload: reader.get()?,
        })
    }
}

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub Bytes);

        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                self.0.encode(writer);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.get().map(Self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} bytes)", stringify!($name), self.0.len())
            }
        }
    )*};
}

payloads! {
    /// AUTH_REPLY_MORE: the server asks for more.
    AuthReplyMore;
    /// AUTH_REQUEST_MORE: the client's answer.
    AuthRequestMore;
}

/// Payloads may hold encrypted secrets; their length is all that is told.
impl fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("method", &self.method)
            .field("modes", &self.modes)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// Payloads may hold encrypted secrets; their length is all that is told.
impl fmt::Debug for AuthDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthDone")
            .field("global_id", &self.global_id)
            .field("mode", &self.mode)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// AUTH_SIGNATURE: HMAC-SHA256 over all bytes received so far, zeros if the method has no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSignature(pub [u8; 32]);

impl Encode for AuthSignature {
    fn encode(&self, writer: &mut Writer) {
        self.0.encode(writer);
    }
}

impl Decode for AuthSignature {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}
