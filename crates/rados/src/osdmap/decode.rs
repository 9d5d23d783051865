//! The binary form of the full map (ceph: src/osd/OSDMap.cc, `OSDMap::decode`).
//!
//! ```text
//! envelope(8, 7) { envelope { for clients } | envelope { for OSDs } | crc u32 }
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crush::CrushMap;
use denc::{
    Decode, DecodeErrorKind, EntityAddr, EntityAddrVec, OsdId, PoolId, Reader, Result, UTime,
};

use crate::osdmap::blocklist::Blocklist;
use crate::osdmap::checksum;
use crate::osdmap::flags::OsdState;
use crate::osdmap::map::{FullRatios, OsdMap, Release};
use crate::osdmap::pool::{PgPool, skip_intervals};

/// The version of the outer envelope, since Hammer.
const VERSION: u8 = 8;
/// The version of the part for clients that Luminous wrote.
const OLDEST_CLIENT: u8 = 6;
/// The newest version of the part for clients (Reef).
const NEWEST_CLIENT: u8 = 10;
/// The version of the part for OSDs that Luminous wrote.
const OLDEST_OSD: u8 = 5;
/// The newest version of the part for OSDs (Tentacle).
const NEWEST_OSD: u8 = 12;

/// Enters the outer envelope; gives what is inside and all bytes of the envelope.
///
/// # Errors
/// If it is of a version without a checksum.
pub(crate) fn enter<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
) -> Result<(Reader<'a>, &'a [u8])> {
    let mut bytes = reader.clone();
    let start = reader.clone();
    let envelope = reader.envelope(what, VERSION)?;
    if envelope.version < VERSION {
        return Err(start.error(DecodeErrorKind::TooOld {
            version: envelope.version,
            oldest: VERSION,
        }));
    }
    let bytes = bytes.take(reader.position() - start.position())?;
    Ok((envelope.reader, bytes))
}

/// Enters a part of the map.
pub(crate) fn enter_part<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
    oldest: u8,
    newest: u8,
) -> Result<(u8, Reader<'a>)> {
    let start = reader.clone();
    let envelope = reader.envelope(what, newest)?;
    let version = envelope.version;
    if version < oldest {
        return Err(start.error(DecodeErrorKind::TooOld { version, oldest }));
    }
    Ok((version, envelope.reader))
}

impl Decode for OsdMap {
    const MIN_LEN: usize = 6;

    /// Reads a full map and verifies its checksum.
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let start = reader.position();
        let (mut inside, bytes) = enter(reader, "OSD map")?;
        let mut map = decode_client_part(&mut inside)?;
        decode_osd_part(&mut inside, &mut map)?;
        checksum::verify(&inside, bytes, inside.position() - start)?;
        map.settle();
        Ok(map)
    }
}

fn decode_client_part(reader: &mut Reader<'_>) -> Result<OsdMap> {
    let (version, mut fields) =
        enter_part(reader, "OSD map for clients", OLDEST_CLIENT, NEWEST_CLIENT)?;
    let fsid = fields.get()?;
    let epoch = fields.get()?;
    let created = fields.get()?;
    let modified = fields.get()?;
    let pools: BTreeMap<PoolId, PgPool> = fields.get()?;
    let pool_names: BTreeMap<PoolId, String> = fields.get()?;
    let pool_max = fields.i32()?;
    let flags = fields.get()?;
    let start = fields.clone();
    let max_osd = fields.u32()?;
    let states: Vec<OsdState> = fields.get()?;
    let weights: Vec<u32> = fields.get()?;
    let addrs = decode_addrs(&mut fields, max_osd)?;
    let pg_temp = fields.get()?;
    let primary_temp = fields.get()?;
    let affinities: Vec<u32> = fields.get()?;
    let fits = |len: usize| len as u64 == u64::from(max_osd);
    let affinities_fit = affinities.is_empty() || fits(affinities.len());
    if !fits(states.len()) || !fits(weights.len()) || !affinities_fit {
        return Err(start.invalid("max_osd", max_osd.into()));
    }
    let crush = CrushMap::decode(&mut fields.sub_blob()?)?;
    let erasure_code_profiles = fields.get()?;
    let pg_upmap = fields.get()?;
    let pg_upmap_items = fields.get()?;
    let crush_version = fields.i32()?;
    let mut new_removed_snaps = BTreeMap::new();
    if version >= 7 {
        new_removed_snaps = fields.get()?;
        skip_purged_snaps(&mut fields)?;
    }
    let (mut last_up_change, mut last_in_change) = (UTime::default(), UTime::default());
    if version >= 9 {
        last_up_change = fields.get()?;
        last_in_change = fields.get()?;
    }
    let pg_upmap_primaries = if version >= 10 {
        fields.get()?
    } else {
        BTreeMap::new()
    };
    let by_name: HashMap<_, _> = pool_names
        .iter()
        .map(|(&id, name)| (name.clone(), id))
        .collect();
    Ok(OsdMap {
        fsid,
        epoch,
        created,
        modified,
        flags,
        pool_max: pool_max.into(),
        pools: Arc::new(
            pools
                .into_iter()
                .map(|(id, pool)| (id, Arc::new(pool)))
                .collect(),
        ),
        pool_names: Arc::new(pool_names),
        pools_by_name: Arc::new(by_name),
        states: Arc::new(states),
        weights: Arc::new(weights),
        affinities: Arc::new(affinities),
        addrs: Arc::new(addrs),
        pg_temp: Arc::new(pg_temp),
        primary_temp: Arc::new(primary_temp),
        pg_upmap: Arc::new(pg_upmap),
        pg_upmap_items: Arc::new(pg_upmap_items),
        pg_upmap_primaries: Arc::new(pg_upmap_primaries),
        crush: Arc::new(crush),
        crush_version,
        erasure_code_profiles: Arc::new(erasure_code_profiles),
        new_removed_snaps: Arc::new(new_removed_snaps),
        last_up_change,
        last_in_change,
        blocklist: Arc::default(),
        ratios: FullRatios::default(),
        require_min_compat_client: Release::default(),
        require_osd_release: Release::default(),
    })
}

