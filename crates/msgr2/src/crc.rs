//! Ceph's CRC-32C: Castagnoli, reflected, with the seed given and no final inversion
//! (ceph: src/include/crc32c.h).

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of `bytes`, continued from `seed`.
///
/// Of the two implementations one has less to do before it starts, and the other one, with wider
/// instructions where the processor has them, takes half as long over much.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the state of a checksum of 32 bits has no more"
)]
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    if bytes.len() < LONG {
        return !crc32c::crc32c_append(!seed, bytes);
    }
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, seed.into());
    digest.update(bytes);
    digest.get_state() as u32
}

/// From so many bytes on the implementation for much is the faster one.
const LONG: usize = 512;

/// The checksum of a segment, which starts from all ones.
pub(crate) fn segment(bytes: &[u8]) -> u32 {
    crc32c(EMPTY, bytes)
}

/// The checksum of an empty segment: the seed itself.
pub(crate) const EMPTY: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Ceph's own unit test (ceph: src/test/common/test_crc32c.cc, `Small`).
    #[test]
    fn agrees_with_ceph() {
        assert_eq!(crc32c(0, b"foo bar baz"), 4_119_623_852);
        assert_eq!(crc32c(1234, b"foo bar baz"), 881_700_046);
        assert_eq!(crc32c(0, b"whiz bang boom"), 2_360_230_088);
        assert_eq!(crc32c(5678, b"whiz bang boom"), 3_743_019_208);
    }

    #[test]
    fn both_implementations_agree() {
        let bytes: Vec<u8> = (0..5000_u32).map(|at| (at * at).to_le_bytes()[1]).collect();
        for len in [0, 1, LONG - 1, LONG, LONG + 1, 1023, 4096, 5000] {
            for seed in [0, 1234, EMPTY] {
                let expected = !crc32c::crc32c_append(!seed, &bytes[..len]);
                assert_eq!(crc32c(seed, &bytes[..len]), expected, "{len} {seed}");
            }
        }
    }

    #[test]
    fn can_be_continued() {
        assert_eq!(segment(b"whiz bang"), crc32c(segment(b"whiz"), b" bang"));
        assert_eq!(segment(b""), EMPTY);
    }
}
