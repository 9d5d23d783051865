//! Ends operations that take longer than is allowed (ceph: `rados_osd_op_timeout`).
//!
//! One task looks after all operations. It is started by the first operation that has a deadline, and
//! sleeps until the earliest one, so that an operation that is answered in time costs a comparison,
//! and one without a deadline nothing at all.
//!
//! What ends is the waiting. A write that has been sent may still be carried out, and nobody could
//! tell when that is over if it were forgotten, as upstream does: a lock would be given up while a
//! write under it is on its way. So it is seen through like one whose caller has gone away, holds what
//! it holds until an OSD has answered it, and stays ahead of later writes to its object.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use denc::{OsdId, Tid};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Objecter;
use super::answer::Sender;
use super::op::{InFlight, Op, Target};
use crate::Error;

/// When an operation must have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// How long after its submission that is.
    pub(super) limit: Duration,
}

/// The limit on new operations, and the task that enforces it.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// In nanoseconds, 0 for none.
    limit: AtomicU64,
    /// What the nanoseconds of `wakes_at` are counted from.
    start: Instant,
    /// When the task looks at the operations next, at the latest. An operation with an earlier
    /// deadline has to wake it.
    wakes_at: AtomicU64,
    woken: Arc<Notify>,
    task: OnceLock<AbortHandle>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            limit: AtomicU64::new(0),
            start: Instant::now(),
            wakes_at: AtomicU64::new(NEVER),
            woken: Arc::default(),
            task: OnceLock::new(),
        }
    }
}

impl Deadlines {
    /// Limits operations that are submitted from now on; those in flight keep what they were given.
    pub(super) fn set_limit(&self, limit: Option<Duration>) {
        self.limit
            .store(limit.map_or(0, nanoseconds), Ordering::Relaxed);
    }

    /// The deadline of an operation that is submitted now.
    pub(super) fn of_new_operation(&self) -> Option<Deadline> {
        let limit = match self.limit.load(Ordering::Relaxed) {
            0 => return None,
            limit => Duration::from_nanos(limit),
        };
        let at = Instant::now().checked_add(limit)?;
        Some(Deadline { at, limit })
    }

    pub(super) fn shut_down(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn since_start(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.start))
    }
}

impl Objecter {
    /// Sees to it that an operation that has just been put into a table ends at its deadline.
    pub(super) fn watch_deadline(self: &Arc<Self>, deadline: Deadline) {
        let deadlines = &self.deadlines;
        let at = deadlines.since_start(deadline.at);
        if at >= deadlines.wakes_at.load(Ordering::Relaxed)
            || at >= deadlines.wakes_at.fetch_min(at, Ordering::Relaxed)
        {
            return;
        }
        deadlines.task.get_or_init(|| {
            let task = run(Arc::downgrade(self), Arc::clone(&deadlines.woken));
            tokio::spawn(task).abort_handle()
        });
        deadlines.woken.notify_one();
    }

    /// Tells whoever waits for operations whose deadlines have passed that they did not
    /// end in time. Gives the earliest of the other deadlines.
    fn expire(&self) -> Option<Instant> {
        // Whatever is put into a table that has been looked at already wakes the task again.
        self.deadlines.wakes_at.store(NEVER, Ordering::Relaxed);
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut has_expired = |op: &InFlight| match op.deadline {
            Some(deadline) if deadline.at <= now => true,
            Some(deadline) => {
                next = Some(next.map_or(deadline.at, |next| next.min(deadline.at)));
                false
            }
            None => false,
        };
        let mut expired = Vec::new();
        // While the view is held no operation moves from one table to another.
        let view = self.view();
        for (osd, session) in &view.sessions {
            let given_up = session.give_up(&mut has_expired);
            expired.extend(given_up.into_iter().map(|it| (Some(*osd), it)));
        }
        let given_up = give_up(&mut self.waiting(), has_expired);
        expired.extend(given_up.into_iter().map(|it| (None, it)));
        drop(view);
        for (osd, op) in expired {
            // One that is kept back by the cluster's wish has not been asked of anybody.
            let osd = osd.filter(|_| !op.is_paused);
            let error = self.timed_out(&op.target, osd, op.limit);
            tracing::debug!(tid = op.tid.0, %error, "an operation is given up");
            if let Some(waiting) = op.outcome {
                waiting.send(Err(error));
            }
        }
        if let Some(next) = next {
            let next = self.deadlines.since_start(next);
            self.deadlines.wakes_at.fetch_min(next, Ordering::Relaxed);
        }
        next
    }

    /// The error of an operation that `osd` has not answered, or that could be sent to none.
    pub(super) fn timed_out(&self, target: &Target, osd: Option<OsdId>, limit: Duration) -> Error {
        let pool = target.locator.pool;
        let map = self.map();
        let name = map.as_ref().and_then(|map| map.pool_name(pool));
        let name = name.map_or_else(|| pool.to_string(), str::to_string);
        Error::OperationTimedOut {
            pool: match target.locator.namespace.as_str() {
                "" => name,
                namespace => format!("{name}/{namespace}"),
            },
            object: target.object.clone(),
            osd,
            limit,
        }
    }
}

