//! Maps and what is in them, field by field against what Ceph 14.2 prints of the same bytes.

use std::collections::BTreeMap;

use denc::{Decode, EntityAddr, Epoch, OsdId, PoolId, SnapId, UTime};
use serde_json::{Value, json};

use super::incremental::blobs;
use crate::dencoder::{Vector, assert_addrs, printed_time, vectors};
use crate::osdmap::{
    HObject, Incremental, ObjectLocator, OsdMap, OsdState, PgId, PgPool, PoolSnap, Release,
};

const LINES: &str = include_str!("../../../testdata/dencoder.jsonl");
const LIVE: &str = include_str!("../../../testdata/osdmap/nautilus.jsonl");

fn array(says: &Value) -> &Vec<Value> {
    says.as_array().unwrap_or_else(|| panic!("{says}"))
}

fn number(says: &Value) -> u32 {
    says.as_u64().unwrap().try_into().unwrap()
}

/// `ratio` as Ceph keeps it, 16.16 fixed point.
fn fixed(ratio: &Value) -> u32 {
    let scaled = (ratio.as_f64().unwrap() * 65_536.0).round();
    format!("{scaled}").parse().unwrap()
}

fn time(found: UTime) -> Value {
    printed_time(found).into()
}

/// Ratios are kept with less precision than they are printed with.
#[track_caller]
fn assert_ratio(found: f32, says: &Value) {
    assert!(
        (f64::from(found) - says.as_f64().unwrap()).abs() < 1e-9,
        "{found} {says}"
    );
}

fn release(says: &Value) -> Release {
    match says.as_str().unwrap() {
        "unknown" => Release(0),
        "jewel" => Release(10),
        "luminous" => Release(12),
        "mimic" => Release(13),
        "nautilus" => Release(14),
        other => panic!("{other}"),
    }
}

fn osds(found: &[OsdId]) -> Value {
    found.iter().map(|osd| osd.0).collect()
}

fn upmaps(found: &BTreeMap<PgId, Vec<OsdId>>) -> Value {
    found
        .iter()
        .map(|(pg, found)| json!({ "pgid": pg.to_string(), "osds": osds(found) }))
        .collect()
}

fn upmap_items(found: &BTreeMap<PgId, Vec<(OsdId, OsdId)>>) -> Value {
    let pair = |(from, to): &(OsdId, OsdId)| json!({ "from": from.0, "to": to.0 });
    found
        .iter()
        .map(|(pg, pairs)| {
            let pairs: Value = pairs.iter().map(pair).collect();
            json!({ "pgid": pg.to_string(), "mappings": pairs })
        })
        .collect()
}

/// Placement groups and OSDs in turns.
fn primaries(found: &BTreeMap<PgId, OsdId>) -> Value {
    let pair = |(pg, osd): (&PgId, &OsdId)| [json!(pg.to_string()), json!(osd.0)];
    found.iter().flat_map(pair).collect()
}

fn removed(found: &BTreeMap<PoolId, Vec<(SnapId, u64)>>) -> Value {
    let interval = |(begin, length): &(SnapId, u64)| json!({ "begin": begin.0, "length": length });
    found
        .iter()
        .map(|(pool, snaps)| {
            let snaps: Value = snaps.iter().map(interval).collect();
            json!({ "pool": pool.0, "snaps": snaps })
        })
        .collect()
}

fn snap((id, snap): (&SnapId, &PoolSnap)) -> Value {
    json!({ "snapid": id.0, "stamp": time(snap.created), "name": snap.name })
}

#[track_caller]
fn assert_pool(pool: &PgPool, says: &Value) {
    let epoch = |found: Epoch| found.to_string();
    let none = |found: Option<PoolId>| found.map_or(-1, |pool| pool.0);
    let cache_mode = match says["cache_mode"].as_str().unwrap() {
        "none" => 0,
        "writeback" => 1,
        other => panic!("{other}"),
    };
    let snaps: Value = pool.snaps.iter().map(snap).collect();
    let tiers: Value = pool.tiers.iter().copied().collect();
    for (key, found) in [
        ("create_time", time(pool.created)),
        ("flags", json!(pool.flags.0)),
        ("type", json!(pool.kind.0)),
        ("size", json!(pool.size)),
        ("min_size", json!(pool.min_size)),
        ("crush_rule", json!(pool.crush_rule)),
        ("object_hash", json!(pool.object_hash.0)),
        ("pg_num", json!(pool.pg_num)),
        ("pg_placement_num", json!(pool.pgp_num)),
        ("pg_num_target", json!(pool.pg_num_target)),
        ("pg_num_pending", json!(pool.pg_num_pending)),
        ("last_change", json!(epoch(pool.last_change))),
        (
            "last_force_op_resend",
            json!(epoch(pool.last_force_op_resend)),
        ),
        (
            "last_force_op_resend_prenautilus",
            json!(epoch(pool.last_force_op_resend_prenautilus)),
        ),
        (
            "last_force_op_resend_preluminous",
            json!(epoch(pool.last_force_op_resend_preluminous)),
        ),
        ("snap_seq", json!(pool.snap_seq.0)),
        ("snap_epoch", json!(pool.snap_epoch.0)),
        ("pool_snaps", snaps),
        ("quota_max_bytes", json!(pool.quota_max_bytes)),
        ("quota_max_objects", json!(pool.quota_max_objects)),
        ("tiers", tiers),
        ("tier_of", json!(none(pool.tier_of))),
        ("read_tier", json!(none(pool.read_tier))),
        ("write_tier", json!(none(pool.write_tier))),
        ("erasure_code_profile", json!(pool.erasure_code_profile)),
        ("stripe_width", json!(pool.stripe_width_bytes)),
        ("application_metadata", json!(pool.application_metadata)),
    ] {
        assert_eq!(found, says[key], "{key}");
    }
    assert_eq!(pool.cache_mode, cache_mode);
    assert_eq!(pool.nonprimary_shards, 0);
}

