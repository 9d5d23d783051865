//! A way in for benchmarks to what makes messages of operations and takes their answers apart, which is
//! private (feature `bench`).

use bytes::{Bytes, BytesMut};
use denc::{Epoch, UTime};
use msgr2::Payload;

use crate::msg::osd::{OsdOp, OsdOpReply};
use crate::osdmap::{ObjectLocator, ShardedPgId};
use crate::{Operation, Reply};

/// An operation, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The placement group that the object is in.
    pub pg: ShardedPgId,
    /// The whole hash of the object's name.
    pub hash: u32,
    /// The object's pool and namespace.
    pub locator: &'a ObjectLocator,
    /// The object's name.
    pub object: &'a str,
    /// What to do with it.
    pub operation: &'a Operation,
}

impl Request<'_> {
    /// Front, in memory of `arena`, and data of the `MOSDOp` that the newest OSDs are sent.
    pub fn encode(&self, arena: &mut BytesMut) -> (Bytes, Payload) {
        let request = OsdOp {
            pg: self.pg,
            hash: self.hash,
            epoch: Epoch(1),
            flags: 0,
            mtime: UTime::default(),
            locator: self.locator,
            object: self.object,
            operation: self.operation,
            attempt: 0,
        };
        (request.encode(9, arena), OsdOp::data(self.operation))
    }
}

/// What is in the front and the data of an `MOSDOpReply` of this version.
///
/// # Errors
/// If the bytes are no such message.
pub fn decode_reply(version: u16, front: &[u8], data: &Bytes) -> denc::Result<Reply> {
    OsdOpReply::parse(version, front, data).map(|answer| answer.reply)
}
