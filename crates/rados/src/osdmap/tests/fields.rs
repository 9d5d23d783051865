//! What maps say, against `osdmaptool --print` and `--test-map-object`.

use denc::{Decode, Epoch, OsdId, PoolId, SnapId};

use super::incremental::blobs;
use super::placement::maps;
use crate::osdmap::{
    Incremental, MapFlags, ObjectLocator, OsdMap, OsdState, PoolFlags, PoolType, Release,
};

fn map(wanted: &str) -> OsdMap {
    let maps = maps();
    let (_, bytes, _) = maps.iter().find(|(name, ..)| name == wanted).unwrap();
    OsdMap::decode_all("map", bytes).unwrap()
}

#[test]
fn a_map_of_pacific_says_what_is_printed() {
    let map = map("pacific-112");
    assert_eq!(map.epoch(), Epoch(112));
    assert_eq!(
        map.fsid().to_string(),
        "11111111-2222-3333-4444-555555517100"
    );
    assert_eq!(map.created().seconds, 1_795_381_887);
    assert_eq!(map.modified().seconds, 1_795_382_130);
    let expected = MapFlags::SORTBITWISE | MapFlags::RECOVERY_DELETES | MapFlags::PGLOG_HARDLIMIT;
    assert!(map.flags().contains(expected));
    assert!(!map.flags().contains(MapFlags::PAUSERD));
    assert_eq!(map.crush_version(), 20);
    let ratios = map.full_ratios();
    assert_eq!(
        (ratios.nearfull, ratios.backfillfull, ratios.full),
        (0.8, 0.91, 0.97)
    );
    assert_eq!(map.require_min_compat_client(), Release(16));
    assert_eq!(map.require_osd_release(), Release(16));
    assert_eq!(map.max_osd(), 7);

    let pools: Vec<_> = map.pools().map(|(id, _)| id.0).collect();
    assert_eq!(pools, [2, 3, 5]);
    assert_eq!(map.pool_by_name("broad"), Some(PoolId(2)));
    assert_eq!(map.pool_by_name("wide"), None);
    assert_eq!(map.pool_name(PoolId(3)), Some("ec"));
    let broad = map.pool(PoolId(2)).unwrap();
    assert_eq!((broad.size, broad.min_size), (3, 2));
    assert_eq!((broad.pg_num, broad.pgp_num), (24, 24));
    assert_eq!(broad.last_change, Epoch(34));
    assert_eq!(broad.quota_max_bytes, 1_000_000_000);
    assert_eq!(broad.flags, PoolFlags::HASHPSPOOL | PoolFlags::POOL_SNAPS);
    let snap = &broad.snaps[&SnapId(2)];
    assert_eq!(snap.name, "snap2");
    assert_eq!(snap.created.seconds, 1_795_381_955);
    let ec = map.pool(PoolId(3)).unwrap();
    assert_eq!(ec.kind, PoolType::ERASURE);
    assert_eq!((ec.crush_rule, ec.stripe_width_bytes), (1, 8192));
    assert_eq!(ec.erasure_code_profile, "k2m1");
    assert_eq!(map.erasure_code_profile("k2m1").unwrap()["k"], "2");
    assert!(map.erasure_code_profile("gone").is_none());
    let rep = map.pool(PoolId(5)).unwrap();
    assert!(rep.flags.contains(PoolFlags::SELFMANAGED_SNAPS));

    assert!(map.osd_is_up(OsdId(0)));
    assert!(map.osd_exists(OsdId(1)) && !map.osd_is_up(OsdId(1)));
    assert_eq!(map.osd_state(OsdId(4)), OsdState::EXISTS | OsdState::NEW);
    assert!(!map.osd_exists(OsdId(5)) && !map.osd_exists(OsdId(-1)));
    assert_eq!(
        map.osd_addrs(OsdId(1)).unwrap().to_string(),
        "[v2:127.0.0.1:17118/6796,v1:127.0.0.1:17119/6796]"
    );
    assert_eq!(map.osd_addrs(OsdId(4)), None);
    assert_eq!(map.osd_weight(OsdId(3)).unwrap() * 1000 / 0x1_0000, 599);
    assert_eq!(map.osd_weight(OsdId(7)), None);
    assert_eq!(map.primary_affinity(OsdId(2)), 0);
    assert_eq!(map.primary_affinity(OsdId(3)), 0x8000);
    assert_eq!(map.primary_affinity(OsdId(0)), 0x1_0000);

    let blocked: Vec<_> = map
        .blocklist()
        .addrs()
        .map(|(addr, until)| (addr.to_string(), until.seconds))
        .collect();
    // It was added again, for longer, without effect.
    assert!(blocked.contains(&("10.1.2.3:0/77".to_owned(), 1_795_385_591)));
    assert_eq!(blocked.len(), 2);
    assert!(map.blocklist().contains(&"[fd00::1]:0/5".parse().unwrap()));
}