#[track_caller]
fn assert_map(map: &OsdMap, says: &Value) {
    for (key, found) in [
        ("epoch", json!(map.epoch.0)),
        ("fsid", json!(map.fsid.to_string())),
        ("created", time(map.created)),
        ("modified", time(map.modified)),
        ("last_up_change", time(map.last_up_change)),
        ("last_in_change", time(map.last_in_change)),
        ("flags_num", json!(map.flags.0)),
        ("crush_version", json!(map.crush_version)),
        ("pool_max", json!(map.pool_max)),
        ("max_osd", json!(map.max_osd())),
        ("pg_upmap", upmaps(&map.pg_upmap)),
        ("pg_upmap_items", upmap_items(&map.pg_upmap_items)),
        ("pg_temp", upmaps(&map.pg_temp)),
        ("erasure_code_profiles", json!(*map.erasure_code_profiles)),
        ("new_removed_snaps", removed(&map.new_removed_snaps)),
    ] {
        assert_eq!(found, says[key], "{key}");
    }
    assert_ratio(map.ratios.full, &says["full_ratio"]);
    assert_ratio(map.ratios.backfillfull, &says["backfillfull_ratio"]);
    assert_ratio(map.ratios.nearfull, &says["nearfull_ratio"]);
    let compat = release(&says["require_min_compat_client"]);
    assert_eq!(map.require_min_compat_client, compat);
    assert_eq!(
        map.require_osd_release,
        release(&says["require_osd_release"])
    );

    let pools = array(&says["pools"]);
    assert_eq!(map.pools.len(), pools.len());
    for pool in pools {
        let id = PoolId(pool["pool"].as_i64().unwrap());
        assert_eq!(map.pool_name(id).unwrap_or("<unknown>"), pool["pool_name"]);
        assert_pool(map.pool(id).unwrap(), pool);
    }
    assert_osds(map, says);

    assert_eq!(primaries(&map.primary_temp), says["primary_temp"]);

    let blocked: Value = map
        .blocklist
        .addrs
        .iter()
        .map(|(addr, until)| (addr.to_string(), time(*until)))
        .collect();
    assert_eq!(blocked, says["blacklist"]);
}

#[track_caller]
fn assert_osds(map: &OsdMap, says: &Value) {
    let exist = (0..).map(OsdId).take(map.max_osd());
    let exist: Value = exist
        .filter(|osd| map.osd_exists(*osd))
        .map(|osd| osd.0)
        .collect();
    let listed: Value = array(&says["osds"])
        .iter()
        .map(|osd| osd["osd"].clone())
        .collect();
    assert_eq!(exist, listed);
    for osd in array(&says["osds"]) {
        let id = OsdId(number(&osd["osd"]).cast_signed());
        assert_eq!(u8::from(map.osd_is_up(id)), osd["up"]);
        assert_eq!(map.osd_weight(id), Some(fixed(&osd["weight"])));
        assert_eq!(map.primary_affinity(id), fixed(&osd["primary_affinity"]));
        let has = |name: &str| array(&osd["state"]).iter().any(|state| state == name);
        let state = map.osd_state(id);
        for (flag, name) in [
            (OsdState::EXISTS, "exists"),
            (OsdState::UP, "up"),
            (OsdState::AUTOOUT, "autoout"),
            (OsdState::NEW, "new"),
        ] {
            assert_eq!(state.contains(flag), has(name), "{name} of {osd}");
        }
        match map.osd_addrs(id) {
            Some(addrs) => assert_addrs(addrs, &osd["public_addrs"]),
            // Blank ones are not kept.
            None => assert_eq!(osd["public_addr"], ":/0"),
        }
    }
}

