//! The map itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crush::CrushMap;
use denc::{EntityAddrVec, Epoch, OsdId, PoolId, SnapId, UTime, Uuid};

use crate::osdmap::blocklist::Blocklist;
use crate::osdmap::flags::{MapFlags, OsdState};
use crate::osdmap::pg::PgId;
use crate::osdmap::pool::PgPool;

/// Properties of an erasure code by name.
pub type ErasureCodeProfile = BTreeMap<String, String>;

/// The OSD map of one epoch: pools, OSDs, and what places one upon the other.
///
/// A value that does not change: [`Incremental`](crate::osdmap::Incremental) makes another one of
/// it, which shares what has not changed.
#[derive(Clone, Debug, PartialEq)]
pub struct OsdMap {
    pub(crate) fsid: Uuid,
    pub(crate) epoch: Epoch,
    pub(crate) created: UTime,
    pub(crate) modified: UTime,
    pub(crate) flags: MapFlags,
    pub(crate) pool_max: i64,
    pub(crate) pools: Arc<BTreeMap<PoolId, Arc<PgPool>>>,
    pub(crate) pool_names: Arc<BTreeMap<PoolId, String>>,
    /// The reverse of `pool_names`.
    pub(crate) pools_by_name: Arc<HashMap<String, PoolId>>,
    /// By OSD, as long as `max_osd`.
    pub(crate) states: Arc<Vec<OsdState>>,
    /// By OSD, as long as `max_osd`; 16.16 fixed point.
    pub(crate) weights: Arc<Vec<u32>>,
    /// By OSD, as long as `max_osd`, or empty if all are [`FULL_AFFINITY`]; 16.16 fixed point.
    pub(crate) affinities: Arc<Vec<u32>>,
    /// Only those that have any.
    pub(crate) addrs: Arc<BTreeMap<OsdId, EntityAddrVec>>,
    pub(crate) pg_temp: Arc<BTreeMap<PgId, Vec<OsdId>>>,
    pub(crate) primary_temp: Arc<BTreeMap<PgId, OsdId>>,
    pub(crate) pg_upmap: Arc<BTreeMap<PgId, Vec<OsdId>>>,
    pub(crate) pg_upmap_items: Arc<BTreeMap<PgId, Vec<(OsdId, OsdId)>>>,
    pub(crate) pg_upmap_primaries: Arc<BTreeMap<PgId, OsdId>>,
    pub(crate) crush: Arc<CrushMap>,
    pub(crate) crush_version: i32,
    pub(crate) erasure_code_profiles: Arc<BTreeMap<String, ErasureCodeProfile>>,
    pub(crate) new_removed_snaps: Arc<BTreeMap<PoolId, Vec<(SnapId, u64)>>>,
    pub(crate) last_up_change: UTime,
    pub(crate) last_in_change: UTime,
    pub(crate) blocklist: Arc<Blocklist>,
    pub(crate) ratios: FullRatios,
    pub(crate) require_min_compat_client: Release,
    pub(crate) require_osd_release: Release,
}

/// How full OSDs may be, as a part of 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FullRatios {
    /// From here on there are warnings.
    pub nearfull: f32,
    /// From here on no data is moved to the OSD.
    pub backfillfull: f32,
    /// From here on nothing is written.
    pub full: f32,
}

/// A release of Ceph by its number: Luminous is 12. 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(pub u8);

impl Release {
    /// Luminous (12).
    pub const LUMINOUS: Self = Self(12);
    /// Nautilus (14).
    pub const NAUTILUS: Self = Self(14);
    /// Octopus (15).
    pub const OCTOPUS: Self = Self(15);
}

/// The primary affinity of an OSD that has not been changed: always willing to be primary.
pub(crate) const FULL_AFFINITY: u32 = 0x1_0000;

impl OsdMap {
    /// The cluster.
    pub const fn fsid(&self) -> Uuid {
        self.fsid
    }

    /// The version of the map.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When the cluster was created.
    pub const fn created(&self) -> UTime {
        self.created
    }

    /// When this version was made.
    pub const fn modified(&self) -> UTime {
        self.modified
    }

    /// Flags of the cluster.
    pub const fn flags(&self) -> MapFlags {
        self.flags
    }

    /// The highest pool number that has been given.
    pub const fn pool_max(&self) -> i64 {
        self.pool_max
    }

