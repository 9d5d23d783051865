//! A new session: who is who and who can do what.

use denc::{Decode, DecodeError, Encode, EntityAddr, EntityAddrVec, Features, Reader, Writer};

use crate::limits;

/// CLIENT_IDENT: the client asks for a new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdent {
    /// The client's addresses. With their nonce they are its identity for the cluster.
    pub addrs: EntityAddrVec,
    /// The server's address that the client dialled.
    pub target_addr: EntityAddr,
    /// The client's number: its global id, or -1.
    pub gid: i64,
    /// Which of the client's connections this is, counted upwards.
    pub global_seq: u64,
    /// What the client can do.
    pub supported: Features,
    /// What the server must be able to do.
    pub required: Features,
    /// [`FLAG_LOSSY`] or nothing.
    pub flags: u64,
    /// Names the session; 0 if it is lossy.
    pub cookie: u64,
}

/// The session is lossy: it ends with its connection.
pub const FLAG_LOSSY: u64 = 1;

impl Encode for ClientIdent {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.addrs).put(&self.target_addr);
        writer.i64(self.gid).u64(self.global_seq);
        writer.put(&self.supported).put(&self.required);
        writer.u64(self.flags).u64(self.cookie);
    }
}

impl Decode for ClientIdent {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            addrs: decode_addrs(reader)?,
            target_addr: reader.get()?,
            gid: reader.get()?,
            global_seq: reader.get()?,
            supported: reader.get()?,
            required: reader.get()?,
            flags: reader.get()?,
            cookie: reader.get()?,
        })
    }
}

/// SERVER_IDENT: the server grants a new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdent {
    /// The server's addresses.
    pub addrs: EntityAddrVec,
    /// The server's number: N in `osd.N`, a monitor's rank.
    pub gid: i64,
    /// Which of the server's connections this is.
    pub global_seq: u64,
    /// What the server can do.
    pub supported: Features,
    /// What the client must be able to do.
    pub required: Features,
    /// [`FLAG_LOSSY`] or nothing.
    pub flags: u64,
    /// The server's name for the session; 0 if it is lossy.
    pub cookie: u64,
}

impl Encode for ServerIdent {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.addrs).i64(self.gid).u64(self.global_seq);
        writer.put(&self.supported).put(&self.required);
        writer.u64(self.flags).u64(self.cookie);
    }
}

impl Decode for ServerIdent {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            addrs: decode_addrs(reader)?,
            gid: reader.get()?,
            global_seq: reader.get()?,
            supported: reader.get()?,
            required: reader.get()?,
            flags: reader.get()?,
            cookie: reader.get()?,
        })
    }
}

/// IDENT_MISSING_FEATURES: what the server requires and the client lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentMissingFeatures(pub Features);

impl Encode for IdentMissingFeatures {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.0);
    }
}

impl Decode for IdentMissingFeatures {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.get().map(Self)
    }
}

/// A participant's addresses, no more than [`limits::ADDRESSES`].
pub(super) fn decode_addrs(reader: &mut Reader<'_>) -> Result<EntityAddrVec, DecodeError> {
    let start = reader.clone();
    let addrs: EntityAddrVec = reader.get()?;
    match addrs.0.len() {
        count if count > limits::ADDRESSES => {
            Err(start.invalid("number of addresses", count as u64))
        }
        _ => Ok(addrs),
    }
}
