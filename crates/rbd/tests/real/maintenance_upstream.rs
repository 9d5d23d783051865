//! Maintenance that upstream's clients ask us for, and we them.

use bytes::Bytes;
use minicluster::Release;
use rbd::{CreateOptions, Features, Image, LockStatus};

use crate::maintenance::*;
use crate::support::*;

const FEATURES: Features = Features::LAYERING
    .with(Features::EXCLUSIVE_LOCK)
    .with(Features::DEEP_FLATTEN);

async fn create(name: &str) {
    let options = CreateOptions {
        features: FEATURES,
        ..CreateOptions::new(32 << 20)
    };
    rbd::create(&pool().await, name, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn we_do_what_librbd_asks_for() {
    create("asked-for").await;
    let image = own("asked-for").await;
    let lock = owner_of(&image).await;
    let heard = Heard::of(&image).await;
    let load = Load::on(&image);

    rbd(&["resize", "--no-progress", "--size", "200M", "rbd/asked-for"]);
    assert_eq!(heard.operations().await, [7, HEADER_UPDATE, ASYNC_COMPLETE]);
    for object in 10..40 {
        let at = object * (4 << 20);
        image.write(at, Bytes::from_static(b"x")).await.unwrap();
    }
    let shrink = ["resize", "--allow-shrink", "--size", "32M", "rbd/asked-for"];
    rbd(&shrink);
    let said = heard.operations().await;
    assert_eq!(said[..2], [7, ASYNC_PROGRESS]);
    assert_eq!(said[said.len() - 2..], [HEADER_UPDATE, ASYNC_COMPLETE]);
    assert_eq!(image.size_bytes(), 32 << 20);

    // Those of before ask for less.
    let is_pacific = blocking(|| cluster().release()) >= Release::Pacific;
    if is_pacific {
        rbd(&["image-meta", "set", "rbd/asked-for", "key", "value"]);
        assert_eq!(image.metadata_get("key").await.unwrap(), "value");
        rbd(&["image-meta", "remove", "rbd/asked-for", "key"]);
        let said = [20, HEADER_UPDATE, ASYNC_COMPLETE];
        assert_eq!(heard.operations().await, [said, said].concat());
    }
    rbd(&["feature", "disable", "rbd/asked-for", "deep-flatten"]);
    let said = heard.operations().await;
    assert_eq!(said[..2], [15, HEADER_UPDATE]);
    image.refresh().await.unwrap();
    assert_eq!(image.features(), FEATURES.without(Features::DEEP_FLATTEN));
    rbd(&["rename", "rbd/asked-for", "rbd/renamed-for"]);
    let said = heard.operations().await;
    let expected: &[_] = if is_pacific {
        &[14, ASYNC_COMPLETE]
    } else {
        &[]
    };
    assert_eq!(said, expected);
    assert_eq!(rbd_json(&["info", "rbd/renamed-for"])["id"], image.id());

    assert_eq!(owner_of(&image).await, lock);
    assert_eq!(image.lock_status(), LockStatus::Owned);
    let held = load.end().await;
    let told = export("rbd/renamed-for");
    assert_same("asked-for", &told[..held.len()], &held);
    assert!(told[held.len()..].iter().all(|byte| *byte == 0));
    image.close().await.unwrap();
}

/// What we do not do, they take the lock for.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_by_librbd_is_preserved_by_our_next_write() {
    create("snapped-by-librbd").await;
    let image = own("snapped-by-librbd").await;
    let heard = Heard::of(&image).await;
    let mut random = Random::new(21);
    let mut contents = Vec::new();
    for round in 0..3 {
        let data = random.bytes(9 << 20);
        image.write(3 << 20, data.clone()).await.unwrap();
        rbd(&["snap", "create", &format!("rbd/snapped-by-librbd@{round}")]);
        // Refused, asked for, given up, taken.
        let expected = [8, REQUEST_LOCK, RELEASED_LOCK, ACQUIRED_LOCK];
        let mut said = heard.all_operations().await;
        said.retain(|operation| expected.contains(operation));
        let request = said.iter().position(|operation| *operation == expected[0]);
        assert_eq!(said[request.unwrap()..][..4], expected);
        contents.push(data);
    }
    // The lock is free, and taken again by this.
    image.write(3 << 20, random.bytes(9 << 20)).await.unwrap();
    assert_eq!(image.snapshots().len(), 3);
    for (round, data) in contents.iter().enumerate() {
        let spec = format!("rbd/snapped-by-librbd@{round}");
        assert_same(&spec, &export(&spec)[3 << 20..12 << 20], data);
    }
    image.close().await.unwrap();
}

/// librbd writing all the time, with the lock.
async fn bench(image: &Image) -> Process {
    let spec = format!("rbd/{}", image.name());
    let args = [
        "bench",
        &spec,
        "--io-type",
        "write",
        "--io-size",
        "4K",
        "--io-threads",
        "1",
        "--io-pattern",
        "rand",
        "--io-total",
        "1T",
    ];
    let bench = Process::rbd(&args);
    while image.lockers().await.unwrap().lockers.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn librbd_does_what_we_ask_for() {
    create("asking").await;
    let image = open(&pool().await, "asking").await;
    let heard = Heard::of(&image).await;
    image
        .write(20 << 20, vec![7; 8 << 20].into())
        .await
        .unwrap();
    image.release_lock().await.unwrap();
    let mut bench = bench(&image).await;
    let lock = owner_of(&image).await;
    heard.operations().await;

    image.resize(400 << 20, false, |_| ()).await.unwrap();
    assert_eq!(image.size_bytes(), 400 << 20);
    assert_eq!(heard.operations().await, [7, HEADER_UPDATE, ASYNC_COMPLETE]);
    let mut steps = Vec::new();
    image
        .resize(64 << 20, true, |step| steps.push(step))
        .await
        .unwrap();
    assert!(!steps.is_empty());
    let said = heard.operations().await;
    assert_eq!(said[..2], [7, ASYNC_PROGRESS]);
    image
        .disable_features(Features::DEEP_FLATTEN)
        .await
        .unwrap();
    assert_eq!(heard.operations().await, [15, HEADER_UPDATE]);
    assert_eq!(owner_of(&image).await, lock);
    let info = rbd_json(&["info", "rbd/asking"]);
    assert_eq!(info["size"], 64 << 20);
    assert_eq!(
        info["features"],
        serde_json::json!(["layering", "exclusive-lock"])
    );

    // Before 16.2, owners do not know this request: the lock is taken.
    let is_pacific = blocking(|| cluster().release()) >= Release::Pacific;
    image.metadata_set("key", b"value").await.unwrap();
    let said = heard.operations().await;
    assert_eq!(said[0], 20);
    assert_eq!(owner_of(&image).await == lock, is_pacific);
    assert_eq!(rbd(&["image-meta", "get", "rbd/asking", "key"]), "value\n");
    image.metadata_remove("key").await.unwrap();
    assert!(bench.is_running());
    image.close().await.unwrap();
}

/// As above, but it is killed, and does not say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_librbd_does_not_do_we_do() {
    create("asking-the-dead").await;
    let image = open(&pool().await, "asking-the-dead").await;
    let bench = bench(&image).await;
    let lock = owner_of(&image).await;
    blocking(|| drop(bench));
    image.resize(64 << 20, false, |_| ()).await.unwrap();
    assert_ne!(owner_of(&image).await, lock);
    assert_eq!(rbd_json(&["info", "rbd/asking-the-dead"])["size"], 64 << 20);
    image.close().await.unwrap();
}
