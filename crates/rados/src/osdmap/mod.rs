//! The OSD map: which pools and OSDs there are, and where a placement group is.
//!
//! Monitors send a full map, an [`OsdMap`], and then an [`Incremental`] for each epoch, from which
//! [`OsdMap::apply`] makes the map of that epoch. Maps never change and share what is the same in
//! both. [`OsdMap::placement`] says where a placement group is; [`PlacementCache`] belongs to one
//! map, remembers, and is what operations ask.
//!
//! What is read is what Luminous and later releases write for clients that know its features, up
//! to Tentacle. Of the part for OSDs only what concerns clients is kept. The checksums of full maps
//! and of incrementals are verified; the one that an incremental carries for the full map that comes
//! out of it is not, as that would take encoding the map as the monitors do.

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
mod locality;
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
pub use locality::CrushLocation;
pub(crate) use locality::Localities;
pub use map::{ErasureCodeProfile, FullRatios, OsdMap, Release};
pub use object_hash::ObjectHash;
pub use pg::{ObjectLocator, PgId, ShardId, ShardedPgId};
pub use placement::{OsdSet, Placement};
pub use pool::{PgPool, PoolSnap, PoolType};

#[cfg(test)]
pub(crate) mod tests;
