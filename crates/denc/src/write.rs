//! Puts encoded bytes together.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Encode;

/// Appends encoded values to a growing buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(capacity),
        }
    }

    /// Appends to what `bytes` already holds.
    pub const fn append_to(bytes: BytesMut) -> Self {
        Self { bytes }
    }

    /// What a value encodes to.
    pub fn encode(value: &(impl Encode + ?Sized)) -> Bytes {
        let mut writer = Self::new();
        value.encode(&mut writer);
        writer.freeze()
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has been written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes written.
    pub fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }

    /// The bytes written, still growable.
    pub fn into_inner(self) -> BytesMut {
        self.bytes
    }

    /// Appends a value.
    pub fn put(&mut self, value: &(impl Encode + ?Sized)) -> &mut Self {
        value.encode(self);
        self
    }

    /// Appends raw bytes, without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.put_slice(bytes);
        self
    }

    /// Appends `len` zero bytes.
    pub fn zeros(&mut self, len: usize) -> &mut Self {
        self.bytes.put_bytes(0, len);
        self
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a 16-bit number.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a 32-bit number.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a 64-bit number.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a signed byte.
    pub fn i8(&mut self, value: i8) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a signed 16-bit number.
    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a signed 32-bit number.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a signed 64-bit number.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Appends a truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    /// Appends a blob: its 32-bit length, then its bytes.
    pub fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// Appends a string: its 32-bit length in bytes, then its bytes.
    pub fn str(&mut self, text: &str) -> &mut Self {
        self.blob(text.as_bytes())
    }

    /// Appends the count of a collection or the length of a blob.
    ///
    /// # Panics
    /// If it does not fit 32 bits: no message is that large.
    pub fn count(&mut self, count: usize) -> &mut Self {
        let Ok(count) = u32::try_from(count) else {
            panic!("a collection of {count} items cannot be encoded");
        };
        self.u32(count)
    }

    /// Appends what `contents` writes as a blob, the length filled in afterwards.
    pub fn with_length(&mut self, contents: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.u32(0);
        contents(self);
        let len = self.bytes.len() - start - size_of::<u32>();
        let Ok(len) = u32::try_from(len) else {
            panic!("a structure of {len} bytes cannot be encoded");
        };
        if let Some(slot) = self.bytes.get_mut(start..start + size_of::<u32>()) {
            slot.copy_from_slice(&len.to_le_bytes());
        }
        self
    }

    /// Appends a versioned structure: version, oldest version that can read it, length, and what
    /// `contents` writes.
    pub fn envelope(
        &mut self,
        version: u8,
        compat: u8,
        contents: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.u8(version).u8(compat).with_length(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_filled_in_afterwards() {
        let mut writer = Writer::new();
        writer.u8(7).with_length(|writer| {
            writer.u16(1).with_length(|writer| {
                writer.u8(2);
            });
        });
        assert_eq!(writer.as_slice(), [7, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn an_envelope_is_version_compat_length() {
        let mut writer = Writer::new();
        writer.envelope(6, 3, |writer| {
            writer.str("x");
        });
        assert_eq!(writer.as_slice(), [6, 3, 5, 0, 0, 0, 1, 0, 0, 0, b'x']);
    }
}
