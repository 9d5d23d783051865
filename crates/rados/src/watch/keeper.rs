//! The task that keeps one watch alive and hands its notifications to the handler.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::lease::{Lease, Notice};
use super::reply::NotifyReply;
use super::table::{Contents, Inbox, Listening};
use super::validity::WatchValidity;
use super::{Notification, WatchHandler};
use crate::objecter::Linger;
use crate::op::{Operation, WatchStep};
use crate::{Errno, Error, Pool, Result};

/// Notifications that may be unanswered at a time.
const UNANSWERED: usize = 64;
/// Answers that may be on their way to the OSD at a time.
const ANSWERS: usize = 16;

/// Keeps one watch alive. Dropping it ends everything that it has begun.
pub(super) struct Keeper {
    pool: Pool,
    object: String,
    cookie: u64,
    timeout: Duration,
    handler: Arc<dyn WatchHandler>,
    lease: Lease,
    linger: Linger,
    inbox: Arc<Inbox>,
    _listening: Listening,
    /// Each notification that is handed out takes a place in the channel with it.
    replies: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    /// What the lease has in flight.
    step: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    /// Answers that are being sent.
    answering: JoinSet<()>,
}

/// The answer to one notification.
#[derive(Debug)]
struct Answer {
    id: u64,
    payload: Bytes,
}

impl Keeper {
    /// Registers a watch.
    pub(super) async fn register(
        pool: &Pool,
        object: &str,
        cookie: u64,
        handler: Arc<dyn WatchHandler>,
    ) -> Result<Self> {
        let objecter = pool.cluster().objecter();
        let timeout = pool.cluster().config().timeouts()?.watch;
        // What the OSD is told is a number of seconds, of which 0 means that it decides.
        let timeout = Duration::from_secs(u64::from(whole_seconds(timeout)));
        let (listening, inbox) = Listening::as_watch(objecter, cookie);
        let mut linger = objecter.linger(pool.id(), pool.namespace(), object);
        linger.telling();
        let sent = Instant::now();
        let step = Operation::new().watch(WatchStep::Watch, cookie, 0, whole_seconds(timeout));
        pool.execute(object, step).await?;
        let (replies, answers) = mpsc::channel(UNANSWERED);
        Ok(Self {
            pool: pool.clone(),
            object: object.to_string(),
            cookie,
            timeout,
            handler,
            lease: Lease::new(timeout, sent),
            linger,
            inbox,
            _listening: listening,
            replies,
            answers,
            step: None,
            answering: JoinSet::new(),
        })
    }

    /// Tells whether the watch can be relied on.
    pub(super) fn validity(&self) -> WatchValidity {
        self.lease.validity().clone()
    }

    /// Keeps the watch alive until this client is blocklisted or shut down.
    pub(super) async fn run(mut self) {
        let mut blocklisting = self.pool.cluster().objecter().blocklisting();
        loop {
            self.begin();
            let wakes_at = self.lease.wakes_at();
            let notice = tokio::select! {
                Ok(_) = blocklisting.wait_for(|is_blocklisted| *is_blocklisted) => {
                    let error = self.pool.cluster().objecter().blocklisted();
                    return self.end(&error);
                }
                result = ended(&mut self.step) => {
                    self.step = None;
                    if let Err(error @ (Error::Blocklisted { .. } | Error::ShutDown)) = &result {
                        return self.end(error);
                    }
                    // What the OSD has said before it answered comes first: the end of an expired watch
                    // is not that of the one it has just registered.
                    let before = self.inbox.take_now();
                    let notice = self.handle(before);
                    self.tell(notice);
                    self.lease.ended(Instant::now(), result)
                }
                contents = self.inbox.take() => self.handle(contents),
                Some(answer) = self.answers.recv(), if self.answering.len() < ANSWERS => {
                    self.answer(answer);
                    None
                }
                Some(_) = self.answering.join_next(), if !self.answering.is_empty() => None,
                () = self.linger.forgotten() => {
                    self.lease.forgotten(Instant::now());
                    None
                }
                () = sleep_until_if(wakes_at) => self.lease.expire(Instant::now()),
            };
            self.tell(notice);
        }
    }

    /// Sends what is due.
    fn begin(&mut self) {
        let Some((step, generation)) = self.lease.begin(Instant::now()) else {
            return;
        };
        if step != WatchStep::Ping {
            self.linger.telling();
        }
        let operation =
            Operation::new().watch(step, self.cookie, generation, whole_seconds(self.timeout));
        let (pool, object) = (self.pool.clone(), self.object.clone());
        self.step = Some(Box::pin(async move {
            pool.execute(&object, operation).await.map(drop)
        }));
    }

    fn handle(&mut self, contents: Contents) -> Option<Notice> {
        let mut overflowed = contents.overflowed;
        for notification in contents.notifications {
            overflowed |= !self.notify(notification);
        }
        if overflowed {
            self.handler.missed();
        }
        let error = || self.pool.operation_error(&self.object, Errno::ENOTCONN);
        contents
            .disconnected
            .then(error)
            .and_then(|error| self.lease.disconnected(Instant::now(), error))
    }

    /// Hands a notification to the handler, unless there are too many unanswered ones.
    fn notify(&self, notification: Notification) -> bool {
        let Ok(place) = self.replies.clone().try_reserve_owned() else {
            return false;
        };
        let id = notification.id;
        let reply = NotifyReply::new(move |payload| drop(place.send(Answer { id, payload })));
        self.handler.notified(notification, reply);
        true
    }

    fn answer(&mut self, answer: Answer) {
        let operation = Operation::new().notify_ack(answer.id, self.cookie, &answer.payload);
        let (pool, object) = (self.pool.clone(), self.object.clone());
        self.answering.spawn(async move {
            match pool.execute(&object, operation).await {
                // Too late: the notifier has stopped waiting.
                Err(error) if error.errno() == Errno::ENOENT => {}
                Err(error) => tracing::debug!(object, %error, "cannot answer"),
                Ok(_) => {}
            }
        });
    }

    fn tell(&self, notice: Option<Notice>) {
        match notice {
            Some(Notice::Lost(error)) => self.lost(&error),
            Some(Notice::Expired) => self.lost(&Error::WatchExpired {
                pool: self.pool.name().to_string(),
                object: self.object.clone(),
                silence: self.timeout,
            }),
            Some(Notice::Missed) => {
                tracing::info!(object = self.object, "the watch is registered again");
                self.handler.missed();
            }
            None => {}
        }
    }

    /// Nothing that is sent has any effect any more.
    fn end(self, error: &Error) {
        self.lease.validity().end();
        if !self.lease.is_lost() {
            self.lost(error);
        }
    }

    fn lost(&self, error: &Error) {
        tracing::warn!(object = self.object, %error, "the watch is lost");
        self.handler.lost(error);
    }
}

/// Waits until what is in flight has ended, if anything is.
async fn ended(step: &mut Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>) -> Result<()> {
    match step {
        Some(step) => step.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until_if(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// At least one.
pub(super) fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_millis().div_ceil(1000).max(1);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
