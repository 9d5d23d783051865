//! Compression of frames: the methods, what a side wants of them, and what can be wrong with bytes
//! that are said to be compressed.
//!
//! A compressed frame has a flag in its preamble, and each of its segments is compressed on its own;
//! empty ones stay empty. Lengths and checksums are those of the compressed segments. What a
//! compressor may want its decompressor to know (Ceph's `compressor_message`) is not sent: zlib's
//! window is always the default one.
//!
//! Sources: ceph: src/msg/async/frames_v2.cc (`asm_compress`), compression_onwire.cc,
//! src/msg/compressor_registry.cc, src/compressor.

mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zlib;
mod zstd;

use std::fmt;

use bytes::Bytes;

use crate::ConnectionMode;

/// A way to compress, by Ceph's number and name (ceph: src/compressor/Compressor.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompressionMethod {
    /// Raw snappy.
    Snappy = 1,
    /// Raw deflate behind one byte that says who made it.
    Zlib = 2,
    /// Zstandard behind the length.
    Zstd = 3,
    /// Blocks of LZ4 behind a table of their lengths.
    Lz4 = 4,
}

impl CompressionMethod {
    /// Every method there is here.
    pub const ALL: [Self; 4] = [Self::Snappy, Self::Zlib, Self::Zstd, Self::Lz4];

    /// Its number in the frames that agree on compression.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The method with this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.number() == number)
    }

    /// Its name in Ceph's options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// The method with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The bytes, compressed; nothing if they are too many for the method.
    pub fn compress(self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Snappy => snappy::compress(bytes),
            Self::Zlib => zlib::compress(bytes),
            Self::Zstd => zstd::compress(bytes),
            Self::Lz4 => lz4::compress(bytes),
        }
    }

    /// What was compressed, if it has no more than `max` bytes.
    ///
    /// Memory is set aside for `max` bytes at most, and for less than that until the input has shown
    /// that it holds as much.
    ///
    /// # Errors
    /// If the bytes are not what the method makes, or of more than `max` bytes.
    pub fn decompress(self, bytes: &[u8], max: usize) -> Result<Bytes, DecompressError> {
        let bytes = match self {
            Self::Snappy => snappy::decompress(bytes, max),
            Self::Zlib => zlib::decompress(bytes, max),
            Self::Zstd => zstd::decompress(bytes, max),
            Self::Lz4 => lz4::decompress(bytes, max),
        }?;
        Ok(bytes.into())
    }
}

impl fmt::Display for CompressionMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes cannot be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// They are of more bytes than are acceptable.
    #[error("more than {max} bytes")]
    TooLong {
        /// The most acceptable.
        max: usize,
    },
    /// They say that they are of more bytes than so few can stand for.
    #[error("{claimed} bytes in only {len}")]
    Implausible {
        /// How many they say they are of.
        claimed: usize,
        /// How many they are.
        len: usize,
    },
    /// They are not of as many bytes as they say.
    #[error("{found} bytes instead of {claimed}")]
    WrongLength {
        /// How many they say they are of.
        claimed: usize,
        /// How many they are of.
        found: usize,
    },
    /// They end too early.
    #[error("cut short")]
    Truncated,
    /// Something follows their end.
    #[error("{0} bytes behind the end")]
    Trailing(usize),
    /// They are not what the method makes.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// What one side of a connection wants of compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionOptions {
    /// The methods it accepts, the one it likes best first.
    pub methods: Vec<CompressionMethod>,
    /// Frames of fewer bytes are sent as they are.
    pub min_bytes: usize,
    /// Whether also in secure mode: how well something could be compressed says something about it.
    pub in_secure_mode: bool,
}

impl CompressionOptions {
    /// Whether frames may be compressed in `mode`.
    pub(crate) fn allow(&self, mode: ConnectionMode) -> bool {
        !self.methods.is_empty() && (mode != ConnectionMode::SECURE || self.in_secure_mode)
    }

    /// The method with this number, if it is one of these.
    pub(crate) fn method(&self, number: u32) -> Option<CompressionMethod> {
        CompressionMethod::from_number(number).filter(|method| self.methods.contains(method))
    }
}

/// What was agreed on, and this side's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compression {
    pub(crate) method: CompressionMethod,
    pub(crate) min_bytes: usize,
}

/// Refuses a length that is too large, or more than `len` bytes can stand for when one of them stands
/// for `most` at best.
fn check_claim(claimed: usize, len: usize, most: usize, max: usize) -> Result<(), DecompressError> {
    if claimed > max {
        return Err(DecompressError::TooLong { max });
    }
    if claimed > len.saturating_mul(most) {
        return Err(DecompressError::Implausible { claimed, len });
    }
    Ok(())
}
