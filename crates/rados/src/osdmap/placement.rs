//! From objects to placement groups to OSDs (ceph: src/osd/OSDMap.cc,
//! `OSDMap::_pg_to_up_acting_osds`).

use crush::{Input, Item, RuleType, Scratch};
use denc::OsdId;
use smallvec::SmallVec;

use crate::osdmap::map::{FULL_AFFINITY, OsdMap};
use crate::osdmap::pg::{ObjectLocator, PgId, ShardId, ShardedPgId};
use crate::osdmap::pool::PgPool;

/// OSDs by position; `None` is a hole, which only erasure-coded placement groups have.
pub type OsdSet = SmallVec<[Option<OsdId>; 8]>;

/// The OSDs of a placement group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Those that shall have it.
    pub up: OsdSet,
    /// The one of them that shall be in charge.
    pub up_primary: Option<OsdId>,
    /// Those that have it now.
    pub acting: OsdSet,
    /// The one of them that is in charge: where operations go.
    pub acting_primary: Option<OsdId>,
    /// The part that the acting primary has.
    pub primary_shard: ShardId,
}

impl Default for ShardId {
    fn default() -> Self {
        Self::NONE
    }
}

impl OsdMap {
    /// The hash that decides the placement group of an object. `None` if the pool does not exist or
    /// hashes in a way that is not known.
    pub fn object_hash(&self, name: &str, locator: &ObjectLocator) -> Option<u32> {
        let pool = self.pool(locator.pool)?;
        match locator.hash {
            Some(hash) => Some(hash),
            None => pool.object_hash.hash(&locator.hashed_text(name)),
        }
    }

    /// The placement group of an object; `None` as for [`object_hash`](Self::object_hash).
    pub fn object_pg(&self, name: &str, locator: &ObjectLocator) -> Option<PgId> {
        let hash = self.object_hash(name, locator)?;
        Some(PgId {
            pool: locator.pool,
            seed: self.pool(locator.pool)?.seed_of_hash(hash),
        })
    }

    /// The OSDs of a placement group, whose seed may be an object's whole hash.
    ///
    /// Empty if the pool does not exist or cannot be placed. Takes some microseconds;
    /// [`PlacementCache`](crate::osdmap::PlacementCache) remembers.
    pub fn placement(&self, pg: PgId) -> Placement {
        let Some(pool) = self.pool(pg.pool) else {
            return Placement::default();
        };
        let pg = PgId {
            pool: pg.pool,
            seed: pool.seed_of_hash(pg.seed),
        };
        let x = pool.placement_seed(pg.pool, pg.seed);
        let mut up = self.crush_placement(pool, pg, x);
        self.apply_upmap(pg, &mut up);
        self.drop_unless(pool, &mut up, |osd| self.osd_is_up(osd));
        let up_primary = self.apply_affinity(pool, x, &mut up);
        let (acting, acting_primary) = self.acting(pool, pg, &up, up_primary);
        let primary_shard = if pool.is_erasure() {
            shard_of(&acting, acting_primary)
        } else {
            ShardId::NONE
        };
        Placement {
            up,
            up_primary,
            acting,
            acting_primary,
            primary_shard,
        }
    }

    /// What CRUSH says, without OSDs that do not exist.
    fn crush_placement(&self, pool: &PgPool, pg: PgId, x: u32) -> OsdSet {
        let kind = if pool.is_erasure() {
            RuleType::ERASURE
        } else {
            RuleType::REPLICATED
        };
        let rule = self
            .crush
            .find_rule(pool.crush_rule.into(), kind, pool.size);
        let mut scratch = Scratch::default();
        let input = Input {
            x,
            replicas: pool.size.into(),
            weights: &self.weights,
            choose_args: self.crush.choose_args(pg.pool.0),
        };
        // A rule that cannot be followed places nothing, as if there were no OSDs.
        let items = rule
            .and_then(|rule| self.crush.place(rule, &input, &mut scratch).ok())
            .unwrap_or_default();
        let mut osds = items.iter().map(|item| osd(*item)).collect();
        self.drop_unless(pool, &mut osds, |osd| self.osd_exists(osd));
        osds
    }

