//! Where operations go, by the current map (ceph: src/osdc/Objecter.cc, `Objecter::_calc_target`,
//! `Objecter::target_should_be_paused`).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use denc::{Epoch, OsdId, PoolId};
use smallvec::SmallVec;

use super::op::{Aim, InFlight, Target};
use super::session::OsdSession;
use crate::op::Operation;
use crate::osdmap::{
    CrushLocation, Localities, MapFlags, OsdMap, PgId, PgPool, PlacementCache, PoolFlags, Release,
};
use crate::{Errno, ReadPolicy};

/// The map, what has been computed from it, and the sessions that it made necessary: everything
/// that has to change together.
#[derive(Debug, Default)]
pub(super) struct View {
    current: Option<Current>,
    pub(super) sessions: HashMap<OsdId, Arc<OsdSession>>,
    /// Set once the cluster has blocklisted this client.
    pub(super) blocklisted: bool,
    /// Nothing is sent by a map that is older than this.
    pub(super) barrier: Epoch,
    /// Whether writes fail for want of room instead of waiting for it.
    pub(super) fails_when_full: bool,
    /// Where this client is.
    location: CrushLocation,
}

#[derive(Debug)]
struct Current {
    map: Arc<OsdMap>,
    placements: PlacementCache,
    /// How near the OSDs are; made when it is first asked for.
    localities: OnceLock<Localities>,
}

/// Where an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// To this OSD.
    Osd(Aim),
    /// Nowhere now: there is no map, or no primary.
    Nowhere,
    /// This map does not show the pool.
    NoPool(PoolId),
    /// The pool fails all operations, because somebody has set its flag `eio`.
    PoolFails,
}

/// Why the cluster wants clients to keep an operation to themselves for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Somebody has said so, or the map is older than it must be.
    Told,
    /// There is no room, or the pool's quota is used up: what it would fail with.
    Full(Errno),
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
        let before = self.current.replace(Current {
            map,
            placements,
            localities: OnceLock::new(),
        });
        before.map(|before| before.map)
    }

    /// Says where this client is.
    pub(super) fn set_location(&mut self, location: CrushLocation) {
        self.location = location;
        if let Some(current) = &mut self.current {
            current.localities = OnceLock::new();
        }
    }

    /// Where an operation goes.
    pub(super) fn destination(&self, op: &InFlight) -> Destination {
        let Some(current) = &self.current else {
            return Destination::Nowhere;
        };
        let (base, id) = match current.pools(&op.target, &op.operation) {
            Ok(found) => found,
            Err(missing) => return Destination::NoPool(missing),
        };
        if base.flags.contains(PoolFlags::EIO) {
            return Destination::PoolFails;
        }
        let Some((hash, pg)) = current.pg(&op.target, id) else {
            return Destination::Nowhere;
        };
        match current.placements.target(pg) {
            Some(crate::osdmap::Target {
                pg,
                primary: Some(primary),
            }) => {
                let osd = self.osd_to_ask(current, op, pg.pg, hash, primary);
                Destination::Osd(Aim {
                    osd,
                    pg,
                    hash,
                    is_replica: osd != primary,
                })
            }
            _ => Destination::Nowhere,
        }
    }

    /// The primary, or the replica that the operation's policy prefers.
    fn osd_to_ask(
        &self,
        current: &Current,
        op: &InFlight,
        pg: PgId,
        hash: u32,
        primary: OsdId,
    ) -> OsdId {
        let map = &current.map;
        let is_served_by_replicas = map.require_osd_release() >= Release::OCTOPUS
            && map.pool(pg.pool).is_some_and(|pool| !pool.is_erasure());
        if op.read_policy == ReadPolicy::Primary || !is_served_by_replicas {
            return primary;
        }
        let acting = current.placements.placement(pg).acting;
        let others = acting.iter().flatten().filter(|osd| **osd != primary);
        let osds: SmallVec<[OsdId; 8]> = std::iter::once(primary).chain(others.copied()).collect();
        let chosen = match op.read_policy {
            ReadPolicy::Primary => None,
            ReadPolicy::Balance => {
                #[expect(clippy::cast_possible_truncation, reason = "only to be mixed")]
                let random = crush::hash32_2(op.tid.0 as u32, hash);
                let index = random.checked_rem(u32::try_from(osds.len()).unwrap_or(u32::MAX));
                index.and_then(|index| osds.get(usize::try_from(index).ok()?).copied())
            }
            ReadPolicy::Localize => {
                let localities = current
                    .localities
                    .get_or_init(|| Localities::new(map.crush(), &self.location));
                localities.nearest(osds)
            }
        };
        chosen.unwrap_or(primary)
    }

    /// Why an operation may not be sent now, if it may not.
    pub(super) fn pause(&self, op: &InFlight) -> Option<Pause> {
        let map = self.map()?;
        let flags = map.flags();
        let is_told = if op.operation.is_write() {
            flags.contains(MapFlags::PAUSEWR)
        } else {
            flags.contains(MapFlags::PAUSERD)
        };
        if is_told || map.epoch() < self.barrier {
            return Some(Pause::Told);
        }
        if !op.operation.respects_full() {
            return None;
        }
        want_of_room(map, op.target.locator.pool).map(Pause::Full)
    }

    /// Whether an operation that was sent by the map before this one has to be sent again: the OSDs
    /// have dropped it, will drop it, or it is to go to another one. Where only replicas have changed
    /// the primary still has it.
    ///
    /// (ceph: src/osdc/Objecter.cc, `Objecter::_calc_target` and, for skipped maps,
    /// `Objecter::handle_osd_map`; src/osd/PG.cc, `PG::can_discard_op`)
    pub(super) fn must_resend(&self, op: &InFlight, before: &OsdMap) -> bool {
        let Some(current) = &self.current else {
            return false;
        };
        let map = &current.map;
        // What went on in maps that were skipped is not known: the group may be where it was, and
        // have been elsewhere in between.
        if map.epoch() != before.epoch().next() {
            return true;
        }
        let Ok((base, id)) = current.pools(&op.target, &op.operation) else {
            return true;
        };
        if base.flags.contains(PoolFlags::EIO) || id != op.aim.pg.pg.pool {
            return true;
        }
        let (Some(new), Some(old)) = (map.pool(id), before.pool(id)) else {
            return true;
        };
        // An OSD that knows of the want of room drops what was sent before, and expects that it is sent
        // again: when there is room, or else at once (ceph: src/osd/PrimaryLogPG.cc,
        // `PrimaryLogPG::do_op`, `last_epoch_marked_full`).
        let pool = op.target.locator.pool;
        if op.operation.is_ordered_with_writes()
            && !op.operation.respects_full()
            && want_of_room(map, pool).is_some()
            && want_of_room(before, pool).is_none()
        {
            return true;
        }
        if new.last_force_op_resend > before.epoch()
            || base.last_force_op_resend > before.epoch()
            || old.is_split_or_merged(op.aim.pg.pg.seed, new.pg_num)
        {
            return true;
        }
        let Some(target) = current.placements.target(PgId {
            pool: id,
            seed: op.aim.hash,
        }) else {
            return true;
        };
        if target.pg != op.aim.pg {
            return true;
        }
        if op.aim.is_replica {
            let pg = target.pg.pg;
            return target.primary.is_none()
                || current.placements.placement(pg).acting != before.placement(pg).acting;
        }
        target.primary != Some(op.aim.osd)
    }
}

