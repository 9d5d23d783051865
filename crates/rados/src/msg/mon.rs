//! What is said to and by monitors.

use std::collections::BTreeMap;

use bytes::Bytes;
use denc::{Decode, Encode, Epoch, Reader, Tid, Uuid, Writer};

use crate::MonMap;

/// The start of every message for one of the monitors' services: the last map epoch seen, and who
/// forwarded it, which a client leaves blank (ceph: src/messages/PaxosServiceMessage.h).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PaxosPrefix;

impl Encode for PaxosPrefix {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(0).i16(-1).u64(0);
    }
}

impl Decode for PaxosPrefix {
    const MIN_LEN: usize = 18;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.skip(Self::MIN_LEN)?;
        Ok(Self)
    }
}

/// `MMonSubscribe`, version 3: which maps to send from which version on.
#[derive(Debug)]
pub(crate) struct MonSubscribe<'a> {
    /// What to send, by name of the map: from which version, and whether only once.
    pub(crate) what: &'a BTreeMap<&'static str, Subscription>,
    pub(crate) hostname: &'a str,
}

impl MonSubscribe<'_> {
    pub(crate) const VERSION: (u16, u16) = (3, 1);
}

/// One map that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The first version wanted; 0 for the current one.
    pub(crate) start: u64,
    /// Whether one answer is enough.
    pub(crate) once: bool,
}

impl Encode for Subscription {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.start).bool(self.once);
    }
}

impl Encode for MonSubscribe<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer.put(self.what).str(self.hostname);
    }
}

/// `MMonMap`: who the monitors are.
#[derive(Debug)]
pub(crate) struct MonMapMessage(pub(crate) MonMap);

impl Decode for MonMapMessage {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.sub_blob()?.get().map(Self)
    }
}

/// `MConfig`: the options that the cluster keeps for this client, by name.
#[derive(Debug)]
pub(crate) struct ConfigMessage(pub(crate) BTreeMap<String, String>);

impl Decode for ConfigMessage {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.get().map(Self)
    }
}

/// `MMonGetVersion`: which is the newest version of a map.
#[derive(Debug)]
pub(crate) struct MonGetVersion {
    pub(crate) handle: Tid,
    pub(crate) what: &'static str,
}

impl Encode for MonGetVersion {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.handle).str(self.what);
    }
}

/// `MMonGetVersionReply`.
#[derive(Debug)]
pub(crate) struct MonGetVersionReply {
    pub(crate) handle: Tid,
    pub(crate) newest: u64,
}

impl Decode for MonGetVersionReply {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            handle: reader.get()?,
            newest: reader.u64()?,
        })
    }
}

/// `MMonCommand`: a command as JSON text. Its input is the message's data.
#[derive(Debug)]
pub(crate) struct MonCommand<'a> {
    pub(crate) fsid: Uuid,
    pub(crate) command: &'a str,
}

impl Encode for MonCommand<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer
            .put(&PaxosPrefix)
            .put(&self.fsid)
            .put(&[self.command][..]);
    }
}

/// `MMonCommandAck`. The output is the message's data.
#[derive(Debug)]
pub(crate) struct MonCommandAck {
    pub(crate) result: i32,
    pub(crate) status: String,
}

impl Decode for MonCommandAck {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.get::<PaxosPrefix>()?;
        Ok(Self {
            result: reader.i32()?,
            status: reader.get()?,
        })
    }
}

/// `MAuth`: a request of an authentication protocol over an open session.
#[derive(Debug)]
pub(crate) struct Auth<'a> {
    pub(crate) protocol: u32,
    pub(crate) payload: &'a [u8],
    pub(crate) monmap_epoch: Epoch,
}

impl Encode for Auth<'_> {
    fn encode(&self, writer: &mut Writer) {
        writer
            .put(&PaxosPrefix)
            .u32(self.protocol)
            .blob(self.payload)
            .put(&self.monmap_epoch);
    }
}

/// `MAuthReply`.
#[derive(Debug)]
pub(crate) struct AuthReply {
    pub(crate) result: i32,
    pub(crate) payload: Bytes,
    pub(crate) message: String,
}

impl Decode for AuthReply {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.skip(4)?;
        let result = reader.i32()?;
        reader.skip(8)?;
        Ok(Self {
            result,
            payload: reader.get()?,
            message: reader.get()?,
        })
    }
}