    /// Exceptions from what CRUSH says, made by the balancer.
    fn apply_upmap(&self, pg: PgId, osds: &mut OsdSet) {
        let is_out = |osd: OsdId| self.osd_weight(osd) == Some(0);
        if let Some(upmap) = self.pg_upmap.get(&pg) {
            if upmap.iter().any(|osd| is_out(*osd)) {
                return;
            }
            *osds = upmap.iter().map(|osd| present(*osd)).collect();
        }
        for &(from, to) in self.pg_upmap_items.get(&pg).into_iter().flatten() {
            let (from, to) = (present(from), present(to));
            if osds.contains(&to) || to.is_some_and(is_out) {
                continue;
            }
            if let Some(slot) = osds.iter_mut().find(|osd| **osd == from) {
                *slot = to;
            }
        }
        let primary = self.pg_upmap_primaries.get(&pg).copied();
        let in_use = |osd: &OsdId| self.osd_weight(*osd).is_some_and(|weight| weight > 0);
        if let Some(primary) = primary.filter(in_use)
            && let Some(index) = osds.iter().skip(1).position(|osd| *osd == Some(primary))
        {
            osds.swap(0, index + 1);
        }
    }

    /// Chooses the primary, by how willing the OSDs are; replicated ones are put in order.
    fn apply_affinity(&self, pool: &PgPool, x: u32, up: &mut OsdSet) -> Option<OsdId> {
        let first = up.iter().flatten().next().copied()?;
        let affinity = |osd: OsdId| self.primary_affinity(osd);
        if up
            .iter()
            .flatten()
            .all(|osd| affinity(*osd) == FULL_AFFINITY)
        {
            return Some(first);
        }
        let willing = |osd: OsdId| {
            let hash = crush::hash32_2(x, osd.0.cast_unsigned()) >> 16;
            affinity(osd) >= FULL_AFFINITY || hash < affinity(osd)
        };
        let index = up
            .iter()
            .position(|osd| osd.is_some_and(willing))
            .or_else(|| up.iter().position(Option::is_some))?;
        let primary = up.get(index).copied().flatten()?;
        if !pool.is_erasure()
            && let Some(front) = up.get_mut(..=index)
        {
            front.rotate_right(1);
        }
        Some(primary)
    }

    /// What serves now: what shall serve, unless the OSDs have asked for something else until data
    /// is where it shall be.
    fn acting(
        &self,
        pool: &PgPool,
        pg: PgId,
        up: &OsdSet,
        up_primary: Option<OsdId>,
    ) -> (OsdSet, Option<OsdId>) {
        let asked = self.pg_temp.get(&pg).into_iter().flatten();
        let mut temp: OsdSet = asked.map(|osd| present(*osd)).collect();
        self.drop_unless(pool, &mut temp, |osd| self.osd_is_up(osd));
        let primary = match self.primary_temp.get(&pg) {
            Some(primary) => (primary.0 != -1).then_some(*primary),
            None => temp.iter().flatten().next().copied(),
        };
        if temp.is_empty() {
            return (up.clone(), primary.or(up_primary));
        }
        (in_shard_order(pool, temp), primary)
    }

    /// Drops OSDs: their positions are closed, or stay as holes where they have a meaning.
    fn drop_unless(&self, pool: &PgPool, osds: &mut OsdSet, keep: impl Fn(OsdId) -> bool) {
        if pool.is_erasure() {
            for osd in osds.iter_mut() {
                *osd = osd.filter(|osd| keep(*osd));
            }
        } else {
            osds.retain(|osd| osd.is_some_and(&keep));
        }
    }
}

impl Placement {
    /// The placement group as the acting primary holds it.
    pub const fn sharded(&self, pg: PgId) -> ShardedPgId {
        ShardedPgId {
            pg,
            shard: self.primary_shard,
        }
    }
}

/// Where some shards cannot be primary, the map lists those that can first. Puts them back in order
/// (`OSDMap::pgtemp_undo_primaryfirst`).
fn in_shard_order(pool: &PgPool, temp: OsdSet) -> OsdSet {
    if pool.nonprimary_shards == 0 || temp.len() != usize::from(pool.size) {
        return temp;
    }
    let count = (0..temp.len())
        .filter(|shard| !pool.is_nonprimary(*shard))
        .count();
    let (primaries, others) = temp.split_at_checked(count).unwrap_or_default();
    let (mut primaries, mut others) = (primaries.iter(), others.iter());
    (0..temp.len())
        .map(|shard| {
            let next = if pool.is_nonprimary(shard) {
                others.next()
            } else {
                primaries.next()
            };
            next.copied().flatten()
        })
        .collect()
}

fn shard_of(acting: &OsdSet, primary: Option<OsdId>) -> ShardId {
    primary
        .and_then(|primary| acting.iter().position(|osd| *osd == Some(primary)))
        .and_then(|index| i8::try_from(index).ok())
        .map_or(ShardId::NONE, ShardId)
}

fn osd(item: Item) -> Option<OsdId> {
    present(OsdId(item.0))
}

/// The number that stands for a hole (`CRUSH_ITEM_NONE`) as one.
fn present(osd: OsdId) -> Option<OsdId> {
    (osd.0 != Item::NONE.0).then_some(osd)
}
