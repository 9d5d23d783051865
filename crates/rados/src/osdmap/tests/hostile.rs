//! Bytes that are no map, and incrementals that do not fit.

use std::sync::LazyLock;

use bytes::Bytes;
use denc::{Decode, DecodeErrorKind, EntityAddrVec, OsdId, Writer};
use proptest::prelude::*;

use super::incremental::blobs;
use super::placement::maps;
use crate::osdmap::limits::MAX_OSDS;
use crate::osdmap::{Incremental, OsdMap, OsdMapError, PgId};

static MAPS: LazyLock<Vec<(String, Vec<u8>, String)>> = LazyLock::new(maps);
static INCREMENTALS: LazyLock<Vec<Bytes>> = LazyLock::new(|| blobs("pacific.incrementals"));
static FULLS: LazyLock<Vec<OsdMap>> = LazyLock::new(|| {
    let fulls = blobs("pacific.fulls");
    let decoded = fulls
        .iter()
        .map(|full| OsdMap::decode_all("map", full).unwrap());
    decoded.collect()
});

/// Cuts off what is behind `len`, and tells the envelope of the map, and that of the part of it in
/// which the end is then, so that it is the fields that come to an end too early.
fn cut_inside(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut cut = bytes.get(..len)?.to_vec();
    let shorten = |cut: &mut [u8], at: usize| -> Option<()> {
        let inside = cut.len().checked_sub(at + ENVELOPE)?;
        cut[at + 2..at + ENVELOPE].copy_from_slice(&u32::try_from(inside).ok()?.to_le_bytes());
        Some(())
    };
    let clients = ENVELOPE;
    let osds = clients
        + ENVELOPE
        + usize::try_from(u32::from_le_bytes(*bytes[clients + 2..].first_chunk()?)).ok()?;
    shorten(&mut cut, 0)?;
    shorten(&mut cut, if len < osds + ENVELOPE { clients } else { osds })?;
    Some(cut)
}

/// Maps from this length on take too long to be decoded as often as they have bytes.
const LONG: usize = 10_000;
/// No multiple of the size of anything.
const LONG_STEP: usize = 31;
/// Version, oldest version that understands it, length.
const ENVELOPE: usize = 1 + 1 + 4;

/// Cuts the bytes everywhere, and everywhere once more with lengths that fit.
///
/// With these everything up to the end is decoded, which takes minutes for all cuts of maps of 17 to
/// 64 kB. Such maps have nothing in them that shorter ones do not have, there is only more of it, so
/// that these are cut with lengths that fit at one place in [`LONG_STEP`].
fn assert_cuts_are_refused<T: Decode>(name: &str, bytes: &[u8]) {
    assert!(T::decode_all("whole", bytes).is_ok(), "{name}");
    for len in 0..bytes.len() {
        let cut = T::decode_all("cut", &bytes[..len]);
        assert!(cut.is_err(), "{name} cut at {len}");
        if bytes.len() >= LONG && len % LONG_STEP != 0 {
            continue;
        }
        if let Some(cut) = cut_inside(bytes, len) {
            let cut = T::decode_all("cut", &cut);
            assert!(cut.is_err(), "{name} cut inside at {len}");
        }
    }
}

#[test]
fn cut_maps_are_refused() {
    for (name, bytes, _) in maps() {
        assert_cuts_are_refused::<OsdMap>(&name, &bytes);
    }
    for cluster in ["nautilus", "pacific", "tentacle"] {
        for bytes in blobs(&format!("{cluster}.fulls")) {
            assert_cuts_are_refused::<OsdMap>(cluster, &bytes);
        }
    }
}

#[test]
fn cut_incrementals_are_refused() {
    for cluster in ["nautilus", "pacific", "tentacle"] {
        for bytes in blobs(&format!("{cluster}.incrementals")) {
            assert_cuts_are_refused::<Incremental>(cluster, &bytes);
        }
    }
}

#[test]
fn a_changed_byte_does_not_match_the_checksum() {
    let (_, mut bytes, _) = maps().remove(0);
    // A byte of the epoch, behind both envelopes and the cluster's id.
    bytes[28] ^= 1;
    let error = OsdMap::decode_all("map", &bytes).unwrap_err();
    assert!(
        matches!(error.kind, DecodeErrorKind::Checksum { .. }),
        "{error}"
    );
    let mut bytes = blobs("pacific.incrementals").remove(40).to_vec();
    // The checksum of the full map is under the other one.
    *bytes.last_mut().unwrap() ^= 1;
    let error = Incremental::decode_all("incremental", &bytes).unwrap_err();
    assert!(
        matches!(error.kind, DecodeErrorKind::Checksum { .. }),
        "{error}"
    );
}

