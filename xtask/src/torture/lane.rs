//! A lane: an image and the clients that work on it, each one generation after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use minicluster::{Cluster, Release};
use serde_json::Value;

use super::checker::Checker;
use super::network::Network;
use super::spec::{ClientKind, LaneSpec};
use super::stamp::BLOCK;
use super::worker::{Job, Worker};

/// What all lanes have in common.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) network: &'a Network,
    pub(super) checker: &'a Checker,
    pub(super) dir: PathBuf,
    /// This program, where nobody builds a new one meanwhile.
    pub(super) program: PathBuf,
    pub(super) seed: u64,
    pub(super) blocks: u64,
    pub(super) jobs: u32,
}

/// See the module.
pub(super) struct Lane {
    pub(super) number: usize,
    /// Lanes of one group suffer the same, at the same moment.
    pub(super) group: usize,
    /// Where the image's header is.
    pub(super) pool: String,
    pub(super) image: String,
    pub(super) spec: LaneSpec,
    /// Options of the clients' configuration.
    pub(super) options: Vec<(String, String)>,
    /// What clients have to know before they do anything.
    pub(super) epoch: u64,
    /// Whether a client did not end in good order.
    pub(super) has_crashed: bool,
    last_generation: u32,
    workers: Vec<Option<Worker>>,
    /// The addresses of clients that there were.
    past: BTreeSet<String>,
}

