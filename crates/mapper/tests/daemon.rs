//! Going to the background: this program starts itself again as a daemon that serves a device in memory.
//!
//! Needs root, `/dev/fuse` and `/dev/loop-control`. It has no harness, since it has to do different things depending on
//! its arguments.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mapper::Error;
use mapper::daemon::{Daemon, Ended, Signals, serve_until_stopped, spawn};
use mapper::device::memory::MemoryDevice;
use mapper::kernel::{AttachOptions, Attachment, DeviceBackend, DeviceType, LoopBackend};
use mapper::mount::{MountOptions, mount, unmount};
use mapper::state::{MappedSpec, Mapping, ProcessId, Query, Registry};
use serde::{Deserialize, Serialize};
use support::MIB;

const LIMIT: Duration = Duration::from_secs(20);
const INTERNAL: &str = "internal-daemon";
const SECRET: &str = "AQDnobodyShouldSeeThis";

#[derive(Serialize, Deserialize)]
struct Orders {
    behaviour: String,
    directory: PathBuf,
    key: String,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(INTERNAL) {
        return be_the_daemon();
    }
    // What `cargo test -- --list` expects of a test program.
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        failures_are_reported().await;
        println!("test failures_are_reported ... ok");
        a_silent_daemon_is_killed().await;
        println!("test a_silent_daemon_is_killed ... ok");
        a_mapping_outlives_the_command().await;
        println!("test a_mapping_outlives_the_command ... ok");
        a_killed_daemon_leaves_a_stale_mapping().await;
        println!("test a_killed_daemon_leaves_a_stale_mapping ... ok");
    });
    // As the usual harness ends, for who counts tests.
    println!("\ntest result: ok. 4 passed; 0 failed; 0 ignored");
}

fn be_the_daemon() {
    let (daemon, orders) = Daemon::start::<Orders>().unwrap();
    assert_eq!(orders.key, SECRET);
    match orders.behaviour.as_str() {
        "fail" => return daemon.failed("no such image", 2),
        "give up" => return drop(daemon),
        "die" => std::process::abort(),
        "hang" => loop {
            std::thread::park();
        },
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let registry = Registry::open(Some(orders.directory)).unwrap();
        let mapping = Mapping {
            process: ProcessId::current().unwrap(),
            spec: spec(),
            device_type: DeviceType::Fuse,
            is_read_only: false,
            device: None,
            mount_point: None,
            identifier: None,
            log_file: None,
        };
        let mut claim = match registry.claim(mapping, false) {
            Ok(claim) => claim,
            Err(error) => return daemon.failed(error.to_string(), 16),
        };
        let device = Arc::new(MemoryDevice::new(64 * MIB));
        let options = AttachOptions::default();
        let mut attached = LoopBackend.attach(device, &options).await.unwrap();
        let path = attached.path().to_owned();
        claim
            .update(|mapping| mapping.device = Some(path.clone()))
            .unwrap();
        let mut signals = Signals::new().unwrap();
        daemon.ready(&path).unwrap();
        let ended = serve_until_stopped(&mut attached, &mut signals, LIMIT).await;
        assert_eq!(ended.unwrap(), Ended::Stopped);
    });
}

fn spec() -> MappedSpec {
    MappedSpec {
        cluster: "11-22".to_owned(),
        pool: "rbd".to_owned(),
        namespace: String::new(),
        image: "one".to_owned(),
        snapshot: None,
    }
}

async fn start(behaviour: &str, directory: &Path, limit: Duration) -> mapper::Result<PathBuf> {
    let orders = Orders {
        behaviour: behaviour.to_owned(),
        directory: directory.to_owned(),
        key: SECRET.to_owned(),
    };
    let log = directory.join("log");
    spawn(&[INTERNAL], &orders, Some(&log), limit).await
}

/// Sees to it that no daemon survives a test that fails.
struct Reaper(PathBuf);

