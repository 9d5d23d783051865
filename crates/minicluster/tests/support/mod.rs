//! What the tests look at: the processes of a cluster.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::fs;
use std::time::{Duration, Instant};

use minicluster::Cluster;

pub(crate) fn daemon_pids(cluster: &Cluster) -> Vec<u32> {
    cluster
        .daemons()
        .into_iter()
        .filter_map(|d| cluster.pid(d))
        .collect()
}

pub(crate) fn assert_gone(pids: &[u32]) {
    for pid in pids {
        assert!(!is_running(*pid), "{pid} is still there");
    }
}

/// A process that has ended but is not reaped yet does not count.
pub(crate) fn is_running(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| fields[0] != "Z")
}

pub(crate) fn parent_of(pid: u32) -> u32 {
    stat_fields(pid).unwrap()[1].parse().unwrap()
}

/// The fields of `/proc/PID/stat` after the name.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not so within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
