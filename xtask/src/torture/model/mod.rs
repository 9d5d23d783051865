//! What an image may hold, given what its clients submitted and what was answered.
//!
//! Every block is a register of its own that has to be linearizable: each operation seems to happen
//! at one moment between its submission and its answer. Since every write leaves something different,
//! it is known which write a read saw, and Gibbons' and Korach's test is exact. A write and all reads
//! of it span from the first moment that one of them had ended (`over_at`) to the last moment that one
//! of them began (`begun_at`); of two writes, one has to be before the other if the one was over
//! before the other was last begun. The history is not linearizable if that holds both ways.
//!
//! Zeros are not told apart: a read of zeros is held against every clearing that can have made them,
//! and counts for one if there is just one.
//!
//! Time is the number of the journal's line.

mod block;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::journal::{Entry, Kind};
use super::stamp::{OpId, Seen};
use block::Block;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) what: String,
    /// The block's last operations, oldest first.
    pub(super) history: Vec<String>,
}

impl Violation {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            history: Vec::new(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.history
            .iter()
            .try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// An operation that has been submitted and not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) id: OpId,
    pub(super) kind: Kind,
    pub(super) first: u64,
    pub(super) count: u64,
    begun_at: u64,
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            kind,
            first,
            count,
            ..
        } = self;
        write!(f, "{kind:?} {id} of blocks {first}+{count}")
    }
}

/// All blocks of an image.
#[derive(Debug)]
pub(super) struct Model {
    blocks: Vec<Block>,
    pending: BTreeMap<OpId, Pending>,
    now: u64,
    answered: u64,
}

impl Model {
    /// An image of that many blocks, all zeros.
    pub(super) fn new(blocks: usize) -> Self {
        Self {
            blocks: (0..blocks).map(|_| Block::new()).collect(),
            pending: BTreeMap::new(),
            now: 0,
            answered: 0,
        }
    }

    /// Takes a journal's next line, and says what is wrong with it.
    pub(super) fn handle(&mut self, entry: &Entry) -> Vec<Violation> {
        self.now += 1;
        match entry {
            Entry::Submitted {
                id,
                kind,
                first,
                count,
            } => {
                self.submit(Pending {
                    id: *id,
                    kind: *kind,
                    first: *first,
                    count: *count,
                    begun_at: self.now,
                });
                Vec::new()
            }
            Entry::Done { id, seen } => match self.pending.remove(id) {
                Some(operation) => {
                    self.answered += 1;
                    self.finish(operation, seen)
                }
                None => vec![Violation::new(format!("operation {id} was answered twice"))],
            },
            Entry::Failed { id, error } => {
                let operation = self.pending.remove(id);
                if let Some(operation) = operation {
                    self.give_up(operation, None);
                }
                let what = operation.map_or_else(|| id.to_string(), |o| o.to_string());
                vec![Violation::new(format!("{what} failed: {error}"))]
            }
            Entry::Closed if !self.pending.is_empty() => {
                let open: Vec<String> = self.pending.values().map(Pending::to_string).collect();
                let open = open.join(", ");
                vec![Violation::new(format!(
                    "the image was closed without answers to {open}"
                ))]
            }
            Entry::Opened(_) | Entry::Closed => Vec::new(),
        }
    }

    /// The client is dead, and the cluster takes nothing more from it for a block once the next client
    /// has got to that block: what was not answered happened before all that comes, or never.
    pub(super) fn crash(&mut self) {
        self.now += 1;
        for operation in std::mem::take(&mut self.pending).into_values() {
            self.give_up(operation, Some(self.now));
        }
    }

    /// What has been submitted and not answered, in the order of submission.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    pub(super) fn is_pending(&self, id: OpId) -> bool {
        self.pending.contains_key(&id)
    }

    /// How many operations have been answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// What the last read of every block saw, None where none has.
    pub(super) fn last_seen(&self) -> impl Iterator<Item = Option<Seen>> {
        self.blocks.iter().map(|block| block.last_seen)
    }

    fn submit(&mut self, operation: Pending) {
        for block in self.blocks_of(operation) {
            block.submit(&operation);
        }
        self.pending.insert(operation.id, operation);
    }

    fn finish(&mut self, operation: Pending, seen: &[Seen]) -> Vec<Violation> {
        let now = self.now;
        if operation.kind == Kind::Read && seen.len() as u64 != operation.count {
            let what = format!("{operation} gave {} blocks", seen.len());
            return vec![Violation::new(what)];
        }
        let mut violations = Vec::new();
        let first = operation.first;
        let mut seen = seen.iter().copied();
        for (number, block) in (first..).zip(self.blocks_of(operation)) {
            let result = match seen.next() {
                Some(seen) if operation.kind == Kind::Read => {
                    block.finish_read(&operation, seen, now)
                }
                _ => block.finish_change(&operation, now),
            };
            if let Err(why) = result {
                violations.push(Violation {
                    what: format!("block {number}: {why}"),
                    history: block.history(),
                });
            }
        }
        violations
    }

    fn give_up(&mut self, operation: Pending, over_at: Option<u64>) {
        for block in self.blocks_of(operation) {
            block.give_up(&operation, over_at);
        }
    }

    /// The blocks an operation is about. A flush is about none: what is answered is on disks already,
    /// and a read that does not see it is a violation with or without a flush.
    fn blocks_of(&mut self, operation: Pending) -> impl Iterator<Item = &mut Block> {
        let count = if operation.kind == Kind::Flush {
            0
        } else {
            operation.count
        };
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let skipped = index(operation.first);
        self.blocks.iter_mut().skip(skipped).take(index(count))
    }
}