#[test]
fn a_map_of_tentacle_has_what_is_new() {
    let map = map("tentacle-070");
    let ec = map.pool(PoolId(2)).unwrap();
    let expected = PoolFlags::HASHPSPOOL | PoolFlags::EC_OPTIMIZATIONS;
    assert_eq!(ec.flags, expected);
    // Of two data shards and one for parity, the second data shard.
    assert_eq!(ec.nonprimary_shards, 1 << 1);
    assert_eq!(map.require_osd_release(), Release(20));
    assert_eq!(map.pg_upmap_primaries.len(), 5);
    assert_eq!(map.blocklist().ranges().count(), 1);
    assert!(map.blocklist().contains(&"[fd00::77]:0/5".parse().unwrap()));
    assert!(!map.blocklist().contains(&"[fd01::1]:0/5".parse().unwrap()));
    let rep = map.pool(PoolId(1)).unwrap();
    assert!(rep.application_metadata.contains_key("rbd"));
}

#[test]
fn the_quota_of_objects_is_read() {
    let map = map("pacific-062");
    let rep = map.pool(PoolId(1)).unwrap();
    assert_eq!((rep.quota_max_objects, rep.quota_max_bytes), (1000, 0));
    assert_eq!(rep.min_size, 1);
}

#[test]
fn removed_snapshots_are_those_of_their_epoch() {
    let removed: Vec<_> = blobs("pacific.incrementals")
        .iter()
        .map(|bytes| Incremental::decode_all("incremental", bytes).unwrap())
        .flat_map(|incremental| incremental.removed_snaps().clone())
        .collect();
    assert!(
        removed.contains(&(PoolId(5), vec![(SnapId(2), 1)])),
        "{removed:?}"
    );
}

#[test]
fn objects_are_in_the_placement_groups_that_osdmaptool_says() {
    for (name, pool, objects) in [
        (
            "pacific-112",
            2,
            [
                ("rbd_directory", 0xc),
                ("obj", 0x1),
                ("rbd_data.1020de14bd1.0000000000000000", 0xe),
                ("a", 0x8),
                ("ab", 0x1),
                ("abcdefghijk", 0xc),
                ("abcdefghijkl", 0x5),
                ("abcdefghijklm", 0x11),
            ],
        ),
        (
            "straw2-jewel",
            3,
            [
                ("rbd_directory", 0x1c),
                ("obj", 0x21),
                ("rbd_data.1020de14bd1.0000000000000000", 0x3e),
                ("a", 0x18),
                ("ab", 0x41),
                ("abcdefghijk", 0x4c),
                ("abcdefghijkl", 0x25),
                ("abcdefghijklm", 0x31),
            ],
        ),
    ] {
        let map = map(name);
        let locator = ObjectLocator::new(PoolId(pool));
        for (object, seed) in objects {
            let pg = map.object_pg(object, &locator).unwrap();
            assert_eq!((pg.pool, pg.seed), (PoolId(pool), seed), "{object}");
        }
    }
}

#[test]
fn key_and_hash_decide_before_the_name() {
    let map = map("pacific-112");
    let mut locator = ObjectLocator::new(PoolId(2));
    let hash = |name: &str, locator: &ObjectLocator| map.object_hash(name, locator);
    let by_name = hash("obj", &locator);
    locator.key = "obj".to_owned();
    assert_eq!(hash("other", &locator), by_name);
    locator.namespace = "ns".to_owned();
    assert_ne!(hash("other", &locator), by_name);
    locator.hash = Some(7);
    assert_eq!(hash("other", &locator), Some(7));
    locator.pool = PoolId(4711);
    assert_eq!(hash("other", &locator), None);
}

/// Against `ceph osd map broad NAME NAMESPACE`.
#[test]
fn namespaces_are_hashed_with_the_name() {
    let map = map("pacific-112");
    for (namespace, name, hash) in [
        ("", "obj", 0xaabc_5e21),
        ("", "rbd_directory", 0x30a9_8c1c),
        ("ns", "obj", 0x4df6_7843),
        ("ns", "rbd_directory", 0x119e_f2ee),
        ("a longer namespace", "obj", 0x8873_cbe0),
        ("a longer namespace", "rbd_directory", 0x6ebb_1607),
    ] {
        let mut locator = ObjectLocator::new(PoolId(2));
        locator.namespace = namespace.to_owned();
        assert_eq!(
            map.object_hash(name, &locator),
            Some(hash),
            "{namespace}/{name}"
        );
    }
}
