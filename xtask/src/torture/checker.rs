//! Follows the clients' journals while they are written, and holds them against the models.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::journal::{Entry, Tail};
use super::model::{Model, Violation};
use super::stamp::{OpId, Seen};

/// The checker's view of a lane.
#[derive(Debug)]
struct Lane {
    name: String,
    model: Model,
    journal: Option<Tail>,
    /// Since the client of the current generation has the image open: its address, if it said so.
    opened: Option<Option<String>>,
    is_closed: bool,
    waiting: BTreeMap<OpId, Instant>,
    violations: Vec<Violation>,
}

/// Checks until it is dropped.
pub(super) struct Checker {
    lanes: Arc<Vec<Mutex<Lane>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Lanes by their names, and how many blocks each has.
    pub(super) fn start(names: &[String], blocks: usize) -> Self {
        let lanes = names.iter().map(|name| {
            Mutex::new(Lane {
                name: name.clone(),
                model: Model::new(blocks),
                journal: None,
                opened: None,
                is_closed: false,
                waiting: BTreeMap::new(),
                violations: Vec::new(),
            })
        });
        let lanes: Arc<Vec<Mutex<Lane>>> = Arc::new(lanes.collect());
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
        Self {
            lanes,
            is_over,
            thread: Some(thread),
        }
    }

    /// A client has begun that keeps this journal.
    pub(super) fn begin(&self, lane: usize, journal: &Path) -> anyhow::Result<()> {
        let mut lane = self.lane(lane)?;
        lane.journal = Some(Tail::open(journal)?);
        lane.opened = None;
        lane.is_closed = false;
        Ok(())
    }

    /// The client is dead, and whatever it still has on the way is kept out from now on.
    pub(super) fn crash(&self, lane: usize) -> anyhow::Result<()> {
        let mut lane = self.lane(lane)?;
        lane.follow();
        lane.journal = None;
        lane.opened = None;
        lane.model.crash();
        lane.waiting.clear();
        Ok(())
    }

    /// Reads what there is, and nothing more of this journal. Whether the client said that it was
    /// done.
    pub(super) fn end(&self, lane: usize) -> anyhow::Result<bool> {
        let mut lane = self.lane(lane)?;
        lane.follow();
        lane.journal = None;
        Ok(lane.is_closed)
    }

    /// Since the image is open: the client's address.
    pub(super) fn opened(&self, lane: usize) -> anyhow::Result<Option<Option<String>>> {
        Ok(self.lane(lane)?.opened.clone())
    }

    /// What waits for its answer, and since when.
    pub(super) fn waiting(&self, lane: usize) -> anyhow::Result<Vec<(OpId, Instant)>> {
        let lane = self.lane(lane)?;
        Ok(lane
            .waiting
            .iter()
            .map(|(id, since)| (*id, *since))
            .collect())
    }

    /// Whether none of these waits any more.
    pub(super) fn are_answered(&self, lane: usize, ids: &[OpId]) -> anyhow::Result<bool> {
        let lane = self.lane(lane)?;
        Ok(!ids.iter().any(|id| lane.model.is_pending(*id)))
    }

    /// What waits for its answer, in words.
    pub(super) fn describe_waiting(&self, lane: usize) -> anyhow::Result<String> {
        let lane = self.lane(lane)?;
        let all = lane.model.pending().map(|operation| {
            let since = lane
                .waiting
                .get(&operation.id)
                .map_or(Duration::ZERO, Instant::elapsed);
            format!("{operation} for {:.1} s", since.as_secs_f64())
        });
        Ok(all.collect::<Vec<_>>().join(", "))
    }

    pub(super) fn answered(&self, lane: usize) -> anyhow::Result<u64> {
        Ok(self.lane(lane)?.model.answered())
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
            match &entry {
                Entry::Opened(address) => self.opened = Some(address.clone()),
                Entry::Submitted { id, .. } => {
                    self.waiting.insert(*id, Instant::now());
                }
                Entry::Done { id, .. } | Entry::Failed { id, .. } => {
                    self.waiting.remove(id);
                }
                Entry::Closed => self.is_closed = true,
            }
            let violations = self.model.handle(&entry);
            self.complain(violations);
        }
    }

    fn complain(&mut self, violations: Vec<Violation>) {
        for violation in violations {
            if self.violations.len() < SHOWN {
                println!("VIOLATION: {}: {violation}", self.name);
            }
            self.violations.push(violation);
        }
    }
}

fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

const POLL: Duration = Duration::from_millis(10);
/// Violations shown as they are found, for each lane.
const SHOWN: usize = 5;
