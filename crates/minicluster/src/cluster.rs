//! A running cluster.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::address::Reservation;
use crate::bootstrap::{Bootstrap, random_uuid};
use crate::builder::Builder;
use crate::ciphers::{Ciphers, KeyType};
use crate::launcher::Launcher;
use crate::layout::Layout;
use crate::process::Process;
use crate::state::State;
use crate::{Error, Release, admin_socket, logs};

/// One of a cluster's daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Daemon {
    /// A monitor by its number, from 0: `mon.a` is the first.
    Mon(u8),
    /// The manager, `mgr.x`.
    Mgr,
    /// An OSD by its id.
    Osd(u32),
}

impl Daemon {
    /// What Ceph calls it among its kind: `a`, `x`, `0`.
    pub(crate) fn id(self) -> String {
        match self {
            Self::Mon(number) => char::from(b'a'.saturating_add(number)).to_string(),
            Self::Mgr => "x".into(),
            Self::Osd(id) => id.to_string(),
        }
    }

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Mon(_) => "ceph-mon",
            Self::Mgr => "ceph-mgr",
            Self::Osd(_) => "ceph-osd",
        }
    }

    pub(crate) fn mons(count: usize) -> impl Iterator<Item = Self> {
        (0..u8::MAX).take(count).map(Self::Mon)
    }

    pub(crate) fn osds(count: usize) -> impl Iterator<Item = Self> {
        (0..u32::MAX).take(count).map(Self::Osd)
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Mon(_) => "mon",
            Self::Mgr => "mgr",
            Self::Osd(_) => "osd",
        };
        write!(f, "{kind}.{}", self.id())
    }
}

/// A real cluster on this machine.
///
/// Dropping one that was started by [`Builder::start`] kills its daemons and removes its directory.
/// All methods can be called from several threads at once.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    launcher: Launcher,
    state: State,
    processes: Mutex<BTreeMap<Daemon, Process>>,
    /// Present in owned clusters: removes the directory when this process dies.
    reaper: Option<Child>,
    owned: bool,
    keep: bool,
}

