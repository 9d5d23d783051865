//! Maps of the cluster, and messages.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use crush::{CrushMap, Input, PlaceError, Scratch};
use denc::Decode;
use rados::osdmap::{HObject, Incremental, ObjectLocator, OsdMap, PgId, PgPool, ShardedPgId};
use rados::{MonMap, SnapSet, SparseRead, Watchers};

use crate::decode;

/// CRUSH maps, and placing by every rule.
pub fn crush_map(data: &[u8]) {
    let Ok(map) = CrushMap::decode_all("map", data) else {
        return;
    };
    let mut scratch = Scratch::default();
    for (rule, _) in map.rules() {
        for x in 0..2 {
            let input = Input {
                x,
                replicas: 3,
                weights: &[0x1_0000; 16],
                choose_args: map.choose_args(1),
            };
            match map.place(rule, &input, &mut scratch) {
                Ok(devices) => assert!(devices.len() <= 3),
                // It took a while to find out, and once is enough.
                Err(PlaceError::Endless(_)) => return,
                Err(_) => {}
            }
        }
    }
}

/// Full OSD maps, and where a placement group of some pools is.
pub fn osd_map(data: &[u8]) {
    if let Ok(map) = OsdMap::decode_all("map", &mended(data)) {
        use_map(&map);
    }
}

/// Changes to OSD maps, and the map that comes out.
pub fn osd_map_incremental(data: &[u8]) {
    let mut bytes = data.to_vec();
    // Of the cluster and the epoch that fit, wherever it is from.
    if let Some(identity) = bytes.get_mut(IDENTITY)
        && let Some(wanted) = BEFORE_BYTES.get(IDENTITY)
    {
        identity.copy_from_slice(wanted);
    }
    if let Some(epoch) = bytes
        .get_mut(IDENTITY.end..)
        .and_then(<[u8]>::first_chunk_mut)
    {
        *epoch = BEFORE.epoch().0.wrapping_add(1).to_le_bytes();
    }
    mend(&mut bytes);
    if let Ok(incremental) = Incremental::decode_all("incremental", &bytes)
        && let Ok(map) = BEFORE.apply(&incremental)
    {
        use_map(&map);
    }
}

/// The map that incrementals are applied to.
static BEFORE: LazyLock<OsdMap> =
    LazyLock::new(|| OsdMap::decode_all("map", BEFORE_BYTES).expect("it is read by a test"));
const BEFORE_BYTES: &[u8] = include_bytes!("../../crates/rados/testdata/osdmap/pacific-085.osdmap");
/// Where the cluster's id is, in maps and incrementals: behind two envelopes. The epoch follows.
const IDENTITY: Range<usize> = 2 * ENVELOPE..2 * ENVELOPE + 16;

fn use_map(map: &OsdMap) {
    // Few, as a map can make each of them take as long as CRUSH allows.
    for (pool, about) in map.pools().take(2) {
        map.object_pg("object", &ObjectLocator::new(pool));
        let seed = about.pg_num / 2;
        map.placement(PgId { pool, seed });
    }
}

/// Small structures that OSDs and monitors send.
pub fn osd_types(data: &[u8]) {
    decode::<HObject>(data);
    decode::<ObjectLocator>(data);
    decode::<PgId>(data);
    decode::<ShardedPgId>(data);
    decode::<PgPool>(data);
}

/// Monitor maps.
pub fn mon_map(data: &[u8]) {
    decode::<MonMap>(data);
}

/// Answers of OSDs to steps of operations.
pub fn answers(data: &[u8]) {
    decode::<Watchers>(data);
    decode::<SnapSet>(data);
    let answer = Bytes::copy_from_slice(data);
    if let Ok(read) = SparseRead::parse(&answer) {
        let total: u64 = read.extents.iter().map(|(_, len)| len).sum();
        assert_eq!(total, read.data.len() as u64);
    }
}

/// All messages of monitors and OSDs.
pub fn messages(data: &[u8]) {
    rados::decode_any(data);
}

/// The bytes with the outer length and the checksum of an OSD map as they should be: mutations
/// hardly ever get past these on their own.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    mend(&mut bytes);
    bytes
}

/// Does nothing where there is no place for a checksum.
fn mend(bytes: &mut [u8]) -> Option<()> {
    let inside = u32::try_from(bytes.len().checked_sub(ENVELOPE)?).ok()?;
    *bytes.get_mut(2..)?.first_chunk_mut()? = inside.to_le_bytes();
    let mut at = ENVELOPE;
    for _ in 0..2 {
        let len = u32::from_le_bytes(*bytes.get(at.checked_add(2)?..)?.first_chunk()?);
        at = at
            .checked_add(ENVELOPE)?
            .checked_add(len.try_into().ok()?)?;
    }
    let tail = bytes.get(at.checked_add(4)?..)?;
    let front = !crc32c::crc32c_append(0, bytes.get(..at)?);
    let crc = !crc32c::crc32c_append(!front, tail);
    *bytes.get_mut(at..)?.first_chunk_mut()? = crc.to_le_bytes();
    Some(())
}

/// Version, oldest version that understands it, length.
const ENVELOPE: usize = 1 + 1 + 4;
