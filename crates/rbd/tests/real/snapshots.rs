//! Snapshots made by upstream while we write.

use bytes::Bytes;
use denc::SnapId;
use rados::Errno;
use rbd::{CreateOptions, Error, Image, OpenOptions, SnapshotNamespace, SnapshotSelector, Zeroes};

use crate::support::*;

fn at(selector: SnapshotSelector) -> OpenOptions {
    OpenOptions {
        snap: Some(selector),
        ..OpenOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_keep_what_was_written_before_them() {
    let pool = pool().await;
    let data_pool = Some(pool.cluster().pool("ec").await.unwrap());
    let striped = CreateOptions {
        stripe_unit: 64 << 10,
        stripe_count: 5,
        ..plain_options(10 << 20)
    };
    let variants = [
        ("snapped", plain_options(10 << 20)),
        ("snapped-striped", striped.clone()),
        (
            "snapped-ec",
            CreateOptions {
                data_pool,
                ..striped
            },
        ),
    ];
    for (name, options) in variants {
        rbd::create(&pool, name, &options).await.unwrap();
        let image = open(&pool, name).await;
        let mut random = Random::new(21);
        let mut held = vec![0; 10 << 20];
        let mut kept = Vec::new();
        for round in 0..4u64 {
            for _ in 0..12 {
                let len = 1 + random.below(700_000);
                let offset = random.below(held.len() as u64 - len);
                let bytes =
                    usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
                if random.below(4) == 0 {
                    held[bytes].fill(0);
                    image
                        .write_zeroes(offset, len, Zeroes::Deallocate)
                        .await
                        .unwrap();
                } else {
                    let data = random.bytes(len);
                    held[bytes].copy_from_slice(&data);
                    image.write(offset, data).await.unwrap();
                }
            }
            rbd(&["snap", "create", &format!("rbd/{name}@s{round}")]);
            kept.push(held.clone());
            image.refresh().await.unwrap();
            // Snapshots keep what is cut off, too, and have sizes of their own.
            let size = held.len() - (1 << 20) - 4321;
            image.resize(size as u64, true, |_| {}).await.unwrap();
            held.truncate(size);
            if round == 2 {
                image.resize(10 << 20, true, |_| {}).await.unwrap();
                held.resize(10 << 20, 0);
            }
        }
        assert_same("head", &read_all(&image).await, &held);
        assert_same("head by upstream", &export(&format!("rbd/{name}")), &held);
        let snapshots = image.snapshots();
        assert_eq!(snapshots.len(), kept.len());
        for (round, kept) in kept.iter().enumerate() {
            let snapshot = &snapshots[round];
            assert_eq!(snapshot.name, format!("s{round}"));
            assert_eq!(snapshot.size_bytes, kept.len() as u64);
            assert_eq!(snapshot.namespace, SnapshotNamespace::User);
            assert_same("upstream", &export(&format!("rbd/{name}@s{round}")), kept);
            for selector in [
                SnapshotSelector::Name(format!("s{round}")),
                SnapshotSelector::Id(snapshot.id),
            ] {
                let opened = Image::open(&pool, name, at(selector)).await.unwrap();
                assert_eq!(opened.size_bytes(), kept.len() as u64);
                assert_same("ours", &read_all(&opened).await, kept);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_read_only() {
    let pool = pool().await;
    rbd::create(&pool, "frozen", &plain_options(1 << 20))
        .await
        .unwrap();
    rbd(&["snap", "create", "rbd/frozen@s"]);
    let image = Image::open(&pool, "frozen", at(SnapshotSelector::Name("s".to_string())))
        .await
        .unwrap();
    assert!(image.is_read_only());
    let results = [
        image.check_writable(),
        image.write(0, Bytes::from_static(b"x")).await,
        image.discard(0, 1 << 20).await,
        image.write_zeroes(0, 1, Zeroes::Deallocate).await,
        image.resize(0, true, |_| {}).await,
        image.metadata_set("key", b"value").await,
        image.enable_features(rbd::Features::EXCLUSIVE_LOCK).await,
    ];
    for result in results {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::ReadOnly { image } if image == "rbd/frozen@s"),
            "{error:?}"
        );
        assert_eq!(error.errno(), Errno::EROFS);
    }
    rbd(&["snap", "rm", "--no-progress", "rbd/frozen@s"]);
    let error = image.refresh().await.unwrap_err();
    assert!(matches!(error, Error::NoSuchSnapshot { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_snapshots_are_named() {
    let pool = pool().await;
    rbd::create(&pool, "unsnapped", &plain_options(1 << 20))
        .await
        .unwrap();
    for selector in [
        SnapshotSelector::Name("none".to_string()),
        SnapshotSelector::Id(SnapId(77)),
    ] {
        let error = Image::open(&pool, "unsnapped", at(selector))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::NoSuchSnapshot { .. }), "{error:?}");
        assert_eq!(error.errno(), Errno::ENOENT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_snapshots_are_listed_as_upstream_does() {
    let pool = pool().await;
    rbd::create(&pool, "many-snaps", &plain_options(1 << 20))
        .await
        .unwrap();
    // More than are asked about in one operation.
    for index in 0..20 {
        rbd(&["snap", "create", &format!("rbd/many-snaps@s{index}")]);
    }
    rbd(&["snap", "rm", "--no-progress", "rbd/many-snaps@s7"]);
    rbd(&["snap", "protect", "rbd/many-snaps@s9"]);
    let image = open(&pool, "many-snaps").await;
    let told = rbd_json(&["snap", "ls", "rbd/many-snaps"]);
    let ours: Vec<_> = image
        .snapshots()
        .iter()
        .map(|snap| {
            let protected = snap.protection == rbd::Protection::Protected;
            (
                snap.id.0.into(),
                snap.name.clone().into(),
                protected.to_string().into(),
            )
        })
        .collect();
    let theirs: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|snap| {
            (
                snap["id"].clone(),
                snap["name"].clone(),
                snap["protected"].clone(),
            )
        })
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_image_follows_what_others_do() {
    let pool = pool().await;
    rbd::create(&pool, "followed", &plain_options(8 << 20))
        .await
        .unwrap();
    let options = OpenOptions {
        watch: true,
        ..OpenOptions::default()
    };
    let image = Image::open(&pool, "followed", options).await.unwrap();
    let mut random = Random::new(41);
    let first = random.bytes(8 << 20);
    image.write(0, first.clone()).await.unwrap();
    rbd(&["snap", "create", "rbd/followed@s"]);
    let second = random.bytes(8 << 20);
    image.write(0, second.clone()).await.unwrap();
    assert_same("snapshot", &export("rbd/followed@s"), &first);
    assert_same("head", &export("rbd/followed"), &second);

    rbd(&["resize", "--no-progress", "--size", "12M", "rbd/followed"]);
    image.write(11 << 20, first.slice(..1 << 20)).await.unwrap();
    assert_eq!(image.size_bytes(), 12 << 20);
    rbd(&[
        "resize",
        "--no-progress",
        "--allow-shrink",
        "--size",
        "4M",
        "rbd/followed",
    ]);
    let error = image.read(0, 12 << 20).await.unwrap_err();
    assert!(
        matches!(error, Error::OutOfBounds { size, .. } if size == 4 << 20),
        "{error:?}"
    );

    // Upstream sees us, but we do not count ourselves.
    let told = rbd_json(&["status", "rbd/followed"]);
    let own = pool.cluster().global_id().0;
    assert_eq!(told["watchers"][0]["client"], own);
    assert_eq!(image.watchers().await.unwrap(), []);
    image.close().await.unwrap();
    let told = rbd_json(&["status", "rbd/followed"]);
    assert_eq!(told["watchers"], serde_json::json!([]));
}
