//! Real clusters, and the commands that are run on them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use mapper::state::Registry;
use minicluster::{Cluster, Store};
use tempfile::TempDir;

use super::kernel_device::{KernelDevice, device_type};

/// A cluster with the pool `rbd`, and a directory for all that the commands leave behind.
pub(crate) struct Place {
    _reaper: Reaper,
    pub(crate) cluster: Cluster,
    pub(crate) directory: TempDir,
}

/// Sees to it that no daemon and no mount survives a test that fails.
struct Reaper(PathBuf);

impl Drop for Reaper {
    fn drop(&mut self) {
        let mappings = Registry::open(Some(self.0.clone())).and_then(|registry| registry.list());
        for mapping in mappings.unwrap_or_default() {
            let pid = mapping.process.pid().to_string();
            let kill = || Command::new("kill").args(["-9", &pid]).status();
            if mapping.is_alive() {
                // Whatever cannot be taken down here, nothing else can.
                let _ = kill();
            }
            if let Some(directory) = &mapping.mount_point {
                let _ = Command::new("umount").arg("-l").arg(directory).status();
            }
        }
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        let cluster = Cluster::builder()
            .mons(1)
            .osds(1)
            .mgr(false)
            .store(Store::Memstore)
            .start()
            .unwrap();
        cluster.create_pool("rbd", 8).unwrap();
        Self::with(cluster)
    }

    pub(crate) fn with(cluster: Cluster) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            _reaper: Reaper(directory.path().join("run")),
            cluster,
            directory,
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orbd"));
        command
            .args(args)
            .env("CEPH_CONF", self.cluster.conf_path())
            .env("ORBD_RUN_DIR", self.directory.path().join("run"));
        for name in ["CEPH_ARGS", "CEPH_KEYRING", "CEPH_KEY"] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must work, and gives what it printed.
    pub(crate) fn works(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Stops all daemons of the cluster in their tracks, or lets them go on.
    pub(crate) fn pause(&self, is_paused: bool) {
        for daemon in self.cluster.daemons() {
            if is_paused {
                self.cluster.pause_daemon(daemon).unwrap();
            } else {
                self.cluster.resume_daemon(daemon).unwrap();
            }
        }
    }

    /// Maps an image and gives the device.
    pub(crate) fn map(&self, image: &str) -> KernelDevice {
        let device = self.works(&["map", "--device-type", device_type().name(), image]);
        KernelDevice::at(device.trim_end())
    }

    /// Mounts an image.
    pub(crate) fn mount(&self, image: &str, directory: &str) {
        self.works(&[
            "mount",
            "--device-type",
            device_type().name(),
            image,
            directory,
        ]);
    }

    /// The number of the only daemon.
    pub(crate) fn daemon(&self) -> u32 {
        let listed = self.works(&["device", "list", "--format", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed[0]["id"].as_str().unwrap().parse().unwrap()
    }

    /// What `device list` says of the only mapping.
    pub(crate) fn state(&self) -> String {
        let listed = self.works(&["device", "list", "--format", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed[0]["state"].as_str().unwrap().to_owned()
    }

    /// What the daemons that are there have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_dir(self.path("run"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            // One that goes now has nothing more to say.
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect()
    }

    /// Fails if commands have left anything behind.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("run"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "lock")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// The contents of an image, as upstream's `rbd` reads it.
    pub(crate) fn exported(&self, image: &str) -> Vec<u8> {
        let path = self.path("exported");
        let export = ["export", "--no-progress", image, &path];
        self.cluster.rbd(&export).unwrap();
        let contents = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        contents
    }

    /// Runs a command that must fail, and gives its status and what it said.
    pub(crate) fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), said)
    }
}

/// A child that does not outlive the test.
pub(crate) struct Server(pub(crate) Child);

impl Server {
    pub(crate) fn start(mut command: Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut address).unwrap();
        (Self(child), address.trim_end().to_owned())
    }

    /// Ends it as an operator would.
    pub(crate) fn stop(mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    tool("kill", &[&format!("-{name}"), &pid.to_string()]);
}

/// Runs a program that must succeed, and gives what it printed.
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Bytes that are not the same everywhere.
pub(crate) fn contents(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| u8::try_from((index / 3 + index / 4096) % 256).unwrap())
        .collect()
}
