//! Versioned structures (ceph: src/include/encoding.h, `ENCODE_START`/`DECODE_START`).
//!
//! ```text
//! version u8 | oldest version that can read it u8 | length u32 | length bytes
//! ```
//! A newer writer only appends fields, so a reader takes what it knows and skips the rest.

use crate::{DecodeErrorKind, Reader, Result};

/// The inside of a versioned structure.
///
/// Whatever the fields read from [`reader`](Self::reader), the outer reader already stands behind
/// the structure, so an unknown tail is skipped by dropping this.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The version the writer used.
    pub version: u8,
    /// The fields.
    pub reader: Reader<'a>,
}

impl<'a> Reader<'a> {
    /// Enters a versioned structure, called `what` in errors, of which this side knows the versions
    /// up to `supported`.
    ///
    /// # Errors
    /// If the structure says that readers of `supported` must not read it, or if it is longer than
    /// the bytes that are left.
    pub fn envelope(&mut self, what: &'static str, supported: u8) -> Result<Envelope<'a>> {
        let outer = self.what();
        self.set_what(what);
        let entered = self.enter(supported);
        self.set_what(outer);
        entered
    }

    fn enter(&mut self, supported: u8) -> Result<Envelope<'a>> {
        let start = self.clone();
        let version = self.u8()?;
        let compat = self.u8()?;
        if compat > supported {
            return Err(start.error(DecodeErrorKind::TooNew { compat, supported }));
        }
        let reader = self.sub_blob()?;
        Ok(Envelope { version, reader })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_tail_is_skipped() {
        let bytes = [9, 1, 3, 0, 0, 0, 0xaa, 0xbb, 0xcc, 0x11];
        let mut reader = Reader::new("outer", &bytes);
        let mut inside = reader.envelope("inner", 2).unwrap();
        assert_eq!(inside.version, 9);
        assert_eq!(inside.reader.u8().unwrap(), 0xaa);
        assert_eq!(reader.u8().unwrap(), 0x11);
    }

    #[test]
    fn a_structure_for_newer_readers_is_refused() {
        let error = Reader::new("outer", &[9, 3, 0, 0, 0, 0])
            .envelope("inner", 2)
            .unwrap_err();
        assert_eq!(error.what, "inner");
        assert_eq!(
            error.kind,
            DecodeErrorKind::TooNew {
                compat: 3,
                supported: 2
            }
        );
    }

    #[test]
    fn fields_cannot_reach_beyond_the_structure() {
        let bytes = [1, 1, 1, 0, 0, 0, 0xaa, 0xbb];
        let mut inside = Reader::new("outer", &bytes).envelope("inner", 1).unwrap();
        assert!(inside.reader.u16().is_err());
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        let error = Reader::new("outer", &[1, 1, 9, 0, 0, 0, 0])
            .envelope("inner", 1)
            .unwrap_err();
        assert_eq!(
            error.kind,
            DecodeErrorKind::Truncated {
                needed: 9,
                available: 1
            }
        );
    }
}
