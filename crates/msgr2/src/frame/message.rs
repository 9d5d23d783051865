//! The header of a message, which is its frame's first segment (ceph: src/include/msgr.h,
//! `ceph_msg_header2`).
//!
//! ```text
//! seq u64 | tid u64 | type u16 | priority u16 | version u16 | data padding u32 | data offset u16
//! | ack_seq u64 | flags u8 | compat version u16 | reserved u16                        (41 bytes)
//! ```

use denc::{Decode, DecodeError, Encode, Reader, Tid, Writer};

use crate::MessageType;

/// The header of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's number in its session, from 1.
    pub seq: u64,
    /// Ties an answer to its question.
    pub tid: Tid,
    /// What the message means.
    pub kind: MessageType,
    /// How urgent it is.
    pub priority: u16,
    /// The version of the front's layout.
    pub version: u16,
    /// The last message the sender received.
    pub ack_seq: u64,
    /// The oldest version whose readers can read the front.
    pub compat_version: u16,
}

impl Header {
    /// Bytes in the encoding.
    pub const LEN: usize = 41;
}

impl Encode for Header {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.seq).put(&self.tid).u16(self.kind.0);
        writer.u16(self.priority).u16(self.version);
        // No padding before the data, and no wish as to how it is aligned in memory.
        writer.u32(0).u16(0);
        // Of the flags, left over from messenger v1, nobody looks at any.
        writer.u64(self.ack_seq).u8(0);
        writer.u16(self.compat_version).u16(0);
    }
}

impl Decode for Header {
    const MIN_LEN: usize = Self::LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let seq = reader.get()?;
        let tid = reader.get()?;
        let kind = MessageType(reader.get()?);
        let priority = reader.get()?;
        let version = reader.get()?;
        reader.skip(4 + 2)?;
        let ack_seq = reader.get()?;
        reader.skip(1)?;
        let compat_version = reader.get()?;
        reader.skip(2)?;
        Ok(Self {
            seq,
            tid,
            kind,
            priority,
            version,
            ack_seq,
            compat_version,
        })
    }
}
