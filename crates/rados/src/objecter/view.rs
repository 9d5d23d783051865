//! Where operations go, by the current map.

use std::collections::HashMap;
use std::sync::Arc;

use denc::{Epoch, OsdId, PoolId};

use super::op::{InFlight, Target};
use super::session::OsdSession;
use crate::op::{Operation, request_flags};
use crate::osdmap::{MapFlags, OsdMap, PgId, PgPool, PlacementCache, PoolFlags, ShardedPgId};

/// The map, what has been computed from it, and the sessions that it made necessary: everything
/// that has to change together.
#[derive(Debug, Default)]
pub(super) struct View {
    current: Option<Current>,
    pub(super) sessions: HashMap<OsdId, Arc<OsdSession>>,
    /// Set once the cluster has blocklisted this client.
    pub(super) blocklisted: bool,
}

#[derive(Debug)]
struct Current {
    map: Arc<OsdMap>,
    placements: PlacementCache,
}

/// Where an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// To this OSD, which is the primary of this placement group.
    Osd {
        osd: OsdId,
        pg: ShardedPgId,
        hash: u32,
    },
    /// Nowhere now: there is no primary, or the cluster has asked clients to stop.
    Wait,
    /// There is no such pool any more.
    PoolGone(PoolId),
}

impl View {
    /// The map, once there is one.
    pub(super) fn map(&self) -> Option<&Arc<OsdMap>> {
        self.current.as_ref().map(|current| &current.map)
    }

    /// The epoch of the map; 0 while there is none.
    pub(super) fn epoch(&self) -> Epoch {
        self.map().map_or(Epoch(0), |map| map.epoch())
    }

    /// Replaces the map. Gives the one before.
    pub(super) fn set_map(&mut self, map: Arc<OsdMap>) -> Option<Arc<OsdMap>> {
        let placements = PlacementCache::new(Arc::clone(&map));
        let before = self.current.replace(Current { map, placements });
        before.map(|before| before.map)
    }

    /// Where an operation on `target` goes.
    pub(super) fn destination(&self, target: &Target, operation: &Operation) -> Destination {
        let Some(Current { map, placements }) = &self.current else {
            return Destination::Wait;
        };
        let pool_id = target.locator.pool;
        let Some(pool) = map.pool(pool_id) else {
            return Destination::PoolGone(pool_id);
        };
        if is_paused(map, pool, operation) {
            return Destination::Wait;
        }
        let Some(hash) = map.object_hash(&target.object, &target.locator) else {
            return Destination::Wait;
        };
        let pg = PgId {
            pool: pool_id,
            seed: pool.seed_of_hash(hash),
        };
        match placements.target(pg) {
            Some(crate::osdmap::Target {
                pg,
                primary: Some(osd),
            }) => Destination::Osd { osd, pg, hash },
            _ => Destination::Wait,
        }
    }

    /// Whether an operation that was sent by the map before this one has to be sent again: its
    /// placement group has begun a new interval, in which the OSDs have forgotten it.
    ///
    /// (ceph: src/osdc/Objecter.cc, `Objecter::_calc_target` and, for skipped maps,
    /// `Objecter::handle_osd_map`; src/osd/osd_types.cc, `PastIntervals::is_new_interval`)
    pub(super) fn must_resend(&self, op: &InFlight, before: &OsdMap) -> bool {
        let Some(map) = self.map() else {
            return false;
        };
        // What went on in maps that were skipped is not known: the group may be where it was, and
        // have been elsewhere in between.
        if map.epoch() != before.epoch().next() {
            return true;
        }
        let pool_id = op.target.locator.pool;
        let (Some(new_pool), Some(old_pool)) = (map.pool(pool_id), before.pool(pool_id)) else {
            return true;
        };
        if new_pool.last_force_op_resend > op.epoch {
            return true;
        }
        let interval_flags = MapFlags::SORTBITWISE | MapFlags::RECOVERY_DELETES;
        if new_pool.pg_num != old_pool.pg_num
            || new_pool.size != old_pool.size
            || new_pool.min_size != old_pool.min_size
            || map.flags().0 & interval_flags.0 != before.flags().0 & interval_flags.0
        {
            return true;
        }
        map.placement(op.pg.pg) != before.placement(op.pg.pg)
    }
}

/// Whether the cluster wants clients to keep such operations to themselves for now.
fn is_paused(map: &OsdMap, pool: &PgPool, operation: &Operation) -> bool {
    if !operation.is_write() {
        return map.flags().contains(MapFlags::PAUSERD);
    }
    let waits_for_space = operation.flags() & request_flags::FULL_TRY == 0;
    map.flags().contains(MapFlags::PAUSEWR)
        || waits_for_space && pool.flags.contains(PoolFlags::FULL)
}

#[cfg(test)]
mod tests {
    use denc::{Decode, Tid};
    use tokio::sync::oneshot;

    use super::super::limits::Limits;
    use super::*;
    use crate::config::{InFlightLimits, SizeBytes};
    use crate::osdmap::{Incremental, ShardId};

    /// The maps of a live cluster, each following from the one before.
    fn maps() -> Vec<Arc<OsdMap>> {
        let blobs = |file: &str| -> Vec<bytes::Bytes> {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/osdmap/");
            let bytes = std::fs::read(format!("{dir}{file}")).unwrap();
            Vec::decode_all("blobs", &bytes).unwrap()
        };
        let first = blobs("pacific.fulls").remove(0);
        let mut maps = vec![Arc::new(OsdMap::decode_all("map", &first).unwrap())];
        for bytes in blobs("pacific.incrementals") {
            let incremental = Incremental::decode_all("incremental", &bytes).unwrap();
            let last = maps.last().unwrap();
            if incremental.epoch() > last.epoch() {
                let next = last.apply(&incremental).unwrap();
                maps.push(Arc::new(next));
            }
        }
        maps
    }

    /// An operation on a placement group that was sent by this map.
    async fn operation(pg: PgId, map: &OsdMap) -> InFlight {
        let limits = Limits::new(InFlightLimits {
            operations: 1,
            bytes: SizeBytes(1024),
        });
        InFlight {
            tid: Tid(1),
            target: Target::new(pg.pool, "", "object"),
            operation: Operation::new(),
            mtime: Default::default(),
            pg: ShardedPgId {
                pg,
                shard: ShardId::NONE,
            },
            hash: pg.seed,
            epoch: map.epoch(),
            attempts: 1,
            deadline: None,
            outcome: oneshot::channel().0,
            _budget: limits.take(0).await.unwrap(),
        }
    }

    #[tokio::test]
    async fn skipped_maps_make_everything_be_sent_again() {
        let maps = maps();
        let mut stayed = 0;
        for (at, before) in maps.iter().enumerate() {
            for after in maps.iter().skip(at + 1).take(3) {
                let is_next = after.epoch() == before.epoch().next();
                let mut view = View::default();
                view.set_map(Arc::clone(after));
                for (pool, _) in before.pools() {
                    let pg = PgId { pool, seed: 0 };
                    let op = operation(pg, before).await;
                    let must_resend = view.must_resend(&op, before);
                    if is_next {
                        stayed += u32::from(!must_resend);
                    } else {
                        assert!(must_resend, "{} to {}", before.epoch(), after.epoch());
                    }
                }
            }
        }
        assert!(
            stayed > 0,
            "no two maps follow each other with nothing moved"
        );
    }
}
