//! What kind of cluster is wanted.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::{Cluster, Error, KeyType, MonPorts, Release};

/// What the OSDs keep their objects in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// In memory; a stopped OSD forgets what is not written out at a clean shutdown.
    #[default]
    Memstore,
    /// In a sparse file in the OSD's directory.
    Bluestore,
}

/// Whether the cluster asks who is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Keys and tickets.
    #[default]
    Cephx,
    /// Anybody may do anything.
    None,
}

/// What protects the frames of messenger v2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Checksums only, on every connection.
    #[default]
    Crc,
    /// AES-GCM only, on every connection.
    Secure,
    /// What the release does when nothing is configured.
    Default,
}

/// The options of a cluster that is to be started.
///
/// The default is one monitor, one manager and one OSD in memory, with cephx and checksums, on
/// free ports of 127.0.0.1, in a temporary directory.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) release: Option<Release>,
    pub(crate) mons: usize,
    pub(crate) osds: usize,
    pub(crate) mgr: bool,
    pub(crate) store: Store,
    pub(crate) osd_bytes: u64,
    pub(crate) auth: Auth,
    pub(crate) key_type: Option<KeyType>,
    pub(crate) service_key_type: Option<KeyType>,
    pub(crate) both_key_types: bool,
    pub(crate) mode: Mode,
    pub(crate) mon_ports: MonPorts,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) keep: bool,
    pub(crate) extra_conf: Vec<String>,
    pub(crate) prefix: Vec<OsString>,
    pub(crate) fast_failure_detection: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            release: None,
            mons: 1,
            osds: 1,
            mgr: true,
            store: Store::default(),
            osd_bytes: 4 << 30,
            auth: Auth::default(),
            key_type: None,
            service_key_type: None,
            both_key_types: false,
            mode: Mode::default(),
            mon_ports: MonPorts::default(),
            ip: None,
            dir: None,
            keep: false,
            extra_conf: Vec::new(),
            prefix: Vec::new(),
            fast_failure_detection: false,
        }
    }
}

impl Builder {
    /// The release of Ceph, instead of [`Release::default_of_tests`].
    #[must_use]
    pub fn release(mut self, release: Release) -> Self {
        self.release = Some(release);
        self
    }

    /// The number of monitors, named `a`, `b` and so on; at most 26.
    #[must_use]
    pub fn mons(mut self, count: usize) -> Self {
        self.mons = count;
        self
    }

    /// The number of OSDs. Pools get as many replicas, up to three.
    #[must_use]
    pub fn osds(mut self, count: usize) -> Self {
        self.osds = count;
        self
    }

    /// Whether there is a manager. Without one nothing but the statistics is missing.
    #[must_use]
    pub fn mgr(mut self, wanted: bool) -> Self {
        self.mgr = wanted;
        self
    }

    /// What the OSDs keep their objects in.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// The size of each OSD, in bytes (4 GiB unless set). Space is taken as it is written to.
    #[must_use]
    pub fn osd_bytes(mut self, bytes: u64) -> Self {
        self.osd_bytes = bytes;
        self
    }

    /// Cephx or no authentication.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// The type of the keys of all daemons and users, instead of the newest that the release knows.
    /// The cluster accepts this type only, unless [`Builder::both_key_types`] is set.
    #[must_use]
    pub fn key_type(mut self, key_type: KeyType) -> Self {
        self.key_type = Some(key_type);
        self
    }

    /// Accepts keys of both types; [`Cluster::create_user_with_key`] makes users with either.
    #[must_use]
    pub fn both_key_types(mut self, wanted: bool) -> Self {
        self.both_key_types = wanted;
        self
    }

    /// The type of the keys that the monitors make for tickets and sessions, instead of
    /// [`Builder::key_type`].
    #[must_use]
    pub fn service_key_type(mut self, key_type: KeyType) -> Self {
        self.service_key_type = Some(key_type);
        self
    }

    /// The connection mode of messenger v2, for daemons and clients alike.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The ports of the monitors.
    #[must_use]
    pub fn mon_ports(mut self, ports: MonPorts) -> Self {
        self.mon_ports = ports;
        self
    }

    /// The address to bind to, any of 127.0.0.0/8 or ::1 (or one of a network namespace entered
    /// by [`Builder::prefix`]). 127.0.0.1 unless set, or a free loopback address when the monitors'
    /// ports are fixed.
    #[must_use]
    pub fn ip(mut self, ip: IpAddr) -> Self {
        self.ip = Some(ip);
        self
    }

    /// The directory to make the cluster in: a new one, or an empty one. Like a temporary one it
    /// is removed in the end unless [`Builder::keep`] is set.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Leaves the directory behind when the cluster is dropped, to look at the logs.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// A line for the `[global]` section of `ceph.conf`, after all others, such as
    /// `osd_pool_default_size = 2`.
    #[must_use]
    pub fn conf(mut self, line: impl Into<String>) -> Self {
        self.extra_conf.push(line.into());
        self
    }

    /// Words that go before every command of the cluster, daemons and tools, such as
    /// `ip netns exec NAME`. The command they start must replace theirs (`exec`), not be its child.
    #[must_use]
    pub fn prefix<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.prefix = words.into_iter().map(Into::into).collect();
        self
    }

    /// Notices dead daemons within seconds instead of the usual 20, and an OSD that nobody else
    /// watches too. On a loaded machine it also takes slow ones for dead.
    #[must_use]
    pub fn fast_failure_detection(mut self, wanted: bool) -> Self {
        self.fast_failure_detection = wanted;
        self
    }

    /// Starts the cluster, and waits until the monitors have a quorum and every OSD is up.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] and [`Error::RootNeeded`] when programs are missing and this process
    /// cannot get them, [`Error::Unsupported`] for options that contradict each other, and anything that goes wrong
    /// while starting, with the end of the log that tells why.
    pub fn start(&self) -> Result<Cluster, Error> {
        Cluster::start(self, true)
    }

    /// Like [`Builder::start`], but the cluster stays when it is dropped and when this process
    /// ends. [`Cluster::attach`] finds it again.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start_detached(&self) -> Result<Cluster, Error> {
        Cluster::start(self, false)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = if self.mons == 0 || self.mons > 26 {
            "a cluster has 1 to 26 monitors"
        } else if self.auth == Auth::None && self.mode == Mode::Secure {
            "secure mode takes its keys from cephx"
        } else if self.mon_ports == MonPorts::V1Only && self.mode == Mode::Secure {
            "secure mode is one of messenger v2"
        } else {
            return Ok(());
        };
        Err(Error::Unsupported(problem.into()))
    }
}
