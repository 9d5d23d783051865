//! A lane: an image and the client that works on it, one generation after the other.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use minicluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::ClientKind;
use super::checker::Checker;
use super::network::Network;

/// What all lanes have in common.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) network: &'a Network,
    pub(super) checker: &'a Checker,
    pub(super) dir: PathBuf,
    /// This program, where nobody builds a new one meanwhile.
    pub(super) program: PathBuf,
    pub(super) kind: ClientKind,
    pub(super) seed: u64,
    pub(super) blocks: u64,
    pub(super) jobs: u32,
}

/// See the module.
pub(super) struct Lane {
    pub(super) number: usize,
    /// `POOL/IMAGE`.
    pub(super) pool: String,
    pub(super) image: String,
    /// Options of the client's configuration.
    pub(super) options: Vec<(String, String)>,
    generation: u32,
    worker: Option<Child>,
    /// Speaks to the cluster in the worker's stead.
    server: Option<Child>,
    address: Option<String>,
    /// The addresses of clients that were shut out.
    past: Vec<String>,
    epoch: u64,
    pub(super) is_paused: bool,
}

impl Lane {
    pub(super) fn new(
        number: usize,
        pool: &str,
        image: &str,
        options: Vec<(String, String)>,
    ) -> Self {
        Self {
            number,
            pool: pool.to_owned(),
            image: image.to_owned(),
            options,
            generation: 0,
            worker: None,
            server: None,
            address: None,
            past: Vec::new(),
            epoch: 0,
            is_paused: false,
        }
    }

    pub(super) fn spec(&self) -> String {
        format!("{}/{}", self.pool, self.image)
    }

    /// Starts the next client and waits until it has the image open.
    pub(super) fn start(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.generation += 1;
        let socket = match stage.kind {
            ClientKind::Orbd => None,
            ClientKind::Librbd => Some(self.start_server(stage)?),
        };
        let mut command = self.command(stage, self.generation)?;
        if let Some(socket) = &socket {
            command.arg("--nbd").arg(socket);
        }
        let journal = self.journal(stage, self.generation);
        stage.checker.begin(self.number, &journal)?;
        self.worker = Some(command.spawn().context("the client")?);
        let deadline = Instant::now() + OPEN_LIMIT;
        let address = loop {
            if let Some(address) = stage.checker.opened(self.number)? {
                break address;
            }
            if let Some(status) = self.ended()? {
                bail!(
                    "the client of {} ended: {status}\n{}",
                    self.spec(),
                    self.log(stage)
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "the client of {} did not open it within {OPEN_LIMIT:?}",
                    self.spec()
                );
            }
            thread::sleep(POLL);
        };
        self.address = match address {
            Some(address) => Some(address),
            None => Some(self.watcher(stage)?),
        };
        Ok(())
    }

    /// Reads the whole image once.
    pub(super) fn read_back(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.generation += 1;
        let mut command = self.command(stage, self.generation)?;
        command.arg("--read-back");
        let journal = self.journal(stage, self.generation);
        stage.checker.begin(self.number, &journal)?;
        self.worker = Some(command.spawn().context("the client")?);
        self.wait_for_end(stage)
    }

