//! Deflate without zlib's header and checksum, behind one byte: 0 if zlib made it and 1 if Intel's
//! ISA-L did, which makes no difference to who reads it (ceph: src/compressor/zlib/ZlibCompressor.cc).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::DecompressError;
use crate::limits;

pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut compressed = Vec::with_capacity(bytes.len() / 2 + HEADROOM);
    compressed.push(MADE_BY_ZLIB);
    let mut deflate = Compress::new(LEVEL, false);
    loop {
        let done = usize::try_from(deflate.total_in()).ok()?;
        let status = deflate
            .compress_vec(bytes.get(done..)?, &mut compressed, FlushCompress::Finish)
            .ok()?;
        if status == Status::StreamEnd {
            return Some(compressed);
        }
        compressed.reserve(compressed.capacity());
    }
}

pub(super) fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let [_, stream @ ..] = bytes else {
        return Err(DecompressError::Truncated);
    };
    let mut inflate = Decompress::new(false);
    let expected = stream.len().saturating_mul(USUAL_PER_BYTE);
    let expected = expected.clamp(HEADROOM, limits::RESERVE_AT_ONCE);
    // One byte more than is acceptable tells too much from just enough.
    let mut decompressed = Vec::with_capacity(expected.min(max.saturating_add(1)));
    let mut rest = stream;
    loop {
        if decompressed.len() == decompressed.capacity() {
            let left = max.saturating_add(1) - decompressed.len();
            decompressed.reserve_exact(decompressed.len().min(left));
        }
        let (read, written) = (inflate.total_in(), decompressed.len());
        let status = inflate
            .decompress_vec(rest, &mut decompressed, FlushDecompress::None)
            .map_err(|error| DecompressError::Damaged(error.to_string()))?;
        let read = usize::try_from(inflate.total_in() - read).unwrap_or(usize::MAX);
        rest = rest.get(read..).unwrap_or_default();
        if decompressed.len() > max {
            return Err(DecompressError::TooLong { max });
        }
        match status {
            Status::StreamEnd if rest.is_empty() => return Ok(decompressed),
            Status::StreamEnd => return Err(DecompressError::Trailing(rest.len())),
            _ if read == 0 && written == decompressed.len() => {
                return Err(DecompressError::Truncated);
            }
            _ => {}
        }
    }
}

const MADE_BY_ZLIB: u8 = 0;
/// That of Ceph's `compressor_zlib_level`.
const LEVEL: Compression = Compression::new(5);
/// Room for what little input may turn into.
const HEADROOM: usize = 256;
/// What one byte may stand for without being unusual; at best it is 1032.
const USUAL_PER_BYTE: usize = 4;
