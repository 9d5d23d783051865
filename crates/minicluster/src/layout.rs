//! What lies where in a cluster's directory.

use std::path::{Path, PathBuf};

use crate::Daemon;

/// The cluster's directory and the names in it.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.dir.join("ceph.conf")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    pub(crate) fn monmap(&self) -> PathBuf {
        self.dir.join("monmap")
    }

    /// The keyring that a monitor is made from: every key of the cluster.
    pub(crate) fn mon_keyring(&self) -> PathBuf {
        self.dir.join("mon.keyring")
    }

    /// The keyring of one client, such as `client.admin`.
    pub(crate) fn client_keyring(&self, entity: &str) -> PathBuf {
        self.dir.join(format!("ceph.{entity}.keyring"))
    }

    /// The private directory of a daemon.
    pub(crate) fn data(&self, daemon: Daemon) -> PathBuf {
        self.dir.join(daemon.to_string())
    }

    pub(crate) fn daemon_keyring(&self, daemon: Daemon) -> PathBuf {
        self.data(daemon).join("keyring")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub(crate) fn admin_socket(&self, daemon: Daemon) -> PathBuf {
        self.run().join(format!("{daemon}.asok"))
    }

    /// Which process a detached daemon is.
    pub(crate) fn pid(&self, daemon: Daemon) -> PathBuf {
        self.run().join(format!("{daemon}.pid"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What the daemon logs.
    pub(crate) fn log(&self, daemon: Daemon) -> PathBuf {
        self.logs().join(format!("{daemon}.log"))
    }

    /// What the daemon prints, which is what it says before its log is open or when it crashes.
    pub(crate) fn output(&self, daemon: Daemon) -> PathBuf {
        self.logs().join(format!("{daemon}.out"))
    }
}