impl Drop for Reaper {
    fn drop(&mut self) {
        let mappings = Registry::open(Some(self.0.clone())).and_then(|registry| registry.list());
        for mapping in mappings.unwrap_or_default() {
            if mapping.is_alive()
                && let Some(pid) = rustix::process::Pid::from_raw(mapping.process.pid())
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

async fn failures_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    for (behaviour, code, words) in [
        ("fail", 2, "no such image"),
        ("give up", 1, "without a word"),
        ("die", 1, "signal: 6"),
    ] {
        match start(behaviour, dir.path(), LIMIT).await {
            Err(Error::Daemon { exit_code, message }) => {
                assert_eq!(exit_code, code, "{behaviour}");
                assert!(message.contains(words), "{message}");
            }
            other => panic!("{behaviour}: {other:?}"),
        }
    }
}

async fn a_silent_daemon_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let silent = start("hang", dir.path(), Duration::from_millis(300)).await;
    assert!(matches!(silent, Err(Error::TimedOut { .. })), "{silent:?}");
}

async fn a_mapping_outlives_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let device = start("serve", dir.path(), LIMIT).await.unwrap();
    let registry = Registry::open(Some(dir.path().to_owned())).unwrap();
    let [mapping] = registry
        .find(&Query::Device(device.clone()))
        .unwrap()
        .try_into()
        .unwrap();
    assert!(mapping.is_alive());

    let proc = Path::new("/proc").join(mapping.process.pid().to_string());
    let arguments = std::fs::read_to_string(proc.join("cmdline")).unwrap();
    assert!(!arguments.contains(SECRET));
    assert!(
        !std::fs::read_to_string(dir.path().join("log"))
            .unwrap()
            .contains(SECRET)
    );
    assert_eq!(
        std::fs::read_link(proc.join("cwd")).unwrap(),
        Path::new("/")
    );
    for descriptor in ["0", "1"] {
        let target = std::fs::read_link(proc.join("fd").join(descriptor)).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap();
    let session = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_ascii_whitespace()
        .nth(3)
        .unwrap();
    assert_eq!(
        session,
        mapping.process.pid().to_string(),
        "it leads its own session"
    );

    let refused = start("serve", dir.path(), LIMIT).await.unwrap_err();
    assert!(
        matches!(refused, Error::Daemon { exit_code: 16, .. }),
        "{refused}"
    );

    let mount_point = tempfile::tempdir().unwrap();
    let options = MountOptions {
        may_format: true,
        is_never_written: true,
        ..MountOptions::default()
    };
    mount(&device, mount_point.path(), &options).await.unwrap();
    std::fs::write(mount_point.path().join("hello"), "ceph").unwrap();
    let busy = mapping.stop(false, Duration::from_millis(500)).await;
    assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
    // Nor is it given up when a signal comes from somewhere else.
    let pid = rustix::process::Pid::from_raw(mapping.process.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    std::fs::write(mount_point.path().join("hello"), "again").unwrap();
    assert!(mapping.is_alive());
    unmount(mount_point.path(), LIMIT).await.unwrap();
    mapping.stop(false, LIMIT).await.unwrap();
    assert!(!mapping.is_alive());
    assert!(registry.list().unwrap().is_empty());
    assert!(!in_use(&device));
}

async fn a_killed_daemon_leaves_a_stale_mapping() {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let device = start("serve", dir.path(), LIMIT).await.unwrap();
    let registry = Registry::open(Some(dir.path().to_owned())).unwrap();
    let [mapping] = registry.list().unwrap().try_into().unwrap();
    let pid = rustix::process::Pid::from_raw(mapping.process.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    // Waits for the end, which is on its way.
    mapping.stop(false, LIMIT).await.unwrap();
    let [stale] = registry
        .find(&Query::Spec(spec()))
        .unwrap()
        .try_into()
        .unwrap();
    assert!(!stale.is_alive());
    DeviceType::Fuse
        .release_orphan(&device, false)
        .await
        .unwrap();
    assert!(!in_use(&device));
    registry.remove_stale(&stale).unwrap();
    assert!(registry.list().unwrap().is_empty());
}

/// Whether there is something behind a loop device.
fn in_use(device: &Path) -> bool {
    let name = device.file_name().unwrap();
    Path::new("/sys/block")
        .join(name)
        .join("loop/backing_file")
        .exists()
}
