//! Object maps that we keep, as upstream sees them.

use std::ops::Range;

use bytes::Bytes;
use futures_util::FutureExt;
use rados::Pool;
use rbd::{
    CreateOptions, Error, Flags, Image, ObjectMapCheck, OpenOptions, Segment, SnapshotSelector,
    Zeroes,
};

use crate::object_map::{flags, map_object, put_map, stored_map};
use crate::support::*;

fn mapped(size_bytes: u64) -> CreateOptions {
    CreateOptions::new(size_bytes)
}

fn range(offset: u64, len: u64) -> Range<usize> {
    usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap()
}

/// Random changes, several at a time in places of their own, and what the image then holds.
struct Changes {
    random: Random,
    held: Vec<u8>,
}

impl Changes {
    async fn apply(&mut self, image: &Image, rounds: u32) {
        for _ in 0..rounds {
            let size = self.held.len() as u64;
            let lanes = 4;
            let mut running = Vec::new();
            for lane in 0..lanes {
                let (start, end) = (size * lane / lanes, size * (lane + 1) / lanes);
                let mut offset = start + self.random.below(end - start);
                let mut len = 1 + self.random.below(9 << 20);
                if self.random.below(2) == 0 {
                    offset -= offset % image.object_size();
                }
                offset = offset.max(start);
                len = len.min(end - offset);
                let held = &mut self.held[range(offset, len)];
                let image = image.clone();
                running.push(match self.random.below(5) {
                    0..2 => {
                        let data = self.random.bytes(len);
                        held.copy_from_slice(&data);
                        async move { image.write(offset, data).await }.boxed()
                    }
                    2 => {
                        let data = self.random.bytes(len.min(5000));
                        held[..data.len()].copy_from_slice(&data);
                        async move { image.write(offset, data).await }.boxed()
                    }
                    3 => {
                        held.fill(0);
                        let zeroes = Zeroes::Deallocate;
                        async move { image.write_zeroes(offset, len, zeroes).await }.boxed()
                    }
                    _ => {
                        let len = len.min(100_000);
                        held[..usize::try_from(len).unwrap()].fill(0);
                        let zeroes = Zeroes::Allocate;
                        async move { image.write_zeroes(offset, len, zeroes).await }.boxed()
                    }
                });
            }
            for result in futures_util::future::join_all(running).await {
                result.unwrap();
            }
        }
    }
}

