//! One monitor, one manager, one OSD: what most tests run on.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use minicluster::{Cluster, Daemon};

#[test]
fn with_cephx_and_checksums() {
    let cluster = Cluster::builder().start().unwrap();
    assert_eq!(cluster.ceph(&["fsid"]).unwrap().trim(), cluster.fsid());
    cluster.create_pool("images", 8).unwrap();
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
    let pools = cluster.ceph_json(&["osd", "pool", "ls", "detail"]).unwrap();
    let ids: Vec<_> = pools
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["pool_id"])
        .collect();
    assert_eq!(
        ids,
        [1],
        "the first pool is ours, and the manager has made none"
    );
}

#[test]
fn a_paused_osd_says_nothing_and_goes_on() {
    let cluster = Cluster::builder().mgr(false).start().unwrap();
    cluster.create_pool("p", 8).unwrap();
    let conf = cluster.conf_path();
    cluster.pause_daemon(Daemon::Osd(0)).unwrap();
    assert_eq!(process_state(cluster.pid(Daemon::Osd(0)).unwrap()), "T");
    let was_waiting = std::thread::scope(|scope| {
        let put = scope.spawn(|| cluster.rados(&["-p", "p", "put", "o", conf.to_str().unwrap()]));
        // The monitors answer all the same.
        cluster.rados(&["lspools"]).unwrap();
        let was_waiting = !put.is_finished();
        cluster.resume_daemon(Daemon::Osd(0)).unwrap();
        put.join().unwrap().unwrap();
        was_waiting
    });
    assert!(was_waiting, "nobody was there to answer");
    assert_eq!(cluster.rados(&["-p", "p", "ls"]).unwrap(), "o\n");
}

#[test]
fn fast_failure_detection_notices_an_osd_that_nobody_watches() {
    let builder = Cluster::builder().mgr(false).fast_failure_detection(true);
    let cluster = builder.start().unwrap();
    cluster.wait_for_osds_up(1).unwrap();
    cluster.kill_daemon(Daemon::Osd(0)).unwrap();
    assert_eq!(cluster.pid(Daemon::Osd(0)), None);
    cluster.wait_for_osds_up(0).unwrap();
    cluster.start_daemon(Daemon::Osd(0)).unwrap();
    cluster.wait_for_osds_up(1).unwrap();
}

/// The state letter in `/proc/PID/stat`.
fn process_state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')')
        .unwrap()
        .1
        .split_ascii_whitespace()
        .next()
        .unwrap()
        .to_owned()
}
