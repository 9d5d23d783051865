//! Going to the background: this program starts itself again as a daemon that serves a device in memory.
//!
//! Needs root, `/dev/fuse` and `/dev/loop-control`; or, with `ORBD_TEST_DEVICE_TYPE=nbd`, the kernel's NBD driver. It has no harness, since it has to do different things depending on
//! its arguments.
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mapper::Error;
use mapper::control::{self, ClusterState, Control, Status, Stop};
use mapper::daemon::{Daemon, spawn};
use mapper::device::memory::MemoryDevice;
use mapper::device::{Ledger, Tally};
use mapper::kernel::{AttachOptions, Attachment, DeviceBackend, DeviceType, Identity, Orphan};
use mapper::mount::{MountOptions, mount, unmount};
use mapper::serving::{Masters, Probe, Served, Signals, serve_until_stopped};
use mapper::state::{MappedSpec, Mapping, ProcessId, Query, Registry};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use support::kernel_device::{KernelDevice, device_type};
use support::{MIB, run};

const LIMIT: Duration = Duration::from_secs(60);
const INTERNAL: &str = "internal-daemon";
const SECRET: &str = "AQDnobodyShouldSeeThis";

#[derive(Serialize, Deserialize)]
struct Orders {
    behaviour: String,
    directory: PathBuf,
    /// Where to write how serving ended.
    report: PathBuf,
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
        what_is_not_answered_is_kept_until_force_gives_it_up().await;
        println!("test what_is_not_answered_is_kept_until_force_gives_it_up ... ok");
        a_second_signal_is_force().await;
        println!("test a_second_signal_is_force ... ok");
        a_killed_daemon_does_not_wait_for_itself().await;
        println!("test a_killed_daemon_does_not_wait_for_itself ... ok");
    });
    // As the usual harness ends, for who counts tests.
    println!("\ntest result: ok. 7 passed; 0 failed; 0 ignored");
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
    runtime.block_on(serve(daemon, orders));
    runtime.shutdown_background();
}

async fn serve(daemon: Daemon, orders: Orders) {
    let registry = Registry::open(Some(orders.directory)).unwrap();
    let mapping = Mapping {
        process: ProcessId::current().unwrap(),
        spec: spec(),
        device_type: device_type(),
        is_read_only: false,
        device: None,
        mount_point: None,
        identifier: Some(spec().to_string()),
        identity: Identity::default(),
        log_file: None,
    };
    let mut claim = match registry.claim(mapping, false) {
        Ok(claim) => claim,
        Err(error) => return daemon.failed(error.to_string(), 16),
    };
    let memory = MemoryDevice::new(64 * MIB);
    let ledger = Ledger::new(Arc::new(memory.clone()));
    let served = Arc::new(Served::new(ledger.clone(), NoCluster));
    let socket = registry.socket(claim.mapping().process);
    let mut masters = Masters {
        signals: Signals::new().unwrap(),
        control: Control::listen(&socket, Arc::clone(&served)).unwrap(),
    };
    let options = AttachOptions {
        identifier: claim.mapping().identifier.clone(),
        ..AttachOptions::default()
    };
    let mut attached = device_type()
        .attach(Arc::new(ledger), &options)
        .await
        .unwrap();
    let path = attached.path().to_owned();
    claim
        .update(|mapping| {
            mapping.device = Some(path.clone());
            mapping.identity = attached.identity();
        })
        .unwrap();
    memory.hold(orders.behaviour != "serve");
    if orders.behaviour == "wait for itself" {
        let device = path.clone();
        std::thread::spawn(move || {
            dirty(&device);
            File::open(device).unwrap().sync_all()
        });
    }
    daemon.ready(&path).unwrap();
    let (_sizes, mut sizes) = tokio::sync::watch::channel(64 * MIB);
    let ended = serve_until_stopped(&mut attached, &served, &mut masters, &mut sizes).await;
    // Somebody has to see what was lost when nobody asked.
    std::fs::write(orders.report, format!("{ended:?}")).unwrap();
    masters.control.close().await;
}

/// What a device in memory has behind it.
struct NoCluster;