/// The maps are those that upstream makes anew.
async fn assert_maps_are_right(image: &Image, name: &str) {
    image.close().await.unwrap();
    let spec = format!("rbd/{name}");
    let snapshots = image.snapshots();
    let versions = snapshots
        .iter()
        .map(|snap| (format!("{spec}@{}", snap.name), Some(snap.id.0)))
        .chain([(spec.clone(), None)]);
    for (spec, snap) in versions {
        let kept = stored_map(image, snap);
        rbd(&["object-map", "check", "--no-progress", &spec]);
        assert_eq!(flags(&spec), serde_json::json!([]), "{spec}");
        rbd(&["object-map", "rebuild", "--no-progress", &spec]);
        assert_eq!(kept, stored_map(image, snap), "{spec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_are_kept_with_snapshots_in_between() {
    let pool = pool().await;
    let mut striped = mapped(40 << 20);
    (striped.stripe_unit, striped.stripe_count) = (64 << 10, 5);
    let small = CreateOptions {
        order: 16,
        ..mapped(20 << 20)
    };
    let variants = [
        ("random-plain", mapped(60 << 20)),
        ("random-striped", striped),
        ("random-small", small),
    ];
    for (name, options) in variants {
        rbd::create(&pool, name, &options).await.unwrap();
        let options_open = OpenOptions {
            watch: true,
            ..OpenOptions::default()
        };
        let image = Image::open(&pool, name, options_open).await.unwrap();
        let mut changes = Changes {
            random: Random::new(options.size_bytes),
            held: vec![0; usize::try_from(options.size_bytes).unwrap()],
        };
        for round in 0..3 {
            changes.apply(&image, 12).await;
            image.release_lock().await.unwrap();
            rbd(&["snap", "create", &format!("rbd/{name}@s{round}")]);
            changes.apply(&image, 5).await;
            let size = changes.held.len() as u64;
            let size = if round == 1 {
                size + (13 << 20)
            } else {
                size - (5 << 20) - 12_345
            };
            image.resize(size, true, |_| {}).await.unwrap();
            changes.held.resize(usize::try_from(size).unwrap(), 0);
        }
        assert_same(name, &read_all(&image).await, &changes.held);
        assert_eq!(image.flags(), Flags::NONE);
        assert_maps_are_right(&image, name).await;
        assert_same("upstream", &export(&format!("rbd/{name}")), &changes.held);
    }
}

/// The states that a stored map says, as numbers.
fn states(map: &[u8]) -> Vec<u8> {
    let len = u64::from_le_bytes(map[10..18].try_into().unwrap());
    let state = |object: usize| map[18 + object / 4] >> (6 - object % 4 * 2) & 3;
    (0..usize::try_from(len).unwrap()).map(state).collect()
}

/// The numbers of the objects that exist, not only in snapshots.
async fn existing(image: &Image) -> Vec<usize> {
    let prefix = format!("{}.", image.block_name_prefix());
    let mut numbers = Vec::new();
    for object in objects("rbd") {
        if let Some(number) = object.strip_prefix(&prefix)
            && image.pool().stat(&object).await.is_ok()
        {
            numbers.push(usize::from_str_radix(number, 16).unwrap());
        }
    }
    numbers
}

/// Nothing that exists is said not to.
async fn assert_nothing_is_hidden(image: &Image) {
    let states = states(&stored_map(image, None));
    for object in existing(image).await {
        assert_ne!(states[object], 0, "object {object} exists");
    }
}

async fn new_image(pool: &Pool, name: &str, size_bytes: u64) -> Image {
    rbd::create(pool, name, &mapped(size_bytes)).await.unwrap();
    open(pool, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_asked_for() {
    let pool = pool().await;
    let image = new_image(&pool, "unasked", 16 << 20).await;
    image.write(0, Bytes::from_static(b"here")).await.unwrap();
    // Behind the map's back: as long as this client has the lock, nobody else writes.
    let object = format!("{}.{:016x}", image.block_name_prefix(), 2);
    pool.write_full(&object, "there").await.unwrap();
    let hidden = image.read(8 << 20, 5).await.unwrap();
    assert_eq!(hidden.segments[..], [Segment::Zero(5)]);
    let extents = image.extents(8 << 20, 4 << 20).await.unwrap();
    assert!(extents.iter().all(|extent| !extent.allocated));
    image.discard(8 << 20, 4 << 20).await.unwrap();
    assert_eq!(pool.read(&object, 0, 0).await.unwrap(), "there");
    image.release_lock().await.unwrap();
    assert_eq!(image.read(8 << 20, 5).await.unwrap().to_vec(), b"there");

    // The check finds it, and then nothing is taken for granted.
    let check = image.check_object_map(None, |_| {}).await.unwrap();
    let expected = ObjectMapCheck {
        wrong: 1,
        ..ObjectMapCheck::default()
    };
    assert_eq!(check, expected);
    assert_eq!(
        image.flags(),
        Flags::OBJECT_MAP_INVALID | Flags::FAST_DIFF_INVALID
    );
    assert_eq!(image.read(8 << 20, 5).await.unwrap().to_vec(), b"there");
    image.rebuild_object_map(None, |_| {}).await.unwrap();
    assert_eq!(image.flags(), Flags::NONE);
    assert_maps_are_right(&image, "unasked").await;
    image.discard(8 << 20, 4 << 20).await.unwrap();
    assert_eq!(existing(&image).await, [0]);
    assert_maps_are_right(&image, "unasked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_read_by_their_maps() {
    let pool = pool().await;
    let image = new_image(&pool, "snap-read", 16 << 20).await;
    let data = Random::new(61).bytes(3 << 20);
    image.write(2 << 20, data.clone()).await.unwrap();
    image.close().await.unwrap();
    rbd(&["snap", "create", "rbd/snap-read@s"]);
    image
        .write(0, Random::new(62).bytes(16 << 20))
        .await
        .unwrap();
    let at = OpenOptions {
        snap: Some(SnapshotSelector::Name("s".to_string())),
        ..OpenOptions::default()
    };
    let snap = Image::open(&pool, "snap-read", at.clone()).await.unwrap();
    let read = snap.read(8 << 20, 8 << 20).await.unwrap();
    assert_eq!(read.segments[..], [Segment::Zero(8 << 20)]);
    assert_same("snapshot", &read_all(&snap).await[2 << 20..5 << 20], &data);
    image.close().await.unwrap();
    assert_maps_are_right(&image, "snap-read").await;

    // One that lies is believed: what it says is not there is not asked for.
    let id = snap.snap().unwrap().id.0;
    let empty = new_image(&pool, "snap-read-empty", 16 << 20).await;
    put_map(&image, Some(id), &stored_map(&empty, None));
    let snap = Image::open(&pool, "snap-read", at.clone()).await.unwrap();
    let hidden = snap.read(2 << 20, 3 << 20).await.unwrap();
    assert_eq!(hidden.segments[..], [Segment::Zero(3 << 20)]);

    // With a map that makes no sense, objects are asked.
    put_map(&image, Some(id), b"nonsense");
    let snap = Image::open(&pool, "snap-read", at).await.unwrap();
    assert_same("snapshot", &read_all(&snap).await[2 << 20..5 << 20], &data);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_maps_are_marked_and_the_image_stays_usable() {
    let pool = pool().await;
    type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;
    let damages: [(&str, Damage); 4] = [
        ("damaged-bits", |mut map| {
            map[18] ^= 0b1100;
            Some(map)
        }),
        ("damaged-cut", |map| Some(map[..map.len() / 2].to_vec())),
        ("damaged-empty", |_| Some(Vec::new())),
        ("damaged-missing", |_| None),
    ];
    for (name, damage) in damages {
        let image = new_image(&pool, name, 20 << 20).await;
        let data = Random::new(71).bytes(10 << 20);
        image.write(0, data.clone()).await.unwrap();
        image.close().await.unwrap();
        match damage(stored_map(&image, None)) {
            Some(map) => put_map(&image, None, &map),
            None => pool.remove(&map_object(&image, None)).await.unwrap(),
        }
        image.write(17 << 20, data.slice(..100)).await.unwrap();
        image.discard(4 << 20, 4 << 20).await.unwrap();
        let invalid = Flags::OBJECT_MAP_INVALID | Flags::FAST_DIFF_INVALID;
        assert_eq!(image.flags(), invalid, "{name}");
        let marked = serde_json::json!(["object map invalid", "fast diff invalid"]);
        assert_eq!(flags(&format!("rbd/{name}")), marked, "{name}");
        let mut expected = data.to_vec();
        expected.resize(20 << 20, 0);
        expected[4 << 20..8 << 20].fill(0);
        expected[17 << 20..(17 << 20) + 100].copy_from_slice(&data[..100]);
        assert_same(name, &read_all(&image).await, &expected);
        image.resize(24 << 20, false, |_| {}).await.unwrap();
        image.resize(18 << 20, true, |_| {}).await.unwrap();
        expected.truncate(18 << 20);
        image.rebuild_object_map(None, |_| {}).await.unwrap();
        assert_eq!(image.flags(), Flags::NONE, "{name}");
        image.close().await.unwrap();
        assert_eq!(states(&stored_map(&image, None)), [1, 0, 1, 0, 1], "{name}");
        assert_same(name, &export(&format!("rbd/{name}")), &expected);
        assert_maps_are_right(&image, name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_another_size_is_noticed() {
    let pool = pool().await;
    let image = new_image(&pool, "short", 20 << 20).await;
    image.write(0, Bytes::from_static(b"x")).await.unwrap();
    image
        .write(17 << 20, Bytes::from_static(b"x"))
        .await
        .unwrap();
    image.close().await.unwrap();
    let full = stored_map(&image, None);
    // Somebody who grew it did not get to its map.
    new_image(&pool, "shorter", 8 << 20).await;
    let shorter = stored_map(&open(&pool, "shorter").await, None);
    put_map(&image, None, &shorter);
    image.write(1, Bytes::from_static(b"x")).await.unwrap();
    assert!(image.flags().contains(Flags::OBJECT_MAP_INVALID));
    image.rebuild_object_map(None, |_| {}).await.unwrap();
    image.close().await.unwrap();
    assert_eq!(stored_map(&image, None), full);

    // Somebody who shrank it did not get to its map, nor to the last objects.
    let small = open(&pool, "shorter").await;
    let behind = format!("{}.{:016x}", small.block_name_prefix(), 4);
    pool.write_full(&behind, "left").await.unwrap();
    put_map(&small, None, &full);
    small.write(0, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(small.flags(), Flags::NONE);
    small.rebuild_object_map(None, |_| {}).await.unwrap();
    assert_eq!(existing(&small).await, [0]);
    assert_maps_are_right(&small, "shorter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_map_of_a_dead_owner_is_taken_over() {
    let pool = pool().await;
    let image = new_image(&pool, "taken-over", 8 << 20).await;
    let map = map_object(&image, None);
    let args = [
        "-p",
        "rbd",
        "lock",
        "get",
        &map,
        "rbd_lock",
        "--lock-cookie",
        "old",
    ];
    blocking(|| cluster().rados(&args)).unwrap();
    image.write(0, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(image.flags(), Flags::NONE);
    image.close().await.unwrap();
    assert_eq!(states(&stored_map(&image, None)), [1, 0]);
    let args = ["-p", "rbd", "lock", "info", &map, "rbd_lock"];
    let told = blocking(|| cluster().rados(&args)).unwrap();
    assert!(told.contains("\"lockers\":[]"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_cannot_be_kept_is_marked_before_the_write() {
    let pool = pool().await;
    let image = new_image(&pool, "unkept", 16 << 20).await;
    image.write(0, Bytes::from_static(b"x")).await.unwrap();
    pool.remove(&map_object(&image, None)).await.unwrap();
    // This one is marked as existing already.
    image.write(1, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(flags("rbd/unkept"), serde_json::json!([]));
    image
        .write(5 << 20, Bytes::from_static(b"x"))
        .await
        .unwrap();
    let marked = serde_json::json!(["object map invalid", "fast diff invalid"]);
    assert_eq!(flags("rbd/unkept"), marked);
    assert!(image.flags().contains(Flags::OBJECT_MAP_INVALID));
    assert_eq!(image.read(5 << 20, 1).await.unwrap().to_vec(), b"x");
    image.discard(4 << 20, 4 << 20).await.unwrap();
    assert_eq!(existing(&image).await, [0]);
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_when_the_lock_turns_out_to_be_lost() {
    let pool = pool().await;
    let image = new_image(&pool, "lost-lock", 16 << 20).await;
    image.write(0, Bytes::from_static(b"x")).await.unwrap();
    // Not as others do it: this client is neither told nor blocklisted.
    let header = format!("rbd_header.{}", image.id());
    for object in [&header, &map_object(&image, None)] {
        let args = ["-p", "rbd", "lock", "info", object, "rbd_lock"];
        let told: serde_json::Value =
            serde_json::from_str(&blocking(|| cluster().rados(&args)).unwrap()).unwrap();
        let locker = &told["lockers"][0];
        let (name, cookie) = (
            locker["name"].as_str().unwrap(),
            locker["cookie"].as_str().unwrap(),
        );
        let args = ["-p", "rbd", "lock", "break", object, "rbd_lock", name];
        let args = [&args[..], &["--lock-cookie", cookie]].concat();
        blocking(|| cluster().rados(&args)).unwrap();
    }
    let error = image
        .write(5 << 20, Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::LockLost { .. }), "{error:?}");
    assert_eq!(existing(&image).await, [0]);
    // It is taken anew, like any lock.
    image
        .write(5 << 20, Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(image.flags(), Flags::NONE);
    assert_maps_are_right(&image, "lost-lock").await;
}

/// Writes and discards in places of their own, of which those left over are given up.
async fn give_up_some(image: &Image, random: &mut Random) {
    let mut running = Vec::new();
    for object in 0..16u64 {
        let image = image.clone();
        let data = random.bytes(4096);
        let discard = random.below(3) == 0;
        running.push(async move {
            if discard {
                image.discard(object << 16, 1 << 16).await
            } else {
                image.write((object << 16) + 100, data).await
            }
        });
    }
    let mut running: Vec<_> = running.into_iter().map(Box::pin).collect();
    for _ in 0..random.below(4) {
        running.retain_mut(|request| request.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_given_up_hide_nothing() {
    let pool = pool().await;
    let options = CreateOptions {
        order: 16,
        ..mapped(1 << 20)
    };
    rbd::create(&pool, "given-up", &options).await.unwrap();
    let image = open(&pool, "given-up").await;
    let mut random = Random::new(81);
    for _ in 0..30 {
        for _ in 0..3 {
            give_up_some(&image, &mut random).await;
        }
        image.flush().await.unwrap();
        assert_nothing_is_hidden(&image).await;
        assert_eq!(image.flags(), Flags::NONE);
    }
    // All of them can be removed, whatever state they were left in.
    image.discard(0, 1 << 20).await.unwrap();
    assert!(existing(&image).await.is_empty());
    assert_eq!(states(&stored_map(&image, None)), [0; 16]);
    assert_maps_are_right(&image, "given-up").await;
}

/// Works on an image and ends in the midst of it: nothing is unlocked or waited for.
fn die_at_work(name: &str, seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = pool().await;
        let image = open(&pool, name).await;
        let mut random = Random::new(seed);
        image.write(0, random.bytes(5)).await.unwrap();
        for _ in 0..seed % 4 + 1 {
            give_up_some(&image, &mut random).await;
        }
        std::mem::forget(image);
    });
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_hides_nothing() {
    let pool = pool().await;
    let deaths = (0..4).map(async |seed| {
        let name = format!("died-{seed}");
        let options = CreateOptions {
            order: 16,
            ..mapped(1 << 20)
        };
        rbd::create(&pool, &name, &options).await.unwrap();
        blocking(|| std::thread::scope(|scope| scope.spawn(|| die_at_work(&name, seed)).join()))
            .unwrap();
        let image = open(&pool, &name).await;
        assert_nothing_is_hidden(&image).await;
        // Its lock is broken, and it is fenced.
        image
            .write(1 << 19, Bytes::from_static(b"next"))
            .await
            .unwrap();
        assert_nothing_is_hidden(&image).await;
        assert_eq!(image.flags(), Flags::NONE);
        image.discard(0, 1 << 20).await.unwrap();
        assert!(existing(&image).await.is_empty());
        assert_maps_are_right(&image, &name).await;
    });
    futures_util::future::join_all(deaths).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_made_anew_as_upstream_does_while_the_image_is_written() {
    let pool = pool().await;
    let options = CreateOptions {
        order: 16,
        ..mapped(8 << 20)
    };
    rbd::create(&pool, "rebuilt", &options).await.unwrap();
    let image = open(&pool, "rebuilt").await;
    let mut random = Random::new(95);
    let mut writes = |count: u32| {
        let mut offsets = Vec::new();
        for _ in 0..count {
            offsets.push((random.below(128) << 16, random.bytes(3000)));
        }
        offsets
    };
    for (offset, data) in writes(40) {
        image.write(offset, data).await.unwrap();
    }
    image.close().await.unwrap();
    rbd(&["snap", "create", "rbd/rebuilt@s"]);
    for (offset, data) in writes(20) {
        image.write(offset, data).await.unwrap();
    }
    image.close().await.unwrap();
    let snap = image.info().snapshots.first().map(|snap| snap.id);
    image.refresh().await.unwrap();
    let snap = snap.unwrap_or_else(|| image.snapshots()[0].id);
    // Maps that are well-formed and wrong.
    let other = new_image(&pool, "rebuilt-other", 512 << 20).await;
    let wrong = stored_map(&other, None);
    put_map(&image, None, &wrong);
    put_map(&image, Some(snap.0), &wrong);
    let selector = SnapshotSelector::Id(snap);
    let check = image
        .check_object_map(Some(&selector), |_| {})
        .await
        .unwrap();
    assert!(check.wrong > 20 && !check.is_valid(), "{check:?}");
    image
        .rebuild_object_map(Some(&selector), |_| {})
        .await
        .unwrap();

    let (late, discarded) = (writes(30), 60 << 16);
    let writer = image.clone();
    let writing = async {
        for (offset, data) in late {
            writer.write(offset, data).await.unwrap();
        }
        writer.discard(discarded, 4 << 16).await.unwrap();
    };
    let mut steps = 0;
    let rebuilding = image.rebuild_object_map(None, |_| steps += 1);
    let (_, rebuilt) = tokio::join!(writing, rebuilding);
    rebuilt.unwrap();
    assert_eq!(steps, 128);
    assert_eq!(image.flags(), Flags::NONE);
    assert_eq!(image.snapshots()[0].flags, Flags::NONE);
    assert_nothing_is_hidden(&image).await;
    // What is removed while the map is made may be said to exist; once more, and nobody interferes.
    image.rebuild_object_map(None, |_| {}).await.unwrap();
    assert_maps_are_right(&image, "rebuilt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_changes_are_told_of_what_is_written_now() {
    let pool = pool().await;
    let image = new_image(&pool, "told-now", 40 << 20).await;
    let mut random = Random::new(97);
    image.write(5 << 20, random.bytes(3 << 20)).await.unwrap();
    image.close().await.unwrap();
    rbd(&["snap", "create", "rbd/told-now@s"]);
    image.refresh().await.unwrap();
    image.write(20 << 20, random.bytes(100)).await.unwrap();
    image.discard(4 << 20, 4 << 20).await.unwrap();
    let usage = image.disk_usage(false).await.unwrap();
    let used: Vec<_> = usage.iter().map(|usage| usage.used_bytes).collect();
    assert_eq!(used, [4 << 20, 4 << 20]);
    let options = rbd::DiffOptions {
        from: Some(SnapshotSelector::Name("s".to_string())),
        whole_object: true,
    };
    let mut changes = Vec::new();
    let report = |extent: rbd::DiffExtent| changes.push((extent.offset >> 20, extent.exists));
    image.diff(&options, report).await.unwrap();
    assert_eq!(changes, [(4, false), (20, true)]);
    image.close().await.unwrap();
    rbd::remove(&pool, "told-now", |_| {}).await.unwrap_err();
    rbd(&["snap", "rm", "--no-progress", "rbd/told-now@s"]);
    rbd::remove(&pool, "told-now", |_| {}).await.unwrap();
    let id = image.id();
    assert!(!objects("rbd").iter().any(|object| object.contains(&id)));
}
