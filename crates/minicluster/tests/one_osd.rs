//! One monitor, one manager, one OSD: what most tests run on.

use minicluster::Cluster;

#[test]
fn with_cephx_and_checksums() {
    let cluster = Cluster::builder().start().unwrap();
    assert_eq!(cluster.ceph(&["fsid"]).unwrap().trim(), cluster.fsid());
    cluster.create_pool("images", 8).unwrap();
    let pools = cluster.ceph_json(&["osd", "pool", "ls", "detail"]).unwrap();
    let ids: Vec<_> = pools
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["pool_id"])
        .collect();
    assert_eq!(ids, [1], "the first pool is ours and the only one");
    cluster
        .rbd(&["create", "--size", "8M", "images/one"])
        .unwrap();

    let caps = [("mon", "profile rbd"), ("osd", "profile rbd pool=images")];
    cluster.create_user("client.tenant", &caps).unwrap();
    assert_eq!(
        cluster.rbd(&["--id", "tenant", "ls", "images"]).unwrap(),
        "one\n"
    );
    let error = cluster
        .ceph(&["--id", "tenant", "auth", "ls"])
        .unwrap_err()
        .to_string();
    assert!(error.contains("EACCES"), "{error}");

    cluster.wait_for_healthy().unwrap();
}
