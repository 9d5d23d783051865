//! Feature bits: what a peer can decode and do (ceph: src/include/ceph_features.h).

use std::fmt;
use std::ops::{BitAnd, BitOr};

use crate::{Decode, Encode, Reader, Result, Writer};

/// A set of Ceph's 64 feature bits.
///
/// Bits that were freed have been used again, each time as a *later incarnation* that only counts
/// together with the bits that mark the incarnation. The constants below contain those marks, so
/// [`contains`](Self::contains) is the right question for all of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u64);

/// Marks bits used for the second time.
const INCARNATION_2: u64 = 1 << 57;
/// Marks bits used for the third time.
const INCARNATION_3: u64 = INCARNATION_2 | 1 << 28;

impl Features {
    /// No features.
    pub const NONE: Self = Self(0);
    /// Replies are addressed by operation number alone.
    pub const OSDREPLYMUX: Self = Self(1 << 12);
    /// The encodings of Nautilus (14).
    pub const SERVER_NAUTILUS: Self = Self(1 << 2 | INCARNATION_3);
    /// The encodings of Octopus (15).
    pub const SERVER_OCTOPUS: Self = Self(1 << 16 | INCARNATION_3);
    /// The encodings of Pacific (16).
    pub const SERVER_PACIFIC: Self = Self(1 << 20 | INCARNATION_3);
    /// The encodings of Luminous (12), resending on PG split, backoffs, upmaps, choose_args.
    pub const SERVER_LUMINOUS: Self = Self(1 << 21 | INCARNATION_2);
    /// The encodings of Mimic (13).
    pub const SERVER_MIMIC: Self = Self(1 << 28 | INCARNATION_2);
    /// The encodings of Reef (18), upmap primaries among them.
    pub const SERVER_REEF: Self = Self(1 << 31 | INCARNATION_3);
    /// Stretch mode in the OSD map.
    pub const STRETCH_MODE: Self = Self(1 << 32 | INCARNATION_3);
    /// The encodings of Quincy (17).
    pub const SERVER_QUINCY: Self = Self(1 << 33 | INCARNATION_3);
    /// Blocklist entries for ranges of addresses.
    pub const RANGE_BLOCKLIST: Self = Self(1 << 34 | INCARNATION_3);
    /// Multi-step-retry rules in the CRUSH map, and their tunables.
    pub const CRUSH_MSR: Self = Self(1 << 38 | INCARNATION_2);
    /// The encodings of Squid (19).
    pub const SERVER_SQUID: Self = Self(1 << 49 | INCARNATION_2);
    /// The encodings of Tentacle (20), pools with shards that cannot be primary among them.
    pub const SERVER_TENTACLE: Self = Self(1 << 50 | INCARNATION_2);
    /// Addresses carry their type, and lists of addresses are understood.
    pub const MSG_ADDR2: Self = Self(1 << 59);
    /// Authorizers answer a challenge of the server.
    pub const CEPHX_V2: Self = Self(1 << 61);

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in this set but not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The union, usable in constants.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether no bit is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitAnd for Features {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Encode for Features {
    fn encode(&self, writer: &mut Writer) {
        writer.u64(self.0);
    }
}

impl Decode for Features {
    const MIN_LEN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.u64().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the clients and daemons of a release advertise, seen on the wire.
    const NAUTILUS: Features = Features(0x3ffd_dff8_ffec_ffff);
    const PACIFIC: Features = Features(0x3f01_cfbd_fffd_ffff);
    const REEF: Features = Features(0x3f01_cfbf_fffd_ffff);
    const TENTACLE: Features = Features(0x3f07_ffff_fffd_ffff);

    #[test]
    fn releases_have_the_features_named_after_them() {
        assert!(NAUTILUS.contains(Features::SERVER_NAUTILUS));
        assert!(!NAUTILUS.contains(Features::SERVER_PACIFIC));
        assert!(PACIFIC.contains(Features::SERVER_PACIFIC));
        assert!(!PACIFIC.contains(Features::SERVER_QUINCY));
        assert!(REEF.contains(Features::SERVER_REEF));
        assert!(!REEF.contains(Features::SERVER_SQUID));
        assert!(!REEF.contains(Features::CRUSH_MSR));
        assert!(TENTACLE.contains(Features::CRUSH_MSR));
        assert!(TENTACLE.contains(Features::SERVER_TENTACLE));
    }

    #[test]
    fn a_reused_bit_counts_only_with_its_marks() {
        assert!(!Features(1 << 31).contains(Features::SERVER_REEF));
    }
}
