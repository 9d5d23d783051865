//! Hashes of object names (ceph: src/common/ceph_hash.cc).

/// The hash function of a pool. An open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectHash(pub u8);

impl ObjectHash {
    /// What Linux used for names in directories; no cluster creates pools with it.
    pub const LINUX: Self = Self(1);
    /// Robert Jenkins' hash, the default.
    pub const RJENKINS: Self = Self(2);

    /// Hashes a text; `None` if the function is not known.
    pub fn hash(self, text: &[u8]) -> Option<u32> {
        match self {
            Self::LINUX => Some(linux(text)),
            Self::RJENKINS => Some(rjenkins(text)),
            _ => None,
        }
    }
}

fn linux(text: &[u8]) -> u32 {
    text.iter().fold(0, |hash: u32, byte| {
        let byte = u32::from(*byte);
        hash.wrapping_add(byte << 4)
            .wrapping_add(byte >> 4)
            .wrapping_mul(11)
    })
}

fn rjenkins(text: &[u8]) -> u32 {
    let mut state = (GOLDEN_RATIO, GOLDEN_RATIO, 0);
    let (blocks, rest) = text.as_chunks::<12>();
    for block in blocks {
        let (a, b, c) = added(state, block);
        state = crush::mix(a, b, c);
    }
    // The lowest byte of the last word is the length's, so that what is left comes behind it.
    let mut last = [0; 12];
    for (index, byte) in (0..8).chain(9..12).zip(rest) {
        if let Some(slot) = last.get_mut::<usize>(index) {
            *slot = *byte;
        }
    }
    let (a, b, c) = added(state, &last);
    #[expect(clippy::cast_possible_truncation, reason = "Ceph counts with 32 bits")]
    let len = text.len() as u32;
    let (_, _, hash) = crush::mix(a, b, c.wrapping_add(len));
    hash
}

/// Adds a block of little-endian words.
fn added((a, b, c): (u32, u32, u32), block: &[u8; 12]) -> (u32, u32, u32) {
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11] = *block;
    (
        a.wrapping_add(u32::from_le_bytes([b0, b1, b2, b3])),
        b.wrapping_add(u32::from_le_bytes([b4, b5, b6, b7])),
        c.wrapping_add(u32::from_le_bytes([b8, b9, b10, b11])),
    )
}

/// An arbitrary start value.
const GOLDEN_RATIO: u32 = 0x9e37_79b9;

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes that a client was seen to send.
    #[test]
    fn names_hash_as_on_the_wire() {
        for (name, hash) in [
            ("rbd_id.img1", 0x8bd6_e621),
            ("rbd_directory", 0x30a9_8c1c),
            ("rbd_info", 0xac0e_573a),
            ("rbd_header.1020de14bd1", 0xb52f_7868),
            ("rbd_data.1020de14bd1.0000000000000000", 0x7db3_1a3e),
        ] {
            assert_eq!(
                ObjectHash::RJENKINS.hash(name.as_bytes()),
                Some(hash),
                "{name}"
            );
        }
    }

    #[test]
    fn an_unknown_function_gives_nothing() {
        assert_eq!(ObjectHash(3).hash(b"name"), None);
    }
}
