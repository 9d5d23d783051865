//! Why bytes could not be decoded.

/// Bytes that do not follow the encoding: what was being read, where, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {what} at byte {offset}: {kind}")]
pub struct DecodeError {
    /// What was being read, as given to [`Reader::new`](crate::Reader::new) or the name of the
    /// innermost envelope.
    pub what: &'static str,
    /// Offset in bytes from the start of the outermost buffer.
    pub offset: usize,
    /// What was wrong.
    pub kind: DecodeErrorKind,
}

/// The ways in which bytes can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end before the value does.
    #[error("{needed} bytes needed, {available} left")]
    Truncated {
        /// Bytes (or, for collections, the least number of bytes) the value takes.
        needed: u64,
        /// Bytes that were there.
        available: usize,
    },
    /// The writer says that readers below a newer version must not read this.
    #[error("written for readers of version {compat} or later, this one knows version {supported}")]
    TooNew {
        /// The oldest version that may read it.
        compat: u8,
        /// The newest version this reader knows.
        supported: u8,
    },
    /// A version older than any this reader knows.
    #[error("version {version} is older than the oldest supported, {oldest}")]
    TooOld {
        /// The version found.
        version: u8,
        /// The oldest version this reader knows.
        oldest: u8,
    },
    /// A value that has no meaning here.
    #[error("{field} cannot be {value:#x}")]
    InvalidValue {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    NotUtf8,
    /// Bytes are left although the value is complete.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    /// A checksum that does not match.
    #[error("checksum is {found:#010x}, should be {expected:#010x}")]
    Checksum {
        /// The checksum computed from the bytes.
        expected: u32,
        /// The checksum stored with them.
        found: u32,
    },
}
