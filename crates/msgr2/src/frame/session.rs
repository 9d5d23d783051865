//! Going on with a session over a new connection. Only sessions that are not lossy can.

use denc::{Decode, DecodeError, Encode, EntityAddrVec, Reader, Writer};

use super::ident::decode_addrs;

/// SESSION_RECONNECT: the client asks to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReconnect {
    /// The client's addresses.
    pub addrs: EntityAddrVec,
    /// The client's name for the session.
    pub client_cookie: u64,
    /// The server's name for the session.
    pub server_cookie: u64,
    /// Which of the client's connections this is.
    pub global_seq: u64,
    /// Which attempt to go on with this session this is.
    pub connect_seq: u64,
    /// The last message the client received.
    pub msg_seq: u64,
}

impl Encode for SessionReconnect {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.addrs);
        writer.u64(self.client_cookie).u64(self.server_cookie);
        writer
            .u64(self.global_seq)
            .u64(self.connect_seq)
            .u64(self.msg_seq);
    }
}

impl Decode for SessionReconnect {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            addrs: decode_addrs(reader)?,
            client_cookie: reader.get()?,
            server_cookie: reader.get()?,
            global_seq: reader.get()?,
            connect_seq: reader.get()?,
            msg_seq: reader.get()?,
        })
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident { $(#[$field_doc:meta])* $field:ident: $kind:ty })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(#[$field_doc])*
            pub $field: $kind,
        }

        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                writer.put(&self.$field);
            }
        }

        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $field: reader.get()? })
            }
        }
    )*};
}

numbers! {
    /// SESSION_RECONNECT_OK: the server goes on.
    SessionReconnectOk {
        /// The last message the server received.
        msg_seq: u64
    }
    /// SESSION_RESET: the server knows nothing of the session.
    SessionReset {
        /// Whether all of it is gone. Servers of clients always say so.
        full: bool
    }
    /// SESSION_RETRY: the server has seen a later attempt.
    SessionRetry {
        /// The number of that attempt.
        connect_seq: u64
    }
    /// SESSION_RETRY_GLOBAL: the server has seen a later connection.
    SessionRetryGlobal {
        /// The number of that connection.
        global_seq: u64
    }
}

/// WAIT: the server is connecting to this side at the same time and prefers its own connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait;

impl Encode for Wait {
    fn encode(&self, _writer: &mut Writer) {}
}

impl Decode for Wait {
    const MIN_LEN: usize = 0;

    fn decode(_reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}