impl Cluster {
    /// The options of a new cluster.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(options: &Builder, owned: bool) -> Result<Self, Error> {
        options.check()?;
        let release = options.release.map_or_else(Release::default_of_tests, Ok)?;
        let root = release.ensure()?;
        let mut attempt = 1;
        loop {
            match Self::try_start(options, release, root.clone(), owned) {
                // Between the end of the reservation and the start of the daemon, somebody else
                // may have taken the port.
                Err(Error::AddressInUse { .. }) if attempt < START_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn try_start(
        options: &Builder,
        release: Release,
        root: Option<PathBuf>,
        owned: bool,
    ) -> Result<Self, Error> {
        let layout = Layout::new(make_dir(options.dir.as_deref())?);
        let fsid = random_uuid()?;
        let reserved = Reservation::new(options.mon_ports, options.mons, options.ip)?;
        let state = State {
            release,
            root,
            fsid,
            mons: reserved.mons.clone(),
            osds: options.osds,
            mgr: options.mgr,
            prefix: options.prefix.clone(),
        };
        let keep = options.keep || !owned;
        let reaper = if keep {
            None
        } else {
            Some(spawn_reaper(layout.dir())?)
        };
        let processes = Mutex::default();
        let launcher = state.launcher(&layout)?;
        let cluster = Self {
            layout,
            launcher,
            state,
            processes,
            reaper,
            owned,
            keep,
        };
        match cluster.bring_up(options, reserved) {
            Ok(()) => Ok(cluster),
            Err(e) => {
                if !owned {
                    cluster.destroy()?;
                }
                Err(e)
            }
        }
    }

    fn bring_up(&self, options: &Builder, reserved: Reservation) -> Result<(), Error> {
        let Self {
            layout,
            launcher,
            state,
            ..
        } = self;
        state.save(layout)?;
        let registration = Bootstrap {
            layout,
            launcher,
            options,
            release: state.release,
            ciphers: Ciphers::of(options, state.release)?,
            fsid: &state.fsid,
            reserved: &reserved,
        }
        .run()?;
        drop(reserved);
        for mon in Daemon::mons(state.mons.len()) {
            self.spawn(mon)?;
        }
        for mon in Daemon::mons(state.mons.len()) {
            self.wait_until_serving(mon)?;
        }
        registration.run(layout, launcher)?;
        for osd in Daemon::osds(state.osds) {
            self.spawn(osd)?;
        }
        if state.mgr {
            self.spawn(Daemon::Mgr)?;
        }
        for osd in Daemon::osds(state.osds) {
            self.wait_until_serving(osd)?;
        }
        Ok(())
    }

    /// Takes up a cluster left running by [`Builder::start_detached`].
    ///
    /// # Errors
    ///
    /// [`Error::Directory`] when there is none in `dir`.
    pub fn attach(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let layout = Layout::new(dir);
        let state = State::load(&layout)?;
        let launcher = state.launcher(&layout)?;
        let cluster = Self {
            layout,
            launcher,
            state,
            processes: Mutex::default(),
            reaper: None,
            owned: false,
            keep: true,
        };
        for daemon in cluster.daemons() {
            if let Some(process) = Process::find_detached(&cluster.layout, daemon) {
                cluster.processes().insert(daemon, process);
            }
        }
        Ok(cluster)
    }

    /// Kills all daemons and removes the directory.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when the directory cannot be removed.
    pub fn destroy(mut self) -> Result<(), Error> {
        self.keep = false;
        self.take_down()
    }

    fn take_down(&mut self) -> Result<(), Error> {
        let mut processes = std::mem::take(&mut *self.processes());
        // All of them first: an OSD that sees its peers die one by one only gets busy.
        for process in processes.values() {
            // One that has died already is as good.
            let _ = process.signal(Signal::KILL);
        }
        for process in processes.values_mut() {
            process.kill();
        }
        if !self.keep && self.layout.dir().exists() {
            fs::remove_dir_all(self.layout.dir()).map_err(Error::file(self.layout.dir()))?;
        }
        if let Some(mut reaper) = self.reaper.take() {
            drop(reaper.stdin.take());
            // It has nothing left to do; an error means that it is gone.
            let _ = reaper.wait();
        }
        Ok(())
    }

    /// The release of Ceph that it is of.
    #[must_use]
    pub fn release(&self) -> Release {
        self.state.release
    }

    /// The directory that everything of the cluster is in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.layout.dir()
    }

    /// The cluster's `ceph.conf`.
    #[must_use]
    pub fn conf_path(&self) -> PathBuf {
        self.layout.conf()
    }

    /// The keyring of `client.admin`.
    #[must_use]
    pub fn keyring_path(&self) -> PathBuf {
        self.layout.client_keyring("client.admin")
    }

    /// The monitors' addresses as `mon_host` has them:
    /// `[v2:127.0.0.1:3300,v1:127.0.0.1:6789],...`.
    #[must_use]
    pub fn mon_host(&self) -> String {
        let hosts: Vec<String> = self.state.mons.iter().map(|m| m.to_addrvec()).collect();
        hosts.join(",")
    }

    /// The cluster's UUID.
    #[must_use]
    pub fn fsid(&self) -> &str {
        &self.state.fsid
    }

    /// All daemons, running or not.
    #[must_use]
    pub fn daemons(&self) -> Vec<Daemon> {
        Daemon::mons(self.state.mons.len())
            .chain(self.state.mgr.then_some(Daemon::Mgr))
            .chain(Daemon::osds(self.state.osds))
            .collect()
    }

    /// A program of the cluster's release, set up to talk to this cluster as `client.admin` (by
    /// `CEPH_CONF`).
    ///
    /// A release that is not this machine's own sees this machine's files all the same, outside of
    /// the directories of the operating system (`/etc`, `/usr`, `/var` ...) and of mounts below the
    /// top directories. It runs in `/`, so relative paths mean nothing to it.
    ///
    /// It is the caller's to end: programs of Ceph wait for ever for a cluster that is gone.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.launcher.command(program);
        self.set_environment(&mut command);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        command.env("CEPH_CONF", self.layout.conf());
        for name in ["CEPH_ARGS", "CEPH_KEYRING", "CEPH_KEY"] {
            command.env_remove(name);
        }
    }

    fn run<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Result<String, Error> {
        self.launcher
            .run(program, args, |command| self.set_environment(command))
    }

