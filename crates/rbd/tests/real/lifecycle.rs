//! Listing, renaming, removing, and metadata.

use denc::Writer;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::{Errno, Operation};
use rbd::{CreateOptions, Error, Image, OpenOptions, Progress};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn listing_goes_through_all_pages() {
    rbd(&["namespace", "create", "rbd/many"]);
    let pool = pool().await.in_namespace("many");
    assert_eq!(rbd::list(&pool).await.unwrap(), []);
    let names: Vec<String> = (0..2100u32)
        .map(|index| format!("image-{index:05}"))
        .collect();
    stream::iter(&names)
        .map(|name| {
            let mut input = Writer::new();
            input.str(name).str(&name.replace('-', ""));
            let operation = Operation::new().call_mut("rbd", "dir_add_image", input.as_slice());
            pool.execute("rbd_directory", operation)
        })
        .buffer_unordered(50)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
    let listed = rbd::list(&pool).await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(listed, names);
    assert_eq!(rbd_json(&["ls", "rbd/many"]), serde_json::json!(names));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_image_is_the_same_image() {
    let pool = pool().await;
    rbd::create(&pool, "old-name", &plain_options(8 << 20))
        .await
        .unwrap();
    rbd(&["create", "--size", "1M", "rbd/other-name"]);
    let image = open(&pool, "old-name").await;
    let data = Random::new(9).bytes(100_000);
    image.write(0, data.clone()).await.unwrap();
    let error = rbd::rename(&pool, "old-name", "other-name")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::ImageExists { .. }), "{error:?}");
    rbd::rename(&pool, "old-name", "new-name").await.unwrap();
    assert_eq!(rbd_json(&["info", "rbd/new-name"])["id"], image.id());
    assert_same("renamed", &export("rbd/new-name")[..100_000], &data);
    let error = Image::open(&pool, "old-name", OpenOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoSuchImage { .. }), "{error:?}");
    assert!(!objects("rbd").contains(&"rbd_id.old-name".to_string()));
    let names: Vec<_> = rbd::list(&pool)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert!(names.contains(&"new-name".to_string()) && !names.contains(&"old-name".to_string()));
    let by_id = Image::open_by_id(&pool, &image.id(), OpenOptions::default())
        .await
        .unwrap();
    assert_eq!(by_id.name(), "new-name");
    // Upstream renames it back.
    rbd(&["mv", "rbd/new-name", "rbd/old-name"]);
    assert_eq!(open(&pool, "old-name").await.id(), image.id());
    let error = rbd::rename(&pool, "never-was", "x").await.unwrap_err();
    assert!(matches!(error, Error::NoSuchImage { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_shared_with_upstream() {
    let pool = pool().await;
    rbd(&["create", "--size", "1M", "rbd/labelled"]);
    let image = open(&pool, "labelled").await;
    image.metadata_set("ours", b"one").await.unwrap();
    image.metadata_set("ours", b"two").await.unwrap();
    rbd(&["image-meta", "set", "rbd/labelled", "theirs", "three"]);
    assert_eq!(
        rbd(&["image-meta", "get", "rbd/labelled", "ours"]).trim(),
        "two"
    );
    assert_eq!(image.metadata_get("theirs").await.unwrap(), "three");
    // More than one page.
    for index in 0..150 {
        image
            .metadata_set(&format!("key-{index:03}"), index.to_string().as_bytes())
            .await
            .unwrap();
    }
    let all = image.metadata_list().await.unwrap();
    assert_eq!(all.len(), 152);
    let told = rbd_json(&["image-meta", "ls", "rbd/labelled"]);
    assert_eq!(told.as_object().unwrap().len(), 152);
    for (key, value) in &all {
        assert_eq!(told[key].as_str().unwrap().as_bytes(), value);
    }
    image.metadata_remove("theirs").await.unwrap();
    for error in [
        image.metadata_remove("theirs").await.unwrap_err(),
        image.metadata_get("theirs").await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoSuchMetadata { .. }), "{error:?}");
        assert_eq!(error.errno(), Errno::ENOENT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_leaves_nothing() {
    let pool = pool().await;
    let data_pool = Some(pool.cluster().pool("data").await.unwrap());
    let variants = [
        ("gone", plain_options(30 << 20)),
        ("gone-mapped", CreateOptions::new(30 << 20)),
        (
            "gone-apart",
            CreateOptions {
                data_pool,
                stripe_unit: 4096,
                stripe_count: 7,
                ..plain_options(30 << 20)
            },
        ),
    ];
    for (name, options) in variants {
        rbd::create(&pool, name, &options).await.unwrap();
        rbd(&[
            "bench",
            "--io-type",
            "write",
            "--io-pattern",
            "rand",
            "--io-size",
            "64K",
            "--io-total",
            "3M",
            &format!("rbd/{name}"),
        ]);
        let image = open(&pool, name).await;
        let (id, count) = (image.id(), image.object_count());
        let left = || -> usize {
            let named = |pool| {
                objects(pool)
                    .iter()
                    .filter(|object| object.contains(&id) || **object == format!("rbd_id.{name}"))
                    .count()
            };
            named("rbd") + named("data")
        };
        assert!(left() > 3);
        let mut reports: Vec<Progress> = Vec::new();
        rbd::remove(&pool, name, |progress| reports.push(progress))
            .await
            .unwrap();
        assert_eq!(left(), 0, "{name}");
        let expected: Vec<_> = (1..=count)
            .map(|done| Progress { done, total: count })
            .collect();
        assert_eq!(reports, expected);
        assert!(
            !rbd_json(&["ls", "rbd"])
                .as_array()
                .unwrap()
                .iter()
                .any(|listed| listed == name)
        );
        let error = rbd::remove(&pool, name, |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::NoSuchImage { .. }), "{error:?}");
        // The name is free again.
        rbd::create(&pool, name, &options).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_removal_can_be_repeated() {
    let pool = pool().await;
    for step in 0..2 {
        rbd::create(&pool, "half-gone", &CreateOptions::new(8 << 20))
            .await
            .unwrap();
        let id = open(&pool, "half-gone").await.id();
        pool.remove(&format!("rbd_header.{id}")).await.unwrap();
        if step == 1 {
            pool.remove("rbd_id.half-gone").await.unwrap();
        }
        rbd::remove(&pool, "half-gone", |_| {}).await.unwrap();
        assert!(!objects("rbd").iter().any(|name| name.contains(&id)));
        assert!(
            !rbd::list(&pool)
                .await
                .unwrap()
                .iter()
                .any(|entry| entry.id == id)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_needed_is_not_removed() {
    let pool = pool().await;
    rbd(&["create", "--size", "8M", "rbd/needed"]);
    rbd(&["snap", "create", "rbd/needed@s"]);
    let error = rbd::remove(&pool, "needed", |_| {}).await.unwrap_err();
    assert!(
        matches!(error, Error::HasSnapshots { count: 1, .. }),
        "{error:?}"
    );
    assert_eq!(error.errno(), Errno::ENOTEMPTY);

    rbd(&["snap", "protect", "rbd/needed@s"]);
    rbd(&["clone", "rbd/needed@s", "rbd/needing"]);
    let error = rbd::remove(&pool, "needing", |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::HasParent { .. }), "{error:?}");

    rbd(&["create", "--size", "8M", "rbd/member"]);
    rbd(&["group", "create", "rbd/group"]);
    rbd(&["group", "image", "add", "rbd/group", "rbd/member"]);
    let error = rbd::remove(&pool, "member", |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::InGroup { .. }), "{error:?}");

    rbd(&["create", "--size", "8M", "rbd/locked"]);
    rbd(&["lock", "add", "rbd/locked", "mine"]);
    let error = rbd::remove(&pool, "locked", |_| {}).await.unwrap_err();
    assert!(
        matches!(&error, Error::Locked { lockers, .. } if lockers.contains("\"mine\"")),
        "{error:?}"
    );
    assert_eq!(error.errno(), Errno::EBUSY);

    for name in ["needed", "needing", "member", "locked"] {
        rbd(&["info", &format!("rbd/{name}")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_in_use_are_not_removed() {
    let pool = pool().await;
    rbd::create(&pool, "watched", &plain_options(8 << 20))
        .await
        .unwrap();
    let image = open(&pool, "watched").await;
    assert_eq!(image.watchers().await.unwrap(), []);
    let _watching = blocking(|| Process::rbd(&["watch", "rbd/watched"]));
    let watchers = loop {
        let watchers = image.watchers().await.unwrap();
        if !watchers.is_empty() {
            break watchers;
        }
    };
    let told = rbd_json(&["status", "rbd/watched"]);
    assert_eq!(told["watchers"][0]["client"], watchers[0].name.num);
    assert_eq!(told["watchers"][0]["cookie"], watchers[0].cookie);
    let address = told["watchers"][0]["address"].as_str().unwrap();
    assert!(
        watchers[0].addr.to_string().ends_with(address),
        "{} {address}",
        watchers[0].addr
    );
    let error = rbd::remove(&pool, "watched", |_| {}).await.unwrap_err();
    assert!(
        matches!(&error, Error::InUse { watchers, .. } if watchers.contains(address)),
        "{error:?}"
    );
    assert_eq!(error.errno(), Errno::EBUSY);
    // They are told.
    image
        .enable_features(rbd::Features::EXCLUSIVE_LOCK)
        .await
        .unwrap();
    rbd(&["info", "rbd/watched"]);
}
