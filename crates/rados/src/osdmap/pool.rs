//! Pools (ceph: src/osd/osd_types.h, `pg_pool_t`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use denc::{Decode, DecodeErrorKind, Epoch, PoolId, Reader, Result, SnapId, UTime};

use crate::osdmap::flags::PoolFlags;
use crate::osdmap::object_hash::ObjectHash;

/// How a pool keeps its objects. An open set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolType(pub u8);

impl PoolType {
    /// Whole copies.
    pub const REPLICATED: Self = Self(1);
    /// Parts, of which some can be missing.
    pub const ERASURE: Self = Self(3);
}

impl fmt::Debug for PoolType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::REPLICATED => f.write_str("replicated"),
            Self::ERASURE => f.write_str("erasure"),
            Self(other) => write!(f, "type{other}"),
        }
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgPool {
    /// How it keeps its objects.
    pub kind: PoolType,
    /// How many OSDs a placement group has.
    pub size: u8,
    /// How many of them must be there for it to serve.
    pub min_size: u8,
    /// The CRUSH rule that places it.
    pub crush_rule: u8,
    /// How names are hashed.
    pub object_hash: ObjectHash,
    /// How many placement groups there are.
    pub pg_num: u32,
    /// How many of them are placed on their own; the others follow those they were split from.
    pub pgp_num: u32,
    /// How many placement groups there shall be.
    pub pg_num_target: u32,
    /// How many there will be once the merge under way is done.
    pub pg_num_pending: u32,
    /// The epoch of its last change.
    pub last_change: Epoch,
    /// Operations that were sent before this epoch must be sent again.
    pub last_force_op_resend: Epoch,
    /// As [`last_force_op_resend`](Self::last_force_op_resend), for clients before Nautilus.
    pub last_force_op_resend_prenautilus: Epoch,
    /// As [`last_force_op_resend`](Self::last_force_op_resend), for clients before Luminous.
    pub last_force_op_resend_preluminous: Epoch,
    /// The newest snapshot.
    pub snap_seq: SnapId,
    /// The epoch in which `snap_seq` changed last.
    pub snap_epoch: Epoch,
    /// The snapshots of the pool, if they are the pool's.
    pub snaps: BTreeMap<SnapId, PoolSnap>,
    /// Flags.
    pub flags: PoolFlags,
    /// Most bytes that may be stored; 0 is no limit.
    pub quota_max_bytes: u64,
    /// Most objects that may be stored; 0 is no limit.
    pub quota_max_objects: u64,
    /// Pools that are caches of this one.
    pub tiers: BTreeSet<i64>,
    /// The pool that this one is a cache of.
    pub tier_of: Option<PoolId>,
    /// How it works as a cache; 0 is not at all.
    pub cache_mode: u8,
    /// The cache that reads go to.
    pub read_tier: Option<PoolId>,
    /// The cache that writes go to.
    pub write_tier: Option<PoolId>,
    /// The name of the erasure code's profile.
    pub erasure_code_profile: String,
    /// Bytes of data in a stripe of an erasure-coded pool.
    pub stripe_width_bytes: u32,
    /// What the pool is for, for example `rbd`, with notes of the application.
    pub application_metadata: BTreeMap<String, BTreeMap<String, String>>,
    /// When it was created.
    pub created: UTime,
    /// The shards that cannot be primary, a bit for each.
    pub nonprimary_shards: u128,
}

/// A snapshot of a pool (ceph: src/osd/osd_types.h, `pool_snap_info_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSnap {
    /// When it was made.
    pub created: UTime,
    /// Its name.
    pub name: String,
}

impl PgPool {
    /// Whether holes in placements stay, because each position has a meaning.
    pub fn is_erasure(&self) -> bool {
        self.kind == PoolType::ERASURE
    }

    /// The placement group that keeps the objects with a hash, below [`pg_num`](Self::pg_num).
    pub const fn seed_of_hash(&self, hash: u32) -> u32 {
        stable_mod(hash, self.pg_num)
    }

