//! Locks that people and programs put on images by command.

use minicluster::Release;
use rados::Errno;
use rbd::{Error, Image, LockStatus, OpenOptions};

use crate::support::*;

fn lock_list(name: &str) -> String {
    rbd(&["lock", "ls", &format!("rbd/{name}")])
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_upstreams_are_respected() {
    create_locked("locked-by-rbd", 8 << 20).await;
    rbd(&["lock", "add", "rbd/locked-by-rbd", "theirs"]);
    let image = open(&pool().await, "locked-by-rbd").await;
    for _ in 0..2 {
        let error = image.write(0, vec![1; 10].into()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Locked { lockers, .. } if lockers.contains("\"theirs\"")),
            "{error:?}"
        );
        assert_eq!(error.errno(), Errno::EBUSY);
        assert_eq!(image.lock_status(), LockStatus::Unlocked);
    }
    let error = image.lock_add("ours", None).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    // It is still there, and its owner, though gone, has not been blocklisted.
    let lockers = image.lockers().await.unwrap().lockers;
    let [locker] = &lockers[..] else {
        panic!("{lockers:?}");
    };
    assert!(!locker.is_automatic());
    let listed = lock_list("locked-by-rbd");
    assert!(
        listed.contains("theirs") && listed.contains(&locker.name.to_string()),
        "{listed}"
    );
    let cluster = image.pool().cluster();
    assert!(!cluster.osdmap().blocklist().contains(&locker.addr));

    let error = image.lock_remove(locker.name, "other").await.unwrap_err();
    assert!(matches!(error, Error::NoSuchLock { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::ENOENT);
    image.lock_remove(locker.name, "theirs").await.unwrap();
    assert!(cluster.osdmap().blocklist().contains(&locker.addr));
    image.write(0, vec![1; 10].into()).await.unwrap();
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_ours_are_seen_by_upstream() {
    create_locked("locked-by-orbd", 8 << 20).await;
    let image = open(&pool().await, "locked-by-orbd").await;
    image.lock_add("a cookie", None).await.unwrap();
    let listed = lock_list("locked-by-orbd");
    let name = format!("client.{}", image.pool().cluster().global_id().0);
    assert!(
        listed.contains("exclusive") && listed.contains("a cookie"),
        "{listed}"
    );
    assert!(listed.contains(&name), "{listed}");
    let error = image.lock_add("a cookie", None).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    // Our own lock by command stops our writes, too.
    let error = image.write(0, vec![1; 10].into()).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    let refused = blocking(|| cluster().rbd(&["lock", "add", "rbd/locked-by-orbd", "theirs"]));
    assert!(refused.is_err());
    // The option has another name since Pacific.
    let list = if cluster().release() < Release::Pacific {
        "blacklist"
    } else {
        "blocklist"
    };
    let no_fencing = format!("--rbd_{list}_on_break_lock=false");
    rbd(&[
        "lock",
        "rm",
        "rbd/locked-by-orbd",
        "a cookie",
        &name,
        &no_fencing,
    ]);
    assert!(image.lockers().await.unwrap().lockers.is_empty());

    image.lock_add("one", Some("tag")).await.unwrap();
    image.lock_add("two", Some("tag")).await.unwrap();
    let error = image.lock_add("three", Some("gat")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Locked { lockers, .. } if lockers.contains("one") && lockers.contains("two")),
        "{error:?}"
    );
    rbd(&[
        "lock",
        "add",
        "--shared",
        "tag",
        "rbd/locked-by-orbd",
        "three",
    ]);
    let info = image.lockers().await.unwrap();
    assert_eq!(
        (info.lockers.len(), info.tag.as_str(), info.shared),
        (3, "tag", true)
    );
    let listed = lock_list("locked-by-orbd");
    assert!(
        listed.contains("tag") && listed.contains("shared"),
        "{listed}"
    );
    let error = image.write(0, vec![1; 10].into()).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    for locker in info.lockers {
        image
            .lock_remove(locker.name, &locker.cookie)
            .await
            .unwrap();
    }
    image.write(0, vec![1; 10].into()).await.unwrap();
    // Who removes its own lock is not blocklisted.
    assert!(!image.pool().cluster().is_blocklisted());
    image.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_need_an_image_that_may_be_changed() {
    create_locked("locked-never", 8 << 20).await;
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let image = Image::open(&pool().await, "locked-never", options)
        .await
        .unwrap();
    let name = denc::EntityName::client(denc::GlobalId(1));
    for error in [
        image.lock_add("ours", None).await.unwrap_err(),
        image.lock_remove(name, "ours").await.unwrap_err(),
        image.acquire_lock().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    }
}
