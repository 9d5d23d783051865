//! Object maps that upstream keeps, and what is told by them.

use minicluster::Release;
use rados::Pool;
use rbd::{Flags, Image, ObjectMapCheck, OpenOptions, SnapshotSelector};
use serde_json::Value;

use crate::changes::Changes;
use crate::support::*;

/// What upstream's `rbd` writes, 4 KiB at a time so that objects are partly filled, with discards by
/// shrinking, snapshots in between.
fn write_by_upstream(name: &str, features: &str, stripes: &[&str]) {
    let spec = format!("rbd/{name}");
    let create = ["create", "--size", "44M", "--image-feature", features];
    rbd(&[&create, stripes, &[&spec]].concat());
    let bench = |offset: u64, len: u64| {
        let patches: Vec<u8> = Random::new(offset).bytes(len).to_vec();
        let (_dir, path) = file(&diff_stream(offset, &patches));
        rbd(&[
            "import-diff",
            "--no-progress",
            path.to_str().unwrap(),
            &spec,
        ]);
    };
    bench(0, 5 << 20);
    bench(13 << 20, 70_000);
    bench((20 << 20) + 12_345, 9 << 20);
    rbd(&["snap", "create", &format!("{spec}@one")]);
    bench((1 << 20) + 17, 100_000);
    bench(36 << 20, 8 << 20);
    rbd(&["snap", "create", &format!("{spec}@two")]);
    rbd(&["snap", "create", &format!("{spec}@three")]);
    resize(&spec, "22M");
    bench(2 << 20, 4096);
    rbd(&["snap", "create", &format!("{spec}@four")]);
    resize(&spec, "50M");
    bench(46 << 20, 1 << 20);
    bench(22 << 20, 5000);
}

fn resize(spec: &str, size: &str) {
    rbd(&[
        "resize",
        "--no-progress",
        "--allow-shrink",
        "--size",
        size,
        spec,
    ]);
}

/// A stream for `rbd import-diff` that writes these bytes.
fn diff_stream(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut stream = b"rbd diff v1\nw".to_vec();
    stream.extend(offset.to_le_bytes());
    stream.extend((bytes.len() as u64).to_le_bytes());
    stream.extend(bytes);
    stream.push(b'e');
    stream
}

const VARIANTS: [(&str, &str, &[&str]); 4] = [
    ("kept-fast", "exclusive-lock,object-map,fast-diff", &[]),
    (
        "kept-striped",
        "exclusive-lock,object-map,fast-diff",
        &["--stripe-unit", "64K", "--stripe-count", "5"],
    ),
    ("kept-map", "exclusive-lock", &[]),
    (
        "kept-small",
        "exclusive-lock,object-map,fast-diff",
        &["--object-size", "64K"],
    ),
];

