//! The objecter: owns every operation from its submission to its answer.
//!
//! An operation is sent to the primary of its object's placement group, and sent again, under the
//! same number, whenever that may have been in vain: the connection broke, the placement group began
//! a new interval, the OSD asked for patience. While there is nowhere to send it, it waits.
//!
//! All state changes are synchronous. Submitting holds the [`View`] shared and the lock of one
//! session; a new map holds the view exclusively while it moves operations, so that operations on one
//! object keep their order (ceph: src/osdc/Objecter.h).

mod answer;
mod backoff;
mod connect;
mod deadlines;
#[cfg(test)]
mod idleness;
mod limits;
mod lingering;
mod maps;
mod op;
mod pools;
mod refusal;
mod session;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use buffers::Spares;
use denc::{Epoch, PoolId, Tid};
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use self::answer::{Cells, Receiver, channel};
use self::deadlines::{Deadline, Deadlines};
use self::limits::{Budget, Limits};
pub(crate) use self::lingering::Linger;
use self::lingering::Lingering;
use self::maps::Repair;
use self::op::{Aim, InFlight, Op, Outcome, PoolKnown, Target};
use self::session::OsdSession;
use self::view::{Destination, Pause, View};
use crate::config::{InFlightLimits, ObjecterOptions, SizeBytes};
use crate::connections::Connection;
use crate::messenger::Messenger;
use crate::mon::Wishes;
use crate::op::Operation;
use crate::osdmap::OsdMap;
use crate::watch::Watches;
use crate::{Errno, Error, ReadPolicy, Result};

/// Sends operations to OSDs and sees them through.
#[derive(Debug)]
pub(crate) struct Objecter {
    messenger: Arc<Messenger>,
    wishes: Arc<Wishes>,
    view: RwLock<View>,
    /// Operations that can be sent nowhere at the moment.
    waiting: Mutex<BTreeMap<Tid, Op>>,
    next_tid: AtomicU64,
    /// Operations that have ended, for those to come.
    spares: Spares<Op>,
    cells: Cells,
    /// Set when the configuration is settled, before the first operation.
    limits: OnceLock<Limits>,
    options: ArcSwap<ObjecterOptions>,
    deadlines: Deadlines,
    /// An operation waits for word of whether its pool exists.
    pool_missing: Notify,
    /// The watches of this client, which OSDs address by their cookies.
    pub(crate) watches: Watches,
    lingering: Lingering,
    /// Whether the cluster is known to have blocklisted this client.
    is_blocklisted: watch::Sender<bool>,
    /// The epoch of the map in the view.
    epoch: watch::Sender<Epoch>,
    /// Held while maps are applied, which two connections may want to do at the same time.
    updating: Mutex<Repair>,
}

impl Objecter {
    /// An objecter without a map.
    pub(crate) fn new(messenger: Arc<Messenger>, wishes: Arc<Wishes>) -> Self {
        Self {
            messenger,
            wishes,
            view: RwLock::default(),
            waiting: Mutex::default(),
            next_tid: AtomicU64::new(1),
            spares: Spares::default(),
            cells: Cells::default(),
            limits: OnceLock::new(),
            options: ArcSwap::default(),
            deadlines: Deadlines::default(),
            pool_missing: Notify::new(),
            watches: Watches::default(),
            lingering: Lingering::default(),
            is_blocklisted: watch::Sender::new(false),
            epoch: watch::Sender::new(Epoch(0)),
            updating: Mutex::default(),
        }
    }

    /// The current map, once there is one.
    pub(crate) fn map(&self) -> Option<Arc<OsdMap>> {
        self.view().map().cloned()
    }

    /// The epoch of the current map, and word of every later one.
    pub(crate) fn epochs(&self) -> watch::Receiver<Epoch> {
        self.epoch.subscribe()
    }

    /// Whether the cluster has blocklisted this client, and word of it when it does.
    pub(crate) fn blocklisting(&self) -> watch::Receiver<bool> {
        self.is_blocklisted.subscribe()
    }

