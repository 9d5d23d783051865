//! Numbers that must not be mixed up.

use std::fmt;

use crate::{Decode, Encode, Reader, Result, Writer};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                writer.$inner(self.0);
            }
        }

        impl Decode for $name {
            const MIN_LEN: usize = size_of::<$inner>();

            fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                reader.$inner().map(Self)
            }
        }
    )*};
}

ids! {
    /// The version of a cluster map; 0 is "none".
    Epoch(u32);
    /// The number of an OSD. CRUSH uses negative numbers for buckets.
    OsdId(i32);
    /// The number of a pool; it is never reused.
    PoolId(i64);
    /// The number of an operation, unique among those of one client instance.
    Tid(u64);
    /// The number that the monitors give to a client instance: N in `client.N`.
    GlobalId(u64);
    /// The number of a snapshot, or [`SnapId::HEAD`].
    SnapId(u64);
}

impl Epoch {
    /// The epoch after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl SnapId {
    /// Not a snapshot but the object as it is now (`CEPH_NOSNAP`).
    pub const HEAD: Self = Self(u64::MAX - 1);
    /// All snapshots of the object, for listing them (`CEPH_SNAPDIR`).
    pub const DIR: Self = Self(u64::MAX);
}

/// 16 bytes that name a cluster or an OSD.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Encode for Uuid {
    fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for Uuid {
    const MIN_LEN: usize = 16;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.array().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_prints_in_the_usual_groups() {
        let uuid = Uuid([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(uuid.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn head_is_minus_two() {
        assert_eq!(Writer::encode(&SnapId::HEAD)[..], (-2i64).to_le_bytes());
    }
}
