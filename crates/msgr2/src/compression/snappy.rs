//! Snappy, raw: the length as a variable-length number, then literals and copies (ceph:
//! src/compressor/snappy/SnappyCompressor.h).

use super::{DecompressError, check_claim};

pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    snap::raw::Encoder::new().compress_vec(bytes).ok()
}

pub(super) fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let claimed = snap::raw::decompress_len(bytes).map_err(error)?;
    check_claim(claimed, bytes.len(), MOST_PER_BYTE, max)?;
    let mut decompressed = vec![0; claimed];
    let found = snap::raw::Decoder::new()
        .decompress(bytes, &mut decompressed)
        .map_err(error)?;
    if found != claimed {
        return Err(DecompressError::WrongLength { claimed, found });
    }
    Ok(decompressed)
}

fn error(error: snap::Error) -> DecompressError {
    match error {
        snap::Error::Empty | snap::Error::Header => DecompressError::Truncated,
        snap::Error::HeaderMismatch {
            expected_len,
            got_len,
        } => DecompressError::WrongLength {
            claimed: usize::try_from(expected_len).unwrap_or(usize::MAX),
            found: usize::try_from(got_len).unwrap_or(usize::MAX),
        },
        other => DecompressError::Damaged(other.to_string()),
    }
}

/// A copy of 64 bytes takes 3.
const MOST_PER_BYTE: usize = 22;
