//! From an object's name to its OSDs, beside hashing the name: what is remembered must not cost more
//! where there are more OSDs.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use denc::Decode;
use rados::osdmap::{ObjectHash, ObjectLocator, OsdMap, PgId, PlacementCache};

use crate::map_bytes::{POOL, Shape, TEN_THOUSAND, THREE};
use crate::subject::{Cost, Subject};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "placement");
    let names = names();
    let mut next = names.iter().cycle();
    let hash = subject.cost("rjenkins", None, || {
        next.next()
            .and_then(|name| ObjectHash::RJENKINS.hash(black_box(name.as_bytes())))
    });
    let [few, many] = [THREE, TEN_THOUSAND].map(|shape| of_cluster(&mut subject, shape, hash));
    subject.beside(
        "of 10000 OSDs, remembered",
        many,
        "of 3; at most x1.15",
        few,
    );
    subject.finish();
}

/// Measures both ways in a cluster; gives the cost of a placement that is remembered.
fn of_cluster(subject: &mut Subject<'_>, shape: Shape, hash: Cost) -> Cost {
    let osds = shape.osds();
    let map = Arc::new(OsdMap::decode_all("map", &shape.full_map()).unwrap());
    let cache = PlacementCache::new(Arc::clone(&map));
    let locator = ObjectLocator::new(POOL);
    let names = names();
    for name in &names {
        let pg = map.object_pg(name, &locator).unwrap();
        let placed = map.placement(pg);
        let (_, target) = cache.locate(name, &locator).unwrap();
        assert_eq!(
            (placed.acting.len(), placed.acting_primary),
            (3, target.primary)
        );
    }
    let mut next = names.iter().cycle();
    let computed = subject.cost(&format!("computed, {osds} OSDs"), None, || {
        let name = black_box(next.next()?);
        let seed = map.object_hash(name, &locator)?;
        Some(map.placement(PgId { pool: POOL, seed }))
    });
    let mut next = names.iter().cycle();
    let remembered = subject.cost(&format!("remembered, {osds} OSDs"), None, || {
        cache.locate(black_box(next.next()?), &locator)
    });
    subject.beside(
        &format!("computed, {osds} OSDs"),
        computed,
        "one hash",
        hash,
    );
    subject.beside(
        &format!("remembered, {osds} OSDs"),
        remembered,
        "one hash",
        hash,
    );
    remembered
}

/// Of the objects of an image that are in use at the time.
fn names() -> Vec<String> {
    (0..1000)
        .map(|object| format!("rbd_data.1020de14bd1.{object:016x}"))
        .collect()
}
