//! What changes from one epoch to the next (ceph: src/osd/OSDMap.cc, `OSDMap::Incremental::decode`).
//!
//! ```text
//! envelope(8, 7) { envelope { for clients } | envelope { for OSDs } | crc u32 | crc of the full map u32 }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crush::CrushMap;
use denc::{
    Decode, EntityAddr, EntityAddrVec, Epoch, OsdId, PoolId, Reader, Result, SnapId, UTime, Uuid,
};

use crate::osdmap::checksum;
use crate::osdmap::decode::{self, Float};
use crate::osdmap::flags::{MapFlags, OsdState};
use crate::osdmap::map::{ErasureCodeProfile, OsdMap, Release};
use crate::osdmap::pg::PgId;
use crate::osdmap::pool::PgPool;

/// The version of the part for clients that Luminous wrote.
const OLDEST_CLIENT: u8 = 5;
/// The newest version of the part for clients (Reef).
const NEWEST_CLIENT: u8 = 9;
/// The version of the part for OSDs that Luminous wrote.
const OLDEST_OSD: u8 = 6;
/// The newest version of the part for OSDs (Tentacle).
const NEWEST_OSD: u8 = 12;

/// The changes that make an epoch of its predecessor.
///
/// Got from bytes by [`Decode`], which verifies the checksum of the incremental itself. It also
/// carries the checksum of the full map that comes out; that one covers the full map's encoding in
/// the monitors' form, which clients do not make, and is not verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Incremental {
    pub(crate) fsid: Uuid,
    pub(crate) epoch: Epoch,
    pub(crate) modified: UTime,
    pub(crate) pool_max: Option<i64>,
    pub(crate) flags: Option<MapFlags>,
    /// In place of everything else.
    pub(crate) full_map: Option<Box<OsdMap>>,
    pub(crate) crush: Option<Arc<CrushMap>>,
    pub(crate) max_osd: Option<i32>,
    pub(crate) pools: BTreeMap<PoolId, PgPool>,
    pub(crate) pool_names: BTreeMap<PoolId, String>,
    pub(crate) old_pools: BTreeSet<PoolId>,
    pub(crate) up: BTreeMap<OsdId, EntityAddrVec>,
    /// Bits to be toggled; none stands for [`OsdState::UP`].
    pub(crate) states: BTreeMap<OsdId, OsdState>,
    pub(crate) weights: BTreeMap<OsdId, u32>,
    /// Empty to remove.
    pub(crate) pg_temp: BTreeMap<PgId, Vec<OsdId>>,
    /// -1 to remove.
    pub(crate) primary_temp: BTreeMap<PgId, OsdId>,
    pub(crate) affinities: BTreeMap<OsdId, u32>,
    pub(crate) erasure_code_profiles: BTreeMap<String, ErasureCodeProfile>,
    pub(crate) old_erasure_code_profiles: BTreeSet<String>,
    pub(crate) pg_upmap: BTreeMap<PgId, Vec<OsdId>>,
    pub(crate) old_pg_upmap: BTreeSet<PgId>,
    pub(crate) pg_upmap_items: BTreeMap<PgId, Vec<(OsdId, OsdId)>>,
    pub(crate) old_pg_upmap_items: BTreeSet<PgId>,
    pub(crate) pg_upmap_primaries: BTreeMap<PgId, OsdId>,
    pub(crate) old_pg_upmap_primaries: BTreeSet<PgId>,
    pub(crate) removed_snaps: BTreeMap<PoolId, Vec<(SnapId, u64)>>,
    pub(crate) last_up_change: UTime,
    pub(crate) last_in_change: UTime,
    pub(crate) blocklist: BTreeMap<EntityAddr, UTime>,
    pub(crate) old_blocklist: Vec<EntityAddr>,
    pub(crate) range_blocklist: BTreeMap<EntityAddr, UTime>,
    pub(crate) old_range_blocklist: Vec<EntityAddr>,
    /// Negative for no change.
    pub(crate) nearfull_ratio: f32,
    pub(crate) full_ratio: f32,
    pub(crate) backfillfull_ratio: f32,
    pub(crate) require_min_compat_client: Option<Release>,
    pub(crate) require_osd_release: Option<Release>,
    pub(crate) full_crc: u32,
}

impl Incremental {
    /// The cluster.
    pub const fn fsid(&self) -> Uuid {
        self.fsid
    }

    /// The epoch that it makes.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The full map of the epoch, if the monitors sent it in place of changes.
    pub fn full_map(&self) -> Option<&OsdMap> {
        self.full_map.as_deref()
    }

    /// The snapshots that are removed: first snapshot and how many, by pool.
    pub const fn removed_snaps(&self) -> &BTreeMap<PoolId, Vec<(SnapId, u64)>> {
        &self.removed_snaps
    }

    /// The checksum of the full map that comes out, in the monitors' encoding.
    pub const fn full_crc(&self) -> u32 {
        self.full_crc
    }
}

impl Decode for Incremental {
    const MIN_LEN: usize = 6;

    /// Reads an incremental and verifies its checksum.
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let start = reader.position();
        let (mut inside, bytes) = decode::enter(reader, "incremental OSD map")?;
        let mut incremental = decode_client_part(&mut inside)?;
        incremental.decode_osd_part(&mut inside)?;
        checksum::verify(&inside, bytes, inside.position() - start)?;
        inside.u32()?;
        incremental.full_crc = inside.u32()?;
        Ok(incremental)
    }
}

