//! One frame of Zstandard behind the length as u32 (ceph: src/compressor/zstd/ZstdCompressor.h).

use denc::Reader;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::DecompressError;
use crate::limits;

pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(bytes.len()).ok()?;
    let mut compressed = len.to_le_bytes().to_vec();
    compressed.extend(compress_to_vec(bytes, CompressionLevel::Fastest));
    Some(compressed)
}

pub(super) fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut reader = Reader::new("length", bytes);
    let claimed = reader.u32().map_err(|_| DecompressError::Truncated)?;
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    if claimed > max {
        return Err(DecompressError::TooLong { max });
    }
    let mut source = reader.take_rest();
    let mut decoder = FrameDecoder::new();
    // A window is never of use beyond the length, but small ones are not cut to size.
    let window = claimed.max(limits::RESERVE_AT_ONCE);
    decoder.set_max_window_size(u64::try_from(window).unwrap_or(u64::MAX));
    decoder.init(&mut source).map_err(damaged)?;

    let mut decompressed = Vec::with_capacity(claimed.min(limits::RESERVE_AT_ONCE));
    while !decoder.is_finished() {
        decoder
            .decode_blocks(&mut source, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(damaged)?;
        let found = decompressed.len() + decoder.can_collect();
        if found > claimed {
            return Err(DecompressError::WrongLength { claimed, found });
        }
        decoder
            .collect_to_writer(&mut decompressed)
            .map_err(damaged)?;
    }
    let found = decompressed.len();
    if found != claimed {
        return Err(DecompressError::WrongLength { claimed, found });
    }
    match source.len() {
        0 => Ok(decompressed),
        trailing => Err(DecompressError::Trailing(trailing)),
    }
}

fn damaged(error: impl std::fmt::Display) -> DecompressError {
    DecompressError::Damaged(error.to_string())
}
