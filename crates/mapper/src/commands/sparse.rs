//! Leaving zeros out when bytes are copied to where nothing reads as zeros.

use bytes::Bytes;

/// Runs of zeros of this size are left out unless something else is asked for: upstream's default, and
/// the block size of most file systems.
pub(super) const BLOCK_BYTES: u64 = 4 << 10;

/// The parts of `data` that are to be written, with their offsets: all but the blocks of
/// `sparse_bytes` that are all zeros. Neighbouring blocks are one part.
pub(super) fn runs(data: &Bytes, sparse_bytes: u64) -> Vec<(u64, Bytes)> {
    let block = usize::try_from(sparse_bytes).unwrap_or(usize::MAX).max(1);
    let mut runs = Vec::new();
    let mut run: Option<(usize, usize)> = None;
    for (index, bytes) in data.chunks(block).enumerate() {
        let start = index * block;
        let end = start + bytes.len();
        if bytes.iter().all(|byte| *byte == 0) {
            runs.extend(run.take());
        } else {
            run = Some((run.map_or(start, |run| run.0), end));
        }
    }
    runs.extend(run);
    runs.into_iter()
        .map(|(start, end)| (start as u64, data.slice(start..end)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data: &[u8], sparse: u64) -> Vec<(u64, Vec<u8>)> {
        runs(&Bytes::copy_from_slice(data), sparse)
            .into_iter()
            .map(|(offset, run)| (offset, run.to_vec()))
            .collect()
    }

    #[test]
    fn blocks_of_zeros_are_left_out_and_neighbours_are_one() {
        assert_eq!(
            shown(b"\0\0ab\0\0c\0\0\0\0\0d", 2),
            [
                (2, b"ab".to_vec()),
                (6, b"c\0".to_vec()),
                (12, b"d".to_vec())
            ]
        );
        assert_eq!(shown(b"a\0b\0", 2), [(0, b"a\0b\0".to_vec())]);
        assert_eq!(shown(b"\0\0\0", 2), []);
        assert_eq!(shown(b"", 2), []);
        assert_eq!(shown(b"\0\0\0a", 4096), [(0, b"\0\0\0a".to_vec())]);
    }
}
