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
//! Several clients may work on the image, each with the exclusive lock while it changes something.
//! What a dead client had under way may still happen until another client has changed something, which
//! it cannot before the dead one is shut out of the cluster. What a client submits after it was shut out
//! must never be seen.
//!
//! Time is the number of the journal's line.

mod block;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
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
    /// Submitted after its client had been shut out.
    is_void: bool,
}

impl Pending {
    /// Whether it takes the exclusive lock, where there is one.
    fn is_change(&self) -> bool {
        !matches!(self.kind, Kind::Read | Kind::Flush)
    }

    /// Whether a client that does not know yet that it is shut out can have had this answer without
    /// asking the cluster: nothing is there, and nothing is to be there.
    fn is_answered_alone(&self, seen: &[Seen]) -> bool {
        self.kind != Kind::Write && seen.iter().all(|seen| *seen == Seen::Zeros)
    }
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

/// What a killed client had under way, and may still happen.
#[derive(Debug)]
struct Dead {
    generation: u32,
    killed_at: u64,
    operations: Vec<Pending>,
}

/// All blocks of an image.
#[derive(Debug)]
pub(super) struct Model {
    blocks: Vec<Block>,
    pending: BTreeMap<OpId, Pending>,
    /// Those that have the image open.
    live: BTreeSet<u32>,
    dead: Vec<Dead>,
    /// Clients that run although they are shut out, and since when.
    fenced: BTreeMap<u32, u64>,
    /// For each client, when its last one of the changes that were answered was submitted.
    changes: BTreeMap<u32, u64>,
    last_changer: Option<u32>,
    hand_overs: u64,
    now: u64,
    answered: u64,
}

impl Model {
    /// An image of that many blocks, all zeros.
    pub(super) fn new(blocks: usize) -> Self {
        Self {
            blocks: (0..blocks).map(|_| Block::new()).collect(),
            pending: BTreeMap::new(),
            live: BTreeSet::new(),
            dead: Vec::new(),
            fenced: BTreeMap::new(),
            changes: BTreeMap::new(),
            last_changer: None,
            hand_overs: 0,
            now: 0,
            answered: 0,
        }
    }

    /// Takes a journal's next line, and says what is wrong with it.
    pub(super) fn handle(&mut self, entry: &Entry) -> Vec<Violation> {
        self.now += 1;
        match entry {
            Entry::Opened { generation, .. } => {
                self.live.insert(*generation);
                Vec::new()
            }
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
                    is_void: self.fenced.contains_key(&id.generation()),
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
                let operation = self.fail(*id);
                let what = operation.map_or_else(|| id.to_string(), |o| o.to_string());
                vec![Violation::new(format!("{what} failed: {error}"))]
            }
            // Whether that was right is for others to say.
            Entry::Refused { id } => {
                self.fail(*id);
                Vec::new()
            }
            Entry::Closed { generation } => {
                self.live.remove(generation);
                let open = self.pending_of(*generation).map(Pending::to_string);
                let open: Vec<String> = open.collect();
                if open.is_empty() {
                    return Vec::new();
                }
                let open = open.join(", ");
                let what = format!("the image was closed without answers to {open}");
                vec![Violation::new(what)]
            }
        }
    }

    /// The client is dead, and the cluster takes nothing more from it for a block once another client
    /// has got to that block: what was not answered happened before all that comes, or never.
    pub(super) fn shut_out(&mut self, generation: u32) {
        self.now += 1;
        self.live.remove(&generation);
        let operations = self.take_pending(generation);
        let dead = self.dead.extract_if(.., |d| d.generation == generation);
        let lingering: Vec<Pending> = dead.flat_map(|dead| dead.operations).collect();
        let over_at = self.fenced.get(&generation).copied().unwrap_or(self.now);
        for operation in operations.into_iter().chain(lingering) {
            self.give_up(operation, Some(over_at));
        }
    }

    /// The client is dead, and whoever wants its lock next has to shut it out.
    pub(super) fn kill(&mut self, generation: u32) {
        if self.fenced.contains_key(&generation) {
            return self.shut_out(generation);
        }
        self.now += 1;
        self.live.remove(&generation);
        let operations = self.take_pending(generation);
        self.dead.push(Dead {
            generation,
            killed_at: self.now,
            operations,
        });
    }

