//! Whoever starts a cluster owns it: nothing is left when the owner is gone.

mod support;

use std::process::Command;

use minicluster::{Cluster, Daemon, Error};
use support::{assert_gone, daemon_pids, is_running, parent_of, wait_until};

#[test]
fn dropping_a_cluster_leaves_nothing() {
    let cluster = Cluster::builder().start().unwrap();
    let dir = cluster.dir().to_owned();
    let pids: Vec<u32> = daemon_pids(&cluster);
    assert_eq!(pids.len(), 3);
    drop(cluster);
    assert_gone(&pids);
    assert!(!dir.exists());
}

#[test]
fn killing_a_supervisor_takes_its_daemon_along() {
    let cluster = Cluster::builder().mgr(false).start().unwrap();
    let daemon = cluster.pid(Daemon::Osd(0)).unwrap();
    let supervisor = parent_of(daemon);
    assert_ne!(supervisor, std::process::id());
    let status = Command::new("kill")
        .args(["-KILL", &supervisor.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    wait_until("the OSD is gone", || !is_running(daemon));
}

#[test]
fn a_detached_cluster_stays_and_is_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("c");
    let cluster = Cluster::builder()
        .mgr(false)
        .dir(&dir)
        .start_detached()
        .unwrap();
    let pids = daemon_pids(&cluster);
    let fsid = cluster.fsid().to_owned();
    drop(cluster);
    for pid in &pids {
        assert!(is_running(*pid), "{pid} went with its starter");
    }
    let error = Cluster::builder().dir(&dir).start().unwrap_err();
    assert!(matches!(error, Error::Directory { .. }), "{error}");

    let cluster = Cluster::attach(&dir).unwrap();
    assert_eq!(cluster.ceph(&["fsid"]).unwrap().trim(), fsid);
    assert_eq!(daemon_pids(&cluster), pids);
    cluster.destroy().unwrap();
    assert_gone(&pids);
    assert!(!dir.exists());
    assert!(matches!(
        Cluster::attach(&dir),
        Err(Error::Directory { .. })
    ));
}

#[test]
fn a_failed_start_shows_the_log_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("c");
    let start = Cluster::builder()
        .dir(&dir)
        .conf("keyring = /nonexistent")
        .start();
    let error = start.unwrap_err();
    let is_osd = matches!(&error, Error::DaemonDied { daemon, .. } if daemon == "osd.0");
    assert!(is_osd, "{error}");
    assert!(
        error.to_string().contains("unable to find a keyring"),
        "{error}"
    );
    assert!(!dir.exists());
}
