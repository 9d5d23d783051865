//! One OSD, as far as this client is concerned: the connection to it and the operations it has been
//! given.
//!
//! The state is changed synchronously under one lock. A task of the session's own connects and
//! reconnects; it ends with the session.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use denc::{EntityAddrVec, Epoch, OsdId, Tid};
use msgr2::Message;
use msgr2::driver::Link;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::backoff::Backoffs;
use super::deadlines::{GivenUp, give_up};
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
    /// Wakes the session's task: there is something to send, or the connection is lost.
    pub(super) wake: Notify,
    /// Wakes the session's task while it cannot connect: there is a new map, or there are tickets.
    pub(super) news: Notify,
}

#[derive(Debug)]
struct State {
    link: Option<OpenLink>,
    /// Where the OSD is by the map.
    addrs: EntityAddrVec,
    /// The epoch of the map by which the operations have been aimed.
    epoch: Epoch,
    /// Everything this OSD has been given and has not answered. Resent in this order.
    ops: BTreeMap<Tid, Op>,
    /// Memory for the fronts of messages, which is theirs until they are written.
    fronts: BytesMut,
    /// Since when there has been something to answer.
    busy_since: Instant,
    /// Ranges of objects the OSD does not want operations for at the moment.
    backoffs: Backoffs,
    task: Option<AbortHandle>,
}

/// A connection that is open.
#[derive(Debug)]
struct OpenLink {
    link: Link,
    /// Tells connections of this session apart, so that what an old one still has to say is not
    /// taken for the new one's.
    generation: u64,
}

/// What a session needs of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: there is nothing to send, or a connection to send it over.
    Nothing,
    /// A connection to this address.
    Connection(EntityAddrVec),
}

impl OsdSession {
    /// A session with an OSD that is at `addrs` by the map of `epoch`.
    pub(super) fn new(osd: OsdId, addrs: EntityAddrVec, epoch: Epoch) -> Self {
        Self {
            osd,
            state: Mutex::new(State {
                link: None,
                addrs,
                epoch,
                ops: BTreeMap::new(),
                fronts: BytesMut::new(),
                busy_since: Instant::now(),
                backoffs: Backoffs::default(),
                task: None,
            }),
            wake: Notify::new(),
            news: Notify::new(),
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

    /// Takes an operation over and sends it, at once if there is a connection. One that nobody waits
    /// for is dropped.
    pub(super) fn submit(&self, op: Op) {
        let mut state = self.lock();
        if op.is_forgotten() {
            return;
        }
        let tid = op.tid;
        if state.ops.is_empty() {
            state.busy_since = Instant::now();
        }
        state.ops.insert(tid, op);
        if !state.send(tid) {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Uses `link` from now on and sends everything over it again, unless the OSD has moved from
    /// `addrs` meanwhile. Gives whether there was another connection until now.
    pub(super) fn connected(&self, link: Link, addrs: &EntityAddrVec, generation: u64) -> bool {
        let mut state = self.lock();
        if state.addrs != *addrs {
            return false;
        }
        state.backoffs.clear();
        let closed = link.is_closed();
        let before = state.link.replace(OpenLink { link, generation });
        let tids: Vec<Tid> = state.ops.keys().copied().collect();
        for tid in tids {
            state.send(tid);
        }
        drop(state);
        if closed {
            // It ended before there was a session whose end its handler could have told.
            self.disconnected(generation);
        }
        before.is_some()
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

    /// The OSD is at `addrs` by the map of `epoch`; a connection to anywhere else is of no use. Gives
    /// the operations for which `moves` holds by that map: they are not its any more.
    pub(super) fn adopt_map(
        &self,
        addrs: &EntityAddrVec,
        epoch: Epoch,
        mut moves: impl FnMut(&mut InFlight) -> bool,
    ) -> Vec<Op> {
        let mut state = self.lock();
        if state.addrs != *addrs {
            state.addrs.clone_from(addrs);
            state.link = None;
        }
        state.epoch = epoch;
        let tids = state
            .ops
            .values_mut()
            .filter_map(|op| moves(op).then_some(op.tid));
        let tids: Vec<Tid> = tids.collect();
        let taken = tids
            .iter()
            .filter_map(|tid| state.ops.remove(tid))
            .collect();
        drop(state);
        self.wake.notify_one();
        self.news.notify_one();
        taken
    }

    /// The connection, if there is one.
    pub(super) fn connection(&self) -> Option<Connection> {
        let state = self.lock();
        let link = &state.link.as_ref()?.link;
        Some(Connection::new(Peer::Osd(self.osd), link.info()))
    }

    /// How many operations it has.
    #[cfg(test)]
    pub(super) fn operations(&self) -> usize {
        self.lock().ops.len()
    }

    /// What the task has to do.
    ///
    /// An OSD that owes answers and says nothing is asked for a sign of life. If it gives none, the
    /// connection may be one that only this side still believes in, and another is needed; the old
    /// one is kept until then, as the OSD may only be slow.
    pub(super) fn need(&self, now: Instant) -> Need {
        let state = self.lock();
        if state.ops.is_empty() {
            return Need::Nothing;
        }
        if let Some(OpenLink { link, .. }) = &state.link {
            let last = link.last_heard().max(state.busy_since);
            let silence = now.saturating_duration_since(last);
            if silence >= LAGGY {
                // If it is closed its handler says so.
                let _ = link.keepalive(SystemTime::now().into());
            }
            if silence < SUSPECT {
                return Need::Nothing;
            }
        }
        Need::Connection(state.addrs.clone())
    }

    /// Whether the OSD is at `addrs` by the map.
    pub(super) fn is_at(&self, addrs: &EntityAddrVec) -> bool {
        self.lock().addrs == *addrs
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

    /// Gives up the operations for which `wanted` holds.
    pub(super) fn give_up(&self, wanted: impl FnMut(&InFlight) -> bool) -> Vec<GivenUp> {
        give_up(&mut self.lock().ops, wanted)
    }

    /// Takes an operation that nobody waits for any more.
    pub(super) fn take_forgotten(&self, tid: Tid) -> Option<Op> {
        let mut state = self.lock();
        state.ops.get(&tid).filter(|op| op.is_forgotten())?;
        state.ops.remove(&tid)
    }

    /// Takes everything, unless there is a connection.
    pub(super) fn take_unless_connected(&self) -> Vec<Op> {
        let mut state = self.lock();
        if state.link.is_some() {
            return Vec::new();
        }
        std::mem::take(&mut state.ops).into_values().collect()
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
            .filter(|op| op.aim.pg == pg && range.contains(op))
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
        if op.is_paused || self.backoffs.holds_back(op) {
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
                pg: op.aim.pg,
                hash: op.aim.hash,
                epoch: self.epoch,
                flags: op.request_flags(),
                mtime: op.mtime,
                locator: &op.sent_locator(),
                object: &op.target.object,
                operation: &op.operation,
                attempt: op.attempts,
            }
            .encode(version, &mut self.fronts),
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

/// What clients use for operations; it has no meaning in the protocol.
const PRIORITY: u16 = 63;
/// How long an OSD may be silent before it is asked for a sign of life (ceph: `objecter_timeout`).
pub(super) const LAGGY: Duration = Duration::from_secs(10);
/// How long it may be silent before another connection is made to it. It has been asked for signs of
/// life several times by then; an OSD that is only busy gives one of them.
pub(super) const SUSPECT: Duration = Duration::from_secs(30);
