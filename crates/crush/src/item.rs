//! What buckets hold: devices and other buckets, in one number space.

use std::fmt;

use denc::{Decode, Reader, Result};

/// A device (0 and up: the number of the OSD) or a bucket (below 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item(pub i32);

impl Item {
    /// A hole: a position for which nothing was found (`CRUSH_ITEM_NONE`).
    pub const NONE: Self = Self(0x7fff_ffff);
    /// A position that is not decided yet (`CRUSH_ITEM_UNDEF`); never in a result.
    pub(crate) const UNDEF: Self = Self(0x7fff_fffe);

    /// The number of the device, unless this is a bucket or a hole.
    pub const fn device(self) -> Option<u32> {
        if self.0 < 0 || self.0 == Self::NONE.0 {
            return None;
        }
        Some(self.0.cast_unsigned())
    }

    /// Whether this is a bucket.
    pub const fn is_bucket(self) -> bool {
        self.0 < 0
    }

    /// Where the map keeps this bucket: bucket -1 comes first. `None` for devices.
    pub(crate) fn bucket_index(self) -> Option<usize> {
        // !x is -1 - x, without overflow.
        usize::try_from(!self.0).ok()
    }

    /// As CRUSH's hash functions take it.
    pub(crate) const fn hashed(self) -> u32 {
        self.0.cast_unsigned()
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Decode for Item {
    const MIN_LEN: usize = size_of::<i32>();

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.i32().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_numbered_down_from_minus_one() {
        assert_eq!(Item(-1).bucket_index(), Some(0));
        assert_eq!(Item(i32::MIN).bucket_index(), Some(0x7fff_ffff));
        assert_eq!(Item(0).bucket_index(), None);
    }

    #[test]
    fn a_hole_is_no_device() {
        assert_eq!(Item::NONE.device(), None);
        assert_eq!(Item(-4).device(), None);
        assert_eq!(Item(4).device(), Some(4));
    }
}
