//! What has to hold for every release that clusters can be of.
//!
//! The tests run on the release that the environment chooses, as all tests on clusters do.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use minicluster::{Cluster, Daemon, Error, KeyType, Release};
use support::{daemon_pids, is_running, wait_until};

/// Set in the child process that owns a cluster and is killed.
const OWNER: &str = "MINICLUSTER_TEST_OWNER";

#[test]
fn a_cluster_is_of_the_release_asked_for() {
    let release = Release::default_of_tests().unwrap();
    let root = release.ensure().unwrap();
    let mount = root.as_ref().map(|_| Mount::new());
    let cluster = Cluster::builder().start().unwrap();
    assert_eq!(cluster.release(), release);
    cluster.create_pool("rbd", 8).unwrap();
    cluster.wait_for_healthy().unwrap();
    let versions = cluster.ceph_json(&["versions"]).unwrap();
    let versions = versions["overall"].as_object().unwrap();
    let start = format!("ceph version {}.", release.major());
    let is_it = |v: &String| v.starts_with(&start) && v.contains(release.name());
    assert!(versions.keys().all(is_it), "{versions:?}");
    assert_eq!(versions.len(), 1, "{versions:?}");
    let pools = cluster.ceph_json(&["osd", "pool", "ls"]).unwrap();
    assert_eq!(
        pools,
        serde_json::json!(["rbd"]),
        "the manager has made none"
    );

    // Its tools read and write this machine's files.
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name).to_str().unwrap().to_owned();
    let (source, copy) = (path("source"), path("copy"));
    fs::write(&source, [0xa5; 100_000]).unwrap();
    cluster
        .rbd(&["import", "--no-progress", &source, "rbd/one"])
        .unwrap();
    cluster
        .rbd(&["export", "--no-progress", "rbd/one", &copy])
        .unwrap();
    assert!(fs::read(&source).unwrap() == fs::read(&copy).unwrap());

    for pid in daemon_pids(&cluster) {
        let its = fs::metadata(format!("/proc/{pid}/root")).unwrap();
        let ours = fs::metadata("/").unwrap();
        let is_ours = (its.dev(), its.ino()) == (ours.dev(), ours.ino());
        assert_eq!(is_ours, root.is_none(), "the root of {pid}");
    }
    let (Some(root), Some(mount)) = (root, mount) else {
        return;
    };
    let root = root.to_str().unwrap();
    let mounts = |process: &str| fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    assert!(!mounts("self").contains(root), "{}", mounts("self"));
    for pid in daemon_pids(&cluster) {
        let mounts = mounts(&pid.to_string());
        assert!(!mounts.contains(mount.path()), "held by {pid}:\n{mounts}");
    }
}

/// A file system that is mounted somewhere until this is dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = Self(dir);
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "test", mount.path()])
            .status();
        assert!(status.unwrap().success());
        mount
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
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
fn keys_are_of_the_type_asked_for() {
    let release = Release::default_of_tests().unwrap();
    let builder = Cluster::builder().mgr(false);
    if release < Release::Tentacle {
        let builders = [
            builder.clone().key_type(KeyType::Aes256k),
            builder.clone().service_key_type(KeyType::Aes256k),
            builder.clone().both_key_types(true),
        ];
        for builder in builders {
            let error = builder.start().unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
        }
        let cluster = builder.key_type(KeyType::Aes).start().unwrap();
        assert_eq!(key_type(&cluster.keyring_path()), KeyType::Aes);
        return;
    }
    let caps = [("mon", "profile rbd")];
    let only_new = builder.clone().start().unwrap();
    assert_eq!(ciphers(&only_new), ["aes256k", "aes256k", "aes256k"]);
    assert_eq!(key_type(&only_new.keyring_path()), KeyType::Aes256k);
    let old = only_new.create_user_with_key("client.old", &caps, KeyType::Aes);
    assert!(matches!(old, Err(Error::Command { .. })), "{old:?}");
    drop(only_new);

    let both = builder.clone().both_key_types(true).start().unwrap();
    assert_eq!(ciphers(&both), ["aes, aes256k", "aes256k", "aes256k"]);
    for wanted in [KeyType::Aes, KeyType::Aes256k] {
        let id = wanted.name();
        let keyring = both.create_user_with_key(&format!("client.{id}"), &caps, wanted);
        assert_eq!(key_type(&keyring.unwrap()), wanted);
        assert_eq!(both.rados(&["--id", id, "lspools"]).unwrap(), "");
    }
    both.wait_for_healthy().unwrap();
    drop(both);

    let only_old = builder
        .key_type(KeyType::Aes)
        .service_key_type(KeyType::Aes256k);
    let only_old = only_old.start().unwrap();
    assert_eq!(ciphers(&only_old), ["aes", "aes256k", "aes"]);
    assert_eq!(key_type(&only_old.keyring_path()), KeyType::Aes);
    assert_eq!(
        key_type(&only_old.create_user("client.x", &caps).unwrap()),
        KeyType::Aes
    );
    only_old.wait_for_healthy().unwrap();
}

/// The ciphers that are allowed, of the service's keys, and preferred.
fn ciphers(cluster: &Cluster) -> [String; 3] {
    let dump = cluster.ceph(&["mon", "dump"]).unwrap();
    ["allowed_ciphers", "service_cipher", "preferred_cipher"].map(|name| {
        let value = dump
            .lines()
            .find_map(|line| line.strip_prefix(&format!("auth_{name} ")));
        value.unwrap().to_owned()
    })
}

/// The first number of a key is its type.
fn key_type(keyring: &Path) -> KeyType {
    let text = fs::read_to_string(keyring).unwrap();
    let key = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("key = "));
    match key.unwrap().get(..2) {
        Some("AQ") => KeyType::Aes,
        Some("Ag") => KeyType::Aes256k,
        other => panic!("a key that begins with {other:?}"),
    }
}

#[test]
fn daemons_are_killed_stopped_and_started_again() {
    let builder = Cluster::builder()
        .mons(3)
        .osds(2)
        .mgr(false)
        .fast_failure_detection(true);
    let cluster = builder.start().unwrap();
    cluster.create_pool("p", 8).unwrap();
    cluster.kill_daemon(Daemon::Mon(0)).unwrap();
    cluster.kill_daemon(Daemon::Osd(0)).unwrap();
    cluster.wait_for_osds_up(1).unwrap();
    cluster.start_daemon(Daemon::Mon(0)).unwrap();
    cluster.start_daemon(Daemon::Osd(0)).unwrap();
    cluster.stop_daemon(Daemon::Osd(1)).unwrap();
    cluster.wait_for_osds_up(1).unwrap();
    assert_eq!(cluster.pid(Daemon::Osd(1)), None);
    cluster.start_daemon(Daemon::Osd(1)).unwrap();
    cluster.wait_for_osds_up(2).unwrap();
    assert_eq!(daemon_pids(&cluster).len(), 5);
}
