//! HELLO: sent by both sides right after the banner.

use denc::{Decode, DecodeError, Encode, EntityAddr, EntityType, Reader, Writer};

/// Who the sender is and where it sees the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's kind.
    pub kind: EntityType,
    /// The receiver's address as the sender sees it. A client learns its own IP from it.
    pub peer_addr: EntityAddr,
}

impl Encode for Hello {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.kind).put(&self.peer_addr);
    }
}

impl Decode for Hello {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kind: reader.get()?,
            peer_addr: reader.get()?,
        })
    }
}
