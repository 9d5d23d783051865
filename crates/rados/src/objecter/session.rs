//! One OSD, as far as this client is concerned: the connection to it and the operations it has been
//! given.
//!
//! The state is changed synchronously under one lock. A task of the session's own connects and
//! reconnects; it ends with the session.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use denc::{EntityAddrVec, Epoch, OsdId, Tid};
use msgr2::Message;
use msgr2::driver::Link;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::backoff::Backoffs;
use super::op::{InFlight, Op};
use crate::connections::{Connection, Peer};
use crate::msg::kind;
use crate::msg::osd::{OsdBackoff, OsdOp};
use crate::osdmap::ShardedPgId;

/// A session with one OSD.
#[derive(Debug)]
pub(super) struct OsdSession {
    pub(super) osd: OsdId,
    state: Mutex<State>,
    /// Wakes the session's task: there is something to send, the connection is lost, or the map
    /// says that the OSD is somewhere else.
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    link: Option<OpenLink>,
    /// Everything this OSD has been given and has not answered. Resent in this order.
    ops: BTreeMap<Tid, Op>,
    /// Ranges of objects the OSD does not want operations for at the moment.
    backoffs: Backoffs,
    task: Option<AbortHandle>,
}

/// A connection that is open.
#[derive(Debug)]
struct OpenLink {
    link: Link,
    /// Where the OSD was by the map when the connection was made.
    addrs: EntityAddrVec,
    /// Tells connections of this session apart, so that what an old one still has to say is not
    /// taken for the new one's.
    generation: u64,
}