impl Probe for NoCluster {
    async fn cluster(&self, _: Duration) -> ClusterState {
        ClusterState::Answers
    }
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
        report: directory.join("report"),
        key: SECRET.to_owned(),
    };
    let log = directory.join("log");
    spawn(&[INTERNAL], &orders, Some(&log), limit).await
}

/// Starts one that must be ready, and gives the device.
async fn started(behaviour: &str, directory: &Path) -> PathBuf {
    match start(behaviour, directory, LIMIT).await {
        Ok(device) => device,
        Err(error) => {
            let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            panic!("{behaviour}: {}\n{said}", error.with_causes());
        }
    }
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
                let _ = rustix::process::kill_process(pid, Signal::KILL);
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
    let device = started("serve", dir.path()).await;
    let seen = KernelDevice::at(&device);
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
    let busy = stop(dir.path(), &mapping, Stop::GRACEFUL).await;
    assert_eq!(busy.unwrap_err().errno(), 16);
    // Nor is it given up when a signal comes from somewhere else.
    signal(&mapping, Signal::TERM);
    std::fs::write(mount_point.path().join("hello"), "again").unwrap();
    assert!(mapping.is_alive());
    unmount(mount_point.path(), LIMIT).await.unwrap();
    let dropped = stop(dir.path(), &mapping, Stop::GRACEFUL).await.unwrap();
    assert!(dropped.is_empty(), "{dropped}");
    assert!(mapping.wait(LIMIT).await.unwrap());
    assert!(registry.list().unwrap().is_empty());
    assert!(!registry.socket(mapping.process).exists());
    assert!(!seen.is_there());
}

async fn a_killed_daemon_leaves_a_stale_mapping() {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let device = started("serve", dir.path()).await;
    let seen = KernelDevice::at(&device);
    let registry = Registry::open(Some(dir.path().to_owned())).unwrap();
    let [mapping] = registry.list().unwrap().try_into().unwrap();
    signal(&mapping, Signal::KILL);
    assert!(mapping.wait(LIMIT).await.unwrap());
    let silent = stop(dir.path(), &mapping, Stop::FORCED).await;
    assert!(matches!(silent, Err(Error::Silent { .. })), "{silent:?}");
    let [stale] = registry
        .find(&Query::Spec(spec()))
        .unwrap()
        .try_into()
        .unwrap();
    assert!(!stale.is_alive());
    let orphan = stale.orphan().unwrap();
    a_stranger_is_left_alone(&orphan, dir.path()).await;
    let release = |orphan| device_type().release_orphan(orphan, true, LIMIT);
    release(&orphan).await.unwrap();
    assert!(!seen.is_there());
    registry.remove_stale(&stale).unwrap();
    assert!(registry.list().unwrap().is_empty());
    assert!(!registry.socket(stale.process).exists());
}

/// What has become somebody else's in the meantime is not given up.
async fn a_stranger_is_left_alone(orphan: &Orphan<'_>, dir: &Path) {
    let release = |orphan| device_type().release_orphan(orphan, true, LIMIT);
    if device_type() == DeviceType::Nbd {
        let stranger = KernelDevice::at(orphan.path);
        let mistaken = Orphan {
            identifier: Some("another"),
            ..*orphan
        };
        release(&mistaken).await.unwrap();
        assert!(stranger.is_there());
        return;
    }
    let file = dir.join("stranger");
    std::fs::write(&file, vec![0; 1 << 20]).unwrap();
    let borrowed = run("losetup", &["--show", "-f", file.to_str().unwrap()]).await;
    let borrowed = PathBuf::from(String::from_utf8(borrowed.stdout).unwrap().trim());
    let mistaken = Orphan {
        path: &borrowed,
        ..*orphan
    };
    release(&mistaken).await.unwrap();
    assert!(KernelDevice::at(&borrowed).is_there());
    support::succeed("losetup", &["-d", borrowed.to_str().unwrap()]).await;
}