    /// Limits how much may be in flight. Only counts before the first operation.
    pub(crate) fn set_limits(&self, limits: InFlightLimits) {
        let _ = self.limits.set(Limits::new(limits));
    }

    fn limits(&self) -> &Limits {
        self.limits.get_or_init(|| {
            Limits::new(InFlightLimits {
                operations: u64::MAX,
                bytes: SizeBytes(u64::MAX),
            })
        })
    }

    /// Limits how long operations that are submitted from now on may take.
    pub(crate) fn set_timeout(&self, limit: Option<Duration>) {
        self.deadlines.set_limit(limit);
    }

    fn options(&self) -> arc_swap::Guard<Arc<ObjecterOptions>> {
        self.options.load()
    }

    /// Obeys other options from now on, also for operations that wait.
    pub(crate) fn set_options(self: &Arc<Self>, options: ObjecterOptions) {
        let mut view = self.view_mut();
        view.fails_when_full = options.abort_on_full;
        view.set_location(options.crush_location.clone());
        self.options.store(Arc::new(options));
        if view.fails_when_full {
            let sessions = view.sessions.values();
            let held = sessions.flat_map(|session| session.take_matching(|op| op.is_paused));
            let held: BTreeMap<Tid, Op> = held.map(|op| (op.tid, op)).collect();
            self.route_all(&mut view, held);
        }
    }

    /// Sends nothing from now on before there is a map of `epoch` or a later one. What has been sent
    /// before is not called back.
    pub(crate) fn set_epoch_barrier(&self, epoch: Epoch) {
        let mut view = self.view_mut();
        view.barrier = view.barrier.max(epoch);
        if view.epoch() < view.barrier {
            self.wishes.newer_osdmap();
        }
    }

