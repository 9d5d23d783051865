//! Images that are cached: what others see of buffered writes, and when.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use minicluster::{Cluster as Daemons, Store};
use rados::osdmap::PoolFlags;
use rados::{Errno, Pool};
use rbd::{Cache, CacheOptions, Error, Image, LockStatus, OpenOptions, Zeroes};

use crate::stopped::Stopped;
use crate::support::*;

const BLOCK: u64 = 4096;

/// Writes nothing out by itself.
fn patient() -> CacheOptions {
    CacheOptions {
        writethrough_until_flush: false,
        max_dirty_age: Duration::from_secs(3600),
        ..CacheOptions::default()
    }
}

fn cached(options: CacheOptions) -> OpenOptions {
    OpenOptions {
        watch: true,
        cache: Cache::With(options),
        ..OpenOptions::default()
    }
}

async fn open_cached(name: &str) -> Image {
    let options = cached(patient());
    Image::open(&pool().await, name, options).await.unwrap()
}

fn filled(byte: u8, len: u64) -> Bytes {
    vec![byte; usize::try_from(len).unwrap()].into()
}

async fn read(image: &Image, offset: u64, len: u64) -> Vec<u8> {
    image.read(offset, len).await.unwrap().to_vec()
}

async fn create(name: &str, size_bytes: u64) {
    let options = plain_options(size_bytes);
    rbd::create(&pool().await, name, &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn buffered_writes_are_everybodys_after_a_flush() {
    create("buffered", 8 << 20).await;
    let image = open_cached("buffered").await;
    image.write(BLOCK, filled(1, BLOCK)).await.unwrap();
    image.write(BLOCK + 100, filled(2, 10)).await.unwrap();
    let mut expected = vec![0; 8 << 20];
    expected[4096..8192].fill(1);
    expected[4196..4206].fill(2);
    assert_same("by us", &read_all(&image).await, &expected);
    assert_eq!(image.buffered_bytes(), BLOCK);
    assert_same("by others", &export("rbd/buffered"), &[0; 8 << 20]);
    image.flush().await.unwrap();
    assert_eq!(image.buffered_bytes(), 0);
    assert_same("by others", &export("rbd/buffered"), &expected);
    assert_same("by us", &read_all(&image).await, &expected);
    // What is written over while it is on the OSDs.
    image.write(BLOCK + 4000, filled(3, 200)).await.unwrap();
    expected[8096..8296].fill(3);
    assert_same("by us", &read_all(&image).await, &expected);
    image.close().await.unwrap();
    assert_same("by others", &export("rbd/buffered"), &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_for_the_osds_until_somebody_flushes() {
    create("until-flush", 8 << 20).await;
    let options = CacheOptions {
        writethrough_until_flush: true,
        ..patient()
    };
    let (image, other) = (
        Image::open(&pool().await, "until-flush", cached(options))
            .await
            .unwrap(),
        open(&pool().await, "until-flush").await,
    );
    image.write(0, filled(1, BLOCK)).await.unwrap();
    assert_eq!(image.buffered_bytes(), 0);
    assert_eq!(read(&other, 0, BLOCK).await, filled(1, BLOCK));
    image.flush().await.unwrap();
    image.write(0, filled(2, BLOCK)).await.unwrap();
    assert_eq!(image.buffered_bytes(), BLOCK);
    assert_eq!(read(&other, 0, BLOCK).await, filled(1, BLOCK));
}

#[tokio::test(flavor = "multi_thread")]
async fn fua_writes_out_that_write_and_no_others() {
    create("fua", 8 << 20).await;
    let (image, other) = (open_cached("fua").await, open(&pool().await, "fua").await);
    image.write(0, filled(1, BLOCK)).await.unwrap();
    image.write(1 << 20, filled(1, BLOCK)).await.unwrap();
    image.write_fua(100, filled(2, 100)).await.unwrap();
    assert_eq!(read(&other, 100, 100).await, [2; 100]);
    image.write_fua(5 << 20, filled(3, BLOCK)).await.unwrap();
    assert_eq!(read(&other, 5 << 20, BLOCK).await, filled(3, BLOCK));
    image.write(5 << 20, filled(4, BLOCK)).await.unwrap();
    assert_eq!(image.buffered_bytes(), BLOCK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_buffered_comes_behind_what_is() {
    create("ordered", 64 << 20).await;
    let image = open_cached("ordered").await;
    let size: u64 = 30 << 20;
    for at in [0, size - BLOCK, size, 40 << 20, 50 << 20] {
        image.write(at, filled(1, 2 * BLOCK)).await.unwrap();
    }
    // Larger than the buffer.
    image.write(BLOCK, filled(2, size)).await.unwrap();
    image.discard(40 << 20, 64 << 10).await.unwrap();
    image
        .write_zeroes((50 << 20) + BLOCK, 10, Zeroes::Allocate)
        .await
        .unwrap();
    let mut expected = vec![0; 64 << 20];
    expected[..8192].fill(1);
    expected[(30 << 20)..(30 << 20) + 8192].fill(1);
    expected[(50 << 20)..(50 << 20) + 8192].fill(1);
    expected[4096..(30 << 20) + 4096].fill(2);
    expected[(50 << 20) + 4096..(50 << 20) + 4106].fill(0);
    assert_same("by us", &read_all(&image).await, &expected);
    image.flush().await.unwrap();
    assert_same("by others", &export("rbd/ordered"), &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_wait_for_room_and_old_writes_go_by_themselves() {
    create("roomless", 32 << 20).await;
    let options = CacheOptions {
        max_dirty_bytes: 64 << 10,
        target_dirty_bytes: 64 << 10,
        max_dirty_age: Duration::from_millis(200),
        ..patient()
    };
    let image = Image::open(&pool().await, "roomless", cached(options))
        .await
        .unwrap();
    let writes = (0..512u64).map(|block| {
        let byte = u8::try_from(block % 251).unwrap();
        let image = &image;
        async move {
            image
                .write(block * 16 * BLOCK, filled(byte, BLOCK))
                .await
                .unwrap();
            assert!(image.buffered_bytes() <= 128 << 10);
        }
    });
    join_all(writes).await;
    // Nobody flushes.
    while image.buffered_bytes() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let other = open(&pool().await, "roomless").await;
    for block in 0..512u64 {
        let byte = u8::try_from(block % 251).unwrap();
        assert_eq!(
            read(&other, block * 16 * BLOCK, BLOCK).await,
            filled(byte, BLOCK)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_handed_over_with_everything_written() {
    create_locked("cached-lock", 32 << 20).await;
    let owner = open_cached("cached-lock").await;
    let mut expected = vec![0; 32 << 20];
    for (index, heir) in [false, true, false, true].into_iter().enumerate() {
        let byte = u8::try_from(index + 1).unwrap();
        for block in 0..200u64 {
            let at = block * 10 * BLOCK;
            owner.write(at, filled(byte, BLOCK)).await.unwrap();
            let at = usize::try_from(at).unwrap();
            expected[at..at + 4096].fill(byte);
        }
        assert!(owner.buffered_bytes() > 0);
        if heir {
            let other = open(&pool().await, "cached-lock").await;
            other.write(BLOCK, filled(99, BLOCK)).await.unwrap();
            assert_same("the heir", &read(&other, 0, 4096).await, &[byte; 4096]);
            assert_eq!(other.lock_status(), LockStatus::Owned);
            other.close().await.unwrap();
            expected[4096..8192].fill(99);
        } else {
            // Upstream takes the lock for this, and asks for it.
            let bench = ["bench", "--io-type", "write", "--io-size", "4096"];
            let total = [
                "--io-threads",
                "1",
                "--io-total",
                "4096",
                "--io-pattern",
                "seq",
            ];
            rbd(&[&bench[..], &total, &["rbd/cached-lock"]].concat());
            // It has written one block, somewhere.
            let held = export("rbd/cached-lock");
            let differing = held.chunks(4096).zip(expected.chunks(4096));
            let differing = differing.filter(|(a, b)| a != b).count();
            assert!(differing <= 1, "{differing} blocks");
            expected = held;
        }
        assert_eq!(owner.buffered_bytes(), 0);
        assert_same("the owner", &read_all(&owner).await, &expected);
    }
    owner.close().await.unwrap();
    assert_same("by upstream", &export("rbd/cached-lock"), &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_of_others_hold_what_was_buffered_before() {
    create("cached-snap", 16 << 20).await;
    create_locked("cached-lock-snap", 16 << 20).await;
    for name in ["cached-snap", "cached-lock-snap"] {
        let image = open_cached(name).await;
        let mut expected = vec![0; 16 << 20];
        for round in 1..4u8 {
            for block in 0..64 {
                let at = block * 50 * BLOCK;
                image.write(at, filled(round, BLOCK)).await.unwrap();
                let at = usize::try_from(at).unwrap();
                expected[at..at + 4096].fill(round);
            }
            let snap = format!("rbd/{name}@{round}");
            rbd(&["snap", "create", "--no-progress", &snap]);
            image.write(0, filled(100, BLOCK)).await.unwrap();
            assert_same(&snap, &export(&snap), &expected);
            image.flush().await.unwrap();
            assert_same(&snap, &export(&snap), &expected);
        }
        expected[..4096].fill(100);
        assert_same(name, &export(&format!("rbd/{name}")), &expected);
        image.close().await.unwrap();
    }
}

/// A pool on a cluster of its own that has, or has not, used up its quota.
struct Quota<'a> {
    daemons: &'a Daemons,
    data: &'a Pool,
}

impl Quota<'_> {
    /// Waits until this client knows.
    async fn set(&self, is_used_up: bool) {
        let objects = if is_used_up { "1" } else { "0" };
        let set = ["osd", "pool", "set-quota", "data", "max_objects", objects];
        blocking(|| self.daemons.ceph(&set)).unwrap();
        let is_full = || {
            let map = self.data.cluster().osdmap();
            map.pool(self.data.id())
                .unwrap()
                .flags
                .contains(PoolFlags::FULL)
        };
        while is_full() != is_used_up {
            let next = denc::Epoch(self.data.cluster().osdmap().epoch().0 + 1);
            self.data.cluster().wait_for_osdmap(next).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_out_is_kept_and_told() {
    // The manager counts objects.
    let daemons = start_daemons(true).await;
    blocking(|| daemons.create_pool("data", 8)).unwrap();
    let options = [("abort_on_full", "true")];
    let connection = connect_with(&daemons.conf_path(), "admin", &options).await;
    let (pool, data) = (
        connection.pool("rbd").await.unwrap(),
        connection.pool("data").await.unwrap(),
    );
    let mut options = locked_options(16 << 20);
    options.data_pool = Some(data.clone());
    rbd::create(&pool, "kept", &options).await.unwrap();
    let options = CacheOptions {
        max_dirty_bytes: 1 << 20,
        ..patient()
    };
    let image = Image::open(&pool, "kept", cached(options.clone()))
        .await
        .unwrap();
    for at in [4 << 20, 8 << 20] {
        image.write_fua(at, filled(9, BLOCK)).await.unwrap();
    }
    image.write(0, filled(1, BLOCK)).await.unwrap();
    let quota = Quota {
        daemons: &daemons,
        data: &data,
    };
    quota.set(true).await;
    for _ in 0..2 {
        assert_eq!(image.flush().await.unwrap_err().errno(), Errno::EDQUOT);
    }
    let failed = image.write_fua(8 << 20, filled(2, BLOCK)).await;
    assert_eq!(failed.unwrap_err().errno(), Errno::EDQUOT);
    assert_eq!(image.close().await.unwrap_err().errno(), Errno::EDQUOT);
    assert_eq!(
        image.release_lock().await.unwrap_err().errno(),
        Errno::EDQUOT
    );
    // As long as there is room.
    let mut written = 0;
    let failed = loop {
        match image.write((1 << 20) + written, filled(3, 64 << 10)).await {
            Ok(()) => written += 64 << 10,
            Err(error) => break error,
        }
        assert!(written <= 1 << 20);
    };
    assert_eq!(failed.errno(), Errno::EDQUOT);
    assert_eq!(read(&image, 0, BLOCK).await, [1; 4096]);
    quota.set(false).await;
    image.flush().await.unwrap();
    assert_eq!(image.buffered_bytes(), 0);
    let mut expected = vec![0; 16 << 20];
    expected[..4096].fill(1);
    expected[(4 << 20)..(4 << 20) + 4096].fill(9);
    expected[(8 << 20)..(8 << 20) + 4096].fill(2);
    let written = usize::try_from(written).unwrap();
    expected[(1 << 20)..(1 << 20) + written].fill(3);
    let other = open(&pool, "kept").await;
    assert_same("in the end", &read_all(&other).await, &expected);

    // Nobody is kept waiting for the lock for ever.
    image.write(0, filled(4, BLOCK)).await.unwrap();
    quota.set(true).await;
    let heir = tokio::spawn(async move { other.acquire_lock().await });
    heir.await.unwrap().unwrap();
    for _ in 0..2 {
        for failed in [image.flush().await, image.write(0, filled(5, BLOCK)).await] {
            let error = failed.unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::WritesLost {
                        bytes: BLOCK,
                        errno: Errno::EDQUOT,
                        ..
                    }
                ),
                "{error:?}"
            );
        }
    }
    assert_eq!(read(&image, 0, BLOCK).await, [1; 4096]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_with_the_lock_is_told_to_all_who_come_later() {
    create_locked("cached-dead", 8 << 20).await;
    let stopped = Stopped::start(
        &[("osd_client_watch_timeout", "4")],
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let options = cached(patient());
            let image = Image::open(&pool, "cached-dead", options).await.unwrap();
            image.write(0, filled(1, BLOCK)).await.unwrap();
            image.flush().await.unwrap();
            image.write(0, filled(2, BLOCK)).await.unwrap();
            image.write(BLOCK, filled(2, BLOCK)).await.unwrap();
            image
        },
        |image| async move {
            let mut errors = vec![image.flush().await.unwrap_err()];
            for _ in 0..2 {
                errors.push(image.flush().await.unwrap_err());
            }
            errors.push(image.close().await.unwrap_err());
            let written = image.write(0, filled(3, BLOCK)).await.unwrap_err();
            (errors, written, image.buffered_bytes())
        },
    )
    .await;
    let heir = open(&pool().await, "cached-dead").await;
    heir.write(0, filled(4, 512)).await.unwrap();
    let (errors, written, left) = stopped.resume();
    for error in &errors[1..] {
        assert!(
            matches!(error, Error::WritesLost { bytes, .. } if *bytes == 2 * BLOCK),
            "{errors:?}"
        );
    }
    for error in errors.iter().chain([&written]) {
        assert_eq!(error.errno(), Errno::ESHUTDOWN, "{error}");
    }
    assert_eq!(left, 0);
    let held = read(&heir, 0, 2 * BLOCK).await;
    assert_same("what was flushed", &held[512..4096], &[1; 3584]);
    assert_same("what was not", &held[4096..], &[0; 4096]);
    heir.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_dropped_is_written_out_in_the_background() {
    create("cached-dropped", 8 << 20).await;
    let (image, other) = (
        open_cached("cached-dropped").await,
        open(&pool().await, "cached-dropped").await,
    );
    image.write(0, filled(1, BLOCK)).await.unwrap();
    let mut write = Box::pin(image.write(BLOCK, filled(2, BLOCK)));
    // Buffered at the first poll.
    assert!((&mut write).now_or_never().is_some());
    drop(write);
    drop(image);
    while read(&other, 0, 2 * BLOCK).await[4096..] != [2; 4096] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&other, 0, BLOCK).await, filled(1, BLOCK));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_say_whether_and_how() {
    create("configured", 8 << 20).await;
    let conf = blocking(|| cluster().conf_path());
    let opened = async |options: &[(&str, &str)]| {
        let pool = connect_with(&conf, "admin", options)
            .await
            .pool("rbd")
            .await
            .unwrap();
        let options = OpenOptions {
            cache: Cache::Configured,
            ..OpenOptions::default()
        };
        Image::open(&pool, "configured", options).await
    };
    let buffered = async |image: &Image| {
        image.flush().await.unwrap();
        image.write(0, filled(1, BLOCK)).await.unwrap();
        image.buffered_bytes() > 0
    };
    assert!(buffered(&opened(&[]).await.unwrap()).await);
    for (name, value) in [
        ("rbd_cache", "false"),
        ("rbd_cache_policy", "writethrough"),
        ("rbd_cache_max_dirty", "0"),
    ] {
        assert!(
            !buffered(&opened(&[(name, value)]).await.unwrap()).await,
            "{name}"
        );
    }
    for (name, value) in [
        ("rbd_cache", "maybe"),
        ("rbd_cache_policy", "writeback,writearound"),
        ("rbd_cache_max_dirty_age", "old"),
        ("rbd_readahead_max_bytes", "-1"),
    ] {
        let error = opened(&[(name, value)]).await.unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("{name} = ")),
            "{error}"
        );
        assert_eq!(error.errno(), Errno::EINVAL);
    }
    rbd(&[
        "config",
        "image",
        "set",
        "rbd/configured",
        "rbd_cache",
        "false",
    ]);
    assert!(!buffered(&opened(&[]).await.unwrap()).await);
}

/// A cluster for counting, whose only OSD nobody else uses.
struct Counted {
    daemons: Daemons,
    pool: Pool,
}

async fn start_daemons(has_manager: bool) -> Daemons {
    blocking(|| {
        let builder = Daemons::builder().osds(1).store(Store::Memstore);
        let daemons = builder
            .mgr(has_manager)
            .conf("osd pool default size = 1")
            .conf("mon warn on pool no redundancy = false")
            .start()
            .unwrap();
        daemons.create_pool("rbd", 8).unwrap();
        daemons
    })
}

impl Counted {
    async fn start() -> Self {
        let daemons = start_daemons(false).await;
        let conf = daemons.conf_path();
        let pool = connect_with(&conf, "admin", &[])
            .await
            .pool("rbd")
            .await
            .unwrap();
        Self { daemons, pool }
    }

    /// How many operations of clients the OSD has carried out: reads and writes.
    fn operations(&self) -> (u64, u64) {
        let dump =
            blocking(|| self.daemons.ceph_json(&["daemon", "osd.0", "perf", "dump"])).unwrap();
        let count = |name: &str| dump["osd"][name].as_u64().unwrap();
        (count("op_r"), count("op_w"))
    }

    async fn image(&self, name: &str, cache: Cache) -> Image {
        rbd::create(&self.pool, name, &plain_options(32 << 20))
            .await
            .unwrap();
        let options = OpenOptions {
            cache,
            ..OpenOptions::default()
        };
        Image::open(&self.pool, name, options).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caching_takes_fewer_operations() {
    let counted = Counted::start().await;
    let image = counted.image("merged", Cache::With(patient())).await;
    let (_, before) = counted.operations();
    for block in 0..1024 {
        let byte = u8::try_from(block % 251).unwrap();
        image
            .write(block * BLOCK, filled(byte, BLOCK))
            .await
            .unwrap();
        // In another object, with gaps in between.
        image
            .write((8 << 20) + block % 16 * 2 * BLOCK, filled(byte, BLOCK))
            .await
            .unwrap();
    }
    image.flush().await.unwrap();
    let writes = counted.operations().1 - before;
    assert_eq!(writes, 2, "one for each object");

    let sequential = async |image: &Image| {
        let (before, _) = counted.operations();
        for block in 0..1024 {
            let byte = u8::try_from(block % 251).unwrap();
            assert_eq!(read(image, block * BLOCK, BLOCK).await, filled(byte, BLOCK));
        }
        counted.operations().0 - before
    };
    let reads = sequential(&image).await;
    assert!(reads < 40, "{reads} reads");
    // What was read ahead is not used for what has been written since.
    image.write(0, filled(7, BLOCK)).await.unwrap();
    assert_eq!(read(&image, 0, BLOCK).await, filled(7, BLOCK));
    image.write(0, filled(0, BLOCK)).await.unwrap();
    image.flush().await.unwrap();
    let uncached = open(&counted.pool, "merged").await;
    assert_eq!(sequential(&uncached).await, 1024);
}