/// Makes the checksum right again, so that damage gets as far as it can.
fn mend(bytes: &mut [u8], from_end: usize) {
    let Some(at) = bytes.len().checked_sub(from_end) else {
        return;
    };
    let crc = |seed: u32, bytes: &[u8]| !crc32c::crc32c_append(!seed, bytes);
    let sum = crc(crc(u32::MAX, &bytes[..at]), &bytes[at + 4..]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn damaged_maps_do_no_harm(
        map in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = map.get(&MAPS).1.clone();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        mend(&mut bytes, 4);
        if let Ok(map) = OsdMap::decode_all("map", &bytes) {
            for (id, pool) in map.pools() {
                for seed in 0..pool.pg_num.min(8) {
                    let _ = map.placement(PgId { pool: id, seed });
                }
            }
        }
    }

    #[test]
    fn damaged_incrementals_do_no_harm(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = which.get(&INCREMENTALS).to_vec();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        mend(&mut bytes, 8);
        if let Ok(mut incremental) = Incremental::decode_all("incremental", &bytes) {
            for map in FULLS.iter() {
                incremental.epoch = map.epoch().next();
                incremental.fsid = map.fsid();
                let _ = map.apply(&incremental);
            }
        }
    }
}

/// A map and the incremental that follows upon it.
fn neighbours() -> (OsdMap, Incremental) {
    let full = blobs("pacific.fulls").remove(9);
    let map = OsdMap::decode_all("map", &full).unwrap();
    let next = blobs("pacific.incrementals")
        .iter()
        .map(|bytes| Incremental::decode_all("incremental", bytes).unwrap())
        .find(|incremental| incremental.epoch() == map.epoch().next())
        .unwrap();
    (map, next)
}

#[test]
fn only_the_next_epoch_of_the_same_cluster_is_applied() {
    let (map, next) = neighbours();
    let after = map.apply(&next).unwrap();
    assert_eq!(after.epoch(), next.epoch());
    for wrong in [&map, &after] {
        let mut incremental = next.clone();
        incremental.epoch.0 = wrong.epoch().0 + 2;
        let error = wrong.apply(&incremental).unwrap_err();
        assert!(matches!(error, OsdMapError::Gap { .. }), "{error}");
    }
    assert!(matches!(after.apply(&next), Err(OsdMapError::Gap { .. })));
    let mut foreign = next;
    foreign.fsid.0[0] ^= 1;
    let error = map.apply(&foreign).unwrap_err();
    assert!(matches!(error, OsdMapError::OtherCluster { .. }), "{error}");
}

#[test]
fn a_full_map_inside_takes_the_place_of_everything() {
    let first = Incremental::decode_all("incremental", &blobs("pacific.incrementals")[0]).unwrap();
    let full = first.full_map().unwrap().clone();
    let mut before = full.clone();
    before.epoch.0 = 0;
    assert_eq!(before.apply(&first).unwrap(), full);
    let mut wrong = first;
    wrong.full_map.as_mut().unwrap().epoch.0 += 1;
    let error = before.apply(&wrong).unwrap_err();
    assert!(matches!(error, OsdMapError::WrongFullMap { .. }), "{error}");
}

#[test]
fn osds_beyond_the_map_are_refused() {
    let (map, next) = neighbours();
    let beyond = OsdId(i32::try_from(map.max_osd()).unwrap());
    for osd in [beyond, OsdId(-1), OsdId(i32::MAX)] {
        let with = |change: &dyn Fn(&mut Incremental)| {
            let mut incremental = next.clone();
            change(&mut incremental);
            map.apply(&incremental).unwrap_err()
        };
        for error in [
            with(&|inc| _ = inc.weights.insert(osd, 1)),
            with(&|inc| _ = inc.affinities.insert(osd, 1)),
            with(&|inc| _ = inc.states.insert(osd, crate::osdmap::OsdState::UP)),
            with(&|inc| _ = inc.up.insert(osd, EntityAddrVec::default())),
        ] {
            assert!(matches!(error, OsdMapError::NoSuchOsd { .. }), "{error}");
        }
    }
    for max_osd in [i32::MAX, i32::try_from(MAX_OSDS).unwrap() + 1] {
        let mut incremental = next.clone();
        incremental.max_osd = Some(max_osd);
        let error = map.apply(&incremental).unwrap_err();
        assert_eq!(error, OsdMapError::TooManyOsds(max_osd));
    }
}

#[test]
fn what_does_not_change_is_shared() {
    let (map, mut next) = neighbours();
    next.pools.clear();
    next.crush = None;
    next.weights.clear();
    let after = map.apply(&next).unwrap();
    for ((_, before), (_, pool)) in map.pools().zip(after.pools()) {
        assert!(std::sync::Arc::ptr_eq(before, pool));
    }
    assert!(std::sync::Arc::ptr_eq(map.crush(), after.crush()));
    assert!(std::sync::Arc::ptr_eq(&map.weights, &after.weights));
}

/// Maps of before Luminous, and without a checksum, are too old to be understood in full.
#[test]
fn old_versions_are_refused() {
    let (_, bytes, _) = maps().remove(0);
    for (at, version) in [(0, 7), (0, 6), (6, 5)] {
        let mut bytes = bytes.clone();
        bytes[at] = version;
        let error = OsdMap::decode_all("map", &bytes).unwrap_err();
        assert!(
            matches!(error.kind, DecodeErrorKind::TooOld { version: found, .. } if found == version),
            "{error}"
        );
    }
    assert!(OsdMap::decode_all("map", &Writer::encode(&0u64)).is_err());
}