async fn open_at(pool: &Pool, name: &str, snap: Option<&str>) -> Image {
    let options = OpenOptions {
        snap: snap.map(|snap| SnapshotSelector::Name(snap.to_string())),
        ..OpenOptions::default()
    };
    Image::open(pool, name, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_those_that_upstream_tells() {
    let pool = pool().await;
    for (name, features, stripes) in VARIANTS {
        blocking(|| write_by_upstream(name, features, stripes));
        let snaps = ["one", "two", "three", "four"];
        for to in 0..=snaps.len() {
            let at = snaps.get(to).copied();
            let image = open_at(&pool, name, at).await;
            let spec = at.map_or_else(|| format!("rbd/{name}"), |at| format!("rbd/{name}@{at}"));
            for from in std::iter::once(None).chain(snaps.iter().take(to).copied().map(Some)) {
                for whole_object in [false, true] {
                    let changes = Changes { from, whole_object };
                    changes.assert_told(&image, &spec).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_what_upstream_tells() {
    let pool = pool().await;
    for (name, features, stripes) in VARIANTS {
        let name = name.replace("kept", "used");
        blocking(|| write_by_upstream(&name, features, stripes));
        let image = open(&pool, &name).await;
        for exact in [false, true] {
            let mut args = vec!["du", "rbd", "--image", &name];
            if exact {
                args.push("--exact");
            }
            let told = rbd_json(&args);
            let told: Vec<_> = told["images"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| {
                    (
                        row["snapshot"].as_str().map(ToString::to_string),
                        row["provisioned_size"].as_u64().unwrap(),
                        row["used_size"].as_u64().unwrap(),
                    )
                })
                .collect();
            let ours: Vec<_> = image
                .disk_usage(exact)
                .await
                .unwrap()
                .into_iter()
                .map(|row| {
                    let snap = row.snap.map(|snap| snap.name);
                    (snap, row.provisioned_bytes, row.used_bytes)
                })
                .collect();
            assert_eq!(ours, told, "{name}, {exact}");
            assert_eq!(ours.len(), 5);
        }
    }
}

/// The map as it is stored.
pub(crate) fn stored_map(image: &Image, snap: Option<u64>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map");
    let object = map_object(image, snap);
    let args = ["-p", "rbd", "get", &object, path.to_str().unwrap()];
    blocking(|| cluster().rados(&args)).unwrap();
    std::fs::read(path).unwrap()
}

pub(crate) fn put_map(image: &Image, snap: Option<u64>, bytes: &[u8]) {
    let (_dir, path) = file(bytes);
    let object = map_object(image, snap);
    let args = ["-p", "rbd", "put", &object, path.to_str().unwrap()];
    blocking(|| cluster().rados(&args)).unwrap();
}

pub(crate) fn map_object(image: &Image, snap: Option<u64>) -> String {
    let id = image.id();
    snap.map_or_else(
        || format!("rbd_object_map.{id}"),
        |snap| format!("rbd_object_map.{id}.{snap:016x}"),
    )
}

pub(crate) fn flags(spec: &str) -> Value {
    rbd_json(&["info", spec])["flags"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_upstream_keeps_are_right() {
    let pool = pool().await;
    for (name, features, stripes) in VARIANTS {
        if !features.contains("object-map") {
            continue;
        }
        let name = name.replace("kept", "checked");
        blocking(|| write_by_upstream(&name, features, stripes));
        let image = open(&pool, &name).await;
        let snapshots = image.snapshots();
        let versions = snapshots.iter().map(|snap| SnapshotSelector::Id(snap.id));
        for version in versions.map(Some).chain([None]) {
            let mut last = None;
            let report = |progress: rbd::Progress| last = Some(progress);
            let check = image.check_object_map(version.as_ref(), report).await;
            assert_eq!(
                check.unwrap(),
                ObjectMapCheck::default(),
                "{name} {version:?}"
            );
            let last = last.unwrap();
            assert_eq!(last.done, last.total);
        }
        image.refresh().await.unwrap();
        assert_eq!(image.flags(), Flags::NONE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_that_lie_are_marked() {
    let pool = pool().await;
    blocking(|| write_by_upstream("lying", VARIANTS[0].1, &[]));
    let image = open(&pool, "lying").await;
    let snap = image.snapshots()[1].id;
    let selector = SnapshotSelector::Id(snap);
    let right = stored_map(&image, Some(snap.0));
    let changes = Changes {
        from: Some("one"),
        whole_object: true,
    };
    let told_by_maps = changes.told("rbd/lying@three");

    // Bits changed, so that the checksum is wrong.
    let mut wrong = right.clone();
    wrong[18] ^= 0b1000;
    put_map(&image, Some(snap.0), &wrong);
    let check = image
        .check_object_map(Some(&selector), |_| {})
        .await
        .unwrap();
    assert!(check.unreadable);
    image.refresh().await.unwrap();
    assert_eq!(image.flags(), Flags::NONE);
    let invalid = Flags::OBJECT_MAP_INVALID | Flags::FAST_DIFF_INVALID;
    assert_eq!(image.snapshots()[1].flags, invalid);
    assert_eq!(
        flags("rbd/lying@two"),
        serde_json::json!(["object map invalid", "fast diff invalid"])
    );

    // It does without the map.
    let at = open_at(&pool, "lying", Some("three")).await;
    assert_eq!(changes.ours(&at).await, told_by_maps);
    let told = changes.told("rbd/lying@three");
    if cluster().release() < Release::Pacific {
        // It only asks whether the map of the older snapshot is right. To look at the flags above
        // emptied this one, so all that exists behind it seems to be new.
        let emptied = stored_map(&image, Some(snap.0));
        assert!(
            emptied[18..21].iter().all(|states| *states == 0),
            "{emptied:x?}"
        );
        let everything = Changes {
            from: None,
            ..changes
        };
        assert_eq!(told, everything.told("rbd/lying@three"));
    } else {
        assert_eq!(told, told_by_maps);
    }
}
