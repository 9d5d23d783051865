//! Follows the clients' journals while they are written, and holds them against the models.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::journal::{Entry, Tail};
use super::model::{Model, Violation};
use super::mutation::VIOLATION;
use super::stamp::{OpId, Seen};

/// What one client of a lane has noted.
#[derive(Debug, Default)]
struct Client {
    /// Since it has the image open: its address, if it said so.
    opened: Option<Option<String>>,
    is_closed: bool,
    answered: u64,
    refused: u64,
    waiting: BTreeMap<OpId, Instant>,
}

/// Another client is to have the lock.
#[derive(Debug)]
struct Move {
    /// Another than this one.
    from: u32,
    /// The journal's line after which it has to be asked for.
    line: u64,
    since: Instant,
    took: Option<Duration>,
}

/// The checker's view of a lane.
#[derive(Debug)]
struct Lane {
    name: String,
    model: Model,
    journal: Option<Tail>,
    clients: BTreeMap<u32, Client>,
    lock_moves: Option<Move>,
    violations: Vec<Violation>,
}

/// Checks until it is dropped.
pub(super) struct Checker {
    lanes: Arc<Vec<Mutex<Lane>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Lanes by their names and journals, and how many blocks each has.
    pub(super) fn start(lanes: Vec<(String, PathBuf)>, blocks: usize) -> anyhow::Result<Self> {
        let lanes = lanes.into_iter().map(|(name, journal)| {
            Ok(Mutex::new(Lane {
                name,
                model: Model::new(blocks),
                journal: Some(Tail::open(&journal)?),
                clients: BTreeMap::new(),
                lock_moves: None,
                violations: Vec::new(),
            }))
        });
        let lanes: Arc<Vec<Mutex<Lane>>> = Arc::new(lanes.collect::<anyhow::Result<_>>()?);
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = {
            let lanes = Arc::clone(&lanes);
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for lane in lanes.iter() {
                        lock(lane).follow();
                    }
                    thread::sleep(POLL);
                }
            })
        };
        Ok(Self {
            lanes,
            is_over,
            thread: Some(thread),
        })
    }

    /// The client is dead, and whatever it still has on the way is kept out from now on.
    pub(super) fn shut_out(&self, lane: usize, generation: u32) -> anyhow::Result<()> {
        self.judge(lane, generation, Model::shut_out)
    }

    /// The client is dead, and whoever wants its lock has to keep out what it has on the way.
    pub(super) fn kill(&self, lane: usize, generation: u32) -> anyhow::Result<()> {
        self.judge(lane, generation, Model::kill)
    }

    /// The client lives on, but has lost its lock, and the cluster takes nothing from it.
    pub(super) fn fence(&self, lane: usize, generation: u32) -> anyhow::Result<()> {
        self.judge(lane, generation, Model::fence)
    }

    pub(super) fn is_fenced(&self, lane: usize, generation: u32) -> anyhow::Result<bool> {
        Ok(self.lane(lane)?.model.is_fenced(generation))
    }

    /// Whether the client said that it was done.
    pub(super) fn is_closed(&self, lane: usize, generation: u32) -> anyhow::Result<bool> {
        let mut lane = self.lane(lane)?;
        lane.follow();
        Ok(lane.client(generation).is_closed)
    }

    /// Since the image is open: the client's address.
    pub(super) fn opened(
        &self,
        lane: usize,
        generation: u32,
    ) -> anyhow::Result<Option<Option<String>>> {
        Ok(self.lane(lane)?.client(generation).opened.clone())
    }

    /// What waits for its answer.
    pub(super) fn waiting(&self, lane: usize, generation: u32) -> anyhow::Result<Vec<OpId>> {
        let mut lane = self.lane(lane)?;
        Ok(lane.client(generation).waiting.keys().copied().collect())
    }

    /// How many operations of all lanes have waited longer than any does without a fault.
    pub(super) fn held_up(&self) -> usize {
        let mut count = 0;
        for lane in self.lanes.iter() {
            let lane = lock(lane);
            let waiting = lane.clients.values().flat_map(|c| c.waiting.values());
            count += waiting.filter(|since| since.elapsed() > HELD_UP).count();
        }
        count
    }

    /// Whether none of these waits any more.
    pub(super) fn are_answered(&self, lane: usize, ids: &[OpId]) -> anyhow::Result<bool> {
        let lane = self.lane(lane)?;
        Ok(!ids.iter().any(|id| lane.model.is_pending(*id)))
    }

    /// What waits for its answer, in words.
    pub(super) fn describe_waiting(&self, lane: usize, generation: u32) -> anyhow::Result<String> {
        let lane = self.lane(lane)?;
        let waiting = lane.clients.get(&generation).map(|client| &client.waiting);
        let all = lane.model.pending_of(generation).map(|operation| {
            let since = waiting.and_then(|waiting| waiting.get(&operation.id));
            let since = since.map_or(Duration::ZERO, Instant::elapsed);
            format!("{operation} for {:.1} s", since.as_secs_f64())
        });
        Ok(all.collect::<Vec<_>>().join(", "))
    }

    /// How many operations of a client were answered.
    pub(super) fn answered(&self, lane: usize, generation: u32) -> anyhow::Result<u64> {
        Ok(self.lane(lane)?.client(generation).answered)
    }

    /// How many were refused because the client is shut out.
    pub(super) fn refused(&self, lane: usize, generation: u32) -> anyhow::Result<u64> {
        Ok(self.lane(lane)?.client(generation).refused)
    }

    /// How many operations of all clients were answered, and how often the lock went from one living
    /// client to another.
    pub(super) fn totals(&self, lane: usize) -> anyhow::Result<(u64, u64)> {
        let lane = self.lane(lane)?;
        Ok((lane.model.answered(), lane.model.hand_overs()))
    }

    /// From now on, watches for the lock to be with another client than this one.
    pub(super) fn expect_move(&self, lane: usize, from: u32) -> anyhow::Result<()> {
        let mut lane = self.lane(lane)?;
        lane.follow();
        lane.lock_moves = Some(Move {
            from,
            line: lane.model.now(),
            since: Instant::now(),
            took: None,
        });
        Ok(())
    }

    /// How long it took until another client had the lock, if one has.
    pub(super) fn moved(&self, lane: usize) -> anyhow::Result<Option<Duration>> {
        Ok(self.lane(lane)?.lock_moves.as_ref().and_then(|m| m.took))
    }

    pub(super) fn last_seen(&self, lane: usize) -> anyhow::Result<Vec<Option<Seen>>> {
        Ok(self.lane(lane)?.model.last_seen().collect())
    }

    pub(super) fn complain(&self, lane: usize, what: impl Into<String>) -> anyhow::Result<()> {
        self.lane(lane)?.complain(vec![Violation::new(what)]);
        Ok(())
    }

    /// Everything that was found, each with the name of its lane.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut all = Vec::new();
        for lane in self.lanes.iter() {
            let lane = lock(lane);
            all.extend(
                lane.violations
                    .iter()
                    .map(|v| format!("{}: {v}", lane.name)),
            );
        }
        all
    }

    pub(super) fn has_violations(&self) -> bool {
        self.lanes
            .iter()
            .any(|lane| !lock(lane).violations.is_empty())
    }

    /// Tells the model something of a client, after everything that was noted before.
    fn judge(
        &self,
        lane: usize,
        generation: u32,
        how: impl FnOnce(&mut Model, u32),
    ) -> anyhow::Result<()> {
        let mut lane = self.lane(lane)?;
        lane.follow();
        how(&mut lane.model, generation);
        let Lane { model, clients, .. } = &mut *lane;
        if let Some(client) = clients.get_mut(&generation) {
            client.waiting.retain(|id, _| model.is_pending(*id));
        }
        Ok(())
    }

    fn lane(&self, lane: usize) -> anyhow::Result<MutexGuard<'_, Lane>> {
        self.lanes.get(lane).map(lock).context("no such lane")
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say any more.
            let _ = thread.join();
        }
    }
}

