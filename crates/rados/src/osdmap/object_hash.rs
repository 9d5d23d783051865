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
    let mut state = [GOLDEN_RATIO, GOLDEN_RATIO, 0];
    let (blocks, rest) = text.as_chunks::<12>();
    for block in blocks {
        state = mix(added(state, block));
    }
    // The lowest byte of the last word is the length's, so that what is left comes behind it.
    let mut last = [0; 12];
    for (slot, byte) in (0..8).chain(9..12).zip(rest) {
        if let Some(slot) = last.get_mut::<usize>(slot) {
            *slot = *byte;
        }
    }
    let [a, b, c] = added(state, &last);
    // Lengths beyond 32 bits count only by their lower half.
    let len = (text.len() as u64 & u64::from(u32::MAX))
        .try_into()
        .unwrap_or(u32::MAX);
    let [_, _, hash] = mix([a, b, c.wrapping_add(len)]);
    hash
}

/// Adds a block of little-endian words.
fn added(state: [u32; 3], block: &[u8; 12]) -> [u32; 3] {
    let [a, b, c] = state;
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11] = *block;
    [
        a.wrapping_add(u32::from_le_bytes([b0, b1, b2, b3])),
        b.wrapping_add(u32::from_le_bytes([b4, b5, b6, b7])),
        c.wrapping_add(u32::from_le_bytes([b8, b9, b10, b11])),
    ]
}

const fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 13);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 8);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 13);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 12);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 16);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 5);
    a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> 3);
    b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << 10);
    c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> 15);
    [a, b, c]
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
