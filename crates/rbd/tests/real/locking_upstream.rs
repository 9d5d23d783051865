//! The exclusive lock among clients of ours and upstream's.

use std::time::Duration;

use rbd::{Error, Image, LockPolicy, LockStatus, OpenOptions};

use crate::support::*;

fn watching() -> OpenOptions {
    OpenOptions {
        watch: true,
        ..OpenOptions::default()
    }
}

/// Load on the second half of an image of 32 MiB by librbd, verified in the end.
fn fio(name: &str, io_size: &str) -> Process {
    let image = format!("--rbdname={name}");
    let io_size = format!("--io_size={io_size}");
    Process::start(
        "fio",
        &[
            "--name=job",
            "--ioengine=rbd",
            "--clientname=admin",
            "--pool=rbd",
            &image,
            "--rw=randwrite",
            "--bs=16k",
            "--iodepth=4",
            "--offset=16M",
            "--size=16M",
            &io_size,
            "--verify=crc32c",
            "--do_verify=1",
            "--verify_fatal=1",
            "--verify_state_save=0",
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_goes_to_and_from_librbd() {
    create_locked("with-librbd", 32 << 20).await;
    let image = Image::open(&pool().await, "with-librbd", watching())
        .await
        .unwrap();
    let mut theirs = fio("with-librbd", "24M");
    let mut random = Random::new(5);
    let mut held = vec![0; 16 << 20];
    let mut turns = 0;
    let mut had_it = false;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while blocking(|| theirs.is_running()) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "after {turns} turns"
        );
        let at = random.below((16 << 20) - 5000);
        let data = random.bytes(5000);
        image.write(at, data.clone()).await.unwrap();
        let at = usize::try_from(at).unwrap();
        held[at..at + 5000].copy_from_slice(&data);
        // Until it has been asked for the lock: they have their turn.
        let has_it = image.lock_status() == LockStatus::Owned;
        turns += usize::from(has_it && !had_it);
        had_it = has_it;
        tokio::time::sleep(Duration::from_millis(20)).await;
        had_it &= image.lock_status() == LockStatus::Owned;
    }
    assert!(theirs.wait(), "fio has found something wrong");
    assert!(turns >= 3, "{turns} turns");
    assert_same("ours", &export("rbd/with-librbd")[..16 << 20], &held);
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn librbd_is_refused_by_an_exclusive_owner() {
    create_locked("not-for-librbd", 32 << 20).await;
    let options = OpenOptions {
        lock_policy: LockPolicy::Exclusive,
        ..watching()
    };
    let image = Image::open(&pool().await, "not-for-librbd", options)
        .await
        .unwrap();
    image.acquire_lock().await.unwrap();
    assert!(!blocking(|| fio("not-for-librbd", "1M").wait()));
    let listed = rbd(&["lock", "ls", "rbd/not-for-librbd"]);
    let name = format!("client.{}", image.pool().cluster().global_id().0);
    assert!(listed.contains(&name), "{listed}");
    let info = rbd_json(&["info", "rbd/not-for-librbd"]);
    assert_eq!(info["id"], image.id());
    image.close().await.unwrap();
    assert!(blocking(|| fio("not-for-librbd", "1M").wait()));
}

/// Takes the lock of an image for good, and ends with its input.
const OWNER: &str = "
import os, rados, rbd, sys
with rados.Rados(conffile=os.environ['CEPH_CONF']) as cluster:
    with cluster.open_ioctx('rbd') as pool:
        with rbd.Image(pool, sys.argv[1]) as image:
            image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
            sys.stdin.read()
";

/// Takes the lock of an image by writing to it, and ends with its input.
const WRITER: &str = "
import os, rados, rbd, sys
with rados.Rados(conffile=os.environ['CEPH_CONF']) as cluster:
    with cluster.open_ioctx('rbd') as pool:
        with rbd.Image(pool, sys.argv[1]) as image:
            image.write(b'theirs', 0)
            sys.stdin.read()
";

/// Whether programs in Python can use librbd; says so if not.
fn has_python_rbd() -> bool {
    let mut python = cluster().command("/usr/bin/python3");
    let imported = blocking(|| python.args(["-c", "import rados, rbd"]).output());
    let has_it = imported.is_ok_and(|output| output.status.success());
    if !has_it {
        println!("SKIPPED: there is no python3-rbd of this release");
    }
    has_it
}

/// What watchers are told of the lock: that it was taken (0) or released (1), by a client and its watch.
fn lock_message(operation: u32, client: u64, watch: u64) -> Vec<u8> {
    let mut message = vec![7, 1];
    message.extend(20u32.to_le_bytes());
    message.extend(operation.to_le_bytes());
    message.extend(client.to_le_bytes());
    message.extend(watch.to_le_bytes());
    message
}

/// Word of what another client did before comes late, as it does when it had to be sent again: librbd
/// then forgets that it is the owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_librbd_that_has_forgotten_that_it_is_the_owner_is_reminded() {
    if !has_python_rbd() {
        return;
    }
    create_locked("forgotten", 32 << 20).await;
    let image = Image::open(&pool().await, "forgotten", watching())
        .await
        .unwrap();
    let theirs = blocking(|| Process::start("/usr/bin/python3", &["-c", WRITER, "forgotten"]));
    while image.lockers().await.unwrap().lockers.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let header = format!("rbd_header.{}", image.id());
    let pool = pool().await;
    for operation in [0, 1] {
        let message = lock_message(operation, 1, 2);
        let told = pool.notify(&header, message, Duration::from_secs(30)).await;
        let told = told.unwrap();
        assert_eq!((told.answers.len(), told.timed_out.len()), (2, 0));
    }
    image.write(0, b"ours".to_vec().into()).await.unwrap();
    assert_eq!(image.lock_status(), LockStatus::Owned);
    blocking(|| theirs.finish());
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_owner_of_librbds_refuses_us() {
    if !has_python_rbd() {
        return;
    }
    create_locked("not-for-us", 32 << 20).await;
    let image = Image::open(&pool().await, "not-for-us", watching())
        .await
        .unwrap();
    let theirs = blocking(|| Process::start("/usr/bin/python3", &["-c", OWNER, "not-for-us"]));
    while image.lockers().await.unwrap().lockers.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = image.write(0, vec![1; 100].into()).await.unwrap_err();
    assert!(matches!(error, Error::LockRefused { .. }), "{error:?}");
    blocking(|| theirs.finish());
    image.write(0, vec![1; 100].into()).await.unwrap();
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_killed_librbd_is_broken() {
    create_locked("killed-librbd", 32 << 20).await;
    let image = Image::open(&pool().await, "killed-librbd", watching())
        .await
        .unwrap();
    let theirs = blocking(|| fio("killed-librbd", "1G"));
    let dead = loop {
        let lockers = image.lockers().await.unwrap().lockers;
        if let [locker] = &lockers[..] {
            break locker.clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    blocking(|| drop(theirs));
    // For half a minute it still seems to be there.
    image.write(0, vec![1; 100].into()).await.unwrap();
    let lockers = image.lockers().await.unwrap().lockers;
    assert_ne!(lockers[0], dead);
    let map = image.pool().cluster().osdmap();
    assert!(map.blocklist().contains(&dead.addr));
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn librbd_breaks_the_lock_of_a_dead_client_of_ours() {
    use crate::stopped::Stopped;
    create_locked("dead-orbd", 32 << 20).await;
    let stopped = Stopped::start(
        &[("osd_client_watch_timeout", "4")],
        |connection| async move {
            let pool = connection.pool("rbd").await.unwrap();
            let image = Image::open(&pool, "dead-orbd", watching()).await.unwrap();
            image.write(0, vec![1; 4096].into()).await.unwrap();
            image
        },
        |image| async move { image.write(0, vec![2; 4096].into()).await.unwrap_err() },
    )
    .await;
    assert!(blocking(|| fio("dead-orbd", "1M").wait()));
    let error = stopped.resume();
    assert!(
        matches!(error, Error::Rados(rados::Error::Blocklisted { .. })),
        "{error:?}"
    );
    assert_same("fenced", &export("rbd/dead-orbd")[..4096], &[1; 4096]);
}