fn decode_client_part(reader: &mut Reader<'_>) -> Result<Incremental> {
    let (version, mut fields) = decode::enter_part(
        reader,
        "incremental OSD map for clients",
        OLDEST_CLIENT,
        NEWEST_CLIENT,
    )?;
    let fsid = fields.get()?;
    let epoch = fields.get()?;
    let modified = fields.get()?;
    let pool_max = fields.i64()?;
    let flags = fields.i32()?;
    let full_map = fields.sub_blob()?;
    let crush = fields.sub_blob()?;
    let max_osd = fields.i32()?;
    let pools = fields.get()?;
    let pool_names = fields.get()?;
    let old_pools = fields.get()?;
    let up = fields.get()?;
    let states = fields.get()?;
    let weights = fields.get()?;
    let pg_temp = fields.get()?;
    let primary_temp = fields.get()?;
    let affinities = fields.get()?;
    let erasure_code_profiles = fields.get()?;
    let old_erasure_code_profiles = fields.get()?;
    let pg_upmap = fields.get()?;
    let old_pg_upmap = fields.get()?;
    let pg_upmap_items = fields.get()?;
    let old_pg_upmap_items = fields.get()?;
    let mut removed_snaps = BTreeMap::new();
    if version >= 6 {
        removed_snaps = fields.get()?;
        // new_purged_snaps
        decode::skip_purged_snaps(&mut fields)?;
    }
    let (mut last_up_change, mut last_in_change) = (UTime::default(), UTime::default());
    if version >= 8 {
        last_up_change = fields.get()?;
        last_in_change = fields.get()?;
    }
    let mut pg_upmap_primaries = BTreeMap::new();
    let mut old_pg_upmap_primaries = BTreeSet::new();
    if version >= 9 {
        pg_upmap_primaries = fields.get()?;
        old_pg_upmap_primaries = fields.get()?;
    }
    Ok(Incremental {
        fsid,
        epoch,
        modified,
        pool_max: (pool_max != -1).then_some(pool_max),
        flags: u32::try_from(flags).ok().map(MapFlags),
        full_map: decode_unless_empty(full_map)?.map(Box::new),
        crush: decode_unless_empty(crush)?.map(Arc::new),
        max_osd: (max_osd >= 0).then_some(max_osd),
        pools,
        pool_names,
        old_pools,
        up,
        states,
        weights,
        pg_temp,
        primary_temp,
        affinities,
        erasure_code_profiles,
        old_erasure_code_profiles,
        pg_upmap,
        old_pg_upmap,
        pg_upmap_items,
        old_pg_upmap_items,
        pg_upmap_primaries,
        old_pg_upmap_primaries,
        removed_snaps,
        last_up_change,
        last_in_change,
        blocklist: BTreeMap::new(),
        old_blocklist: Vec::new(),
        range_blocklist: BTreeMap::new(),
        old_range_blocklist: Vec::new(),
        nearfull_ratio: UNCHANGED,
        full_ratio: UNCHANGED,
        backfillfull_ratio: UNCHANGED,
        require_min_compat_client: None,
        require_osd_release: None,
        full_crc: 0,
    })
}

fn decode_unless_empty<T: Decode>(mut blob: Reader<'_>) -> Result<Option<T>> {
    if blob.is_empty() {
        return Ok(None);
    }
    T::decode(&mut blob).map(Some)
}

impl Incremental {
    /// Of the part for OSDs, what clients want to know.
    fn decode_osd_part(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let (version, mut fields) = decode::enter_part(
            reader,
            "incremental OSD map for OSDs",
            OLDEST_OSD,
            NEWEST_OSD,
        )?;
        // new_hb_back_up
        decode::skip_each::<(OsdId, EntityAddrVec)>(&mut fields)?;
        // new_up_thru, new_last_clean_interval, new_lost
        for len in [8, 12, 8] {
            let count = fields.count(len)?;
            fields.skip(len * count)?;
        }
        self.blocklist = fields.get()?;
        self.old_blocklist = fields.get()?;
        // new_up_cluster
        decode::skip_each::<(OsdId, EntityAddrVec)>(&mut fields)?;
        // cluster_snapshot
        fields.blob()?;
        // new_uuid
        decode::skip_each::<(OsdId, Uuid)>(&mut fields)?;
        let xinfo = fields.count(4 + 6)?;
        for _ in 0..xinfo {
            fields.u32()?;
            fields.envelope("osd_xinfo_t", u8::MAX)?;
        }
        // new_hb_front_up
        decode::skip_each::<(OsdId, EntityAddrVec)>(&mut fields)?;
        // encode_features
        fields.u64()?;
        self.nearfull_ratio = fields.get::<Float>()?.0;
        self.full_ratio = fields.get::<Float>()?.0;
        self.backfillfull_ratio = fields.get::<Float>()?.0;
        let release = |byte| (byte != NO_RELEASE).then_some(Release(byte));
        self.require_min_compat_client =
            release(fields.u8()?).filter(|release| *release > Release::default());
        self.require_osd_release = release(fields.u8()?);
        for since in [8, 9] {
            if version >= since {
                // new_crush_node_flags, new_device_class_flags
                let count = fields.count(8)?;
                fields.skip(8 * count)?;
            }
        }
        if version >= 10 {
            // stretch mode: bool, three numbers, bucket, bool
            fields.skip(1 + 4 * 4 + 1)?;
        }
        if version >= 11 {
            self.range_blocklist = fields.get()?;
            self.old_range_blocklist = fields.get()?;
        }
        Ok(())
    }
}

/// A ratio that does not change.
const UNCHANGED: f32 = -1.0;
/// A release that does not change (`ceph_release_t` of -1).
const NO_RELEASE: u8 = u8::MAX;
