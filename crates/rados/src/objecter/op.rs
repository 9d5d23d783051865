//! An operation from its submission to its answer.

use denc::{Epoch, PoolId, Tid, UTime};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::deadlines::Deadline;
use crate::Result;
use crate::op::{Operation, Reply, request_flags};
use crate::osdmap::{ObjectLocator, ShardedPgId};

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
        let locator = ObjectLocator {
            namespace: namespace.into(),
            ..ObjectLocator::new(pool)
        };
        Self {
            locator,
            object: object.into(),
            flags: 0,
        }
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
}

/// An operation that has been submitted and not been answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) tid: Tid,
    pub(super) target: Target,
    pub(super) operation: Operation,
    pub(super) mtime: UTime,
    /// Where it was sent, or would be, by the map of `epoch`.
    pub(super) pg: ShardedPgId,
    pub(super) hash: u32,
    pub(super) epoch: Epoch,
    /// How often it has been sent.
    pub(super) attempts: i32,
    /// When it ends without an answer, if it does.
    pub(super) deadline: Option<Deadline>,
    pub(super) outcome: oneshot::Sender<Outcome>,
    /// What it holds of the limits; given back when it ends, whether or not anyone still waits.
    pub(super) _budget: Budget,
}

/// Boxed, because operations move between tables.
pub(super) type Op = Box<InFlight>;

/// What an operation in flight holds of the limits on operations and bytes.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) _operations: OwnedSemaphorePermit,
    pub(super) _kibibytes: OwnedSemaphorePermit,
}

impl InFlight {
    /// Hands the outcome to whoever waits for it, if anyone still does.
    pub(super) fn complete(self: Box<Self>, outcome: Outcome) {
        let _ = self.outcome.send(outcome);
    }

    /// All request flags of the next attempt.
    pub(super) fn request_flags(&self) -> u32 {
        let retry = if self.attempts > 0 {
            request_flags::RETRY
        } else {
            0
        };
        self.operation.flags() | self.target.flags | retry
    }
}
