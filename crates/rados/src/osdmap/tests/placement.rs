//! Every placement group is where `osdmaptool` says it is.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use denc::{Decode, OsdId, PoolId};

use crate::osdmap::{OsdMap, OsdSet, PgId, Placement, PlacementCache, ShardId};

pub(super) fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/osdmap")
}

/// The maps with known placements: their names, bytes and placements.
pub(super) fn maps() -> Vec<(String, Vec<u8>, String)> {
    let mut maps: Vec<_> = fs::read_dir(testdata())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pgs"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let map = fs::read(path.with_extension("osdmap")).unwrap();
            (name, map, fs::read_to_string(&path).unwrap())
        })
        .collect();
    maps.sort();
    maps
}

fn pg(text: &str) -> PgId {
    let (pool, seed) = text.split_once('.').unwrap();
    PgId {
        pool: PoolId(pool.parse().unwrap()),
        seed: u32::from_str_radix(seed, 16).unwrap(),
    }
}

/// As in the files: `UP PRIMARY [ACTING PRIMARY]`.
fn printed(placement: &Placement) -> String {
    let set = |osds: &OsdSet, primary: Option<OsdId>| {
        let mut text = String::new();
        for (index, osd) in osds.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let osd = osd.map_or(crush::Item::NONE.0, |osd| osd.0);
            write!(text, "{comma}{osd}").unwrap();
        }
        format!("{text} {}", primary.map_or(-1, |osd| osd.0))
    };
    let up = set(&placement.up, placement.up_primary);
    let acting = set(&placement.acting, placement.acting_primary);
    if up == acting {
        up
    } else {
        format!("{up} {acting}")
    }
}

#[test]
fn placement_groups_are_where_osdmaptool_says() {
    let (mut pgs, mut temporary, mut holes) = (0, 0, 0);
    let maps = maps();
    for (name, bytes, expected) in &maps {
        let map = OsdMap::decode_all("map", bytes).unwrap();
        let mut listed = 0;
        for line in expected.lines() {
            let (text, osds) = line.split_once(' ').unwrap();
            let found = map.placement(pg(text));
            assert_eq!(printed(&found), osds, "{text} in {name}");
            listed += 1;
            temporary += usize::from(found.up != found.acting);
            holes += usize::from(found.up.contains(&None));
        }
        let all: u32 = map.pools().map(|(_, pool)| pool.pg_num).sum();
        assert_eq!(listed, all, "{name}");
        pgs += listed;
    }
    println!("{pgs} placement groups of {} maps compared", maps.len());
    println!("{temporary} of them are temporarily elsewhere, {holes} have holes");
    assert!(maps.len() >= 25 && pgs >= 12_500 && temporary > 500 && holes > 500);
}

#[test]
fn the_cache_says_what_the_map_says() {
    for (name, bytes, _) in maps() {
        let map = Arc::new(OsdMap::decode_all("map", &bytes).unwrap());
        let cache = PlacementCache::new(Arc::clone(&map));
        for (id, pool) in map.pools() {
            // The second time the answer is remembered, and a whole hash is reduced first.
            for hash in (0..pool.pg_num).chain((0..pool.pg_num).map(|seed| seed | 0xabcd_0000)) {
                let pg = PgId {
                    pool: id,
                    seed: hash,
                };
                let target = cache.target(pg).unwrap();
                let placement = map.placement(pg);
                assert_eq!(target.pg.pg.seed, pool.seed_of_hash(hash));
                assert_eq!(target.primary, placement.acting_primary, "{pg} in {name}");
                assert_eq!(target.pg, placement.sharded(target.pg.pg));
                let primary = target
                    .primary
                    .filter(|osd| placement.acting.contains(&Some(*osd)));
                match (pool.is_erasure(), primary) {
                    (true, Some(primary)) => {
                        let shard = usize::try_from(target.pg.shard.0).unwrap();
                        assert_eq!(placement.acting[shard], Some(primary));
                    }
                    _ => assert_eq!(target.pg.shard, ShardId::NONE),
                }
            }
        }
        let nowhere = PgId {
            pool: PoolId(4711),
            seed: 0,
        };
        assert_eq!(cache.target(nowhere), None);
    }
}