/// Of the part for OSDs, what clients want to know.
fn decode_osd_part(reader: &mut Reader<'_>, map: &mut OsdMap) -> Result<()> {
    let (version, mut fields) = enter_part(reader, "OSD map for OSDs", OLDEST_OSD, NEWEST_OSD)?;
    // hb_back_addrs
    skip_each::<EntityAddrVec>(&mut fields)?;
    let osd_info = fields.count(OSD_INFO_LEN)?;
    fields.skip(OSD_INFO_LEN * osd_info)?;
    let addrs: BTreeMap<EntityAddr, UTime> = fields.get()?;
    // cluster_addrs, cluster_snapshot_epoch, cluster_snapshot
    skip_each::<EntityAddrVec>(&mut fields)?;
    fields.u32()?;
    fields.blob()?;
    let uuids = fields.count(16)?;
    fields.skip(16 * uuids)?;
    let osd_xinfo = fields.count(6)?;
    for _ in 0..osd_xinfo {
        fields.envelope("osd_xinfo_t", u8::MAX)?;
    }
    // hb_front_addrs
    skip_each::<EntityAddrVec>(&mut fields)?;
    map.ratios.nearfull = fields.get::<Float>()?.0;
    map.ratios.full = fields.get::<Float>()?.0;
    map.ratios.backfillfull = fields.get::<Float>()?.0;
    map.require_min_compat_client = Release(fields.u8()?);
    map.require_osd_release = Release(fields.u8()?);
    if version >= 6 {
        // removed_snaps_queue
        skip_purged_snaps(&mut fields)?;
    }
    for since in [8, 9] {
        if version >= since {
            // crush_node_flags, device_class_flags
            let count = fields.count(8)?;
            fields.skip(8 * count)?;
        }
    }
    if version >= 10 {
        // stretch mode
        fields.skip(1 + 4 * 4)?;
    }
    let mut ranges = BTreeMap::new();
    if version >= 11 {
        ranges = fields.get()?;
    }
    map.blocklist = Arc::new(Blocklist { addrs, ranges });
    Ok(())
}

/// The addresses of those OSDs that have any.
fn decode_addrs(fields: &mut Reader<'_>, max_osd: u32) -> Result<BTreeMap<OsdId, EntityAddrVec>> {
    let start = fields.clone();
    let count = fields.count(EntityAddrVec::MIN_LEN)?;
    if count as u64 != u64::from(max_osd) {
        return Err(start.invalid("OSD addresses", count as u64));
    }
    let mut addrs = BTreeMap::new();
    for osd in (0..).map(OsdId).take(count) {
        let found: EntityAddrVec = fields.get()?;
        if has_addr(&found) {
            addrs.insert(osd, found);
        }
    }
    Ok(addrs)
}

/// Whether there is an address among them that is not blank.
pub(crate) fn has_addr(addrs: &EntityAddrVec) -> bool {
    addrs.iter().any(|addr| addr.socket.is_some())
}

/// Steps over a `map<int64_t, interval_set<snapid_t>>`.
pub(crate) fn skip_purged_snaps(fields: &mut Reader<'_>) -> Result<()> {
    let count = fields.count(12)?;
    for _ in 0..count {
        fields.u64()?;
        skip_intervals(fields)?;
    }
    Ok(())
}

/// Steps over a collection.
pub(crate) fn skip_each<T: Decode>(fields: &mut Reader<'_>) -> Result<()> {
    let count = fields.count(T::MIN_LEN)?;
    for _ in 0..count {
        fields.get::<T>()?;
    }
    Ok(())
}

/// A number with a fraction, 4 bytes.
pub(crate) struct Float(pub(crate) f32);

impl Decode for Float {
    const MIN_LEN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.u32().map(f32::from_bits).map(Self)
    }
}

/// `osd_info_t`: a version byte and six epochs.
const OSD_INFO_LEN: usize = 1 + 6 * 4;
