//! Flags of the cluster, of pools and of OSDs.

use std::fmt;
use std::ops::BitOr;

use denc::{Decode, Encode, Reader, Result, Writer};

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident($inner:ident) {
        $($(#[$flag_doc:meta])* $flag:ident = $value:expr;)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            $($(#[$flag_doc])* pub const $flag: Self = Self($value);)*

            /// Whether all of `other` is set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// What is set here but not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
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

flags! {
    /// Flags of the whole cluster (ceph: src/include/rados.h, `CEPH_OSDMAP_*`). An open set.
    MapFlags(u32) {
        /// No room anywhere: writes must wait. Pools have such a flag of their own since Luminous.
        FULL = 1 << 1;
        /// Reads must wait.
        PAUSERD = 1 << 2;
        /// Writes must wait.
        PAUSEWR = 1 << 3;
        /// Objects are ordered by their bit-reversed hashes.
        SORTBITWISE = 1 << 15;
        /// Deletions are recovered. Set in all maps since Luminous.
        RECOVERY_DELETES = 1 << 19;
        /// Logs of placement groups have a hard limit. Set in all maps since Nautilus.
        PGLOG_HARDLIMIT = 1 << 22;
        /// Marks of releases before there was a field for the release.
        LEGACY_REQUIRE = 1 << 16 | 1 << 17 | 1 << 18;
    }
    /// Flags of a pool (ceph: src/osd/osd_types.h, `pg_pool_t::FLAG_*`). An open set.
    PoolFlags(u64) {
        /// Placement groups of different pools are placed independently.
        HASHPSPOOL = 1 << 0;
        /// No room: writes must wait.
        FULL = 1 << 1;
        /// Objects of this erasure-coded pool may be overwritten.
        EC_OVERWRITES = 1 << 2;
        /// The pool cannot be removed.
        NODELETE = 1 << 4;
        /// Full because a quota is reached.
        FULL_QUOTA = 1 << 10;
        /// Nearly full.
        NEARFULL = 1 << 11;
        /// Too full for data to be moved here.
        BACKFILLFULL = 1 << 12;
        /// Snapshots are made by clients, image by image.
        SELFMANAGED_SNAPS = 1 << 13;
        /// Snapshots are made of the whole pool.
        POOL_SNAPS = 1 << 14;
        /// The pool's placement groups are being created.
        CREATING = 1 << 15;
        /// All operations fail with `EIO`.
        EIO = 1 << 16;
        /// Erasure-coded with shards that are not updated by each write.
        EC_OPTIMIZATIONS = 1 << 19;
    }
    /// State of an OSD (ceph: src/include/rados.h, `CEPH_OSD_*`). An open set.
    OsdState(u32) {
        /// There is such an OSD.
        EXISTS = 1 << 0;
        /// It is running.
        UP = 1 << 1;
        /// It was taken out of use automatically.
        AUTOOUT = 1 << 2;
        /// It has never been in use.
        NEW = 1 << 3;
        /// Its disk is full.
        FULL = 1 << 4;
        /// Its disk is nearly full.
        NEARFULL = 1 << 5;
        /// Its disk is too full for data to be moved there.
        BACKFILLFULL = 1 << 6;
        /// Its data is lost for good.
        DESTROYED = 1 << 7;
        /// It is not to be started.
        STOP = 1 << 12;
    }
}
