//! One block: the writes that it can still hold, and what is known of their order.

use std::collections::VecDeque;

use super::super::journal::Kind;
use super::super::stamp::{OpId, Seen};
use super::Pending;

/// A write to this block that some future read might see, or that bounds what one may see.
#[derive(Clone, Debug)]
struct Change {
    /// None for what was there in the beginning.
    id: Option<OpId>,
    /// Whether it leaves zeros.
    clears: bool,
    /// Whether it need not do anything even when it is answered.
    is_optional: bool,
    /// Whether it happened for certain: it was answered, or seen.
    is_certain: bool,
    /// The latest beginning of itself and of the reads of it.
    begun_at: u64,
    /// The earliest end of itself and of the reads of it.
    over_at: u64,
}

impl Change {
    /// Whether it must be before another one.
    fn precedes(&self, other: &Self) -> bool {
        self.over_at < other.begun_at
    }

    /// The same, after it was seen by a read.
    fn seen_by(&self, read: &Pending, now: u64) -> Self {
        Self {
            is_certain: true,
            begun_at: self.begun_at.max(read.begun_at),
            over_at: self.over_at.min(now),
            ..self.clone()
        }
    }

    fn name(&self) -> String {
        match (self.id, self.clears) {
            (None, _) => "the zeros of the beginning".to_owned(),
            (Some(id), true) => format!("clearing {id}"),
            (Some(id), false) => format!("write {id}"),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Block {
    changes: Vec<Change>,
    /// How many operations on it are under way.
    under_way: u32,
    pub(super) last_seen: Option<Seen>,
    /// After a violation nothing is known any more.
    is_given_up: bool,
    history: VecDeque<String>,
}

impl Block {
    pub(super) fn new() -> Self {
        let beginning = Change {
            id: None,
            clears: true,
            is_optional: false,
            is_certain: true,
            begun_at: 0,
            over_at: 0,
        };
        Self {
            changes: vec![beginning],
            under_way: 0,
            last_seen: None,
            is_given_up: false,
            history: VecDeque::new(),
        }
    }

    pub(super) fn history(&self) -> Vec<String> {
        self.history.iter().cloned().collect()
    }

    pub(super) fn submit(&mut self, operation: &Pending) {
        self.under_way += 1;
        if operation.kind != Kind::Read {
            let at = operation.begun_at;
            self.remember(format!("{at:>8} submitted {operation}"));
            self.changes.push(Change {
                id: Some(operation.id),
                clears: operation.kind != Kind::Write,
                is_optional: operation.kind == Kind::Discard,
                is_certain: false,
                begun_at: at,
                over_at: u64::MAX,
            });
        }
    }

    /// It will have no answer. If its client is dead, `over_at` says since when nothing more of it gets
    /// through before what comes later.
    pub(super) fn give_up(&mut self, operation: &Pending, over_at: Option<u64>) {
        self.under_way = self.under_way.saturating_sub(1);
        if operation.kind == Kind::Read {
            return;
        }
        self.remember(format!(
            "{:>8} given up  {operation}",
            over_at.unwrap_or_default()
        ));
        if let Some(over_at) = over_at {
            self.bound(operation, over_at);
        }
    }

    /// It happens before that, or never.
    pub(super) fn bound(&mut self, operation: &Pending, over_at: u64) {
        if let Some(change) = self.find(operation.id) {
            change.over_at = change.over_at.min(over_at);
        }
    }

    pub(super) fn finish_change(&mut self, operation: &Pending, now: u64) -> Result<(), String> {
        self.remember(format!("{now:>8} done      {operation}"));
        let result = match self.find(operation.id) {
            // A violation before has made it forgotten.
            None => Ok(()),
            Some(change) => {
                change.over_at = change.over_at.min(now);
                if change.is_optional {
                    Ok(())
                } else {
                    change.is_certain = true;
                    let change = change.clone();
                    match self.contradiction(&change) {
                        None => Ok(()),
                        // Only what was seen meanwhile can contradict.
                        Some(other) => Err(format!(
                            "{} and {} were seen in an order that cannot be",
                            change.name(),
                            other.name()
                        )),
                    }
                }
            }
        };
        self.end(now, result)
    }

    pub(super) fn finish_read(
        &mut self,
        read: &Pending,
        seen: Seen,
        now: u64,
    ) -> Result<(), String> {
        let from = read.begun_at;
        self.remember(format!(
            "{now:>8} saw       {seen} (read {} since {from})",
            read.id
        ));
        self.last_seen = Some(seen);
        let result = self.attribute(read, seen, now);
        self.end(now, result)
    }

    /// Finds the write that a read saw and notes that it was seen.
    fn attribute(&mut self, read: &Pending, seen: Seen, now: u64) -> Result<(), String> {
        if self.is_given_up {
            return Ok(());
        }
        let is_candidate = |change: &&Change| match seen {
            Seen::Zeros => change.clears,
            Seen::Write(id) => !change.clears && change.id == Some(id),
            Seen::Damaged => false,
        };
        let candidates = self.changes.iter().filter(is_candidate);
        let candidates = candidates.map(|change| change.seen_by(read, now));
        let possible: Vec<Change> = candidates
            .filter(|change| self.contradiction(change).is_none())
            .collect();
        match possible.as_slice() {
            [] => Err(self.complaint(seen)),
            [one] => {
                if let Some(change) = self.changes.iter_mut().find(|c| c.id == one.id) {
                    change.clone_from(one);
                }
                Ok(())
            }
            // Zeros that several clearings can have made.
            _ => Ok(()),
        }
    }

    /// A write that would have to be both before and after this one.
    fn contradiction(&self, change: &Change) -> Option<&Change> {
        self.changes.iter().find(|other| {
            other.is_certain
                && other.id != change.id
                && change.precedes(other)
                && other.precedes(change)
        })
    }

    fn complaint(&self, seen: Seen) -> String {
        let why = match seen {
            Seen::Damaged => "is damaged",
            Seen::Write(id) if self.changes.iter().all(|change| change.id != Some(id)) => {
                "was never submitted or must have been overwritten"
            }
            Seen::Write(_) | Seen::Zeros => "must have been overwritten",
        };
        let possible: Vec<String> = self.changes.iter().map(Change::name).collect();
        format!("{seen}: {why}; it may hold one of: {}", possible.join(", "))
    }

    fn end(&mut self, now: u64, result: Result<(), String>) -> Result<(), String> {
        self.under_way = self.under_way.saturating_sub(1);
        if self.is_given_up {
            return Ok(());
        }
        if result.is_err() {
            self.is_given_up = true;
            self.changes.clear();
        } else if self.under_way == 0 {
            self.forget(now);
        }
        result
    }

    /// Forgets what no future read can see. Everything that such writes could contradict is over as
    /// well, because nothing is under way.
    fn forget(&mut self, now: u64) {
        let could_be_seen = |change: &Change| {
            let seen = Change {
                begun_at: now + 1,
                ..change.clone()
            };
            self.contradiction(&seen).is_none()
        };
        let kept: Vec<bool> = self.changes.iter().map(could_be_seen).collect();
        let mut kept = kept.into_iter();
        self.changes.retain(|_| kept.next().unwrap_or(true));
    }

    fn find(&mut self, id: OpId) -> Option<&mut Change> {
        self.changes.iter_mut().find(|change| change.id == Some(id))
    }

    pub(super) fn remember(&mut self, line: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }
}

/// How many lines of a block's past are kept to be shown.
const HISTORY: usize = 32;
