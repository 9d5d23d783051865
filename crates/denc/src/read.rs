//! A reader that cannot run off the end of its bytes.

use crate::{Decode, DecodeError, DecodeErrorKind, Result};

/// Takes a byte slice apart from front to back.
///
/// Every method checks that the bytes are there and gives a [`DecodeError`] with the offset if not.
/// Nothing is allocated on the word of a length field alone.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    /// The outermost buffer up to this reader's end, so that offsets count from its start.
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which are called `what` in errors.
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self {
            what,
            bytes,
            position: 0,
        }
    }

    /// What is being read.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Renames what is being read, for errors from here on.
    pub const fn set_what(&mut self, what: &'static str) {
        self.what = what;
    }

    /// Bytes read so far, counted from the start of the outermost buffer.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Bytes not read yet.
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// An error at the current position.
    pub const fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError {
            what: self.what,
            offset: self.position,
            kind,
        }
    }

    /// The error for a field whose value has no meaning.
    pub const fn invalid(&self, field: &'static str, value: u64) -> DecodeError {
        self.error(DecodeErrorKind::InvalidValue { field, value })
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some(taken) = self.rest().get(..len) else {
            return Err(self.truncated(len as u64));
        };
        self.position += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest().first_chunk::<N>() {
            Some(chunk) => {
                self.position += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(N as u64)),
        }
    }

    /// Steps over `len` bytes.
    pub fn skip(&mut self, len: usize) -> Result<()> {
        self.take(len).map(drop)
    }

    /// All bytes that are left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest();
        self.position = self.bytes.len();
        rest
    }

    /// A reader over the next `len` bytes, which this reader steps over.
    pub fn sub(&mut self, len: usize) -> Result<Self> {
        let start = self.position;
        self.take(len)?;
        // `take` has checked the end.
        let bytes = self.bytes.get(..start + len).unwrap_or(self.bytes);
        Ok(Self {
            what: self.what,
            bytes,
            position: start,
        })
    }

    /// Says that the value must be complete here.
    ///
    /// # Errors
    /// If bytes are left.
    pub const fn finish(self) -> Result<()> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(DecodeErrorKind::TrailingBytes(left))),
        }
    }

    /// The next value of a type.
    pub fn get<T: Decode>(&mut self) -> Result<T> {
        T::decode(self)
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// A 16-bit number.
    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// A 32-bit number.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A 64-bit number.
    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A signed byte.
    pub fn i8(&mut self) -> Result<i8> {
        self.array().map(i8::from_le_bytes)
    }

    /// A signed 16-bit number.
    pub fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_le_bytes)
    }

    /// A signed 32-bit number.
    pub fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    /// A signed 64-bit number.
    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// A truth value: one byte, anything but zero is true.
    pub fn bool(&mut self) -> Result<bool> {
        self.u8().map(|byte| byte != 0)
    }

    /// A blob: 32-bit length, then that many bytes.
    pub fn blob(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()?;
        match usize::try_from(len) {
            Ok(len) => self.take(len),
            Err(_) => Err(self.truncated(len.into())),
        }
    }

    /// A reader over the contents of a blob.
    pub fn sub_blob(&mut self) -> Result<Self> {
        let len = self.u32()?;
        match usize::try_from(len) {
            Ok(len) => self.sub(len),
            Err(_) => Err(self.truncated(len.into())),
        }
    }

    /// A string: a blob that must be UTF-8.
    pub fn str(&mut self) -> Result<&'a str> {
        let start = self.clone();
        let bytes = self.blob()?;
        core::str::from_utf8(bytes).map_err(|_| start.error(DecodeErrorKind::NotUtf8))
    }

    /// The count of a collection whose items take at least `min_item_len` bytes each.
    ///
    /// # Errors
    /// If the bytes left cannot hold that many items, so that memory may be set aside for the count
    /// that is returned.
    pub fn count(&mut self, min_item_len: usize) -> Result<usize> {
        let count = self.u32()?;
        let needed = u64::from(count) * min_item_len.max(1) as u64;
        match usize::try_from(count) {
            Ok(count) if needed <= self.remaining() as u64 => Ok(count),
            _ => Err(self.truncated(needed)),
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    const fn truncated(&self, needed: u64) -> DecodeError {
        self.error(DecodeErrorKind::Truncated {
            needed,
            available: self.remaining(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_readers_keep_the_outer_offset() {
        let mut outer = Reader::new("outer", &[1, 2, 3, 4, 5]);
        outer.skip(2).unwrap();
        let mut inner = outer.sub(2).unwrap();
        inner.skip(1).unwrap();
        let error = inner.u32().unwrap_err();
        assert_eq!(error.offset, 3);
        assert_eq!(
            error.kind,
            DecodeErrorKind::Truncated {
                needed: 4,
                available: 1
            }
        );
        assert_eq!(outer.take_rest(), [5]);
    }

    #[test]
    fn a_count_that_cannot_fit_is_refused() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0, 0];
        assert!(Reader::new("list", &bytes).count(8).is_err());
        assert!(Reader::new("list", &bytes).count(0).is_err());
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut reader = Reader::new("number", &[1, 0, 9]);
        assert_eq!(reader.u16().unwrap(), 1);
        assert_eq!(
            reader.finish().unwrap_err().kind,
            DecodeErrorKind::TrailingBytes(1)
        );
    }

    #[test]
    fn strings_must_be_utf8() {
        let error = Reader::new("name", &[1, 0, 0, 0, 0xff]).str().unwrap_err();
        assert_eq!((error.kind, error.offset), (DecodeErrorKind::NotUtf8, 0));
    }
}