    /// Carries out an operation on an object: see [`Pool::execute_raw`](crate::Pool::execute_raw).
    pub(crate) fn execute(
        self: &Arc<Self>,
        pool: PoolId,
        namespace: &str,
        object: &str,
        operation: Operation,
    ) -> impl Future<Output = Outcome> + Send + use<'_> {
        let mut op = self.new_op();
        op.target.set(pool, namespace, object);
        op.operation = operation;
        self.carry_out(op)
    }

    /// Carries out an operation on a placement group: the one in which `hash` lies.
    pub(crate) fn execute_on_pg(
        self: &Arc<Self>,
        pool: PoolId,
        namespace: &str,
        hash: u32,
        operation: Operation,
    ) -> impl Future<Output = Outcome> + Send + use<'_> {
        self.execute_on(Target::placement_group(pool, namespace, hash), operation)
    }

    fn execute_on(
        self: &Arc<Self>,
        target: Target,
        operation: Operation,
    ) -> impl Future<Output = Outcome> + Send + use<'_> {
        let mut op = self.new_op();
        op.target = target;
        op.operation = operation;
        self.carry_out(op)
    }

    fn new_op(&self) -> Op {
        self.spares.take().unwrap_or_else(|| {
            let target = Target::new(PoolId(0), "", "");
            Box::new(InFlight::new(target, Operation::default()))
        })
    }

    async fn carry_out(self: &Arc<Self>, mut op: Op) -> Outcome {
        op.deadline = self.deadlines.of_new_operation();
        let len = op.operation.input_len();
        op.budget = Some(match op.operation.is_exempt_from_limits() {
            true => self.limits().take_nothing()?,
            false => match self.limits().try_take(len) {
                Some(budget) => budget,
                // What is seldom needed is not to make every operation's future large.
                None => Box::pin(self.wait_for_budget(len, &op.target, op.deadline)).await?,
            },
        });
        let (outcome, receiver) = channel(&self.cells);
        op.outcome = Some(outcome);
        op.aim = Aim::nowhere(op.target.locator.pool);
        op.tid = Tid(self.next_tid.fetch_add(1, Ordering::Relaxed));
        if op.operation.is_write() {
            op.mtime = SystemTime::now().into();
        }
        op.read_policy = op
            .operation
            .effective_read_policy(self.options().read_policy);
        let tid = op.tid;
        self.submit(op);
        let answer = Answer {
            objecter: self,
            tid,
            receiver,
        };
        answer.received().await
    }

    /// Waits until an operation with input of so many bytes may be in flight.
    async fn wait_for_budget(
        &self,
        len: usize,
        target: &Target,
        deadline: Option<Deadline>,
    ) -> Result<Budget> {
        let taking = self.limits().take(len);
        match deadline {
            Some(deadline) => timeout_at(deadline.at, taking)
                .await
                .map_err(|_| self.timed_out(target, None, deadline.limit))?,
            None => taking.await,
        }
    }

    /// The connections that are open, by number of the OSD.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        let view = self.view();
        let mut sessions: Vec<_> = view.sessions.values().collect();
        sessions.sort_by_key(|session| session.osd);
        sessions
            .into_iter()
            .filter_map(|session| session.connection())
            .collect()
    }

    /// Sessions that could not connect for want of a ticket may try again.
    pub(crate) fn tickets_renewed(&self) {
        for session in self.view().sessions.values() {
            session.news.notify_one();
        }
    }

    /// The connections there are at the moment.
    #[cfg(test)]
    pub(crate) fn links(&self) -> Vec<msgr2::driver::Handle> {
        let view = self.view();
        view.sessions
            .values()
            .filter_map(|session| session.link())
            .collect()
    }

    /// Ends every session and fails every operation.
    pub(crate) fn shut_down(&self) {
        self.limits().close();
        self.deadlines.shut_down();
        self.updating().end();
        let sessions: Vec<_> = self.view_mut().sessions.drain().collect();
        let waiting = std::mem::take(&mut *self.waiting());
        let in_flight = sessions.into_iter().flat_map(|(_, session)| session.end());
        for op in in_flight.chain(waiting.into_values()) {
            op.complete(Err(Error::ShutDown));
        }
    }

    /// Sends an operation where it belongs.
    fn submit(self: &Arc<Self>, op: Op) {
        let deadline = op.deadline;
        let view = self.view();
        if let Err(op) = self.route(&view, op) {
            drop(view);
            let mut view = self.view_mut();
            self.route_with_new_session(&mut view, op);
        }
        if let Some(deadline) = deadline {
            self.watch_deadline(deadline);
        }
    }

    /// Sends an operation where it belongs, or gives it back if that needs a session that does not
    /// exist yet.
    fn route(&self, view: &View, mut op: Op) -> std::result::Result<(), Op> {
        if view.blocklisted {
            op.complete(Err(self.blocklisted()));
            return Ok(());
        }
        match view.destination(&op) {
            Destination::Osd(aim) => {
                op.pool = PoolKnown::Seen;
                let pause = view.pause(&op);
                if let (Some(Pause::Full(errno)), true) = (pause, view.fails_when_full) {
                    op.fail(errno);
                    return Ok(());
                }
                let Some(session) = view.sessions.get(&aim.osd) else {
                    return Err(op);
                };
                op.aim = aim;
                op.is_paused = pause.is_some();
                session.submit(op);
            }
            Destination::Nowhere => self.wait(view, op),
            Destination::NoPool(pool) => match op.pool {
                PoolKnown::Seen => op.complete(Err(Error::PoolGone { pool })),
                PoolKnown::NotIfMissingIn(newest) if view.epoch() >= newest => {
                    op.complete(Err(Error::PoolGone { pool }));
                }
                PoolKnown::NotIfMissingIn(_) => self.wait(view, op),
                PoolKnown::NotYet => {
                    self.wait(view, op);
                    self.pool_missing.notify_one();
                }
            },
            Destination::PoolFails => op.fail(Errno::EIO),
        }
        Ok(())
    }

    /// Puts an operation aside until there is a map by which it can be sent.
    fn wait(&self, view: &View, mut op: Op) {
        if view
            .map()
            .is_some_and(|map| map.pool(op.target.locator.pool).is_some())
        {
            op.pool = PoolKnown::Seen;
        }
        let mut waiting = self.waiting();
        if !op.is_forgotten() {
            waiting.insert(op.tid, op);
        }
    }

    fn route_with_new_session(self: &Arc<Self>, view: &mut View, op: Op) {
        let Err(op) = self.route(view, op) else {
            return;
        };
        if let Destination::Osd(Aim { osd, .. }) = view.destination(&op)
            && let Some(addrs) = view.map().and_then(|map| map.osd_addrs(osd))
        {
            let session = Arc::new(OsdSession::new(osd, addrs.clone(), view.epoch()));
            connect::keep_connected(self, &session);
            view.sessions.insert(osd, session);
        }
        if let Err(op) = self.route(view, op) {
            // An OSD that has no address.
            self.wait(view, op);
        }
    }

    /// Sends operations where they belong, in the order of their numbers.
    fn route_all(self: &Arc<Self>, view: &mut View, ops: BTreeMap<Tid, Op>) {
        for op in ops.into_values() {
            self.route_with_new_session(view, op);
        }
    }

    /// Nobody waits for an operation any more.
    fn forget(&self, tid: Tid) {
        let view = self.view();
        let mut waiting = self.waiting();
        if waiting.get(&tid).is_some_and(|op| op.is_forgotten()) {
            waiting.remove(&tid);
            return;
        }
        drop(waiting);
        let mut sessions = view.sessions.values();
        // Dropping it gives back what it holds of the limits.
        drop(sessions.find_map(|session| session.take_forgotten(tid)));
    }

    /// An answer came for `op`. If that sends it elsewhere, it keeps its number, where upstream gives it
    /// a new one:
    ///
    /// - OSDs know by it what they have carried out. A cache tier may have passed on a write under its
    ///   number, and then have lost the connection and redirect the next attempt: under another number
    ///   it would be carried out twice (ceph: `PrimaryLogPG::do_proxy_write`).
    /// - An answer that comes late is not taken for that to the new attempt, as attempts are numbered,
    ///   too, and go on counting; and an attempt is answered once.
    /// - That a replica does not answer a read is recorded nowhere, and a write is never told `EAGAIN`
    ///   (`PrimaryLogPG::execute_ctx`). So no OSD gives the same answer again because of the number.
    fn answered(self: &Arc<Self>, mut op: Op, answer: crate::msg::osd::OsdOpReply) {
        if let Some(redirect) = answer.redirect {
            op.target.redirect(redirect.locator, redirect.object);
            return self.submit(op);
        }
        match Errno::check(answer.result) {
            Err(Errno::EAGAIN) => {
                // A replica that is not up to date: the primary is.
                op.read_policy = ReadPolicy::Primary;
                self.submit(op);
            }
            Err(Errno::ESHUTDOWN) => {
                self.is_blocklisted.send_replace(true);
                op.complete(Err(self.blocklisted()));
            }
            _ => {
                op.tell(Ok((answer.result, answer.reply)));
                op.clear();
                self.spares.put(op);
            }
        }
    }

    pub(crate) fn blocklisted(&self) -> Error {
        Error::Blocklisted {
            addr: self.messenger.addr(),
        }
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Tid, Op>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn updating(&self) -> MutexGuard<'_, Repair> {
        self.updating.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is waited for. Dropping it says that nobody waits any more.
struct Answer<'a> {
    objecter: &'a Objecter,
    tid: Tid,
    receiver: Receiver<'a>,
}

impl Answer<'_> {
    async fn received(mut self) -> Outcome {
        (&mut self.receiver).await.unwrap_or(Err(Error::ShutDown))
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        if !self.receiver.is_done() {
            self.receiver.close();
            self.objecter.forget(self.tid);
        }
    }
}
