//! The OSD map: which pools and OSDs there are, and where a placement group is.

mod apply;
mod blocklist;
mod cache;
mod checksum;
mod decode;
mod error;
mod flags;
mod hobject;
mod incremental;
mod limits;
mod map;
mod object_hash;
mod pg;
mod placement;
mod pool;

pub use blocklist::Blocklist;
pub use cache::{PlacementCache, Target};
pub use error::OsdMapError;
pub use flags::{MapFlags, OsdState, PoolFlags};
pub use hobject::HObject;
pub use incremental::Incremental;
pub use map::{ErasureCodeProfile, FullRatios, OsdMap, Release};
pub use object_hash::ObjectHash;
pub use pg::{ObjectLocator, PgId, ShardId, ShardedPgId};
pub use placement::{OsdSet, Placement};
pub use pool::{PgPool, PoolSnap, PoolType};

#[cfg(test)]
mod tests;