    /// Runs `ceph` and returns what it printed.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] with what it printed when it fails.
    pub fn ceph<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, Error> {
        self.run("ceph", args)
    }

    /// Runs `ceph ... --format json` and returns what it printed.
    ///
    /// # Errors
    ///
    /// As [`Cluster::ceph`], and [`Error::Output`] when it did not print JSON.
    pub fn ceph_json<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Value, Error> {
        let mut all: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        all.extend(["--format", "json"].map(OsStr::new));
        let output = self.ceph(&all)?;
        serde_json::from_str(&output).map_err(|_| Error::Output {
            command: "ceph".into(),
            output: output.clone(),
        })
    }

    /// Runs `rbd` and returns what it printed.
    ///
    /// # Errors
    ///
    /// As [`Cluster::ceph`].
    pub fn rbd<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, Error> {
        self.run("rbd", args)
    }

    /// Runs `rados` and returns what it printed.
    ///
    /// # Errors
    ///
    /// As [`Cluster::ceph`].
    pub fn rados<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, Error> {
        self.run("rados", args)
    }

    /// Creates a replicated pool for images, and waits until all its PGs serve.
    ///
    /// # Errors
    ///
    /// As [`Cluster::ceph`].
    pub fn create_pool(&self, name: &str, pg_num: u32) -> Result<(), Error> {
        let pg_num = pg_num.to_string();
        self.ceph(&["osd", "pool", "create", name, &pg_num, &pg_num])?;
        self.ceph(&["osd", "pool", "application", "enable", name, "rbd"])?;
        // Listing visits every PG, and each answers when it is active.
        self.rados(&["-p", name, "ls"]).map(drop)
    }

    /// Creates a user (such as `client.x`) with capabilities (such as `("mon", "profile rbd")`),
    /// and returns the path of its keyring, where `ceph.conf` points to as well.
    ///
    /// # Errors
    ///
    /// As [`Cluster::ceph`].
    pub fn create_user(&self, entity: &str, caps: &[(&str, &str)]) -> Result<PathBuf, Error> {
        self.make_user(entity, caps, &[])
    }

    /// Like [`Cluster::create_user`], with a key of the type wanted, which the cluster has to accept.
    /// Only releases that know both types can be asked for it.
    ///
    /// # Errors
    ///
    /// As [`Cluster::ceph`].
    pub fn create_user_with_key(
        &self,
        entity: &str,
        caps: &[(&str, &str)],
        key_type: KeyType,
    ) -> Result<PathBuf, Error> {
        self.make_user(entity, caps, &["--key-type", key_type.name()])
    }

    fn make_user(
        &self,
        entity: &str,
        caps: &[(&str, &str)],
        options: &[&str],
    ) -> Result<PathBuf, Error> {
        let path = self.layout.client_keyring(entity);
        let mut args: Vec<&OsStr> = ["auth", "get-or-create", entity, "-o"]
            .map(OsStr::new)
            .into();
        args.push(path.as_os_str());
        args.extend(options.iter().map(OsStr::new));
        args.extend(
            caps.iter()
                .flat_map(|(service, allowed)| [service, allowed])
                .map(OsStr::new),
        );
        self.ceph(&args)?;
        Ok(path)
    }

    /// Starts a daemon that was stopped or killed, and waits until it takes part again: a monitor
    /// in the quorum, an OSD up in the map. A manager is not waited for.
    ///
    /// # Errors
    ///
    /// [`Error::DaemonDied`] and [`Error::TimedOut`] with the end of its log.
    pub fn start_daemon(&self, daemon: Daemon) -> Result<(), Error> {
        self.spawn(daemon)?;
        if daemon == Daemon::Mgr {
            Ok(())
        } else {
            self.wait_until_serving(daemon)
        }
    }

    /// Asks a daemon to end, as a shutdown would, and waits for it. An OSD tells the monitors.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when it does not run, [`Error::TimedOut`] when it does not end.
    pub fn stop_daemon(&self, daemon: Daemon) -> Result<(), Error> {
        self.signal(daemon, Signal::TERM)?;
        let process = self.processes().remove(&daemon);
        if process.is_some_and(|mut p| !p.wait(STOP_LIMIT)) {
            return Err(self.timed_out(&format!("the end of {daemon}"), STOP_LIMIT, daemon));
        }
        Ok(())
    }