    /// Whether a placement group of this pool takes part when their number becomes `pg_num`: it is
    /// split, or merged with another (ceph: src/osd/osd_types.cc, `pg_t::is_split`,
    /// `pg_t::is_merge_source`, `pg_t::is_merge_target`).
    pub const fn is_split_or_merged(&self, seed: u32, pg_num: u32) -> bool {
        let (few, many) = if self.pg_num < pg_num {
            (self.pg_num, pg_num)
        } else {
            (pg_num, self.pg_num)
        };
        if few == 0 || seed >= few {
            // It is the one of the two that is not there any more, or not yet.
            return few != many;
        }
        // Children of a group are whole steps away from it. Of two places where a step may lead
        // behind the last group that is there with few, one is a child's at least.
        let step = match few.checked_next_power_of_two() {
            Some(power) if power > few => power / 2,
            Some(power) => power,
            None => 1 << 31,
        };
        let base = seed & (step - 1);
        let mut child =
            base as u64 + (few.saturating_sub(base)).div_ceil(step) as u64 * step as u64;
        let mut tries = 0;
        while tries < 2 && child < many as u64 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is below a 32-bit number"
            )]
            if stable_mod(child as u32, few) == seed {
                return true;
            }
            child += step as u64;
            tries += 1;
        }
        false
    }

    /// What CRUSH places for a placement group.
    pub const fn placement_seed(&self, pool: PoolId, seed: u32) -> u32 {
        let seed = stable_mod(seed, self.pgp_num);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "Ceph hashes the lower half of the number"
        )]
        let pool = pool.0 as u32;
        if self.flags.contains(PoolFlags::HASHPSPOOL) {
            crush::hash32_2(seed, pool)
        } else {
            // All pools of a size are placed alike, shifted by one.
            seed.wrapping_add(pool)
        }
    }

    /// Whether a shard cannot be primary.
    pub fn is_nonprimary(&self, shard: usize) -> bool {
        u32::try_from(shard)
            .ok()
            .and_then(|shard| self.nonprimary_shards.checked_shr(shard))
            .is_some_and(|bits| bits & 1 == 1)
    }
}

/// `x` modulo `count`, such that only half of the results move when `count` is doubled
/// (ceph: src/include/ceph_hash.h, `ceph_stable_mod`).
const fn stable_mod(x: u32, count: u32) -> u32 {
    let mask = match count.wrapping_sub(1) {
        0 => 0,
        last => u32::MAX >> last.leading_zeros(),
    };
    if x & mask < count {
        x & mask
    } else {
        x & (mask >> 1)
    }
}

impl Decode for PoolSnap {
    const MIN_LEN: usize = 6 + 20;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut fields = reader.envelope("pool_snap_info_t", 2)?.reader;
        fields.u64()?;
        Ok(Self {
            created: fields.get()?,
            name: fields.get()?,
        })
    }
}

impl Decode for PgPool {
    const MIN_LEN: usize = 6 + 192;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let start = reader.clone();
        let envelope = reader.envelope("pg_pool_t", 33)?;
        let (version, mut fields) = (envelope.version, envelope.reader);
        if version < OLDEST {
            return Err(start.error(DecodeErrorKind::TooOld {
                version,
                oldest: OLDEST,
            }));
        }
        let [kind, size, crush_rule, object_hash] = fields.array()?;
        let pg_num = fields.u32()?;
        let pgp_num = fields.u32()?;
        fields.skip(8)?;
        let last_change = fields.get()?;
        let snap_seq: SnapId = fields.get()?;
        let snap_epoch = fields.get()?;
        let snaps = fields.get()?;
        let removed_snaps = skip_intervals(&mut fields)?;
        fields.u64()?;
        let mut flags: PoolFlags = fields.get()?;
        let modes = PoolFlags::SELFMANAGED_SNAPS | PoolFlags::POOL_SNAPS;
        if snap_seq.0 > 0 && flags.0 & modes.0 == 0 {
            flags = flags
                | if removed_snaps > 0 {
                    PoolFlags::SELFMANAGED_SNAPS
                } else {
                    PoolFlags::POOL_SNAPS
                };
        }
        fields.u32()?;
        let min_size = fields.u8()?;
        let quota_max_bytes = fields.u64()?;
        let quota_max_objects = fields.u64()?;
        let tiers = fields.get()?;
        let tier_of = pool_or_none(&mut fields)?;
        let cache_mode = fields.u8()?;
        let read_tier = pool_or_none(&mut fields)?;
        let write_tier = pool_or_none(&mut fields)?;
        fields.get::<BTreeMap<String, String>>()?;
        fields.envelope("HitSet::Params", u8::MAX)?;
        // hit_set_period, hit_set_count
        fields.skip(8)?;
        let stripe_width_bytes = fields.u32()?;
        // target_max_bytes, target_max_objects; cache ratios and ages
        fields.skip(16 + 16)?;
        let erasure_code_profile = fields.get()?;
        let last_force_op_resend_preluminous: Epoch = fields.get()?;
        // min_read_recency_for_promote, expected_num_objects
        fields.skip(4 + 8)?;
        // cache_target_dirty_high_ratio_micro, min_write_recency_for_promote
        fields.skip(4 + 4)?;
        if version >= 21 {
            // use_gmt_hitset
            fields.skip(1)?;
        }
        if version >= 22 {
            // fast_read
            fields.skip(1)?;
        }
        if version >= 23 {
            // hit_set_grade_decay_rate, hit_set_search_last_n
            fields.skip(8)?;
        }
        if version >= 24 {
            fields.envelope("pool_opts_t", u8::MAX)?;
        }
        let mut pool = Self {
            kind: PoolType(kind),
            size,
            min_size,
            crush_rule,
            object_hash: ObjectHash(object_hash),
            pg_num,
            pgp_num,
            pg_num_target: pg_num,
            pg_num_pending: pg_num,
            last_change,
            last_force_op_resend: last_force_op_resend_preluminous,
            last_force_op_resend_prenautilus: last_force_op_resend_preluminous,
            last_force_op_resend_preluminous,
            snap_seq,
            snap_epoch,
            snaps,
            flags,
            quota_max_bytes,
            quota_max_objects,
            tiers,
            tier_of,
            cache_mode,
            read_tier,
            write_tier,
            erasure_code_profile,
            stripe_width_bytes,
            application_metadata: BTreeMap::new(),
            created: UTime::default(),
            nonprimary_shards: 0,
        };
        pool.decode_tail(version, &mut fields)?;
        Ok(pool)
    }
}

