//! Incrementals of a live cluster lead from one full map of it to the next.

use std::fs;

use bytes::Bytes;
use denc::Decode;

use super::placement::testdata;
use crate::osdmap::{Incremental, OsdMap, PgId};

/// The maps in a file: a count, then each as a blob.
pub(super) fn blobs(file: &str) -> Vec<Bytes> {
    let bytes = fs::read(testdata().join(file)).unwrap();
    Vec::decode_all("blobs", &bytes).unwrap()
}

/// Goes through all epochs of a cluster and gives how many were compared with full maps.
fn follow(cluster: &str) -> usize {
    let full = |bytes: &Bytes| OsdMap::decode_all("full map", bytes).unwrap();
    let mut fulls = blobs(&format!("{cluster}.fulls"))
        .iter()
        .map(full)
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    let mut map = fulls.next().unwrap();
    let mut compared = 0;
    for bytes in blobs(&format!("{cluster}.incrementals")) {
        let incremental = Incremental::decode_all("incremental", &bytes).unwrap();
        if incremental.epoch() <= map.epoch() {
            continue;
        }
        map = map.apply(&incremental).unwrap();
        if let Some(full) = fulls.next_if(|full| full.epoch() == map.epoch()) {
            assert_eq!(map, full, "{cluster} epoch {}", map.epoch());
            for (id, pool) in full.pools() {
                for seed in 0..pool.pg_num {
                    let pg = PgId { pool: id, seed };
                    assert_eq!(map.placement(pg), full.placement(pg), "{pg}");
                }
            }
            compared += 1;
        }
    }
    assert!(fulls.next().is_none(), "full maps that no epoch led to");
    println!(
        "{compared} full maps of {cluster} reached, up to epoch {}",
        map.epoch()
    );
    compared
}

/// The cluster is told twice that all OSDs are newer now, upon which the encoding changes.
#[test]
fn incrementals_lead_to_the_full_maps_of_nautilus() {
    assert!(follow("nautilus") > 20);
}

#[test]
fn incrementals_lead_to_the_full_maps_of_pacific() {
    assert!(follow("pacific") > 15);
}

#[test]
fn incrementals_lead_to_the_full_maps_of_tentacle() {
    assert!(follow("tentacle") > 10);
}
