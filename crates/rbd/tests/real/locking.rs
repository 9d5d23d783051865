//! The exclusive lock among clients of ours.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use minicluster::Daemon;
use rados::{Errno, Pool};
use rbd::{Error, Image, LockPolicy, LockStatus, OpenOptions, Zeroes};

use crate::stopped::Stopped;
use crate::support::*;

/// So that a client that stands still is taken for dead after a few seconds.
const IMPATIENT: &[(&str, &str)] = &[("osd_client_watch_timeout", "4")];

fn watching() -> OpenOptions {
    OpenOptions {
        watch: true,
        ..OpenOptions::default()
    }
}

/// Opens as a client of its own.
async fn open_apart(name: &str, options: OpenOptions) -> Image {
    Image::open(&pool().await, name, options).await.unwrap()
}

fn filled(byte: u8, len: usize) -> Bytes {
    vec![byte; len].into()
}

async fn read(image: &Image, offset: u64, len: u64) -> Vec<u8> {
    image.read(offset, len).await.unwrap().to_vec()
}

/// Waits until the OSD has not heard of other clients for too long.
async fn wait_until_unwatched(image: &Image) {
    while !image.watchers().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// As `rbd lock ls` has it.
fn lock_cookies(name: &str) -> Vec<String> {
    let listed = blocking(|| cluster().rbd(&["lock", "ls", &format!("rbd/{name}")])).unwrap();
    let lines = listed.lines().filter(|line| line.starts_with("client."));
    // Locker, cookie of one word or two, address.
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[1..words.len() - 1].join(" ")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_write_takes_the_lock_and_closing_gives_it_up() {
    create_locked("first-write", 8 << 20).await;
    let image = open_apart("first-write", watching()).await;
    image.check_writable().unwrap();
    assert_eq!(read(&image, 0, 10).await, [0; 10]);
    assert_eq!(image.lock_status(), LockStatus::Unlocked);
    assert!(image.lockers().await.unwrap().lockers.is_empty());

    image.write(0, filled(1, 4096)).await.unwrap();
    assert_eq!(image.lock_status(), LockStatus::Owned);
    let lockers = image.lockers().await.unwrap();
    let [locker] = &lockers.lockers[..] else {
        panic!("{lockers:?}");
    };
    assert!(locker.is_automatic() && !lockers.shared && lockers.tag == "internal");
    assert_eq!(lock_cookies("first-write"), [locker.cookie.as_str()]);
    // The cookie is that of the watch, by which others see whether the owner is alive.
    let status = rbd_json(&["status", "rbd/first-write"]);
    let cookie = status["watchers"][0]["cookie"].to_string();
    assert_eq!(locker.cookie, format!("auto {cookie}"));

    image.release_lock().await.unwrap();
    assert_eq!(image.lock_status(), LockStatus::Unlocked);
    assert!(image.lockers().await.unwrap().lockers.is_empty());
    for byte in 2..4 {
        image.discard(0, 8 << 20).await.unwrap();
        image.write_zeroes(0, 100, Zeroes::Allocate).await.unwrap();
        image.write(4096, filled(byte, 100)).await.unwrap();
        assert_eq!(image.lock_status(), LockStatus::Owned);
        image.close().await.unwrap();
        assert_eq!(image.lock_status(), LockStatus::Unlocked);
        assert!(image.lockers().await.unwrap().lockers.is_empty());
        assert_eq!(
            rbd_json(&["status", "rbd/first-write"])["watchers"]
                .as_array()
                .unwrap()
                .len(),
            0
        );
        assert_eq!(read(&image, 4096, 100).await, [byte; 100]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_hand_the_lock_to_and_fro() {
    const BLOCK: usize = 16 << 10;
    const WRITERS: u64 = 3;
    const ROUNDS: u64 = 40;
    create_locked("to-and-fro", 8 << 20).await;
    // What was written, in the order in which that was done: a client each.
    let turns = std::sync::Mutex::new(Vec::new());
    let images = [
        open_apart("to-and-fro", watching()).await,
        open_apart("to-and-fro", OpenOptions::default()).await,
    ];
    let writers = (0..images.len() as u64 * WRITERS).map(|writer| {
        let client = usize::try_from(writer / WRITERS).unwrap();
        let (image, turns) = (&images[client], &turns);
        async move {
            for round in 0..ROUNDS {
                let byte = u8::try_from(writer * ROUNDS + round).unwrap();
                let offset = (writer * 7 + round % 7) * BLOCK as u64;
                image.write(offset, filled(byte, BLOCK)).await.unwrap();
                turns.lock().unwrap().push(client);
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(120), join_all(writers))
        .await
        .unwrap();
    let turns = turns.into_inner().unwrap();
    let changes = turns.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 4, "only {changes} changes of turn: {turns:?}");
    let held = read_all(&images[0]).await;
    for writer in 0..images.len() as u64 * WRITERS {
        for slot in 0..7 {
            let last = (0..ROUNDS).rfind(|round| round % 7 == slot).unwrap();
            let at = usize::try_from(writer * 7 + slot).unwrap() * BLOCK;
            let byte = u8::try_from(writer * ROUNDS + last).unwrap();
            assert_same("block", &held[at..at + BLOCK], &[byte; BLOCK]);
        }
    }
    // At least one client was asked for the lock each time, and none was taken for dead.
    for image in &images {
        assert_ne!(image.lock_status(), LockStatus::Blocklisted);
        image.close().await.unwrap();
    }
    assert_eq!(lock_cookies("to-and-fro"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_is_kept_until_abandoned_writes_are_done() {
    create_locked("abandoned", 256 << 20).await;
    let image = open_apart("abandoned", watching()).await;
    let (object_no, osd) = away_from_header(&image).await;
    let at = object_no * image.object_size();
    image.write(at, filled(6, 100)).await.unwrap();

    let osd = Daemon::Osd(osd);
    blocking(|| cluster().pause_daemon(osd)).unwrap();
    // Once it is on its way, nobody waits for it any more. The header may have to be read before.
    let mut write = Box::pin(image.write(at, filled(7, 100)));
    while image.flush().now_or_never().is_some() {
        assert!((&mut write).now_or_never().is_none());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(write);
    let mut release = Box::pin(image.release_lock());
    for _ in 0..5 {
        assert!((&mut release).now_or_never().is_none());
        assert_eq!(image.lock_status(), LockStatus::Releasing);
        assert_eq!(image.lockers().await.unwrap().lockers.len(), 1);
    }
    blocking(|| cluster().resume_daemon(osd)).unwrap();
    release.await.unwrap();
    assert!(image.flush().now_or_never().is_some());
    assert!(image.lockers().await.unwrap().lockers.is_empty());
    assert_eq!(read(&image, at, 100).await, [7; 100]);
}

/// An object of the image and its primary, where the header is not.
async fn away_from_header(image: &Image) -> (u64, u32) {
    let acting = |object: &str| {
        let map = blocking(|| cluster().ceph_json(&["osd", "map", "rbd", object])).unwrap();
        serde_json::from_value::<Vec<u32>>(map["acting"].clone()).unwrap()
    };
    let of_header = acting(&format!("rbd_header.{}", image.id()));
    let found = (0..image.object_count()).find_map(|object_no| {
        let object = format!("{}.{object_no:016x}", image.block_name_prefix());
        let primary = acting(&object)[0];
        (!of_header.contains(&primary)).then_some((object_no, primary))
    });
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_is_kept_until_writes_are_done_that_took_too_long() {
    const LIMIT: Duration = Duration::from_secs(3);
    create_locked("took-too-long", 256 << 20).await;
    let conf = blocking(|| cluster().conf_path());
    let options = [("rados_osd_op_timeout", "3")];
    let impatient = connect_with(&conf, "admin", &options).await;
    let pool = impatient.pool("rbd").await.unwrap();
    let image = Image::open(&pool, "took-too-long", watching())
        .await
        .unwrap();
    let other = open_apart("took-too-long", watching()).await;
    let (object_no, osd) = away_from_header(&image).await;
    let at = object_no * image.object_size();
    image.write(at, filled(6, 100)).await.unwrap();

    let osd = Daemon::Osd(osd);
    // Nobody else is to answer in its place.
    blocking(|| cluster().ceph(&["osd", "set", "nodown"])).unwrap();
    blocking(|| cluster().pause_daemon(osd)).unwrap();
    let error = image.write(at, filled(7, 100)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Rados(rados::Error::OperationTimedOut { limit, .. }) if *limit == LIMIT),
        "{error:?}"
    );
    // It may still be carried out, so the lock is not given up, to nobody.
    for waited in [
        image.flush().await,
        image.release_lock().await,
        image.close().await,
    ] {
        let error = waited.unwrap_err();
        assert!(matches!(error, Error::WritesUnfinished { .. }), "{error:?}");
        assert_eq!(error.errno(), Errno::ETIMEDOUT);
    }
    let mut heir = Box::pin(other.write(at, filled(8, 50)));
    for _ in 0..5 {
        assert!((&mut heir).now_or_never().is_none());
        assert_eq!(other.lockers().await.unwrap().lockers.len(), 1);
    }
    blocking(|| cluster().resume_daemon(osd)).unwrap();
    blocking(|| cluster().ceph(&["osd", "unset", "nodown"])).unwrap();
    heir.await.unwrap();
    assert_eq!(
        read(&other, at, 100).await,
        [[8; 50], [7; 50]].concat(),
        "the late write comes first"
    );
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_owner_gives_nothing_up() {
    create_locked("mine-alone", 8 << 20).await;
    let owner = OpenOptions {
        lock_policy: LockPolicy::Exclusive,
        ..watching()
    };
    let owner = open_apart("mine-alone", owner).await;
    owner.acquire_lock().await.unwrap();
    let other = open_apart("mine-alone", watching()).await;
    let error = other.write(0, filled(1, 100)).await.unwrap_err();
    assert!(matches!(error, Error::LockRefused { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::EROFS);
    let name = format!("client.{}", owner.pool().cluster().global_id().0);
    assert!(error.to_string().contains(&name), "{error}");
    assert_eq!(other.lock_status(), LockStatus::Unlocked);
    owner.write(0, filled(2, 100)).await.unwrap();
    owner.release_lock().await.unwrap();
    other.write(0, filled(3, 100)).await.unwrap();
    // Nor does it take it from somebody who does give it up.
    owner.write(100, filled(4, 100)).await.unwrap();
    assert_eq!(owner.lock_status(), LockStatus::Owned);
    assert_eq!(read(&other, 0, 200).await, [[3; 100], [4; 100]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_owner_is_fenced() {
    create_locked("dead-owner", 8 << 20).await;
    let stopped = Stopped::start(
        IMPATIENT,
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "dead-owner", watching()).await.unwrap();
            image.write(0, filled(1, 4096)).await.unwrap();
            image
        },
        |image| async move {
            let late = image.write(0, filled(2, 4096)).await.unwrap_err();
            let later = image.write(8192, filled(2, 4096)).await.unwrap_err();
            let read = image.read(0, 4096).await.unwrap_err();
            let status = image.lock_status();
            let closed = image.close().await;
            (
                image.pool().cluster().addr(),
                [late, later, read],
                status,
                closed,
            )
        },
    )
    .await;
    let heir = open_apart("dead-owner", watching()).await;
    assert_eq!(read(&heir, 0, 4096).await, [1; 4096]);
    heir.write(0, filled(3, 4096)).await.unwrap();
    assert_eq!(heir.lock_status(), LockStatus::Owned);
    let (addr, errors, status, closed) = stopped.resume();
    for error in errors {
        assert!(
            matches!(&error, Error::Rados(rados::Error::Blocklisted { .. })),
            "{error:?}"
        );
        assert_eq!(error.errno(), Errno::ESHUTDOWN);
    }
    assert_eq!(status, LockStatus::Blocklisted);
    assert!(closed.is_err());
    assert!(heir.pool().cluster().osdmap().blocklist().contains(&addr));
    let held = read(&heir, 0, 12288).await;
    assert_same("fenced", &held[..4096], &[3; 4096]);
    assert_same("fenced", &held[4096..], &[0; 8192]);
    heir.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_nobody_has_broken_is_kept() {
    create_locked("unbroken", 8 << 20).await;
    let stopped = Stopped::start(
        IMPATIENT,
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "unbroken", watching()).await.unwrap();
            image.write(0, filled(1, 4096)).await.unwrap();
            image
        },
        |image| async move {
            // Until it has noticed that nothing was heard of it for long.
            while image.lock_status() == LockStatus::Owned {
                tokio::task::yield_now().await;
            }
            let noticed = image.lock_status();
            image.write(0, filled(2, 4096)).await.unwrap();
            (noticed, image.lock_status(), image.lockers().await.unwrap())
        },
    )
    .await;
    let reader = open_apart("unbroken", OpenOptions::default()).await;
    let before = reader.lockers().await.unwrap();
    wait_until_unwatched(&reader).await;
    let (noticed, status, after) = stopped.resume();
    assert_eq!(noticed, LockStatus::Suspended);
    assert_eq!(status, LockStatus::Owned);
    assert_eq!(before, after);
    assert_eq!(read(&reader, 0, 4096).await, [2; 4096]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_broken_without_blocklisting_is_taken_anew() {
    create_locked("broken-softly", 8 << 20).await;
    let stopped = Stopped::start(
        IMPATIENT,
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "broken-softly", watching())
                .await
                .unwrap();
            image.write(0, filled(1, 4096)).await.unwrap();
            image
        },
        |image| async move {
            while image.lock_status() == LockStatus::Owned {
                tokio::task::yield_now().await;
            }
            // It has to ask the one who broke the lock.
            image.write(4096, filled(3, 4096)).await.unwrap();
            let lockers = image.lockers().await.unwrap().lockers;
            let name = denc::EntityName::client(image.pool().cluster().global_id());
            assert_eq!(lockers[0].name, name);
            assert_eq!(image.lock_status(), LockStatus::Owned);
            image.close().await.unwrap();
        },
    )
    .await;
    let conf = blocking(|| cluster().conf_path());
    let options = [("rbd_blocklist_on_break_lock", "false")];
    let soft = connect_with(&conf, "admin", &options).await;
    let soft = soft.pool("rbd").await.unwrap();
    let soft = Image::open(&soft, "broken-softly", watching())
        .await
        .unwrap();
    // Not to leave it a request that it would find afterwards.
    wait_until_unwatched(&soft).await;
    soft.write(0, filled(2, 4096)).await.unwrap();
    stopped.resume();
    let held = read(&soft, 0, 8192).await;
    assert_eq!(held, [[2; 4096], [3; 4096]].concat());
    soft.write(0, filled(4, 4096)).await.unwrap();
    soft.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn not_even_the_first_write_of_a_client_taken_for_dead_is_let_in() {
    create_locked("first-of-the-dead", 8 << 20).await;
    let stopped = Stopped::start(
        IMPATIENT,
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "first-of-the-dead", watching())
                .await
                .unwrap();
            image.write(0, filled(1, 4096)).await.unwrap();
            image
        },
        |image| async move {
            // None of its tasks has noticed anything.
            assert_eq!(image.lock_status(), LockStatus::Owned);
            image.write(0, filled(3, 4096)).await.unwrap_err()
        },
    )
    .await;
    let conf = blocking(|| cluster().conf_path());
    let options = [("rbd_blocklist_on_break_lock", "false")];
    let soft = connect_with(&conf, "admin", &options).await;
    let soft = soft.pool("rbd").await.unwrap();
    let exclusive = OpenOptions {
        lock_policy: LockPolicy::Exclusive,
        ..watching()
    };
    let soft = Image::open(&soft, "first-of-the-dead", exclusive)
        .await
        .unwrap();
    wait_until_unwatched(&soft).await;
    soft.write(0, filled(2, 4096)).await.unwrap();
    let error = stopped.resume();
    assert!(matches!(error, Error::LockRefused { .. }), "{error:?}");
    assert_eq!(read(&soft, 0, 4096).await, [2; 4096]);
    soft.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_lock_can_be_limited() {
    create_locked("limited", 8 << 20).await;
    let stopped = Stopped::start(
        &[],
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "limited", watching()).await.unwrap();
            image.acquire_lock().await.unwrap();
            image
        },
        |image| async move { image.close().await },
    )
    .await;
    let options = OpenOptions {
        lock_timeout: Some(Duration::from_secs(1)),
        ..watching()
    };
    let other = open_apart("limited", options).await;
    let error = write_unless_slow(&other).await.unwrap_err();
    assert!(
        matches!(&error, Error::LockTimedOut { owner: Some(owner), .. } if owner.contains("auto ")),
        "{error:?}"
    );
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
    stopped.resume().unwrap();
    write_unless_slow(&other).await.unwrap();
}

/// Writes, once more if the limit passed while nobody was known to have the lock: on a busy machine the
/// cluster may take as long to give it.
async fn write_unless_slow(image: &Image) -> Result<(), Error> {
    const ATTEMPTS: usize = 20;
    for _ in 1..ATTEMPTS {
        match image.write(0, filled(1, 100)).await {
            Err(Error::LockTimedOut { owner: None, .. }) => (),
            result => return result,
        }
    }
    image.write(0, filled(1, 100)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_take_the_lock_where_that_is_wanted() {
    create_locked("locked-reads", 8 << 20).await;
    let writer = open_apart("locked-reads", watching()).await;
    writer.write(0, filled(1, 100)).await.unwrap();
    let plain = open_apart("locked-reads", watching()).await;
    assert_eq!(read(&plain, 0, 100).await, [1; 100]);
    assert_eq!(writer.lock_status(), LockStatus::Owned);
    let options = OpenOptions {
        lock_on_read: true,
        ..watching()
    };
    let reader = open_apart("locked-reads", options).await;
    assert_eq!(read(&reader, 0, 100).await, [1; 100]);
    assert_eq!(reader.lock_status(), LockStatus::Owned);
    assert_eq!(writer.lock_status(), LockStatus::Unlocked);
    writer.release_lock().await.unwrap();
    reader.extents(0, 100).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_dropped_without_being_closed_is_no_hindrance_to_its_own_client() {
    create_locked("dropped", 8 << 20).await;
    let pool: Pool = pool().await;
    for byte in 1..4 {
        let image = Image::open(&pool, "dropped", watching()).await.unwrap();
        image.write(0, filled(byte, 100)).await.unwrap();
        assert_eq!(read(&image, 0, 100).await, [byte; 100]);
    }
    assert_eq!(lock_cookies("dropped").len(), 1);
    // Two images of one client are two owners.
    let first = Image::open(&pool, "dropped", watching()).await.unwrap();
    let second = Image::open(&pool, "dropped", watching()).await.unwrap();
    for byte in 4..7 {
        for image in [&first, &second] {
            image.write(0, filled(byte, 100)).await.unwrap();
            assert_eq!(image.lock_status(), LockStatus::Owned);
        }
    }
    assert!(!pool.cluster().is_blocklisted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_owner_does_not_bring_back_what_is_removed() {
    create_locked("removed", 8 << 20).await;
    let pool = pool().await;
    let id = open(&pool, "removed").await.id();
    let stopped = Stopped::start(
        IMPATIENT,
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "removed", watching()).await.unwrap();
            image.write(0, filled(1, 4096)).await.unwrap();
            image
        },
        |image| async move { image.write(0, filled(2, 4096)).await.unwrap_err() },
    )
    .await;
    let error = rbd::remove(&pool, "removed", |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
    let image = open(&pool, "removed").await;
    wait_until_unwatched(&image).await;
    rbd::remove(&pool, "removed", |_| {}).await.unwrap();
    let error = stopped.resume();
    assert_eq!(error.errno(), Errno::ESHUTDOWN, "{error:?}");
    assert!(!objects("rbd").iter().any(|object| object.contains(&id)));
}