/// What writes to a pool fail with for want of room, if there is none.
fn want_of_room(map: &OsdMap, pool: PoolId) -> Option<Errno> {
    let flags = map.pool(pool).map(|pool| pool.flags);
    match flags {
        Some(pool) if pool.contains(PoolFlags::FULL | PoolFlags::FULL_QUOTA) => Some(Errno::EDQUOT),
        Some(pool) if pool.contains(PoolFlags::FULL) => Some(Errno::ENOSPC),
        _ if map.flags().contains(MapFlags::FULL) => Some(Errno::ENOSPC),
        _ => None,
    }
}

impl Current {
    /// The pool that an operation is on, and the number of the one that it is sent to: a cache tier
    /// may stand before it.
    ///
    /// # Errors
    /// The number of the pool that this map does not show.
    fn pools(&self, target: &Target, operation: &Operation) -> Result<(&PgPool, PoolId), PoolId> {
        let id = target.locator.pool;
        let base = self.map.pool(id).ok_or(id)?;
        let tier = match target.heeds_tiers() {
            false => None,
            true if operation.is_write() => base.write_tier,
            true => base.read_tier,
        };
        let id = tier.unwrap_or(id);
        self.map.pool(id).ok_or(id)?;
        Ok((base, id))
    }

    /// The hash of an object and its placement group in a pool.
    fn pg(&self, target: &Target, id: PoolId) -> Option<(u32, PgId)> {
        let pool = self.map.pool(id)?;
        let hash = match target.locator.hash {
            Some(hash) => hash,
            None => {
                let text = target.locator.hashed_text(&target.object);
                pool.object_hash.hash(&text)?
            }
        };
        let seed = pool.seed_of_hash(hash);
        Some((hash, PgId { pool: id, seed }))
    }
}

#[cfg(test)]
mod tests {
    use denc::Decode;

    use super::super::tests::operation;
    use super::*;
    use crate::osdmap::Incremental;

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

    /// An operation that was sent by this map to a group of the pool.
    async fn sent(pool: PoolId, map: &Arc<OsdMap>) -> Option<InFlight> {
        let target = Target::placement_group(pool, "", 0);
        let mut op = operation(target, Operation::new(), Aim::nowhere(pool)).await;
        let mut view = View::default();
        view.set_map(Arc::clone(map));
        let Destination::Osd(aim) = view.destination(&op) else {
            return None;
        };
        op.aim = aim;
        Some(*op)
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
                    let Some(op) = sent(pool, before).await else {
                        continue;
                    };
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
