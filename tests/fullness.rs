//! Full clusters and pools: writes wait for room, or fail if that is wanted.

use std::time::Duration;

use minicluster::{Cluster, Release};
use rados::config::Config;
use rados::osdmap::{MapFlags, OsdMap, PoolFlags};
use rados::{Errno, Operation, Pool};

use crate::support;

/// Connects as a client that would rather fail than wait.
async fn impatient(cluster: &Cluster) -> Pool {
    let config = Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", cluster.keyring_path().to_str().unwrap())
        .option("abort_on_full", "true")
        .load()
        .unwrap();
    let ours = rados::Cluster::connect(config).await.unwrap();
    ours.pool("data").await.unwrap()
}

/// Waits until the map says what it is to say.
async fn until(pool: &Pool, is_so: impl Fn(&OsdMap) -> bool) {
    let waiting = async {
        loop {
            let map = pool.cluster().osdmap();
            if is_so(&map) {
                return;
            }
            let next = denc::Epoch(map.epoch().0 + 1);
            pool.cluster().wait_for_osdmap(next).await.unwrap();
        }
    };
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, waiting).await.unwrap();
}

#[tokio::test]
async fn writes_wait_while_the_cluster_is_full_unless_they_are_to_fail() {
    let cluster = support::cluster(1).start().unwrap();
    if cluster.release() >= Release::Pacific {
        println!("SKIPPED: nobody can set the flag of the whole cluster since Octopus");
        return;
    }
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    let impatient = impatient(&cluster).await;
    pool.write_full("o", "before").await.unwrap();
    let is_full = |map: &OsdMap| map.flags().contains(MapFlags::FULL);
    cluster.ceph(&["osd", "set", "full"]).unwrap();
    until(&pool, is_full).await;
    until(&impatient, is_full).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write_full("o", "after").await }
    });
    let error = impatient.write_full("o", "x").await.unwrap_err();
    assert_eq!(error.errno(), Errno::ENOSPC, "{error}");
    // Reading goes on, and so does what makes room.
    assert_eq!(pool.read("o", 0, 0).await.unwrap(), "before");
    let remove = Operation::new().delete().full_try();
    pool.execute("o", remove).await.unwrap();
    assert!(!waiting.is_finished());
    cluster.ceph(&["osd", "unset", "full"]).unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(pool.read("o", 0, 0).await.unwrap(), "after");
    until(&impatient, |map| !is_full(map)).await;
    impatient.write_full("o", "x").await.unwrap();
}

#[tokio::test]
async fn writes_wait_while_a_quota_is_used_up_unless_they_are_to_fail() {
    // The manager counts.
    let cluster = support::cluster(1).mgr(true).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let quota = |objects| {
        let command = ["osd", "pool", "set-quota", "data", "max_objects", objects];
        cluster.ceph(&command).unwrap();
    };
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    let impatient = impatient(&cluster).await;
    for name in ["a", "b", "c"] {
        pool.write_full(name, "x").await.unwrap();
    }
    let is_full = |map: &OsdMap| {
        let flags = map.pool(pool.id()).unwrap().flags;
        flags.contains(PoolFlags::FULL_QUOTA | PoolFlags::FULL)
    };
    quota("1");
    until(&pool, is_full).await;
    until(&impatient, is_full).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write_full("d", "x").await }
    });
    let error = impatient.write_full("e", "x").await.unwrap_err();
    assert_eq!(error.errno(), Errno::EDQUOT, "{error}");
    // Sent all the same, it is the OSD that refuses it.
    let try_it = Operation::new().write_full("x").full_try();
    let error = pool.execute("e", try_it).await.unwrap_err();
    assert_eq!(error.errno(), Errno::EDQUOT, "{error}");
    assert!(!waiting.is_finished());
    quota("0");
    waiting.await.unwrap().unwrap();
    assert_eq!(pool.read("d", 0, 0).await.unwrap(), "x");
}
