//! An operation from its submission to its answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use denc::{Epoch, OsdId, PoolId, SnapId, Tid, UTime};

use super::answer::Sender;
use super::deadlines::Deadline;
use super::limits::Budget;
use crate::op::{Operation, Reply, request_flags};
use crate::osdmap::{ObjectLocator, PgId, ShardId, ShardedPgId};
use crate::{Errno, ReadPolicy, Result};

/// The overall result, zero or more or a negated errno, and what the steps gave.
pub(super) type Outcome = Result<(i32, Reply)>;

/// What an operation is carried out on.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) locator: ObjectLocator,
    pub(super) object: String,
    /// Bits that say how the target was found (`CEPH_OSD_FLAG_*`).
    pub(super) flags: u32,
}

impl Target {
    pub(super) fn new(pool: PoolId, namespace: &str, object: &str) -> Self {
        let mut target = Self {
            locator: ObjectLocator::new(pool),
            object: String::new(),
            flags: 0,
        };
        target.set(pool, namespace, object);
        target
    }

    /// Becomes an object, in the memory that it has.
    pub(super) fn set(&mut self, pool: PoolId, namespace: &str, object: &str) {
        let mut own = std::mem::take(&mut self.locator.namespace);
        own.clear();
        own.push_str(namespace);
        self.locator = ObjectLocator {
            namespace: own,
            ..ObjectLocator::new(pool)
        };
        self.object.clear();
        self.object.push_str(object);
        self.flags = 0;
    }

    /// A placement group itself, for operations on no object in particular. `hash` lies in it.
    pub(super) fn placement_group(pool: PoolId, namespace: &str, hash: u32) -> Self {
        let mut target = Self::new(pool, namespace, "");
        target.locator.hash = Some(hash);
        target.flags = request_flags::PGOP;
        target
    }

    /// Goes where a cache tier says the object is.
    pub(super) fn redirect(&mut self, locator: ObjectLocator, object: String) {
        self.locator = locator;
        if !object.is_empty() {
            self.object = object;
        }
        self.flags |=
            request_flags::REDIRECTED | request_flags::IGNORE_CACHE | request_flags::IGNORE_OVERLAY;
    }

    /// Whether a pool's cache tiers stand before it. They do not for operations that a tier has sent
    /// on, nor for those on a placement group, which is of one pool.
    pub(super) const fn heeds_tiers(&self) -> bool {
        self.flags & (request_flags::IGNORE_OVERLAY | request_flags::PGOP) == 0
    }
}

/// Where an operation goes by one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) osd: OsdId,
    /// The placement group, of the pool's cache tier if there is one.
    pub(super) pg: ShardedPgId,
    /// The object's whole hash.
    pub(super) hash: u32,
    /// Whether the OSD is not the primary.
    pub(super) is_replica: bool,
}

/// An operation that has been submitted and not been answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) tid: Tid,
    pub(super) target: Target,
    pub(super) operation: Operation,
    pub(super) mtime: UTime,
    /// Where it was sent, or would be. Set before it is given to a session.
    pub(super) aim: Aim,
    /// Whether its session keeps it back, because the cluster wants it so.
    pub(super) is_paused: bool,
    /// Which OSD may be asked. The primary only, once a replica could not answer.
    pub(super) read_policy: ReadPolicy,
    /// What is known of its pool.
    pub(super) pool: PoolKnown,
    /// How often it has been sent.
    pub(super) attempts: i32,
    /// When it ends without an answer, if it does.
    pub(super) deadline: Option<Deadline>,
    /// Who waits for it, until whoever it is has been told of an end.
    pub(super) outcome: Option<Sender>,
    /// What it holds of the limits; given back when it ends, whether or not anyone still waits.
    pub(super) budget: Option<Budget>,
}

/// Boxed, because operations move between tables.
pub(super) type Op = Box<InFlight>;

/// What is known of the pool of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolKnown {
    /// No map has shown it yet, which may be for our maps being old.
    NotYet,
    /// As before, but the map of this epoch was the newest when the monitors were asked: if that one
    /// does not show it either, there is none.
    NotIfMissingIn(Epoch),
    /// A map has shown it. If the next one does not, it has been deleted.
    Seen,
}