/// What is told of an operation to which nobody listens any more.
#[derive(Debug)]
pub(super) struct GivenUp {
    tid: Tid,
    target: Target,
    limit: Duration,
    is_paused: bool,
    outcome: Option<Sender>,
    /// The operation itself, unless it is seen through. Ends when this is dropped, which is not while
    /// tables are held: what it holds may do anything then.
    _op: Option<Op>,
}

/// Lets nobody wait any more for the operations for which `wanted` holds, and takes those out of the
/// table that cannot be carried out behind everybody's back.
pub(super) fn give_up(
    ops: &mut BTreeMap<Tid, Op>,
    mut wanted: impl FnMut(&InFlight) -> bool,
) -> Vec<GivenUp> {
    let tids: Vec<Tid> = ops
        .values()
        .filter(|op| wanted(op))
        .map(|op| op.tid)
        .collect();
    let given_up = tids.into_iter().filter_map(|tid| {
        let op = ops.get_mut(&tid)?;
        let deadline = op.deadline.take();
        let mut given_up = GivenUp {
            tid,
            target: op.target.clone(),
            limit: deadline.map_or(Duration::ZERO, |deadline| deadline.limit),
            is_paused: op.is_paused,
            outcome: op.outcome.take(),
            _op: None,
        };
        if op.is_forgotten() {
            given_up._op = ops.remove(&tid);
        }
        Some(given_up)
    });
    given_up.collect()
}

async fn run(objecter: Weak<Objecter>, woken: Arc<Notify>) {
    let mut next = None;
    loop {
        match next {
            Some(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = woken.notified() => {}
            },
            None => woken.notified().await,
        }
        let Some(objecter) = objecter.upgrade() else {
            return;
        };
        next = objecter.expire();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Later than any deadline.
const NEVER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use denc::PoolId;
    use futures_util::FutureExt;

    use super::*;
    use crate::config::Config;
    use crate::messenger::Messenger;
    use crate::{Errno, Operation};

    /// An objecter that has no map, so that every operation waits.
    fn objecter(limit: Option<Duration>) -> Arc<Objecter> {
        let config = Config::builder()
            .without_file()
            .option("auth_client_required", "none")
            .load()
            .unwrap();
        let messenger = Arc::new(Messenger::from_config(&config).unwrap());
        let objecter = Objecter::new(messenger, Arc::default());
        objecter.set_timeout(limit);
        Arc::new(objecter)
    }

    async fn read(objecter: &Arc<Objecter>, object: &str) -> Error {
        let operation = Operation::new().read(0, 1);
        let reading = objecter.execute(PoolId(7), "n", object, operation);
        reading.await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_ends_at_its_deadline_and_says_so() {
        let objecter = objecter(Some(Duration::from_secs(5)));
        let start = Instant::now();
        let error = read(&objecter, "o").await;
        assert_eq!(start.elapsed().as_secs(), 5);
        assert_eq!(error.errno(), Errno::ETIMEDOUT);
        assert_eq!(
            error.to_string(),
            "7/n/o: there was no OSD to send the operation to within 5 s"
        );
        assert!(objecter.waiting().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn each_operation_has_the_limit_of_its_submission() {
        let objecter = objecter(Some(Duration::from_secs(60)));
        let start = Instant::now();
        let mut long = pin!(read(&objecter, "long"));
        assert!(long.as_mut().now_or_never().is_none());
        // The task sleeps for a minute now, and has to be woken for one that is due before.
        tokio::time::sleep(Duration::from_secs(1)).await;
        objecter.set_timeout(Some(Duration::from_secs(2)));
        read(&objecter, "short").await;
        assert_eq!(start.elapsed().as_secs(), 3);
        objecter.set_timeout(None);
        let mut endless = pin!(read(&objecter, "endless"));
        assert!(endless.as_mut().now_or_never().is_none());
        long.await;
        assert_eq!(start.elapsed().as_secs(), 60);
        tokio::time::sleep(Duration::from_secs(100_000)).await;
        assert!(endless.as_mut().now_or_never().is_none());
        assert_eq!(objecter.waiting().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_forgotten() {
        let objecter = objecter(Some(Duration::from_secs(5)));
        {
            let mut forgotten = pin!(read(&objecter, "o"));
            assert!(forgotten.as_mut().now_or_never().is_none());
            assert_eq!(objecter.waiting().len(), 1);
        }
        assert!(objecter.waiting().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_there_is_no_task() {
        let objecter = objecter(None);
        let mut endless = pin!(read(&objecter, "o"));
        assert!(endless.as_mut().now_or_never().is_none());
        assert!(objecter.deadlines.task.get().is_none());
    }
}