    /// All pools in the order of their numbers.
    pub fn pools(&self) -> impl Iterator<Item = (PoolId, &Arc<PgPool>)> {
        self.pools.iter().map(|(&id, pool)| (id, pool))
    }

    /// A pool by its number.
    pub fn pool(&self, pool: PoolId) -> Option<&Arc<PgPool>> {
        self.pools.get(&pool)
    }

    /// The number of the pool with a name.
    pub fn pool_by_name(&self, name: &str) -> Option<PoolId> {
        self.pools_by_name.get(name).copied()
    }

    /// The name of a pool.
    pub fn pool_name(&self, pool: PoolId) -> Option<&str> {
        self.pool_names.get(&pool).map(String::as_str)
    }

    /// The number of OSDs there is room for: all are below it.
    pub fn max_osd(&self) -> usize {
        self.states.len()
    }

    /// The state of an OSD; empty if there is none.
    pub fn osd_state(&self, osd: OsdId) -> OsdState {
        at(&self.states, osd).unwrap_or_default()
    }

    /// Whether there is such an OSD.
    pub fn osd_exists(&self, osd: OsdId) -> bool {
        self.osd_state(osd).contains(OsdState::EXISTS)
    }

    /// Whether there is such an OSD and it is running.
    pub fn osd_is_up(&self, osd: OsdId) -> bool {
        self.osd_state(osd)
            .contains(OsdState::EXISTS | OsdState::UP)
    }

    /// How much of an OSD is in use, 16.16 fixed point: 0 is none (*out*), `0x10000` all.
    pub fn osd_weight(&self, osd: OsdId) -> Option<u32> {
        at(&self.weights, osd)
    }

    /// How willing an OSD is to be primary, 16.16 fixed point.
    pub fn primary_affinity(&self, osd: OsdId) -> u32 {
        at(&self.affinities, osd).unwrap_or(FULL_AFFINITY)
    }

    /// Where clients reach an OSD. It keeps its address when it goes down.
    pub fn osd_addrs(&self, osd: OsdId) -> Option<&EntityAddrVec> {
        self.addrs.get(&osd)
    }

    /// The CRUSH map.
    pub const fn crush(&self) -> &Arc<CrushMap> {
        &self.crush
    }

    /// The version of the CRUSH map.
    pub const fn crush_version(&self) -> i32 {
        self.crush_version
    }

    /// The profile of an erasure code.
    pub fn erasure_code_profile(&self, name: &str) -> Option<&ErasureCodeProfile> {
        self.erasure_code_profiles.get(name)
    }

    /// The snapshots that were removed in this epoch: first snapshot and how many, by pool.
    pub fn new_removed_snaps(&self) -> &BTreeMap<PoolId, Vec<(SnapId, u64)>> {
        &self.new_removed_snaps
    }

    /// When an OSD went up or down last.
    pub const fn last_up_change(&self) -> UTime {
        self.last_up_change
    }

    /// When an OSD was taken into or out of use last.
    pub const fn last_in_change(&self) -> UTime {
        self.last_in_change
    }

    /// How full OSDs may be.
    pub const fn full_ratios(&self) -> FullRatios {
        self.ratios
    }

    /// The oldest clients that the cluster serves.
    pub const fn require_min_compat_client(&self) -> Release {
        self.require_min_compat_client
    }

    /// The oldest OSDs that the cluster admits.
    pub const fn require_osd_release(&self) -> Release {
        self.require_osd_release
    }

    /// Addresses that OSDs serve no more.
    pub fn blocklist(&self) -> &Blocklist {
        &self.blocklist
    }

    /// Brings what follows from other fields into line with them.
    pub(crate) fn settle(&mut self) {
        if self.require_osd_release >= Release::LUMINOUS {
            self.flags = self.flags.without(MapFlags::LEGACY_REQUIRE) | MapFlags::RECOVERY_DELETES;
        }
        if self.require_osd_release >= Release::NAUTILUS {
            self.flags = self.flags | MapFlags::PGLOG_HARDLIMIT;
        }
        if self.affinities.iter().all(|aff| *aff == FULL_AFFINITY) && !self.affinities.is_empty() {
            self.affinities = Arc::default();
        }
    }
}

fn at<T: Copy>(values: &[T], osd: OsdId) -> Option<T> {
    values.get(usize::try_from(osd.0).ok()?).copied()
}