#[track_caller]
fn assert_incremental(found: &Incremental, says: &Value) {
    let flags = found.flags.map_or(-1, |flags| i64::from(flags.0));
    let pools: Value = found.old_pools.iter().map(|pool| pool.0).collect();
    let pgs = |pgs: &std::collections::BTreeSet<PgId>| -> Value {
        pgs.iter().map(ToString::to_string).collect()
    };
    let profiles: Value = found.old_erasure_code_profiles.iter().cloned().collect();
    let release = |release: Option<Release>| release.map_or(-1, |release| i64::from(release.0));
    for (key, value) in [
        ("epoch", json!(found.epoch.0)),
        ("fsid", json!(found.fsid.to_string())),
        ("modified", time(found.modified)),
        ("new_last_up_change", time(found.last_up_change)),
        ("new_last_in_change", time(found.last_in_change)),
        ("new_pool_max", json!(found.pool_max.unwrap_or(-1))),
        ("new_flags", json!(flags)),
        ("new_max_osd", json!(found.max_osd.unwrap_or(-1))),
        (
            "new_require_min_compat_client",
            json!(release(found.require_min_compat_client)),
        ),
        (
            "new_require_osd_release",
            json!(release(found.require_osd_release)),
        ),
        ("old_pools", pools),
        ("new_pg_temp", upmaps(&found.pg_temp)),
        ("primary_temp", primaries(&found.primary_temp)),
        ("new_pg_upmap", upmaps(&found.pg_upmap)),
        ("old_pg_upmap", pgs(&found.old_pg_upmap)),
        ("new_pg_upmap_items", upmap_items(&found.pg_upmap_items)),
        ("old_pg_upmap_items", pgs(&found.old_pg_upmap_items)),
        ("erasure_code_profiles", json!(found.erasure_code_profiles)),
        ("old_erasure_code_profiles", profiles),
        ("new_removed_snaps", removed(&found.removed_snaps)),
    ] {
        assert_eq!(value, says[key], "{key}");
    }
    assert_ratio(found.full_ratio, &says["new_full_ratio"]);
    assert_ratio(found.nearfull_ratio, &says["new_nearfull_ratio"]);
    assert_ratio(found.backfillfull_ratio, &says["new_backfillfull_ratio"]);
    assert_eq!(found.full_map.is_some(), says.get("full_map").is_some());
    if let Some(map) = found.full_map() {
        assert_map(map, &says["full_map"]);
    }
    assert_eq!(found.crush.is_some(), says.get("crush").is_some());
    if let Some(crush) = &found.crush {
        assert_eq!(
            crush.buckets().count(),
            array(&says["crush"]["buckets"]).len()
        );
    }
    let says_pools = array(&says["new_pools"]);
    assert_eq!(found.pools.len(), says_pools.len());
    for ((id, pool), says) in found.pools.iter().zip(says_pools) {
        assert_eq!(id.0, says["pool"]);
        assert_pool(pool, says);
    }
    let names: Value = found
        .pool_names
        .iter()
        .map(|(id, name)| json!({ "pool": id.0, "name": name }))
        .collect();
    assert_eq!(names, says["new_pool_names"]);
    let up = array(&says["new_up_osds"]);
    assert_eq!(found.up.len(), up.len());
    for ((osd, addrs), says) in found.up.iter().zip(up) {
        assert_eq!(osd.0, says["osd"]);
        assert_addrs(addrs, &says["public_addrs"]);
    }
    let weights: Vec<_> = array(&says["new_weight"])
        .iter()
        .map(|says| (number(&says["osd"]).cast_signed(), number(&says["weight"])))
        .collect();
    let found_weights: Vec<_> = found
        .weights
        .iter()
        .map(|(osd, weight)| (osd.0, *weight))
        .collect();
    assert_eq!(found_weights, weights);
    let states: Vec<_> = array(&says["osd_state_xor"])
        .iter()
        .map(|says| {
            (
                number(&says["osd"]).cast_signed(),
                array(&says["state_xor"]).clone(),
            )
        })
        .collect();
    assert_eq!(found.states.len(), states.len());
    for ((osd, toggled), (id, names)) in found.states.iter().zip(states) {
        assert_eq!(osd.0, id);
        for (flag, name) in [
            (OsdState::EXISTS, "exists"),
            (OsdState::UP, "up"),
            (OsdState::NEW, "new"),
        ] {
            assert_eq!(
                toggled.contains(flag),
                names.contains(&json!(name)),
                "{name}"
            );
        }
    }
    // Only the times are printed of those that come, and only the addresses of those that go.
    let until: Value = found.blocklist.values().map(|until| time(*until)).collect();
    assert_eq!(until, says["new_blacklist"]);
    let gone: Value = found
        .old_blocklist
        .iter()
        .map(EntityAddr::to_string)
        .collect();
    assert_eq!(gone, says["old_blacklist"]);
}

