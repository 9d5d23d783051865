//! Blocks of LZ4, which may refer to those before, behind a table (ceph:
//! src/compressor/lz4/LZ4Compressor.cc).
//!
//! ```text
//! count u32 | count x { length u32 | compressed length u32 } | the blocks
//! ```

use bytes::BufMut;
use denc::Reader;
use lz4_flex::block::DecompressError as BlockError;

use super::{DecompressError, check_claim};

/// Makes a single block.
pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let len = u32::try_from(bytes.len()).ok()?;
    let block = lz4_flex::block::compress(bytes);
    let mut compressed = Vec::with_capacity(TABLE + ENTRY + block.len());
    compressed.put_u32_le(1);
    compressed.put_u32_le(len);
    compressed.put_u32_le(u32::try_from(block.len()).ok()?);
    compressed.extend(block);
    Some(compressed)
}

pub(super) fn decompress(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut table = Reader::new("table of blocks", bytes);
    let mut blocks = table.clone();
    let count = blocks.u32().map_err(|_| DecompressError::Truncated)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    blocks
        .skip(count.saturating_mul(ENTRY))
        .map_err(|_| DecompressError::Truncated)?;
    let mut blocks = blocks.take_rest();

    let entries = table.u32().and_then(|_| {
        let entries = (0..count).map(|_| Ok((table.u32()?, table.u32()?)));
        entries.collect::<Result<Vec<_>, denc::DecodeError>>()
    });
    let entries = entries.map_err(|_| DecompressError::Truncated)?;
    let claimed = entries.iter().fold(0_usize, |sum, (len, _)| {
        sum.saturating_add(usize::try_from(*len).unwrap_or(usize::MAX))
    });
    check_claim(claimed, blocks.len(), MOST_PER_BYTE, max)?;

    let mut decompressed = vec![0; claimed];
    let mut done = 0;
    for (len, compressed_len) in entries {
        let compressed_len = usize::try_from(compressed_len).unwrap_or(usize::MAX);
        let Some((block, later)) = blocks.split_at_checked(compressed_len) else {
            return Err(DecompressError::Truncated);
        };
        blocks = later;
        let (before, after) = decompressed.split_at_mut(done);
        let claimed = usize::try_from(len).unwrap_or(usize::MAX);
        let target = after.get_mut(..claimed).unwrap_or_default();
        let history = before.len().saturating_sub(WINDOW);
        let history = before.get(history..).unwrap_or_default();
        let found =
            lz4_flex::block::decompress_into_with_dict(block, target, history).map_err(error)?;
        if found != claimed {
            return Err(DecompressError::WrongLength { claimed, found });
        }
        done += found;
    }
    match blocks.len() {
        0 => Ok(decompressed),
        trailing => Err(DecompressError::Trailing(trailing)),
    }
}

fn error(error: BlockError) -> DecompressError {
    match error {
        BlockError::ExpectedAnotherByte => DecompressError::Truncated,
        other => DecompressError::Damaged(other.to_string()),
    }
}

/// The count before the table.
const TABLE: usize = 4;
/// Two lengths.
const ENTRY: usize = 8;
/// As far as a block may refer back.
const WINDOW: usize = 64 << 10;
/// A byte of a match's length stands for 255.
const MOST_PER_BYTE: usize = 255;
