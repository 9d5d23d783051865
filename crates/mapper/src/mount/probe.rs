//! What is on a device: told from the first and the last mebibyte, by a table of what formats write there.
//!
//! Made to decide whether a device may be formatted, so it fails closed: where something is that nobody in the table
//! wrote, that is [unknown contents](Contents::Unknown), not [nothing](Contents::Nothing).

use std::borrow::Cow;

use super::signatures::{Place, TABLE};

/// How much of either end of a device is looked at, in bytes.
pub const PROBED_BYTES: usize = 1 << 20;

/// What is on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing but zeroes at both ends.
    Nothing,
    /// One thing.
    One(Signature),
    /// Several things at once, such as a file system and what is left of a partition table.
    Several(Vec<Signature>),
    /// Something that is not in the table.
    Unknown,
}

/// What has been recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name, as `blkid` has it.
    pub name: &'static str,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Whether there is a journal to be replayed before it is whole. Only known of ext3 and ext4.
    pub needs_recovery: bool,
}

/// The kinds of things there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file system, which the kernel may know by the name of the signature.
    FileSystem,
    /// A partition table.
    PartitionTable,
    /// Something that holds something else: encrypted, a part of a volume group or of an array, swap.
    Container,
}

impl Contents {
    /// Looks at the first and the last bytes of a device, [`PROBED_BYTES`] each, or all of it twice if it is shorter.
    pub fn probe(head: &[u8], tail: &[u8]) -> Self {
        let ends = Ends { head, tail };
        let mut found: Vec<Signature> = Vec::new();
        found.extend(ext(&ends));
        for entry in TABLE {
            let is_there = entry
                .places
                .iter()
                .any(|place| ends.has(*place, entry.magic));
            if is_there && !found.iter().any(|signature| signature.name == entry.name) {
                found.push(Signature::new(entry.name, entry.kind));
            }
        }
        // The mark at the end of a boot sector says something only where nothing else explains it.
        if found.is_empty() && ends.has(Place::Head(510), &[0x55, 0xaa]) {
            found.push(Signature::new("dos", Kind::PartitionTable));
        }
        match found.as_slice() {
            [] if head.iter().chain(tail).all(|byte| *byte == 0) => Self::Nothing,
            [] => Self::Unknown,
            [one] => Self::One(*one),
            _ => Self::Several(found),
        }
    }

    /// In words.
    pub fn describe(&self) -> Cow<'static, str> {
        match self {
            Self::Nothing => "nothing".into(),
            Self::One(signature) => signature.name.into(),
            Self::Several(signatures) => {
                let names: Vec<_> = signatures.iter().map(|signature| signature.name).collect();
                names.join(" and ").into()
            }
            Self::Unknown => "something unknown".into(),
        }
    }
}

impl Signature {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            needs_recovery: false,
        }
    }

    /// Whether it is ext2, ext3 or ext4.
    pub fn is_ext(&self) -> bool {
        matches!(self.name, "ext2" | "ext3" | "ext4")
    }
}

struct Ends<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

impl Ends<'_> {
    fn bytes(&self, place: Place, len: usize) -> Option<&[u8]> {
        let (end, start) = match place {
            Place::Head(offset) => (self.head, offset),
            Place::Tail(distance) => (self.tail, self.tail.len().checked_sub(distance)?),
        };
        end.get(start..)?.get(..len)
    }

    fn has(&self, place: Place, magic: &[u8]) -> bool {
        self.bytes(place, magic.len()) == Some(magic)
    }

    fn u16(&self, offset: usize) -> Option<u16> {
        let bytes = self.bytes(Place::Head(offset), 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    }

    fn u32(&self, offset: usize) -> Option<u32> {
        let bytes = self.bytes(Place::Head(offset), 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }
}

/// ext2, ext3 and ext4 share a superblock and differ in what it says of features.
///
/// Source: linux, `Documentation/filesystems/ext4/super.rst`.
fn ext(ends: &Ends<'_>) -> Option<Signature> {
    const SUPERBLOCK: usize = 1024;
    if ends.u16(SUPERBLOCK + 0x38)? != 0xef53 {
        return None;
    }
    let log_block_size = ends.u32(SUPERBLOCK + 0x18)?;
    let inodes = ends.u32(SUPERBLOCK)?;
    if log_block_size > 6 || inodes == 0 {
        // Two bytes are easily there by chance.
        return None;
    }
    let compatible = ends.u32(SUPERBLOCK + 0x5c)?;
    let incompatible = ends.u32(SUPERBLOCK + 0x60)?;
    let read_only_compatible = ends.u32(SUPERBLOCK + 0x64)?;
    let (has_journal, is_journal) = (compatible & 0x4 != 0, incompatible & 0x8 != 0);
    let name = if is_journal {
        return Some(Signature::new("jbd", Kind::Container));
    } else if incompatible & !0x16 != 0 || read_only_compatible & !0x7 != 0 {
        "ext4"
    } else if has_journal {
        "ext3"
    } else {
        "ext2"
    };
    Some(Signature {
        needs_recovery: incompatible & 0x4 != 0,
        ..Signature::new(name, Kind::FileSystem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_are_nothing_and_a_single_byte_is_something() {
        let zeroes = vec![0; PROBED_BYTES];
        assert_eq!(Contents::probe(&zeroes, &zeroes), Contents::Nothing);
        assert_eq!(Contents::probe(&[], &[]), Contents::Nothing);
        let mut one = zeroes.clone();
        one[777_777] = 1;
        assert_eq!(Contents::probe(&one, &zeroes), Contents::Unknown);
        assert_eq!(Contents::probe(&zeroes, &one), Contents::Unknown);
    }

    #[test]
    fn a_magic_number_cut_off_by_the_end_is_no_signature() {
        assert_eq!(Contents::probe(b"XFS", b"XFS"), Contents::Unknown);
        assert_eq!(Contents::probe(b"XFSB", b"").describe(), "xfs");
    }

    #[test]
    fn leftovers_beside_a_file_system_are_told() {
        let mut head = vec![0; PROBED_BYTES];
        head[..4].copy_from_slice(b"XFSB");
        let mut tail = vec![0; PROBED_BYTES];
        tail[PROBED_BYTES - 512..][..8].copy_from_slice(b"EFI PART");
        assert_eq!(Contents::probe(&head, &tail).describe(), "xfs and gpt");
    }

    #[test]
    fn the_mark_of_ext_alone_is_not_enough() {
        let mut head = vec![0; 4096];
        head[1024 + 0x38..][..2].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(Contents::probe(&head, &[]), Contents::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(head: Vec<u8>, tail: Vec<u8>) {
            let _ = Contents::probe(&head, &tail).describe();
        }
    }
}