/// Whether these bytes are for clients before Luminous, and refused as too old.
fn is_too_old<T: Decode>(vector: &Vector) -> bool {
    let result = T::decode_all("map", &vector.bytes);
    let too_old = result
        .err()
        .is_some_and(|error| matches!(error.kind, denc::DecodeErrorKind::TooOld { .. }));
    assert_eq!(too_old, vector.release == "jewel", "{}", vector.label);
    too_old
}

#[test]
fn maps_for_clients_of_each_release_say_what_ceph_reads() {
    let mut versions = BTreeMap::new();
    for vector in vectors(LINES, "OSDMap") {
        if !is_too_old::<OsdMap>(&vector) {
            println!("{}", vector.label);
            assert_map(&vector.decode(), &vector.says);
            *versions.entry(vector.bytes[6]).or_insert(0) += 1;
        }
    }
    assert_eq!(versions, BTreeMap::from([(6, 3), (7, 3), (9, 3)]));
}

#[test]
fn incrementals_for_clients_of_each_release_say_what_ceph_reads() {
    let mut versions = Vec::new();
    for vector in vectors(LINES, "OSDMap::Incremental") {
        if !is_too_old::<Incremental>(&vector) {
            println!("{}", vector.label);
            assert_incremental(&vector.decode(), &vector.says);
            versions.push(vector.bytes[6]);
        }
    }
    assert_eq!(versions, [8, 6, 5]);
}

#[test]
fn maps_of_a_cluster_that_is_upgraded_say_what_ceph_reads() {
    let mut versions = BTreeMap::new();
    let says = vectors(LIVE, "OSDMap");
    let maps = blobs("nautilus.fulls");
    assert_eq!(maps.len(), says.len());
    for (bytes, says) in maps.iter().zip(says) {
        println!("{}", says.label);
        assert_map(&OsdMap::decode_all("map", bytes).unwrap(), &says.says);
        *versions.entry(bytes[6]).or_insert(0) += 1;
    }
    assert!(versions.into_keys().eq([6, 7, 9]));
}

#[test]
fn incrementals_of_a_cluster_that_is_upgraded_say_what_ceph_reads() {
    let mut versions = BTreeMap::new();
    let says = vectors(LIVE, "OSDMap::Incremental");
    let incrementals = blobs("nautilus.incrementals");
    assert_eq!(incrementals.len(), says.len());
    for (bytes, says) in incrementals.iter().zip(says) {
        println!("{}", says.label);
        let incremental = Incremental::decode_all("incremental", bytes).unwrap();
        assert_incremental(&incremental, &says.says);
        *versions.entry(bytes[6]).or_insert(0) += 1;
    }
    assert!(versions.into_keys().eq([5, 6, 8]));
}

#[test]
fn pools_for_clients_of_each_release_say_what_ceph_reads() {
    let mut versions = BTreeMap::new();
    for vector in vectors(LINES, "pg_pool_t") {
        println!("{}", vector.label);
        assert_pool(&vector.decode_enveloped(), &vector.says);
        *versions.entry(vector.bytes[0]).or_insert(0) += 1;
    }
    assert_eq!(
        versions,
        BTreeMap::from([(24, 4), (26, 4), (27, 4), (29, 4)])
    );
}

#[test]
fn objects_are_what_ceph_reads() {
    for vector in vectors(LINES, "hobject_t") {
        let object: HObject = vector.decode_enveloped();
        let found = json!({
            "oid": object.name,
            "key": object.key,
            "snapid": object.snap.0.cast_signed(),
            "hash": object.hash,
            "max": u8::from(object.max),
            "pool": object.pool.0,
            "namespace": object.namespace,
        });
        assert_eq!(found, vector.says, "{}", vector.label);
        assert_eq!(denc::Writer::encode(&object)[..], vector.bytes);
    }
}

#[test]
fn placement_groups_and_locators_are_what_ceph_reads() {
    for vector in vectors(LINES, "pg_t") {
        let pg: PgId = vector.decode();
        assert_eq!(json!({ "pool": pg.pool.0, "seed": pg.seed }), vector.says);
        assert_eq!(denc::Writer::encode(&pg)[..], vector.bytes);
    }
    for vector in vectors(LINES, "object_locator_t") {
        let locator: ObjectLocator = vector.decode_enveloped();
        assert_eq!(printed_locator(&locator), vector.says);
        assert_eq!(denc::Writer::encode(&locator)[..], vector.bytes);
    }
}

/// As Ceph prints it.
pub(crate) fn printed_locator(locator: &ObjectLocator) -> Value {
    json!({
        "pool": locator.pool.0,
        "key": locator.key,
        "namespace": locator.namespace,
        "hash": locator.hash.map_or(-1, i64::from),
    })
}
