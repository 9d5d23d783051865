//! Images whose features this version cannot keep intact, and changing features.

use bytes::Bytes;
use rados::Errno;
use rbd::{Error, Features, Flags, Image, InvalidOptions, OpenOptions};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn unwritable_images_say_what_to_turn_off() {
    let pool = pool().await;
    let features = "exclusive-lock,journaling";
    let create = ["create", "--size", "8M", "--image-feature", features];
    rbd(&[&create[..], &["rbd/unwritable"]].concat());
    let before = objects("rbd");
    let image = open(&pool, "unwritable").await;
    assert_eq!(image.features().comma_separated(), features);
    let results = [
        image.check_writable(),
        image.write(0, Bytes::from_static(b"x")).await,
        image.discard(0, 8 << 20).await,
        image.write_zeroes(0, 8 << 20, rbd::Zeroes::Allocate).await,
        image.resize(0, true, |_| {}).await,
    ];
    let expected = "rbd feature disable rbd/unwritable journaling";
    for result in results {
        let error = result.unwrap_err();
        let Error::NotWritable {
            remedy,
            features: named,
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(remedy, expected);
        assert!(
            error.to_string().contains(&named.to_string())
                && error.to_string().contains(remedy.as_str())
        );
        assert_eq!(error.errno(), Errno::EROFS);
    }
    assert!(!objects("rbd").iter().any(|object| {
        object.starts_with(image.block_name_prefix()) && !before.contains(object)
    }));
    assert_eq!(
        image.read(0, 8 << 20).await.unwrap().segments[..],
        [rbd::Segment::Zero(8 << 20)]
    );
    assert_eq!(image.size_bytes(), 8 << 20);
    // What it says is true.
    rbd(&expected.split(' ').skip(1).collect::<Vec<_>>());
    image.refresh().await.unwrap();
    image.check_writable().unwrap();
    image.write(0, Bytes::from_static(b"x")).await.unwrap();
    image.close().await.unwrap();
    assert_eq!(export("rbd/unwritable")[0], b'x');
}

#[tokio::test(flavor = "multi_thread")]
async fn images_with_the_default_features_are_written() {
    let pool = pool().await;
    rbd(&["create", "--size", "12M", "rbd/default"]);
    let image = open(&pool, "default").await;
    assert_eq!(image.features(), Features::DEFAULT);
    let data = Random::new(32).bytes(5 << 20);
    image.write(2 << 20, data.clone()).await.unwrap();
    image.close().await.unwrap();
    let map = format!("rbd_object_map.{}", image.id());
    assert!(objects("rbd").contains(&map));
    image.disable_features(Features::OBJECT_MAP).await.unwrap();
    assert!(!objects("rbd").contains(&map));
    image.write(1, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(image.flags(), Flags::NONE);
    image.close().await.unwrap();
    let told = rbd_json(&["info", "rbd/default"]);
    let names: Vec<_> = image.features().names().collect();
    assert_eq!(told["features"], serde_json::json!(names));
    let held = export("rbd/default");
    assert_eq!(held[1], b'x');
    assert_same("upstream", &held[2 << 20..7 << 20], &data);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_nothing_of_the_writer_is_written() {
    let pool = pool().await;
    rbd(&[
        "create",
        "--size",
        "8M",
        "--image-feature",
        "layering,deep-flatten",
        "rbd/deep",
    ]);
    rbd(&["group", "create", "rbd/deep-group"]);
    rbd(&["group", "image", "add", "rbd/deep-group", "rbd/deep"]);
    let image = open(&pool, "deep").await;
    assert!(image.features().contains(Features::OPERATIONS));
    image.check_writable().unwrap();
    image.write(5, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(export("rbd/deep")[5], b'x');
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_map_is_made_from_the_objects() {
    let pool = pool().await;
    rbd::create(&pool, "mapped", &plain_options(40 << 20))
        .await
        .unwrap();
    let image = open(&pool, "mapped").await;
    let data = Random::new(31).bytes(9 << 20);
    image.write(3 << 20, data.clone()).await.unwrap();
    rbd(&["snap", "create", "rbd/mapped@before"]);
    let error = image
        .enable_features(Features::OBJECT_MAP)
        .await
        .unwrap_err();
    let reason = InvalidOptions::Dependency {
        feature: Features::OBJECT_MAP,
        needs: Features::EXCLUSIVE_LOCK,
    };
    assert!(
        matches!(&error, Error::InvalidOptions { reason: found, .. } if *found == reason),
        "{error:?}"
    );
    image
        .enable_features(Features::EXCLUSIVE_LOCK)
        .await
        .unwrap();
    image.enable_features(Features::OBJECT_MAP).await.unwrap();
    let all =
        Features::LAYERING | Features::EXCLUSIVE_LOCK | Features::OBJECT_MAP | Features::FAST_DIFF;
    assert_eq!(image.features(), all);
    assert_eq!(image.flags(), Flags::NONE);
    assert_eq!(image.snapshots()[0].flags, Flags::NONE);
    image.write(20 << 20, data.slice(..5000)).await.unwrap();
    image.close().await.unwrap();
    for (spec, snap) in [
        ("rbd/mapped", None),
        ("rbd/mapped@before", Some(image.snapshots()[0].id.0)),
    ] {
        assert_eq!(crate::object_map::flags(spec), serde_json::json!([]));
        let ours = crate::object_map::stored_map(&image, snap);
        rbd(&["object-map", "check", "--no-progress", spec]);
        rbd(&["object-map", "rebuild", "--no-progress", spec]);
        assert_eq!(crate::object_map::stored_map(&image, snap), ours);
    }

    let error = image
        .disable_features(Features::EXCLUSIVE_LOCK)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::InvalidOptions {
            reason: InvalidOptions::NeededBy { .. },
            ..
        }
    ));
    image
        .disable_features(Features::OBJECT_MAP | Features::EXCLUSIVE_LOCK)
        .await
        .unwrap();
    assert_eq!(image.features(), Features::LAYERING);
    let told = rbd_json(&["info", "rbd/mapped"]);
    assert_eq!(told["features"], serde_json::json!(["layering"]));
    image.write(0, Bytes::from_static(b"x")).await.unwrap();
    assert_same("data", &export("rbd/mapped")[3 << 20..12 << 20], &data);
    let map = format!("rbd_object_map.{}", image.id());
    assert!(!objects("rbd").iter().any(|object| object.starts_with(&map)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_hinders_changes() {
    let pool = pool().await;
    rbd(&["create", "--size", "8M", "rbd/held"]);
    rbd(&["lock", "add", "rbd/held", "cookie"]);
    let image = open(&pool, "held").await;
    assert_eq!(image.info().lock.lockers.len(), 1);
    let error = image
        .disable_features(Features::OBJECT_MAP)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert_eq!(
        rbd_json(&["info", "rbd/held"])["features"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_are_refused_by_name_until_they_are_flat() {
    let pool = pool().await;
    rbd(&["create", "--size", "8M", "rbd/origin"]);
    rbd(&[
        "bench",
        "--io-type",
        "write",
        "--io-size",
        "4K",
        "--io-total",
        "64K",
        "rbd/origin",
    ]);
    rbd(&["snap", "create", "rbd/origin@s"]);
    rbd(&["snap", "protect", "rbd/origin@s"]);
    rbd(&[
        "clone",
        "--image-feature",
        "layering",
        "rbd/origin@s",
        "rbd/clone",
    ]);
    let error = Image::open(&pool, "clone", OpenOptions::default())
        .await
        .unwrap_err();
    let parent = open(&pool, "origin").await;
    assert!(
        matches!(&error, Error::HasParent { image, parent: named } if image == "rbd/clone" && named.contains(&parent.id())),
        "{error:?}"
    );
    assert!(error.to_string().contains("rbd flatten rbd/clone"));
    let options = OpenOptions {
        header_only: true,
        ..OpenOptions::default()
    };
    let header = Image::open(&pool, "clone", options).await.unwrap();
    assert_eq!(header.parent().unwrap().overlap, 8 << 20);
    header.metadata_set("key", b"value").await.unwrap();
    for result in [
        header.read(0, 1).await.map(drop),
        header.write(0, Bytes::from_static(b"x")).await,
        header.resize(0, true, |_| {}).await,
    ] {
        assert!(matches!(result, Err(Error::HasParent { .. })), "{result:?}");
    }
    rbd(&["flatten", "--no-progress", "rbd/clone"]);
    let flat = open(&pool, "clone").await;
    flat.check_writable().unwrap();
    assert_same("flattened", &read_all(&flat).await, &export("rbd/origin@s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_being_migrated_are_refused_by_name() {
    let pool = pool().await;
    rbd(&[
        "create",
        "--size",
        "8M",
        "--image-feature",
        "layering",
        "rbd/moving",
    ]);
    rbd(&["migration", "prepare", "rbd/moving", "rbd/moved"]);
    let error = Image::open(&pool, "moved", OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Migrating { .. }), "{error:?}");
    let error = rbd::remove(&pool, "moved", |_| {}).await.unwrap_err();
    assert!(
        matches!(error, Error::Migrating { .. } | Error::HasParent { .. }),
        "{error:?}"
    );
    rbd(&["migration", "abort", "--no-progress", "rbd/moved"]);
    open(&pool, "moving").await.check_writable().unwrap();
}