impl OsdSession {
    pub(super) fn new(osd: OsdId) -> Self {
        Self {
            osd,
            state: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Nothing panics while the lock is held, so a poisoned lock guards a consistent state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task that keeps the session connected; aborted when the session ends.
    pub(super) fn set_task(&self, task: AbortHandle) {
        self.lock().task = Some(task);
    }

    /// Takes an operation over and sends it, at once if there is a connection.
    pub(super) fn submit(&self, op: Op) {
        let mut state = self.lock();
        let tid = op.tid;
        state.ops.insert(tid, op);
        if !state.send(tid) {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Uses `link` from now on and sends everything over it again.
    pub(super) fn connected(&self, link: Link, addrs: EntityAddrVec, generation: u64) {
        let mut state = self.lock();
        state.backoffs.clear();
        let closed = link.is_closed();
        state.link = Some(OpenLink {
            link,
            addrs,
            generation,
        });
        let tids: Vec<Tid> = state.ops.keys().copied().collect();
        for tid in tids {
            state.send(tid);
        }
        drop(state);
        if closed {
            // It ended before there was a session whose end its handler could have told.
            self.disconnected(generation);
        }
    }

    /// The connection, if there is one.
    #[cfg(test)]
    pub(super) fn link(&self) -> Option<msgr2::driver::Handle> {
        self.lock().link.as_ref().map(|open| open.link.handle())
    }

    /// The connection of this generation is gone.
    pub(super) fn disconnected(&self, generation: u64) {
        let mut state = self.lock();
        if state
            .link
            .as_ref()
            .is_some_and(|link| link.generation == generation)
        {
            state.link = None;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// The map says the OSD is at `addrs`; a connection to anywhere else is of no use.
    pub(super) fn moved_to(&self, addrs: &EntityAddrVec) {
        let mut state = self.lock();
        if state.link.as_ref().is_some_and(|link| link.addrs != *addrs) {
            state.link = None;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The connection, if there is one.
    pub(super) fn connection(&self) -> Option<Connection> {
        let state = self.lock();
        let link = &state.link.as_ref()?.link;
        Some(Connection::new(Peer::Osd(self.osd), link.info()))
    }

    /// Whether a connection is missing.
    pub(super) fn wants_connection(&self) -> bool {
        let state = self.lock();
        state.link.is_none() && !state.ops.is_empty()
    }

    /// Takes the operation that an answer is for, unless the answer is for an earlier attempt.
    pub(super) fn take_answered(&self, tid: Tid, attempt: i32) -> Option<Op> {
        let mut state = self.lock();
        let op = state.ops.get(&tid)?;
        if attempt >= 0 && attempt != op.attempts - 1 {
            return None;
        }
        state.ops.remove(&tid)
    }

    /// Takes the operations for which `wanted` holds.
    pub(super) fn take_matching(&self, mut wanted: impl FnMut(&InFlight) -> bool) -> Vec<Op> {
        let mut state = self.lock();
        let tids: Vec<Tid> = state
            .ops
            .values()
            .filter(|op| wanted(op))
            .map(|op| op.tid)
            .collect();
        tids.iter()
            .filter_map(|tid| state.ops.remove(tid))
            .collect()
    }

    /// Ends the session and gives back what has not been answered.
    pub(super) fn end(&self) -> Vec<Op> {
        let mut state = self.lock();
        state.link = None;
        if let Some(task) = state.task.take() {
            task.abort();
        }
        std::mem::take(&mut state.ops).into_values().collect()
    }

    /// Holds back operations on a range of objects, as the OSD asks, and tells it so.
    pub(super) fn block(&self, mut backoff: OsdBackoff, generation: u64) {
        let mut state = self.lock();
        let Some(link) = state
            .link
            .as_ref()
            .filter(|link| link.generation == generation)
        else {
            return;
        };
        backoff.step = crate::msg::osd::BackoffStep::AckBlock;
        let message = Message {
            kind: kind::OSD_BACKOFF,
            priority: PRIORITY,
            version: 1,
            compat_version: 1,
            front: denc::Writer::encode(&backoff),
            ..Message::default()
        };
        let _ = link.link.send(message);
        state.backoffs.block(backoff);
    }

    /// Sends what was held back because of backoff `id`.
    pub(super) fn unblock(&self, pg: ShardedPgId, id: u64, generation: u64) {
        let mut state = self.lock();
        if state
            .link
            .as_ref()
            .is_none_or(|link| link.generation != generation)
        {
            return;
        }
        let Some(range) = state.backoffs.unblock(pg, id) else {
            return;
        };
        let released: Vec<Tid> = state
            .ops
            .values()
            .filter(|op| op.pg == pg && range.contains(op))
            .map(|op| op.tid)
            .collect();
        for tid in released {
            state.send(tid);
        }
    }
}

impl State {
    /// Sends one operation if it can be sent now. Gives whether there is a connection.
    fn send(&mut self, tid: Tid) -> bool {
        let Some(link) = &self.link else {
            return false;
        };
        let Some(op) = self.ops.get_mut(&tid) else {
            return true;
        };
        if self.backoffs.holds_back(op) {
            return true;
        }
        let version = OsdOp::version_for(link.link.info().features);
        let message = Message {
            tid,
            kind: kind::OSD_OP,
            priority: PRIORITY,
            version,
            compat_version: OsdOp::COMPAT_VERSION,
            front: OsdOp {
                pg: op.pg,
                hash: op.hash,
                epoch: op.epoch,
                flags: op.request_flags(),
                mtime: op.mtime,
                locator: &op.target.locator,
                object: &op.target.object,
                operation: &op.operation,
                attempt: op.attempts,
            }
            .encode(version),
            data: OsdOp::data(&op.operation),
            ..Message::default()
        };
        op.attempts = op.attempts.saturating_add(1);
        // A connection that has just been lost says so to its handler, which has it replaced and
        // everything sent again.
        let _ = link.link.send(message);
        true
    }
}

impl InFlight {
    /// Aims at where it goes by the map of `epoch`.
    pub(super) fn aim(&mut self, pg: ShardedPgId, hash: u32, epoch: Epoch) {
        self.pg = pg;
        self.hash = hash;
        self.epoch = epoch;
    }
}

/// What clients use for operations; it has no meaning in the protocol.
const PRIORITY: u16 = 63;
