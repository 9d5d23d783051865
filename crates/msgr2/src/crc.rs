//! Ceph's CRC-32C: Castagnoli, reflected, with the seed given and no final inversion
//! (ceph: src/include/crc32c.h).

/// The checksum of `bytes`, continued from `seed`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

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
    fn can_be_continued() {
        assert_eq!(segment(b"whiz bang"), crc32c(segment(b"whiz"), b" bang"));
        assert_eq!(segment(b""), EMPTY);
    }
}
