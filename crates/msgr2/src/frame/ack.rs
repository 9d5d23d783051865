//! Acknowledgement of messages without a message to carry it.

use denc::{Decode, DecodeError, Encode, Reader, Writer};

/// ACK: messages have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack(
    /// The number of the last one.
    pub u64,
);

impl Encode for Ack {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.0);
    }
}

impl Decode for Ack {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.get().map(Self)
    }
}