    /// Kills a daemon without warning, as a power failure would, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when it does not run.
    pub fn kill_daemon(&self, daemon: Daemon) -> Result<(), Error> {
        self.signal(daemon, Signal::KILL)?;
        if let Some(mut process) = self.processes().remove(&daemon) {
            process.kill();
        }
        Ok(())
    }

    /// Stops a daemon in its tracks: it keeps its connections and says nothing any more.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when it does not run.
    pub fn pause_daemon(&self, daemon: Daemon) -> Result<(), Error> {
        match self.processes().get(&daemon) {
            Some(process) => process.pause(),
            None => Err(not_running(daemon)),
        }
    }

    /// Lets a paused daemon go on.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when it does not run.
    pub fn resume_daemon(&self, daemon: Daemon) -> Result<(), Error> {
        self.signal(daemon, Signal::CONT)
    }

    /// The pid of a daemon, if it runs.
    #[must_use]
    pub fn pid(&self, daemon: Daemon) -> Option<u32> {
        let mut processes = self.processes();
        let process = processes.get_mut(&daemon)?;
        process.ended().is_none().then(|| process.pid())
    }

    /// What the daemon logs, and the end of it in words for an error message.
    #[must_use]
    pub fn log_path(&self, daemon: Daemon) -> PathBuf {
        self.layout.log(daemon)
    }

    /// Waits until exactly `count` OSDs are up in the monitors' map.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] after two minutes.
    pub fn wait_for_osds_up(&self, count: usize) -> Result<(), Error> {
        self.poll(&format!("{count} OSDs up"), || {
            let stat = self.ceph_json(&["osd", "stat"])?;
            // Nautilus has the numbers one level down.
            let counts = stat.get("osdmap").unwrap_or(&stat);
            let up = counts.get("num_up_osds").and_then(Value::as_u64);
            Ok((up == u64::try_from(count).ok(), stat.to_string()))
        })
    }

    /// Waits until `ceph health` says `HEALTH_OK`. The manager has to be up for that, which takes
    /// some ten seconds after the start.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] after two minutes, with what is not healthy.
    pub fn wait_for_healthy(&self) -> Result<(), Error> {
        self.poll("HEALTH_OK", || {
            let text = self.ceph(&["health", "detail"])?;
            // Without statistics the health is that of a cluster nothing is known about.
            let is_known = !self.state.mgr || self.is_mgr_available()?;
            Ok((text.starts_with("HEALTH_OK") && is_known, text))
        })
    }

    fn is_mgr_available(&self) -> Result<bool, Error> {
        let map = self.ceph_json(&["mgr", "dump"])?;
        Ok(map.get("available").and_then(Value::as_bool) == Some(true))
    }

    /// Polls the cluster until it is as wanted, or the limit has passed.
    fn poll(
        &self,
        what: &str,
        mut is_so: impl FnMut() -> Result<(bool, String), Error>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + CLUSTER_LIMIT;
        loop {
            let (reached, seen) = is_so()?;
            if reached {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::TimedOut {
                    what: what.into(),
                    limit: CLUSTER_LIMIT,
                    log: seen,
                });
            }
            thread::sleep(CLUSTER_POLL);
        }
    }

    fn spawn(&self, daemon: Daemon) -> Result<(), Error> {
        if self.pid(daemon).is_some() {
            return Err(Error::Unsupported(format!("{daemon} runs already")));
        }
        // The socket of an earlier life must not be taken for that of the new one.
        let _ = fs::remove_file(self.layout.admin_socket(daemon));
        let spawn = if self.owned {
            Process::spawn_owned
        } else {
            Process::spawn_detached
        };
        let process = spawn(&self.layout, &self.launcher, daemon)?;
        tracing::debug!(%daemon, pid = process.pid(), "started");
        self.processes().insert(daemon, process);
        Ok(())
    }

    fn wait_until_serving(&self, daemon: Daemon) -> Result<(), Error> {
        let socket = self.layout.admin_socket(daemon);
        let deadline = Instant::now() + DAEMON_LIMIT;
        while !is_serving(daemon, &socket) {
            if let Some(status) = self.processes().get_mut(&daemon).and_then(Process::ended) {
                let log = logs::tail(&self.layout, daemon);
                let daemon = daemon.to_string();
                return Err(if IN_USE.iter().any(|words| log.contains(words)) {
                    Error::AddressInUse { daemon, log }
                } else {
                    Error::DaemonDied {
                        daemon,
                        status,
                        log,
                    }
                });
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out(&format!("{daemon} in service"), DAEMON_LIMIT, daemon));
            }
            thread::sleep(DAEMON_POLL);
        }
        Ok(())
    }

    fn timed_out(&self, what: &str, limit: Duration, daemon: Daemon) -> Error {
        Error::TimedOut {
            what: what.into(),
            limit,
            log: logs::tail(&self.layout, daemon),
        }
    }

    fn signal(&self, daemon: Daemon, signal: Signal) -> Result<(), Error> {
        match self.processes().get(&daemon) {
            Some(process) => process.signal(signal),
            None => Err(not_running(daemon)),
        }
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Daemon, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.owned
            && let Err(e) = self.take_down()
        {
            tracing::warn!(error = %e, "the cluster's directory is left behind");
        }
    }
}

