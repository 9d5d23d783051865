//! What formats of things on disks write at their beginning or end.

use super::probe::Kind;
use super::probe::Kind::{Container, FileSystem, PartitionTable};
use Place::{Head, Tail};

/// Where a magic number is, in bytes from the beginning or before the end.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Head(usize),
    Tail(usize),
}

/// What a format writes, and where.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) magic: &'static [u8],
    /// Any of these.
    pub(super) places: &'static [Place],
}

const fn entry(
    name: &'static str,
    kind: Kind,
    magic: &'static [u8],
    places: &'static [Place],
) -> Entry {
    Entry {
        name,
        kind,
        magic,
        places,
    }
}

/// Where the second LUKS2 header can be: after a first one of each size there is.
const LUKS2_SECOND: &[Place] = &[
    Head(0x4000),
    Head(0x8000),
    Head(0x1_0000),
    Head(0x2_0000),
    Head(0x4_0000),
    Head(0x8_0000),
];

/// The end of the first page, for each size of pages.
const SWAP: &[Place] = &[
    Head(4086),
    Head(8182),
    Head(16374),
    Head(32758),
    Head(65526),
];

/// Magic numbers as the formats' own headers and libblkid have them.
pub(super) const TABLE: &[Entry] = &[
    entry("xfs", FileSystem, b"XFSB", &[Head(0)]),
    entry("btrfs", FileSystem, b"_BHRfS_M", &[Head(0x1_0040)]),
    entry("vfat", FileSystem, b"FAT12   ", &[Head(54)]),
    entry("vfat", FileSystem, b"FAT16   ", &[Head(54)]),
    entry("vfat", FileSystem, b"FAT32   ", &[Head(82)]),
    entry("ntfs", FileSystem, b"NTFS    ", &[Head(3)]),
    entry("exfat", FileSystem, b"EXFAT   ", &[Head(3)]),
    entry("squashfs", FileSystem, b"hsqs", &[Head(0)]),
    entry("squashfs", FileSystem, b"sqsh", &[Head(0)]),
    entry(
        "erofs",
        FileSystem,
        &[0xe2, 0xe1, 0xf5, 0xe0],
        &[Head(1024)],
    ),
    entry("f2fs", FileSystem, &[0x10, 0x20, 0xf5, 0xf2], &[Head(1024)]),
    entry("iso9660", FileSystem, b"CD001", &[Head(0x8001)]),
    entry("udf", FileSystem, b"BEA01", &[Head(0x8001)]),
    entry(
        "reiserfs",
        FileSystem,
        b"ReIsEr",
        &[Head(0x1_0034), Head(0x2034)],
    ),
    entry("jfs", FileSystem, b"JFS1", &[Head(0x8000)]),
    entry("nilfs2", FileSystem, &[0x34, 0x34], &[Head(0x406)]),
    entry(
        "gfs2",
        FileSystem,
        &[0x01, 0x16, 0x19, 0x70],
        &[Head(0x1_0000)],
    ),
    entry(
        "ocfs2",
        FileSystem,
        b"OCFSV2",
        &[Head(1024), Head(2048), Head(4096), Head(8192)],
    ),
    entry("hfsplus", FileSystem, b"H+", &[Head(1024)]),
    entry("apfs", FileSystem, b"NXSB", &[Head(32)]),
    entry("crypto_LUKS", Container, b"LUKS\xba\xbe", &[Head(0)]),
    entry("crypto_LUKS", Container, b"SKUL\xba\xbe", LUKS2_SECOND),
    entry("BitLocker", Container, b"-FVE-FS-", &[Head(3)]),
    entry(
        "LVM2_member",
        Container,
        b"LABELONE",
        &[Head(0), Head(512), Head(1024), Head(1536)],
    ),
    entry("swap", Container, b"SWAPSPACE2", SWAP),
    entry("swap", Container, b"SWAP-SPACE", SWAP),
    entry("swsuspend", Container, b"S1SUSPEND", SWAP),
    entry(
        "linux_raid_member",
        Container,
        &[0xfc, 0x4e, 0x2b, 0xa9],
        &[
            Head(0),
            Head(4096),
            Tail(8192),
            Tail(12288),
            Tail(65536),
            Tail(131_072),
        ],
    ),
    entry(
        "bcache",
        Container,
        &[
            0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba,
            0x6d, 0x81,
        ],
        &[Head(4096 + 24)],
    ),
    entry(
        "bcachefs",
        FileSystem,
        &[
            0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d,
            0xf7, 0xef,
        ],
        &[Head(4096 + 24)],
    ),
    entry(
        "ceph_bluestore",
        Container,
        b"bluestore block device",
        &[Head(0)],
    ),
    entry("DM_verity_hash", Container, b"verity\0\0", &[Head(0)]),
    entry("DM_integrity", Container, b"integrt\0", &[Head(0)]),
    entry("vdo", Container, b"dmvdo001", &[Head(0)]),
    entry(
        "stratis",
        Container,
        b"!Stra0tis\x86\xff\x02^A",
        &[Head(516), Head(4612)],
    ),
    // At the beginning, and the copy at the end, for sectors of either size.
    entry(
        "gpt",
        PartitionTable,
        b"EFI PART",
        &[Head(512), Head(4096), Tail(512), Tail(4096)],
    ),
];