impl Lane {
    pub(super) fn new(number: usize, group: usize, spec: LaneSpec, is_secure: bool) -> Self {
        let mode = if is_secure { "secure" } else { "crc" };
        let options = [("ms_client_mode", mode), ("ms_mon_client_mode", mode)];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            number,
            group,
            pool: spec.pool.header_pool().to_owned(),
            image: format!("torture{number}"),
            options: options.into(),
            epoch: 0,
            has_crashed: false,
            last_generation: 0,
            workers: spec.clients.iter().map(|_| None).collect(),
            past: BTreeSet::new(),
            spec,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.pool, self.image)
    }

    /// Whether several clients work on the image.
    pub(super) fn is_shared(&self) -> bool {
        self.spec.clients.len() > 1
    }

    /// The size of the image in bytes.
    pub(super) fn size(&self, stage: &Stage<'_>) -> u64 {
        if self.spec.has_file_system() {
            FILE_SYSTEM
        } else {
            stage.blocks * BLOCK as u64
        }
    }

    pub(super) fn create(&self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let name = self.name();
        let size = format!("{}M", self.size(stage) >> 20);
        let mut args = vec!["create", "--size", &size, "--object-size", "1M"];
        args.extend(["--image-feature", self.spec.features.names()]);
        if let Some(pool) = self.spec.pool.data_pool() {
            args.extend(["--data-pool", pool]);
        }
        args.push(&name);
        stage.cluster.rbd(&args)?;
        Ok(())
    }

    pub(super) fn start_all(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        (0..self.workers.len()).try_for_each(|client| self.start(client, stage))
    }

    /// Starts the next generation of a client and waits until it has the image open.
    pub(super) fn start(&mut self, client: usize, stage: &Stage<'_>) -> anyhow::Result<()> {
        let kind = *self.spec.clients.get(client).context("no such client")?;
        let generation = self.next_generation();
        let worker = Worker::start(self, stage, kind, generation, Job::Load)?;
        self.past.insert(worker.address.clone());
        *self.slot(client)? = Some(worker);
        Ok(())
    }

    /// Reads everything once, with our library.
    pub(super) fn read_back(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        let generation = self.next_generation();
        let kind = if self.spec.has_file_system() {
            ClientKind::Ext4
        } else {
            ClientKind::Orbd
        };
        let worker = Worker::start(self, stage, kind, generation, Job::ReadBack)?;
        self.finish_one(worker, stage)
    }

    /// The clients that run, each with the number of its place.
    pub(super) fn clients(&self) -> impl Iterator<Item = (usize, &Worker)> {
        let workers = self.workers.iter().enumerate();
        workers.filter_map(|(client, worker)| Some((client, worker.as_ref()?)))
    }

    /// The client in a place; places are counted round and round.
    pub(super) fn client(&self, draw: usize) -> anyhow::Result<(usize, &Worker)> {
        let client = draw % self.workers.len();
        let worker = self.workers.get(client).and_then(Option::as_ref);
        Ok((client, worker.context("no such client")?))
    }

    /// The client that has the image's lock.
    pub(super) fn owner(&self, stage: &Stage<'_>) -> anyhow::Result<Option<(usize, &Worker)>> {
        let list = ["lock", "ls", &self.name(), "--format", "json"];
        let lockers: Value = serde_json::from_str(&stage.cluster.rbd(&list)?)?;
        // Nautilus has an object with one key for each, the others an array.
        let lockers: Vec<&Value> = match &lockers {
            Value::Array(lockers) => lockers.iter().collect(),
            Value::Object(lockers) => lockers.values().collect(),
            _ => Vec::new(),
        };
        let addresses: Vec<&str> = lockers
            .into_iter()
            .filter_map(|locker| locker.get("address")?.as_str())
            .collect();
        let mut clients = self.clients();
        Ok(clients.find(|(_, worker)| addresses.contains(&worker.address.as_str())))
    }

    /// Kills a client.
    pub(super) fn kill(&mut self, client: usize, stage: &Stage<'_>) -> anyhow::Result<Dead> {
        let worker = self.slot(client)?.take().context("no such client")?;
        let dead = Dead {
            generation: worker.generation,
            address: worker.address.clone(),
        };
        drop(worker);
        self.has_crashed = true;
        if self.spec.features.has_lock() {
            stage.checker.kill(self.number, dead.generation)?;
        }
        Ok(dead)
    }

    /// Sees to it that nothing more of a killed client gets through, if nobody else does: where there
    /// is a lock, it is the next one's task who takes it.
    pub(super) fn shut_out(&mut self, dead: &Dead, stage: &Stage<'_>) -> anyhow::Result<()> {
        if self.spec.features.has_lock() {
            return Ok(());
        }
        let word = blocklist(stage.cluster);
        stage.cluster.ceph(&["osd", word, "add", &dead.address])?;
        let map = stage.cluster.ceph_json(&["osd", "dump"])?;
        self.epoch = map
            .get("epoch")
            .and_then(Value::as_u64)
            .context("no epoch")?;
        stage.checker.shut_out(self.number, dead.generation)
    }

    /// Replaces clients that were shut out by others and have noticed. Everything else that ends clients
    /// is a violation. Returns whether any was replaced.
    pub(super) fn replace_fenced(&mut self, stage: &Stage<'_>) -> anyhow::Result<bool> {
        let mut is_replaced = false;
        for client in 0..self.workers.len() {
            let number = self.number;
            let Some(worker) = self.slot(client)? else {
                continue;
            };
            let ended = worker.ended()?;
            let (generation, address) = (worker.generation, worker.address.clone());
            if let Some(status) = ended {
                let what = format!("the client ended: {status}\n{}", self.log(stage));
                stage.checker.complain(number, what)?;
                return Ok(false);
            }
            if stage.checker.refused(number, generation)? < REFUSALS {
                continue;
            }
            if !stage.checker.is_fenced(number, generation)? {
                if !is_blocklisted(stage.cluster, &address)? {
                    let what = format!("{address} was refused but is not on the blocklist");
                    stage.checker.complain(number, what)?;
                    return Ok(false);
                }
                stage.checker.fence(number, generation)?;
            }
            self.kill(client, stage)?;
            self.start(client, stage)?;
            is_replaced = true;
        }
        Ok(is_replaced)
    }

    /// Lets the clients finish what they have begun, and waits for their end.
    pub(super) fn finish(&mut self, stage: &Stage<'_>) -> anyhow::Result<()> {
        for client in 0..self.workers.len() {
            if let Some(worker) = self.slot(client)?.take() {
                self.finish_one(worker, stage)?;
            }
        }
        Ok(())
    }

    /// What the clients of this lane had to say.
    pub(super) fn log(&self, stage: &Stage<'_>) -> String {
        let text = fs::read_to_string(self.log_path(stage)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(20);
        lines.get(skipped..).unwrap_or_default().join("\n")
    }

    /// The address, as the cluster knows it, of who has opened the image last.
    pub(super) fn new_watcher(&self, stage: &Stage<'_>) -> anyhow::Result<String> {
        let deadline = Instant::now() + WATCH_LIMIT;
        loop {
            let status = ["status", &self.name(), "--format", "json"];
            let status: Value = serde_json::from_str(&stage.cluster.rbd(&status)?)?;
            let watchers = status.get("watchers").and_then(Value::as_array);
            let addresses = watchers
                .into_iter()
                .flatten()
                .filter_map(|w| w.get("address")?.as_str());
            let mut new = addresses.filter(|address| !self.past.contains(*address));
            if let Some(address) = new.next() {
                return Ok(address.to_owned());
            }
            if Instant::now() > deadline {
                bail!("nobody new watches {}", self.name());
            }
            thread::sleep(POLL);
        }
    }

    pub(super) fn journal(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.journal", self.number))
    }

    pub(super) fn log_path(&self, stage: &Stage<'_>) -> PathBuf {
        stage.dir.join(format!("{}.log", self.number))
    }

    fn finish_one(&mut self, worker: Worker, stage: &Stage<'_>) -> anyhow::Result<()> {
        let generation = worker.generation;
        let dead = Dead {
            generation,
            address: worker.address.clone(),
        };
        if worker.finish(self, stage)? {
            return Ok(());
        }
        let waiting = stage.checker.describe_waiting(self.number, generation)?;
        let what = format!("the client did not end; it waits for {waiting}");
        stage.checker.complain(self.number, what)?;
        self.shut_out(&dead, stage)
    }

    fn next_generation(&mut self) -> u32 {
        self.last_generation += 1;
        self.last_generation
    }

    fn slot(&mut self, client: usize) -> anyhow::Result<&mut Option<Worker>> {
        self.workers.get_mut(client).context("no such client")
    }
}

/// A client that was killed.
pub(super) struct Dead {
    generation: u32,
    address: String,
}

/// Whether the cluster takes nothing from this client.
pub(super) fn is_blocklisted(cluster: &Cluster, address: &str) -> anyhow::Result<bool> {
    let list = cluster.ceph(&["osd", blocklist(cluster), "ls"])?;
    let mut words = list.split_whitespace();
    Ok(words.any(|word| word == address))
}

fn blocklist(cluster: &Cluster) -> &'static str {
    if cluster.release() == Release::Nautilus {
        "blacklist"
    } else {
        "blocklist"
    }
}

/// A client that is refused so often has noticed.
const REFUSALS: u64 = 3;
/// In a smaller one the file system's blocks would be smaller than those that are checked, and one of
/// these written and read in parts.
const FILE_SYSTEM: u64 = 512 << 20;
const WATCH_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
