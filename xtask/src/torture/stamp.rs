//! What is written to a block, so that it can be told afterwards which write a block came from.

use std::fmt;

/// The unit of checking: a block is written as a whole, and never lies in two objects.
pub(super) const BLOCK: usize = 4096;

/// One write (or clearing) of a lane: the generation of the client that submitted it, and its number
/// among that client's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OpId(pub(super) u64);

impl OpId {
    pub(super) fn new(generation: u32, number: u32) -> Self {
        Self((u64::from(generation) << 32) | u64::from(number))
    }

    /// Of the client that submitted it.
    pub(super) fn generation(self) -> u32 {
        // What is left is as long.
        u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation(), self.0 & u64::from(u32::MAX))
    }
}

/// What a block was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Zeros,
    Write(OpId),
    /// Neither: parts of several writes, another block's, or nothing that was ever written.
    Damaged,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros"),
            Self::Write(id) => write!(f, "write {id}"),
            Self::Damaged => f.write_str("damaged data"),
        }
    }
}

/// The content that write `id` of `lane` gives to `block`: who wrote it and where to, and then bytes
/// that follow from these, so that every byte is checked.
pub(super) fn content(lane: u32, id: OpId, block: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK);
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(lane.to_le_bytes());
    bytes.extend(id.0.to_le_bytes());
    bytes.extend(block.to_le_bytes());
    let seed = id.0.rotate_left(20) ^ block.rotate_left(44) ^ u64::from(lane);
    let mut rng = fastrand::Rng::with_seed(seed);
    while bytes.len() < BLOCK {
        bytes.extend(rng.u64(..).to_le_bytes());
    }
    bytes
}

/// Says what is in a block of `lane`.
pub(super) fn examine(lane: u32, block: u64, bytes: &[u8]) -> Seen {
    if bytes.iter().all(|byte| *byte == 0) {
        return Seen::Zeros;
    }
    let id = bytes.get(8..16).and_then(|id| id.try_into().ok());
    match id.map(|id| OpId(u64::from_le_bytes(id))) {
        Some(id) if bytes == content(lane, id, block) => Seen::Write(id),
        _ => Seen::Damaged,
    }
}

const MAGIC: u32 = 0x7052_6f54;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_block_counts() {
        let id = OpId::new(3, 77);
        let bytes = content(1, id, 500);
        assert_eq!(id.generation(), 3);
        assert_eq!(bytes.len(), BLOCK);
        assert_eq!(examine(1, 500, &bytes), Seen::Write(id));
        assert_eq!(examine(1, 501, &bytes), Seen::Damaged);
        assert_eq!(examine(2, 500, &bytes), Seen::Damaged);
        for at in 0..BLOCK {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(examine(1, 500, &flipped), Seen::Damaged, "byte {at}");
        }
        let mut torn = bytes;
        torn[2048..].copy_from_slice(&content(1, OpId::new(3, 78), 500)[2048..]);
        assert_eq!(examine(1, 500, &torn), Seen::Damaged);
        assert_eq!(examine(1, 500, &[0; BLOCK]), Seen::Zeros);
    }
}
