//! Reads from replicas: that they are, and that what they give is never old.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use minicluster::{Cluster, Release};
use rados::config::Config;
use rados::{Operation, Pool, ReadPolicy};
use rbd::{CreateOptions, Image, OpenOptions, SnapshotSelector};
use tokio::task::JoinSet;

use crate::support;

/// Three OSDs with all objects of the pool `data`, which is one placement group.
fn cluster() -> Cluster {
    let cluster = support::cluster(3).start().unwrap();
    cluster.create_pool("data", 1).unwrap();
    cluster
        .ceph(&["osd", "pool", "set", "data", "size", "3"])
        .unwrap();
    cluster
}

/// How many reads each OSD has answered.
fn reads(cluster: &Cluster) -> BTreeMap<usize, u64> {
    let count = |osd: usize| {
        let name = format!("osd.{osd}");
        let dump = cluster.ceph_json(&["tell", &name, "perf", "dump", "osd"]);
        dump.unwrap()
            .pointer("/osd/op_r")
            .unwrap()
            .as_u64()
            .unwrap()
    };
    (0..3).map(|osd| (osd, count(osd))).collect()
}

/// How many OSDs have answered reads while `what` was done.
async fn readers(cluster: &Cluster, what: impl Future<Output = ()>) -> usize {
    let before = reads(cluster);
    what.await;
    let after = reads(cluster);
    let many = |(osd, count): &(&usize, &u64)| **count > before.get(osd).unwrap() + 10;
    after.iter().filter(many).count()
}

/// Reads and writes until all three OSDs have answered reads.
async fn all_are_read_from(cluster: &Cluster, pool: &Pool, policy: Option<ReadPolicy>) -> bool {
    for _ in 0..30 {
        write(pool).await;
        if readers(cluster, read_often(pool, policy)).await == 3 {
            return true;
        }
    }
    false
}

/// Writes what is read. Replicas hear with later writes that all of them have an earlier one; until
/// then they send reads on to the primary.
async fn write(pool: &Pool) {
    for name in ["o", "p", "p", "p", "p"] {
        pool.write_full(name, "contents").await.unwrap();
    }
}

async fn read_often(pool: &Pool, policy: Option<ReadPolicy>) {
    for _ in 0..100 {
        let mut operation = Operation::new().read(0, 0);
        if let Some(policy) = policy {
            operation = operation.read_from(policy);
        }
        let reply = pool.execute("o", operation).await.unwrap();
        assert_eq!(reply.data(0), "contents");
    }
}

#[tokio::test]
async fn balanced_reads_are_answered_by_all_and_others_by_the_primary() {
    let cluster = cluster();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    write(&pool).await;
    if cluster.release() < Release::Pacific {
        // Its replicas do not notice that they are behind.
        read_often(&pool, Some(ReadPolicy::Balance)).await;
        assert_eq!(ours.connections().len(), 2, "a monitor and the primary");
        return;
    }
    let reading = |policy| read_often(&pool, Some(policy));
    assert_eq!(readers(&cluster, reading(ReadPolicy::Primary)).await, 1);
    assert_eq!(ours.connections().len(), 2, "a monitor and the primary");
    assert!(all_are_read_from(&cluster, &pool, Some(ReadPolicy::Balance)).await);
    assert_eq!(ours.connections().len(), 1 + 3);
    // All OSDs are on one host, so none is nearer than the primary.
    assert_eq!(readers(&cluster, reading(ReadPolicy::Localize)).await, 1);
}

#[tokio::test]
async fn the_configuration_says_where_reads_go() {
    let cluster = cluster();
    if cluster.release() < Release::Pacific {
        println!("SKIPPED: replicas of nautilus are not read from");
        return;
    }
    let config = Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", cluster.keyring_path().to_str().unwrap())
        .option("rados_replica_read_policy", "balance")
        .load()
        .unwrap();
    let ours = rados::Cluster::connect(config).await.unwrap();
    let pool = ours.pool("data").await.unwrap();
    assert!(all_are_read_from(&cluster, &pool, None).await);
}

/// Reads from an image, which is open at a snapshot perhaps.
async fn read_image_often(image: &Image) {
    for _ in 0..100 {
        let data = image.read(0, 8).await.unwrap();
        assert_eq!(data.to_vec(), b"contents");
    }
}