async fn what_is_not_answered_is_kept_until_force_gives_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let device = started("hold", dir.path()).await;
    let seen = KernelDevice::at(&device);
    let registry = Registry::open(Some(dir.path().to_owned())).unwrap();
    let [mapping] = registry.list().unwrap().try_into().unwrap();
    dirty(&device);
    let kept = stop(dir.path(), &mapping, impatient(false)).await;
    assert_eq!(kept.unwrap_err().errno(), 110);
    assert!(mapping.is_alive() && seen.is_there());
    let status = control::status(dir.path(), &mapping, LIMIT).await.unwrap();
    assert!(!status.is_stopping);
    assert!(status.traffic.in_flight.writes > 0);

    let dropped = stop(dir.path(), &mapping, impatient(true)).await.unwrap();
    assert_eq!(dropped.written_bytes, DIRTY_BYTES, "{dropped}");
    assert!(mapping.wait(LIMIT).await.unwrap());
    assert!(!seen.is_there());
    assert!(registry.list().unwrap().is_empty());
}

async fn a_second_signal_is_force() {
    let dir = tempfile::tempdir().unwrap();
    let _reaper = Reaper(dir.path().to_owned());
    let device = started("hold", dir.path()).await;
    let seen = KernelDevice::at(&device);
    let registry = Registry::open(Some(dir.path().to_owned())).unwrap();
    let [mapping] = registry.list().unwrap().try_into().unwrap();
    dirty(&device);
    signal(&mapping, Signal::TERM);
    until_status(dir.path(), &mapping, |status| status.is_stopping).await;
    signal(&mapping, Signal::TERM);
    assert!(mapping.wait(LIMIT).await.unwrap());
    let report = std::fs::read_to_string(dir.path().join("report")).unwrap();
    let lost = format!("written_bytes: {DIRTY_BYTES}");
    assert!(
        report.contains("Stopped") && report.contains(&lost),
        "{report}"
    );
    assert!(!seen.is_there());
    assert!(registry.list().unwrap().is_empty());
}

/// One that waits for its own device cannot end before the device gives up on it.
async fn a_killed_daemon_does_not_wait_for_itself() {
    for behaviour in ["hold", "wait for itself"] {
        let dir = tempfile::tempdir().unwrap();
        let _reaper = Reaper(dir.path().to_owned());
        let device = started(behaviour, dir.path()).await;
        let seen = KernelDevice::at(&device);
        let registry = Registry::open(Some(dir.path().to_owned())).unwrap();
        let [mapping] = registry.list().unwrap().try_into().unwrap();
        if behaviour == "hold" {
            dirty(&device);
            signal(&mapping, Signal::TERM);
        }
        until_status(dir.path(), &mapping, |status| {
            status.traffic.in_flight.writes > 0
        })
        .await;
        signal(&mapping, Signal::KILL);
        let died = async {
            while mapping.is_alive() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, died).await.unwrap();
        let orphan = mapping.orphan().unwrap();
        device_type()
            .release_orphan(&orphan, true, LIMIT)
            .await
            .unwrap();
        assert!(mapping.wait(LIMIT).await.unwrap());
        registry.remove_stale(&mapping).unwrap();
        // Its child that was writing back has the device open until it has failed.
        let gone = async {
            while seen.is_there() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(LIMIT, gone).await;
        gone.unwrap_or_else(|_| panic!("{behaviour}"));
    }
}

async fn stop(directory: &Path, mapping: &Mapping, stop: Stop) -> mapper::Result<Tally> {
    control::stop(directory, mapping, stop, |_| {}).await
}

/// A stop that does not wait long.
fn impatient(is_forced: bool) -> Stop {
    Stop {
        is_forced,
        patience: Duration::from_millis(300),
    }
}

fn signal(mapping: &Mapping, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(mapping.process.pid()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Writes something that stays in the kernel's cache, unless the last who closes a device waits until it is written.
fn dirty(device: &Path) {
    use std::os::unix::fs::FileExt;

    let device = std::fs::OpenOptions::new()
        .write(true)
        .open(device)
        .unwrap();
    device.write_all_at(&[7; DIRTY], 0).unwrap();
    support::close_without_waiting(device);
}

async fn until_status(directory: &Path, mapping: &Mapping, is_it: impl Fn(&Status) -> bool) {
    let seen = async {
        loop {
            let status = control::status(directory, mapping, LIMIT).await.unwrap();
            if is_it(&status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap();
}

const DIRTY: usize = 64 << 10;
const DIRTY_BYTES: u64 = DIRTY as u64;
