//! The checksum inside maps.

use denc::{DecodeErrorKind, Reader, Result};

/// Verifies the checksum of a map against its bytes.
///
/// `bytes` are those of the map from its first to its last, of which those at `at` are the
/// checksum; it covers all others.
pub(crate) fn verify(reader: &Reader<'_>, bytes: &[u8], at: usize) -> Result<()> {
    let (front, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
    let Some((stored, tail)) = rest.split_first_chunk() else {
        return Err(reader.invalid("checksum position", at as u64));
    };
    let found = u32::from_le_bytes(*stored);
    let expected = ceph_crc32c(ceph_crc32c(u32::MAX, front), tail);
    if found != expected {
        return Err(reader.error(DecodeErrorKind::Checksum { expected, found }));
    }
    Ok(())
}

/// CRC-32C without the inversions at both ends (ceph: src/common/crc32c.h, `ceph_crc32c`).
fn ceph_crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}