    /// Kills the client.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        for mut child in self.server.take().into_iter().chain(self.worker.take()) {
            child.kill()?;
            child.wait()?;
        }
        self.is_paused = false;
        Ok(())
    }

    /// Sees to it that nothing more of a killed client gets through, as whoever takes its lock would.
    pub(super) fn shut_out(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let address = self.address.take().context("a client without an address")?;
        let word = if stage.cluster.release() == minicluster::Release::Nautilus {
            "blacklist"
        } else {
            "blocklist"
        };
        stage.cluster.ceph(&["osd", word, "add", &address])?;
        self.past.push(address);
        let map = stage.cluster.ceph_json(&["osd", "dump"])?;
        self.epoch = map
            .get("epoch")
            .and_then(Value::as_u64)
            .context("no epoch")?;
        stage.checker.crash(self.number)
    }

    /// `SIGSTOP` or `SIGCONT` for what speaks to the cluster.
    pub(super) fn pause(&mut self, is_paused: bool) -> anyhow::Result<()> {
        let child = self.server.as_ref().or(self.worker.as_ref());
        let child = child.context("no client")?;
        let signal = if is_paused {
            Signal::STOP
        } else {
            Signal::CONT
        };
        kill_process(Pid::from_child(child), signal)?;
        self.is_paused = is_paused;
        Ok(())
    }

    /// Lets the client finish what it has begun, and waits for its end.
    pub(super) fn finish(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        self.wait_for_end(stage)?;
        if let Some(mut server) = self.server.take() {
            kill_process(Pid::from_child(&server), Signal::TERM)?;
            let deadline = Instant::now() + END_LIMIT;
            while server.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    server.kill()?;
                    bail!("the server of {} did not end", self.spec());
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// How the client ended, if it has.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        for child in self.server.iter_mut().chain(&mut self.worker) {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// What the clients of this lane had to say.
    pub(super) fn log(&self, stage: &Stage<'_>) -> String {
        let text = fs::read_to_string(self.log_path(stage)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(20);
        lines.get(skipped..).unwrap_or_default().join("\n")
    }

    fn wait_for_end(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let Some(mut worker) = self.worker.take() else {
            bail!("no client of {}", self.spec());
        };
        drop(worker.stdin.take());
        let deadline = Instant::now() + END_LIMIT;
        let status = loop {
            if let Some(status) = worker.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                worker.kill()?;
                worker.wait()?;
                let waiting = stage.checker.describe_waiting(self.number)?;
                let what =
                    format!("the client did not end within {END_LIMIT:?}; it waits for {waiting}");
                stage.checker.complain(self.number, what)?;
                return self.shut_out(stage);
            }
            thread::sleep(POLL);
        };
        let is_closed = stage.checker.end(self.number)?;
        if !status.success() || !is_closed {
            let what = format!("the client ended: {status}\n{}", self.log(stage));
            stage.checker.complain(self.number, what)?;
        }
        Ok(())
    }

    fn command(&self, stage: &Stage<'_>, generation: u32) -> anyhow::Result<Command> {
        let mut command = self.in_network(stage)?;
        command
            .arg(&stage.program)
            .arg("torture-client")
            .arg("--journal")
            .arg(self.journal(stage, generation))
            .arg("--conf")
            .arg(stage.cluster.conf_path())
            .args(["--pool", &self.pool, "--image", &self.image])
            .args(["--lane", &self.number.to_string()])
            .args(["--generation", &generation.to_string()])
            .args(["--seed", &stage.seed.to_string()])
            .args(["--blocks", &stage.blocks.to_string()])
            .args(["--jobs", &stage.jobs.to_string()])
            .args(["--epoch", &self.epoch.to_string()])
            .stdin(Stdio::piped());
        for (name, value) in &self.options {
            command.arg("--option").arg(format!("{name}={value}"));
        }
        Ok(command)
    }

    /// Serves the image by librbd over a socket.
    fn start_server(&mut self, stage: &Stage<'_>) -> anyhow::Result<PathBuf> {
        let conf = stage.dir.join(format!("{}.conf", self.number));
        let mut text = fs::read_to_string(stage.cluster.conf_path())?;
        text.push_str("\n[client]\n");
        for (name, value) in &self.options {
            text.push_str(&format!("{name} = {value}\n"));
        }
        fs::write(&conf, text)?;
        let socket = stage.dir.join(format!("{}.sock", self.number));
        // Left by one that was killed.
        let _ = fs::remove_file(&socket);
        let mut command = self.in_network(stage)?;
        let Self { pool, image, .. } = self;
        command
            .args([
                "qemu-nbd",
                "--image-opts",
                "--cache=none",
                "--discard=unmap",
            ])
            .args(["--shared=1", "--persistent", "--socket"])
            .arg(&socket)
            .arg(format!(
                "driver=raw,file.driver=rbd,file.pool={pool},file.image={image},file.conf={},\
                 file.user=admin",
                conf.display()
            ))
            .stdin(Stdio::null());
        let mut server = command.spawn().context("qemu-nbd")?;
        let deadline = Instant::now() + OPEN_LIMIT;
        while !socket.exists() {
            if let Some(status) = server.try_wait()? {
                bail!("qemu-nbd ended: {status}\n{}", self.log(stage));
            }
            if Instant::now() > deadline {
                server.kill()?;
                bail!("qemu-nbd does not open {}", self.spec());
            }
            thread::sleep(POLL);
        }
        self.server = Some(server);
        Ok(socket)
    }

    /// A command in the clients' network, to which more is added, that dies with this thread.
    fn in_network(&self, stage: &Stage<'_>) -> anyhow::Result<Command> {
        let mut options = File::options();
        let log = options
            .create(true)
            .append(true)
            .open(self.log_path(stage))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(stage.network.prefix())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    /// The address of whoever has the image open, as the cluster knows it.
    fn watcher(&self, stage: &Stage<'_>) -> anyhow::Result<String> {
        let status = stage
            .cluster
            .rbd(&["status", &self.spec(), "--format", "json"])?;
        let status: Value = serde_json::from_str(&status)?;
        let watchers = status.get("watchers").and_then(Value::as_array);
        let mut addresses = watchers
            .into_iter()
            .flatten()
            .filter_map(|w| w.get("address")?.as_str());
        let live = addresses.find(|address| self.past.iter().all(|past| past != address));
        Ok(live.context("nobody watches")?.to_owned())
    }

    fn journal(&self, stage: &Stage<'_>, generation: u32) -> PathBuf {
        let name = format!("{}-{generation}.journal", self.number);
        stage.dir.join(name)
    }

    fn log_path(&self, stage: &Stage<'_>) -> PathBuf {
        stage.dir.join(format!("{}.log", self.number))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.kill();
    }
}

/// Opening includes finding monitors that may just have come back.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