    /// The client lives, but the cluster takes nothing from it any more, and another client has its
    /// lock.
    pub(super) fn fence(&mut self, generation: u32) {
        self.now += 1;
        self.live.remove(&generation);
        self.fenced.insert(generation, self.now);
        let operations: Vec<Pending> = self.pending_of(generation).copied().collect();
        for operation in operations {
            let now = self.now;
            for block in self.blocks_of(operation) {
                block.bound(&operation, now);
            }
        }
    }

    pub(super) fn is_fenced(&self, generation: u32) -> bool {
        self.fenced.contains_key(&generation)
    }

    /// What has been submitted and not answered, in the order of submission.
    pub(super) fn pending_of(&self, generation: u32) -> impl Iterator<Item = &Pending> {
        let first = OpId::new(generation, 0);
        let last = OpId::new(generation, u32::MAX);
        self.pending.range(first..=last).map(|(_, pending)| pending)
    }

    pub(super) fn is_pending(&self, id: OpId) -> bool {
        self.pending.contains_key(&id)
    }

    /// How many operations have been answered.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// How often changes of one client were followed by changes of another while both lived.
    pub(super) fn hand_overs(&self) -> u64 {
        self.hand_overs
    }

    /// The number of the last line.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether a change of another client has been answered that it submitted after `since`.
    pub(super) fn has_changed_since(&self, since: u64, other_than: u32) -> bool {
        let mut others = self.changes.iter().filter(|(by, _)| **by != other_than);
        others.any(|(_, submitted_at)| *submitted_at > since)
    }

    /// What the last read of every block saw, None where none has.
    pub(super) fn last_seen(&self) -> impl Iterator<Item = Option<Seen>> {
        self.blocks.iter().map(|block| block.last_seen)
    }

    fn submit(&mut self, operation: Pending) {
        if operation.is_void {
            for block in self.blocks_of(operation) {
                block.remember(format!("{:>8} too late  {operation}", operation.begun_at));
            }
        } else {
            for block in self.blocks_of(operation) {
                block.submit(&operation);
            }
        }
        self.pending.insert(operation.id, operation);
    }

    fn finish(&mut self, operation: Pending, seen: &[Seen]) -> Vec<Violation> {
        let now = self.now;
        if operation.kind == Kind::Read && seen.len() as u64 != operation.count {
            let what = format!("{operation} gave {} blocks", seen.len());
            return vec![Violation::new(what)];
        }
        if operation.is_void {
            if operation.is_answered_alone(seen) {
                return Vec::new();
            }
            let what = format!("{operation} was carried out for a client that had been shut out");
            return vec![Violation::new(what)];
        }
        if operation.is_change() {
            self.note_change(&operation);
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

    /// A change has been answered: its client has the lock, and the dead have not.
    fn note_change(&mut self, operation: &Pending) {
        let generation = operation.id.generation();
        let submitted_at = self.changes.entry(generation).or_default();
        *submitted_at = operation.begun_at.max(*submitted_at);
        // An answer may come late to one that has lost the lock meanwhile.
        if self.live.contains(&generation)
            && let Some(last) = self.last_changer.replace(generation)
            && last != generation
            && self.live.contains(&last)
        {
            self.hand_overs += 1;
        }
        let is_shut_out =
            |dead: &mut Dead| dead.generation != generation && dead.killed_at < operation.begun_at;
        let over: Vec<Dead> = self.dead.extract_if(.., is_shut_out).collect();
        for operation in over.into_iter().flat_map(|dead| dead.operations) {
            self.give_up(operation, Some(self.now));
        }
    }

    /// It has been answered, but not carried out, or nobody knows.
    fn fail(&mut self, id: OpId) -> Option<Pending> {
        let operation = self.pending.remove(&id)?;
        self.give_up(operation, self.fenced.get(&id.generation()).copied());
        Some(operation)
    }

    fn give_up(&mut self, operation: Pending, over_at: Option<u64>) {
        if operation.is_void {
            return;
        }
        for block in self.blocks_of(operation) {
            block.give_up(&operation, over_at);
        }
    }

    fn take_pending(&mut self, generation: u32) -> Vec<Pending> {
        let operations: Vec<Pending> = self.pending_of(generation).copied().collect();
        for operation in &operations {
            self.pending.remove(&operation.id);
        }
        operations
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
