//! Writes and reads while daemons die, return, and placement changes: none fails, none is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use minicluster::{Cluster, Daemon, Release};
use rados::Pool;
use tokio::task::JoinSet;

use crate::support;

/// Writers that each overwrite an object of their own, and read it back after every write.
struct Load {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    writers: JoinSet<(String, u64)>,
}

impl Load {
    fn start(pool: &Pool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for number in 0..32 {
            let (pool, stop, writes) = (pool.clone(), Arc::clone(&stop), Arc::clone(&writes));
            writers.spawn(async move {
                let name = format!("object-{number}");
                let mut sequence = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    sequence += 1;
                    let bytes = sequence.to_le_bytes().repeat(512);
                    pool.write_full(&name, bytes.clone()).await.unwrap();
                    assert!(
                        pool.read(&name, 0, 0).await.unwrap() == bytes,
                        "{name} {sequence}"
                    );
                    writes.fetch_add(1, Ordering::Relaxed);
                }
                (name, sequence)
            });
        }
        Self {
            stop,
            writes,
            writers,
        }
    }

    /// Waits until every writer could have written a few times more.
    async fn proceed(&self) {
        let target = self.writes.load(Ordering::Relaxed) + 32 * 4;
        let proceeding = async {
            while self.writes.load(Ordering::Relaxed) < target {
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let limit = std::time::Duration::from_secs(120);
        tokio::time::timeout(limit, proceeding)
            .await
            .expect("the writers are stuck");
    }

    /// Stops, and has `rados` check what is there.
    async fn finish(mut self, cluster: &Cluster, pool: &str) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(writer) = self.writers.join_next().await {
            let (name, sequence) = writer.unwrap();
            let read = cluster
                .command("rados")
                .args(["-p", pool, "get", &name, "-"])
                .output();
            assert!(
                read.unwrap().stdout == sequence.to_le_bytes().repeat(512),
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn osds_die_and_return() {
    let cluster = support::cluster(3).start().unwrap();
    cluster.create_pool("data", 16).unwrap();
    cluster
        .ceph(&["osd", "pool", "set", "data", "size", "3"])
        .unwrap();
    cluster
        .ceph(&["osd", "pool", "set", "data", "min_size", "1"])
        .unwrap();
    let ours = support::connect(&cluster).await;
    let load = Load::start(&ours.pool("data").await.unwrap());
    for osd in 0..3 {
        load.proceed().await;
        cluster.kill_daemon(Daemon::Osd(osd)).unwrap();
        load.proceed().await;
        cluster.start_daemon(Daemon::Osd(osd)).unwrap();
        cluster.wait_for_osds_up(3).unwrap();
    }
    load.proceed().await;
    load.finish(&cluster, "data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placement_groups_are_split_and_merged_under_load() {
    // The manager does it, step by step.
    let cluster = support::cluster(3).mgr(true).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    let load = Load::start(&pool);
    for wanted in [24, 20] {
        let pg_num = ["osd", "pool", "set", "data", "pg_num", &wanted.to_string()];
        cluster.ceph(&pg_num).unwrap();
        let reached = async {
            loop {
                let map = ours.osdmap();
                if map.pool(pool.id()).unwrap().pg_num == wanted {
                    break;
                }
                let next = denc::Epoch(map.epoch().0 + 1);
                ours.wait_for_osdmap(next).await.unwrap();
            }
        };
        let limit = std::time::Duration::from_secs(180);
        tokio::time::timeout(limit, reached).await.unwrap();
        load.proceed().await;
    }
    load.finish(&cluster, "data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placement_changes_under_load() {
    let cluster = support::cluster(3).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let load = Load::start(&ours.pool("data").await.unwrap());
    for command in [
        &["osd", "out", "1"][..],
        &["osd", "in", "1"],
        &["osd", "set-require-min-compat-client", "luminous"],
        &["osd", "pg-upmap", "1.0", "2", "0"],
        &["osd", "primary-affinity", "0", "0"],
        &["osd", "pool", "set", "data", "size", "2"],
        &["osd", "set", "pause"],
        &["osd", "unset", "pause"],
    ] {
        cluster.ceph(command).unwrap();
        if command != ["osd", "set", "pause"] {
            load.proceed().await;
        }
    }
    load.finish(&cluster, "data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocklisted_client_is_told_so() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", "before").await.unwrap();
    let addr = ours.addr().to_string();
    let list = if cluster.release() < Release::Pacific {
        "blacklist"
    } else {
        "blocklist"
    };
    cluster.ceph(&["osd", list, "add", &addr]).unwrap();
    ours.update_osdmap().await.unwrap();
    let error = pool.write_full("o", "after").await.unwrap_err();
    assert!(
        matches!(error, rados::Error::Blocklisted { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(&addr), "{error}");
    let another = support::connect(&cluster).await.pool("data").await.unwrap();
    assert_eq!(another.read("o", 0, 0).await.unwrap(), "before");
}

#[tokio::test]
async fn a_pool_that_is_deleted_fails_what_waits_for_it() {
    let cluster = support::cluster(1)
        .conf("mon_allow_pool_delete = true")
        .start()
        .unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    cluster.ceph(&["osd", "set", "pause"]).unwrap();
    ours.update_osdmap().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write_full("o", "x").await }
    });
    cluster
        .ceph(&[
            "osd",
            "pool",
            "rm",
            "data",
            "data",
            "--yes-i-really-really-mean-it",
        ])
        .unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, rados::Error::PoolGone { .. }), "{error:?}");
}
