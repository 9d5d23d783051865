//! Signs of life.

use denc::{Decode, DecodeError, Encode, Reader, UTime, Writer};

/// KEEPALIVE2: asks for a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive(
    /// When it was sent, by the sender's clock.
    pub UTime,
);

/// KEEPALIVE2_ACK: the sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepaliveAck(
    /// The time in the frame it answers.
    pub UTime,
);

impl Encode for Keepalive {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.0);
    }
}

impl Decode for Keepalive {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.get().map(Self)
    }
}

impl Encode for KeepaliveAck {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.0);
    }
}

impl Decode for KeepaliveAck {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.get().map(Self)
    }
}
