//! The frames that agree on compression. They only occur when both sides advertise it.

use denc::{Decode, DecodeError, Encode, Reader, Writer};

use super::decode_list;
use crate::limits;

/// COMPRESSION_REQUEST: the client's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionRequest {
    /// Whether it wants compression.
    pub is_compress: bool,
    /// The methods it knows, the one it likes best first.
    pub methods: Vec<u32>,
}

impl Encode for CompressionRequest {
    fn encode(&self, writer: &mut Writer) {
        writer.bool(self.is_compress).put(&self.methods);
    }
}

impl Decode for CompressionRequest {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            is_compress: reader.get()?,
            methods: decode_list(reader, "number of methods", limits::AUTH_CHOICES)?,
        })
    }
}

/// COMPRESSION_DONE: the server's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionDone {
    /// Whether frames will be compressed.
    pub is_compress: bool,
    /// With which method.
    pub method: u32,
}

impl Encode for CompressionDone {
    fn encode(&self, writer: &mut Writer) {
        writer.bool(self.is_compress).u32(self.method);
    }
}

impl Decode for CompressionDone {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            is_compress: reader.get()?,
            method: reader.get()?,
        })
    }
}