impl Aim {
    /// Nowhere yet.
    pub(super) const fn nowhere(pool: PoolId) -> Self {
        Self {
            osd: OsdId(-1),
            pg: ShardedPgId {
                pg: PgId { pool, seed: 0 },
                shard: ShardId::NONE,
            },
            hash: 0,
            is_replica: false,
        }
    }
}

impl InFlight {
    /// One that has not been submitted.
    pub(super) fn new(target: Target, operation: Operation) -> Self {
        let pool = target.locator.pool;
        Self {
            tid: Tid(0),
            target,
            operation,
            mtime: UTime::default(),
            aim: Aim::nowhere(pool),
            is_paused: false,
            read_policy: ReadPolicy::Primary,
            pool: PoolKnown::NotYet,
            attempts: 0,
            deadline: None,
            outcome: None,
            budget: None,
        }
    }

    /// Lets go of everything but memory for names.
    pub(super) fn clear(&mut self) {
        let Target {
            locator, object, ..
        } = &mut self.target;
        let target = Target {
            locator: ObjectLocator {
                namespace: std::mem::take(&mut locator.namespace),
                ..ObjectLocator::new(PoolId(0))
            },
            object: std::mem::take(object),
            flags: 0,
        };
        *self = Self::new(target, Operation::default());
    }

    /// Hands the outcome to whoever waits for it, if anyone still does.
    pub(super) fn complete(mut self: Box<Self>, outcome: Outcome) {
        self.tell(outcome);
    }

    /// As [`complete`](Self::complete), but does not end.
    pub(super) fn tell(&mut self, outcome: Outcome) {
        if let Some(waiting) = self.outcome.take() {
            waiting.send(outcome);
        }
    }

    /// As if an OSD had answered with this errno.
    pub(super) fn fail(self: Box<Self>, errno: Errno) {
        self.complete(Ok((errno.0.saturating_neg(), Reply::default())));
    }

    /// Whether nobody waits for it, and nobody can tell whether it is ever carried out: it has not
    /// been sent, or changes nothing.
    ///
    /// A write that has been sent is seen through: what an OSD may still get of it over a connection
    /// that is lost must not come behind a later write.
    pub(super) fn is_forgotten(&self) -> bool {
        let is_waited_for = self.outcome.as_ref().is_some_and(|it| !it.is_closed());
        !is_waited_for && (self.attempts == 0 || !self.operation.is_write())
    }

    /// All request flags of the next attempt.
    pub(super) fn request_flags(&self) -> u32 {
        let retry = if self.attempts > 0 {
            request_flags::RETRY
        } else {
            0
        };
        let replica = match self.read_policy {
            ReadPolicy::Balance if self.aim.is_replica => request_flags::BALANCE_READS,
            ReadPolicy::Localize if self.aim.is_replica => request_flags::LOCALIZE_READS,
            _ => 0,
        };
        self.operation.flags() | self.target.flags | retry | replica
    }

    /// The locator by which the OSD finds the object: in the pool that it was sent to, which may be a
    /// cache tier.
    pub(super) fn sent_locator(&self) -> Cow<'_, ObjectLocator> {
        let pool = self.aim.pg.pg.pool;
        if self.target.locator.pool == pool {
            return Cow::Borrowed(&self.target.locator);
        }
        Cow::Owned(ObjectLocator {
            pool,
            ..self.target.locator.clone()
        })
    }

    /// Leaves snapshots out that were removed since it was submitted, so that no clones are made for
    /// them (ceph: src/osdc/Objecter.cc, `Objecter::_prune_snapc`).
    pub(super) fn prune_snaps(&mut self, removed: &BTreeMap<PoolId, Vec<(SnapId, u64)>>) {
        let Some(removed) = removed.get(&self.target.locator.pool) else {
            return;
        };
        let is_removed = |snap: &SnapId| {
            let mut ranges = removed.iter();
            ranges.any(|(first, count)| snap.0 >= first.0 && snap.0 - first.0 < *count)
        };
        let Some(context) = self.operation.snap_context_mut() else {
            return;
        };
        if context.snaps.iter().any(is_removed) {
            Arc::make_mut(context)
                .snaps
                .retain(|snap| !is_removed(snap));
        }
    }
}
