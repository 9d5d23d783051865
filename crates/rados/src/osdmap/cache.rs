//! Placements of one map, remembered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use denc::{OsdId, PoolId};

use crate::osdmap::limits::MAX_CACHED_PGS;
use crate::osdmap::map::OsdMap;
use crate::osdmap::pg::{ObjectLocator, PgId, ShardId, ShardedPgId};
use crate::osdmap::placement::Placement;

/// A map together with what has been found out about where its placement groups are.
///
/// Belongs to one epoch: a new map gets a new cache, which begins empty, and nothing in it ever
/// becomes wrong. Tables are made when a pool is first used and filled as placement groups are
/// asked for. All of it can be asked from many threads at once without a lock: two that ask for the
/// same placement group at the same time both compute it, and both find the same.
#[derive(Debug)]
pub struct PlacementCache {
    map: Arc<OsdMap>,
    /// In the order of pool numbers.
    pools: Box<[(PoolId, OnceLock<Table>)]>,
}

/// A word for each placement group of a pool; see [`pack`].
type Table = Box<[AtomicU64]>;

/// Where operations on an object go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The placement group as its primary OSD holds it.
    pub pg: ShardedPgId,
    /// The primary OSD; `None` while the placement group has none.
    pub primary: Option<OsdId>,
}

impl PlacementCache {
    /// An empty cache for a map.
    pub fn new(map: Arc<OsdMap>) -> Self {
        let pools = map.pools().map(|(id, _)| (id, OnceLock::new())).collect();
        Self { map, pools }
    }

    /// The map.
    pub const fn map(&self) -> &Arc<OsdMap> {
        &self.map
    }

    /// Where operations on an object go, and the hash of its name. `None` if its pool does not
    /// exist or hashes in a way that is not known.
    pub fn locate(&self, name: &str, locator: &ObjectLocator) -> Option<(u32, Target)> {
        let hash = self.map.object_hash(name, locator)?;
        let target = self.target(PgId {
            pool: locator.pool,
            seed: hash,
        })?;
        Some((hash, target))
    }

    /// Where operations on a placement group go. Its seed may be an object's whole hash. `None` if
    /// its pool does not exist.
    pub fn target(&self, pg: PgId) -> Option<Target> {
        let pool = self.map.pool(pg.pool)?;
        let pg = PgId {
            pool: pg.pool,
            seed: pool.seed_of_hash(pg.seed),
        };
        let entry = self
            .table(pg.pool, pool.pg_num)
            .zip(usize::try_from(pg.seed).ok())
            .and_then(|(table, seed)| table.get(seed));
        let Some(entry) = entry else {
            return Some(unpack(pg, pack(&self.map.placement(pg))));
        };
        // A word stands for itself: nothing else has to be seen together with it.
        let known = entry.load(Ordering::Relaxed);
        if known & KNOWN != 0 {
            return Some(unpack(pg, known));
        }
        let found = pack(&self.map.placement(pg));
        entry.store(found, Ordering::Relaxed);
        Some(unpack(pg, found))
    }

    /// All OSDs of a placement group; computed each time.
    pub fn placement(&self, pg: PgId) -> Placement {
        self.map.placement(pg)
    }

    fn table(&self, pool: PoolId, pg_num: u32) -> Option<&Table> {
        let index = self.pools.binary_search_by_key(&pool, |(id, _)| *id).ok()?;
        let (_, table) = self.pools.get(index)?;
        if pg_num > MAX_CACHED_PGS {
            return None;
        }
        Some(table.get_or_init(|| (0..pg_num).map(|_| AtomicU64::new(0)).collect()))
    }
}

/// Bits 0 to 31: the primary OSD, or -1; bits 32 to 39: its shard, or -1; bit 63: whether the rest
/// means anything.
fn pack(placement: &Placement) -> u64 {
    let primary = placement.acting_primary.map_or(NO_PRIMARY, |osd| osd.0);
    let [shard] = placement.primary_shard.0.to_le_bytes();
    KNOWN | u64::from(shard) << 32 | u64::from(primary.cast_unsigned())
}

fn unpack(pg: PgId, word: u64) -> Target {
    let [p0, p1, p2, p3, shard, ..] = word.to_le_bytes();
    let primary = i32::from_le_bytes([p0, p1, p2, p3]);
    Target {
        pg: ShardedPgId {
            pg,
            shard: ShardId(i8::from_le_bytes([shard])),
        },
        primary: (primary != NO_PRIMARY).then_some(OsdId(primary)),
    }
}

const KNOWN: u64 = 1 << 63;
const NO_PRIMARY: i32 = -1;