fn not_running(daemon: Daemon) -> Error {
    Error::Signal {
        daemon: daemon.to_string(),
        source: rustix::io::Errno::SRCH.into(),
    }
}

/// A monitor serves when it is in a quorum, an OSD when the map has it up.
fn is_serving(daemon: Daemon, socket: &Path) -> bool {
    let (prefix, wanted): (_, &[&str]) = match daemon {
        Daemon::Mon(_) => ("mon_status", &["leader", "peon"]),
        Daemon::Mgr | Daemon::Osd(_) => ("status", &["active"]),
    };
    // Errors are those of a daemon that has not got to its socket yet.
    let Ok(status) = admin_socket::ask(socket, prefix) else {
        return false;
    };
    status
        .get("state")
        .and_then(Value::as_str)
        .is_some_and(|state| wanted.contains(&state))
}

fn make_dir(wanted: Option<&Path>) -> Result<PathBuf, Error> {
    let dir = match wanted {
        None => tempfile::Builder::new()
            .prefix("minicluster-")
            .tempdir()
            .map_err(Error::file(std::env::temp_dir()))?
            .keep(),
        Some(dir) => {
            fs::create_dir_all(dir).map_err(Error::file(dir))?;
            if fs::read_dir(dir)
                .map_err(Error::file(dir))?
                .next()
                .is_some()
            {
                return Err(Error::Directory {
                    path: dir.into(),
                    problem: "not empty".into(),
                });
            }
            fs::canonicalize(dir).map_err(Error::file(dir))?
        }
    };
    if dir.as_os_str().len() > LONGEST_DIR {
        return Err(Error::PathTooLong { path: dir });
    }
    Ok(dir)
}

/// Removes the directory once this process is gone, however it ended.
fn spawn_reaper(dir: &Path) -> Result<Child, Error> {
    use std::os::unix::process::CommandExt;
    Command::new("sh")
        .args(["-c", REAPER, "sh"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Spawn {
            program: "sh".into(),
            source,
        })
}

/// The daemons are killed at the same moment by their own supervisors and may still be writing,
/// so it tries for a while.
const REAPER: &str = r#"
read -r _
tries=100
while [ -e "$1" ] && [ $tries -gt 0 ]; do
    rm -rf "$1" && break
    sleep 0.1
    tries=$((tries - 1))
done
"#;
/// Unix socket paths are limited to 107 bytes, and the longest name in the directory is
/// `/run/osd.99999.asok`.
const LONGEST_DIR: usize = 107 - 19;
const START_ATTEMPTS: u32 = 3;
const DAEMON_POLL: Duration = Duration::from_millis(50);
const CLUSTER_POLL: Duration = Duration::from_millis(200);
/// On a loaded machine, with a disk that is as busy, an OSD that was killed has taken more than a minute and a half.
const DAEMON_LIMIT: Duration = Duration::from_secs(300);
const CLUSTER_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// What the daemons say when a port is taken (`strerror(EADDRINUSE)`).
const IN_USE: [&str; 2] = ["Address already in use", "EADDRINUSE"];
