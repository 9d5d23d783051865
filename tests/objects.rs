//! Objects: what we write, Ceph's own tools read, and the reverse; on replicated and erasure-coded
//! pools, with and without encryption, with and without authentication.
use std::collections::BTreeSet;
use std::process::Command;

use minicluster::{Auth, Cluster, Mode};
use rados::{Errno, Operation, Pool};

use crate::support;

/// Bytes that differ from object to object and from place to place.
fn contents(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn rados_tool(cluster: &Cluster, pool: &str) -> Command {
    let mut command = cluster.command("rados");
    command.args(["-p", pool]);
    command
}

/// Writes objects and has `rados` read them, writes some with `rados` and reads them.
async fn exchange_objects(cluster: &Cluster, pool: &Pool) {
    let dir = tempfile::tempdir().unwrap();
    for (seed, len) in [(1, 0), (2, 1), (3, 4096), (4, 1_000_003), (5, 8 << 20)] {
        let ours = contents(seed, len);
        let name = format!("ours-{len}");
        pool.write_full(&name, ours.clone()).await.unwrap();
        let file = dir.path().join(&name);
        let status = rados_tool(cluster, pool.name())
            .arg("get")
            .arg(&name)
            .arg(&file)
            .status();
        assert!(status.unwrap().success());
        assert!(
            std::fs::read(&file).unwrap() == ours,
            "{name} read by rados"
        );

        let theirs = contents(seed + 100, len);
        let name = format!("theirs-{len}");
        std::fs::write(&file, &theirs).unwrap();
        let status = rados_tool(cluster, pool.name())
            .arg("put")
            .arg(&name)
            .arg(&file)
            .status();
        assert!(status.unwrap().success());
        let read = pool.read(&name, 0, 0).await.unwrap();
        assert!(read == theirs, "{name} read by us");
        assert_eq!(pool.stat(&name).await.unwrap().size, len as u64);
    }
}

#[tokio::test]
async fn objects_are_exchanged_in_crc_mode_with_cephx() {
    let cluster = support::cluster(3).start().unwrap();
    cluster.create_pool("replicated", 16).unwrap();
    let ours = support::connect(&cluster).await;
    exchange_objects(&cluster, &ours.pool("replicated").await.unwrap()).await;
    assert_eq!(ours.fsid().to_string(), cluster.fsid());

    let profile = [
        "osd",
        "erasure-code-profile",
        "set",
        "two-and-one",
        "k=2",
        "m=1",
    ];
    cluster
        .ceph(&[&profile[..], &["crush-failure-domain=osd"]].concat())
        .unwrap();
    cluster
        .ceph(&[
            "osd",
            "pool",
            "create",
            "erasure",
            "8",
            "8",
            "erasure",
            "two-and-one",
        ])
        .unwrap();
    let erasure = ours.pool("erasure").await.unwrap();
    exchange_objects(&cluster, &erasure).await;
}

#[tokio::test]
async fn objects_are_exchanged_in_secure_mode() {
    let cluster = support::cluster(1).mode(Mode::Secure).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    exchange_objects(&cluster, &ours.pool("data").await.unwrap()).await;
}

#[tokio::test]
async fn objects_are_exchanged_without_authentication() {
    let cluster = support::cluster(1).auth(Auth::None).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    exchange_objects(&cluster, &ours.pool("data").await.unwrap()).await;
}

#[tokio::test]
async fn operations_do_what_they_say() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let pool = support::connect(&cluster).await.pool("data").await.unwrap();

    let errno = |error: rados::Error| error.errno();
    assert_eq!(
        pool.read("missing", 0, 1).await.map_err(errno),
        Err(Errno::ENOENT)
    );
    assert_eq!(
        pool.remove("missing").await.map_err(errno),
        Err(Errno::ENOENT)
    );

    let create = || Operation::new().create_exclusive().write_full("0123456789");
    pool.execute("o", create()).await.unwrap();
    assert_eq!(
        pool.execute("o", create()).await.map(drop).map_err(errno),
        Err(Errno::EEXIST)
    );

    // All steps or none: the truncation must not have happened.
    let failing = Operation::new().truncate(3).compare_extent(0, "x");
    assert!(pool.execute("o", failing).await.is_err());
    assert_eq!(pool.read("o", 0, 0).await.unwrap(), "0123456789");

    let change = Operation::new()
        .zero(2, 2)
        .write(6, "ab")
        .append("c")
        .alloc_hint(4096, 4096);
    pool.execute("o", change).await.unwrap();
    assert_eq!(pool.read("o", 0, 0).await.unwrap(), "01\0\x0045ab89c");
    assert_eq!(pool.read("o", 9, 100).await.unwrap(), "9c");
    pool.execute("o", Operation::new().write_same(0, 4, "xy").truncate(6))
        .await
        .unwrap();
    assert_eq!(pool.read("o", 0, 0).await.unwrap(), "xyxy45");

    let keys = [("a", &b"1"[..]), ("b", &b"2"[..]), ("c", &b"3"[..])];
    pool.execute("o", Operation::new().omap_set(keys).omap_remove(&["b"]))
        .await
        .unwrap();
    let listed = rados_tool(&cluster, "data")
        .args(["listomapkeys", "o"])
        .output()
        .unwrap();
    assert_eq!(listed.stdout, b"a\nc\n");

    let spaced = pool.in_namespace("apart");
    spaced.write_full("o", "another").await.unwrap();
    assert_eq!(pool.read("o", 0, 0).await.unwrap(), "xyxy45");
    let read = rados_tool(&cluster, "data")
        .args(["-N", "apart", "get", "o", "-"])
        .output()
        .unwrap();
    assert_eq!(read.stdout, b"another");
    pool.remove("o").await.unwrap();
    assert_eq!(spaced.read("o", 0, 0).await.unwrap(), "another");
}

#[tokio::test]
async fn every_object_is_listed_once() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let pool = support::connect(&cluster).await.pool("data").await.unwrap();
    // More than fits a page in some placement groups.
    let names: BTreeSet<String> = (0..10_000)
        .map(|number| format!("object {number}"))
        .collect();
    let writes = names
        .iter()
        .map(|name| pool.execute(name, Operation::new().create()));
    futures_util::future::try_join_all(writes).await.unwrap();
    let apart = pool.in_namespace("apart");
    apart.write_full("elsewhere", "x").await.unwrap();

    let mut objects = pool.objects();
    let mut found = Vec::new();
    while let Some(object) = objects.next().await.unwrap() {
        found.push(object.name);
    }
    assert_eq!(found.len(), names.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), names);

    let mut all = pool.objects_of_all_namespaces();
    let mut count = 0;
    while all.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, names.len() + 1);
}