impl PgPool {
    /// What Luminous and later releases have appended.
    fn decode_tail(&mut self, version: u8, fields: &mut Reader<'_>) -> Result<()> {
        if version >= 25 {
            self.last_force_op_resend_prenautilus = fields.get()?;
            self.last_force_op_resend = self.last_force_op_resend_prenautilus;
        }
        if version >= 26 {
            self.application_metadata = fields.get()?;
        }
        if version >= 27 {
            self.created = fields.get()?;
        }
        if version >= 28 {
            self.pg_num_target = fields.u32()?;
            // pgp_num_target
            fields.u32()?;
            self.pg_num_pending = fields.u32()?;
            fields.skip(8)?;
            self.last_force_op_resend = fields.get()?;
            // pg_autoscale_mode
            fields.u8()?;
        }
        if version >= 29 {
            fields.envelope("pg_merge_meta_t", u8::MAX)?;
        }
        if version == 30 {
            // peering_crush_*
            fields.skip(16)?;
        }
        if version >= 31 && fields.bool()? {
            fields.skip(16)?;
        }
        if version >= 32 {
            let low = varint(fields)?;
            let high = varint(fields)?;
            self.nonprimary_shards = u128::from(low) | u128::from(high) << 64;
        }
        Ok(())
    }
}

/// Steps over an `interval_set<snapid_t>` and gives how many intervals it has.
pub(crate) fn skip_intervals(fields: &mut Reader<'_>) -> Result<usize> {
    let count = fields.count(16)?;
    fields.skip(16 * count)?;
    Ok(count)
}

/// A pool number of which -1 stands for none.
fn pool_or_none(fields: &mut Reader<'_>) -> Result<Option<PoolId>> {
    let pool = fields.get::<PoolId>()?;
    Ok((pool.0 >= 0).then_some(pool))
}

/// A number in groups of seven bits, lowest first (ceph: src/include/denc.h, `denc_varint`).
fn varint(fields: &mut Reader<'_>) -> Result<u64> {
    let start = fields.clone();
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = fields.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(start.invalid("varint", value))
}

/// The version of Jewel; maps for clients that know Luminous have newer ones.
const OLDEST: u8 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osdmap::OsdMap;

    #[test]
    fn groups_take_part_in_splits_and_merges_as_their_objects_move() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/osdmap/three.osdmap");
        let map = OsdMap::decode_all("map", &std::fs::read(file).unwrap()).unwrap();
        let (_, pool) = map.pools().next().unwrap();
        let with = |pg_num| PgPool {
            pg_num,
            ..PgPool::clone(pool)
        };
        for before in 1..40 {
            for after in 1..40 {
                let (few, many) = (before.min(after), before.max(after));
                for seed in 0..before {
                    // Every group there is with many was, or goes to, one of the few.
                    let moves = |child: u32| stable_mod(child, few) == seed;
                    let takes_part = seed >= few || (few..many).any(moves);
                    assert_eq!(
                        with(before).is_split_or_merged(seed, after),
                        takes_part,
                        "{seed} of {before} with {after}"
                    );
                }
            }
        }
        assert!(with(1 << 31).is_split_or_merged(0, u32::MAX));
        assert!(with(1).is_split_or_merged(0, u32::MAX));
    }
}
