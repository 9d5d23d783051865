//! Every placement group is where `osdmaptool` says it is.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use denc::{Decode, OsdId, PoolId};

use crate::osdmap::{OsdMap, OsdSet, PgId};

pub(super) fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/osdmap")
}

/// As `osdmaptool --test-map-pgs-dump-all` prints OSDs.
fn printed(osds: &OsdSet, primary: Option<OsdId>) -> String {
    let mut text = "([".to_owned();
    for (index, osd) in osds.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let osd = osd.map_or(crush::Item::NONE.0, |osd| osd.0);
        write!(text, "{comma}{osd}").unwrap();
    }
    let primary = primary.map_or(-1, |osd| osd.0);
    write!(text, "], p{primary})").unwrap();
    text
}

#[test]
fn placement_groups_are_where_osdmaptool_says() {
    let mut maps = 0;
    let mut pgs = 0;
    for entry in fs::read_dir(testdata()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pgs") {
            continue;
        }
        let bytes = fs::read(path.with_extension("osdmap")).unwrap();
        let map = OsdMap::decode_all("map", &bytes).unwrap();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let (pg, rest) = line.split_once(" raw ").unwrap();
            let (_, expected) = rest.split_once(" up ").unwrap();
            let (pool, seed) = pg.split_once('.').unwrap();
            let pg = PgId {
                pool: PoolId(pool.parse().unwrap()),
                seed: u32::from_str_radix(seed, 16).unwrap(),
            };
            let found = map.placement(pg);
            let found = format!(
                "{} acting {}",
                printed(&found.up, found.up_primary),
                printed(&found.acting, found.acting_primary)
            );
            assert_eq!(found, expected, "{pg} in {}", path.display());
            pgs += 1;
        }
        maps += 1;
    }
    println!("{pgs} placement groups of {maps} maps compared");
}