impl Lane {
    fn follow(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let entries = match journal.read() {
            Ok(entries) => entries,
            Err(e) => {
                self.journal = None;
                return self.complain(vec![Violation::new(format!("the journal: {e:#}"))]);
            }
        };
        for entry in entries {
            self.note(&entry);
            let violations = self.model.handle(&entry);
            self.complain(violations);
            if let Some(lock_moves) = &mut self.lock_moves
                && lock_moves.took.is_none()
                && self
                    .model
                    .has_changed_since(lock_moves.line, lock_moves.from)
            {
                lock_moves.took = Some(lock_moves.since.elapsed());
            }
        }
    }

    fn note(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened {
                generation,
                address,
            } => self.client(*generation).opened = Some(address.clone()),
            Entry::Submitted { id, .. } => {
                let client = self.client(id.generation());
                client.waiting.insert(*id, Instant::now());
            }
            Entry::Done { id, .. } => self.end(*id).answered += 1,
            Entry::Failed { id, .. } => drop(self.end(*id)),
            Entry::Refused { id } => self.end(*id).refused += 1,
            Entry::Closed { generation } => self.client(*generation).is_closed = true,
        }
    }

    fn end(&mut self, id: OpId) -> &mut Client {
        let client = self.client(id.generation());
        client.waiting.remove(&id);
        client
    }

    fn client(&mut self, generation: u32) -> &mut Client {
        self.clients.entry(generation).or_default()
    }

    fn complain(&mut self, violations: Vec<Violation>) {
        for violation in violations {
            if self.violations.len() < SHOWN {
                println!("{VIOLATION}{}: {violation}", self.name);
            }
            self.violations.push(violation);
        }
    }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

const POLL: Duration = Duration::from_millis(10);
const HELD_UP: Duration = Duration::from_secs(1);
/// Violations shown as they are found, for each lane.
const SHOWN: usize = 5;