/// Reads from an image and writes until all three OSDs have answered reads.
async fn image_is_read_from_all(cluster: &Cluster, image: &Image) -> bool {
    for _ in 0..30 {
        write(image.pool()).await;
        if readers(cluster, read_image_often(image)).await == 3 {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn images_are_read_from_where_their_options_say() {
    let cluster = cluster();
    if cluster.release() < Release::Pacific {
        println!("SKIPPED: replicas of nautilus are not read from");
        return;
    }
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    rbd::create(&pool, "image", &CreateOptions::new(8 << 20))
        .await
        .unwrap();
    let open = async |pool: &Pool, snap: Option<&str>| {
        let options = OpenOptions {
            snap: snap.map(|name| SnapshotSelector::Name(name.to_string())),
            ..OpenOptions::default()
        };
        Image::open(pool, "image", options).await.unwrap()
    };
    let image = open(&pool, None).await;
    image.write(0, "contents".into()).await.unwrap();
    image.close().await.unwrap();
    cluster.rbd(&["snap", "create", "data/image@snap"]).unwrap();
    let at_snap = open(&pool, Some("snap")).await;
    for image in [&image, &at_snap] {
        let reading = read_image_often(image);
        assert_eq!(readers(&cluster, reading).await, 1, "by default");
    }

    // The client says so.
    let config = Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", cluster.keyring_path().to_str().unwrap())
        .option("rbd_read_from_replica_policy", "balance")
        .load()
        .unwrap();
    let balancing = rados::Cluster::connect(config).await.unwrap();
    let balancing = balancing.pool("data").await.unwrap();
    for snap in [None, Some("snap")] {
        let image = open(&balancing, snap).await;
        assert!(image_is_read_from_all(&cluster, &image).await, "{snap:?}");
    }

    // The image says so, and is heard when its header is read again.
    let option = "rbd_read_from_replica_policy";
    let set = ["config", "image", "set", "data/image", option, "balance"];
    cluster.rbd(&set).unwrap();
    image.refresh().await.unwrap();
    assert!(image_is_read_from_all(&cluster, &image).await);
    // And that it is not to be: what it says counts more than what the client does.
    let set = ["config", "image", "set", "data/image", option, "default"];
    cluster.rbd(&set).unwrap();
    let image = open(&balancing, None).await;
    assert_eq!(readers(&cluster, read_image_often(&image)).await, 1);

    // There is an option for snapshots alone.
    let set = ["image-meta", "set", "data/image"];
    let set = [&set[..], &["conf_rbd_balance_snap_reads", "true"]].concat();
    cluster.rbd(&set).unwrap();
    for image in [&image, &at_snap] {
        image.refresh().await.unwrap();
    }
    assert_eq!(readers(&cluster, read_image_often(&image)).await, 1);
    assert!(image_is_read_from_all(&cluster, &at_snap).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_while_more_is_written() {
    let cluster = cluster();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        let name = format!("object-{number}");
        let acknowledged = Arc::new(AtomicU64::new(0));
        pool.write_full(&name, 0_u64.to_le_bytes().to_vec())
            .await
            .unwrap();
        tasks.spawn({
            let (pool, name, stop) = (pool.clone(), name.clone(), Arc::clone(&stop));
            let acknowledged = Arc::clone(&acknowledged);
            async move {
                for sequence in 1_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let bytes = sequence.to_le_bytes().to_vec();
                    pool.write_full(&name, bytes).await.unwrap();
                    acknowledged.store(sequence, Ordering::SeqCst);
                }
            }
        });
        for _ in 0..2 {
            let (pool, name, stop) = (pool.clone(), name.clone(), Arc::clone(&stop));
            let acknowledged = Arc::clone(&acknowledged);
            tasks.spawn(async move {
                for _ in 0..500 {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let operation = Operation::new().read(0, 8).read_from(ReadPolicy::Balance);
                    let reply = pool.execute(&name, operation).await.unwrap();
                    let bytes = reply.data(0);
                    let found = u64::from_le_bytes(bytes[..].try_into().unwrap());
                    assert!(found >= least, "{found} after {least}");
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}
