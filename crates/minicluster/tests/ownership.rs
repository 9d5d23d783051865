//! Whoever starts a cluster owns it: nothing is left when the owner is gone.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use minicluster::{Cluster, Daemon, Error};

/// Set in the child process that owns a cluster and is killed.
const OWNER: &str = "MINICLUSTER_TEST_OWNER";

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
fn killing_the_owner_leaves_nothing() {
    if std::env::var_os(OWNER).is_some() {
        own_a_cluster_until_killed();
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killing_the_owner_leaves_nothing", "--nocapture"])
        .env(OWNER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find_map(|l| l.strip_prefix("owns ").map(str::to_owned));
    let line = line.expect("the owner tells what it owns");
    let (dir, pids) = line.split_once(' ').unwrap();
    let pids: Vec<u32> = pids.split(',').map(|p| p.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    for pid in &pids {
        assert!(is_running(*pid), "{pid} is not there to begin with");
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("the daemons are gone", || {
        !pids.iter().any(|p| is_running(*p))
    });
    wait_until("the directory is gone", || !Path::new(dir).exists());
}

/// Tells what it owns, and waits for the end of its standard input, which does not come.
fn own_a_cluster_until_killed() -> ! {
    let cluster = Cluster::builder().start().unwrap();
    let pids: Vec<String> = daemon_pids(&cluster).iter().map(u32::to_string).collect();
    println!("\nowns {} {}", cluster.dir().display(), pids.join(","));
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    panic!("was not killed");
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

fn daemon_pids(cluster: &Cluster) -> Vec<u32> {
    cluster
        .daemons()
        .into_iter()
        .filter_map(|d| cluster.pid(d))
        .collect()
}

fn assert_gone(pids: &[u32]) {
    for pid in pids {
        assert!(!is_running(*pid), "{pid} is still there");
    }
}

/// A process that has ended but is not reaped yet does not count.
fn is_running(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields[0] != "Z")
}

fn parent_of(pid: u32) -> u32 {
    stat_fields(pid).unwrap()[1].parse().unwrap()
}

/// The fields of `/proc/PID/stat` after the name.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
