//! Keeps a session connected to its OSD, and takes in what the OSD says.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use denc::{Decode, EntityAddrVec, Reader};
use msgr2::Message;
use tokio::time::{Instant, sleep, sleep_until};

use super::Objecter;
use super::session::{Need, OsdSession};
use crate::Error;
use crate::auth;
use crate::config::ConnectBackoff;
use crate::messenger::ConnectError;
use crate::msg::kind;
use crate::msg::osd::{BackoffStep, OsdBackoff, OsdMapMessage, OsdOpReply, WatchNotify};

/// Starts the task that connects `session` and reconnects it while it has operations. The session
/// ends the task.
pub(super) fn keep_connected(objecter: &Arc<Objecter>, session: &Arc<OsdSession>) {
    let task = tokio::spawn(run(Arc::downgrade(objecter), Arc::downgrade(session)));
    session.set_task(task.abort_handle());
}

async fn run(objecter: Weak<Objecter>, session: Weak<OsdSession>) {
    let mut pace = Pace::default();
    let mut refusals = 0_u32;
    while let Some((objecter, session)) = objecter.upgrade().zip(session.upgrade()) {
        let addrs = match session.need(Instant::now()) {
            Need::Connection(addrs) => addrs,
            Need::Nothing => {
                tokio::select! {
                    () = session.wake.notified() => {}
                    () = sleep(TICK) => {}
                }
                continue;
            }
        };
        let backoff = objecter.options().connect_backoff;
        pace.wait(&session, &addrs, backoff).await;
        let reason = match connect_unless_moved(&objecter, &session, &addrs).await {
            None => continue,
            Some(Ok(())) => {
                pace.succeeded();
                refusals = 0;
                continue;
            }
            Some(Err(reason)) => reason,
        };
        let refusal = reason.refusal();
        match &refusal {
            Some(refusal) if refusals == 0 => {
                tracing::warn!(osd = %session.osd, %addrs, %refusal, "not let in");
            }
            _ => tracing::debug!(osd = %session.osd, %addrs, %reason, "cannot connect"),
        }
        refusals = refusal.map_or(0, |_| refusals + 1);
        if reason.wants_tickets() {
            objecter.wishes.tickets();
        } else {
            objecter.wishes.newer_osdmap();
        }
        // New tickets come as fast as they are asked for. One that refuses them as well is not to be
        // asked as fast.
        pace.failed(refusals <= 1);
    }
}

/// Connects to `addrs`. Gives up, and gives nothing, if the map says that the OSD is elsewhere.
async fn connect_unless_moved(
    objecter: &Arc<Objecter>,
    session: &Arc<OsdSession>,
    addrs: &EntityAddrVec,
) -> Option<Result<(), Reason>> {
    let mut attempt = pin!(connect(objecter, session, addrs));
    loop {
        tokio::select! {
            biased;
            outcome = &mut attempt => return Some(outcome),
            () = session.news.notified() => {
                if !session.is_at(addrs) {
                    return None;
                }
            }
        }
    }
}

/// When the next attempt may begin.
#[derive(Debug, Default)]
struct Pace {
    /// When the last attempt began, and where it went.
    last: Option<(Instant, EntityAddrVec)>,
    /// Attempts that failed since the last success.
    failures: u32,
    /// Whether news are a reason not to wait.
    heeds_news: bool,
}

impl Pace {
    /// Waits until an attempt may begin. Attempts that take long need no pause after them, so that an
    /// OSD that is reached again is noticed at once.
    async fn wait(&mut self, session: &OsdSession, addrs: &EntityAddrVec, backoff: ConnectBackoff) {
        match &self.last {
            Some((began, last)) if last == addrs => {
                let pause = sleep_until(*began + backoff.after(self.failures));
                if self.heeds_news {
                    tokio::select! {
                        () = pause => {}
                        () = session.news.notified() => {}
                    }
                } else {
                    pause.await;
                }
            }
            _ => self.failures = 0,
        }
        self.last = Some((Instant::now(), addrs.clone()));
    }

    const fn succeeded(&mut self) {
        self.failures = 0;
        self.heeds_news = false;
    }

    const fn failed(&mut self, heeds_news: bool) {
        self.failures = self.failures.saturating_add(1);
        self.heeds_news = heeds_news;
    }
}

impl ConnectBackoff {
    /// How long after its beginning an attempt may be followed by another, after so many failures in
    /// a row.
    fn after(self, failures: u32) -> Duration {
        let doubled = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        self.max
            .min(self.initial.saturating_mul(2_u32.pow(doubled)))
    }
}

/// How often a session is looked at without a reason (ceph: `objecter_tick_interval`).
const TICK: Duration = Duration::from_secs(5);
/// More would make no difference, and would not be a number.
const MAX_DOUBLINGS: u32 = 16;

/// Why an attempt to connect failed.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("it has no address where messenger v2 is spoken")]
    NoV2Address,
    #[error(transparent)]
    Connect(ConnectError),
}

impl Reason {
    /// Why one of the sides does not accept the other, if that is why.
    fn refusal(&self) -> Option<String> {
        match self {
            Self::Connect(ConnectError::Messenger(error)) => auth::refusal(error),
            _ => None,
        }
    }

    fn wants_tickets(&self) -> bool {
        match self {
            Self::NoV2Address => false,
            Self::Connect(ConnectError::NoTicket(_)) => true,
            Self::Connect(ConnectError::Messenger(error)) => auth::is_of_the_proof(error),
        }
    }
}

async fn connect(
    objecter: &Arc<Objecter>,
    session: &Arc<OsdSession>,
    addrs: &EntityAddrVec,
) -> Result<(), Reason> {
    static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);
    let addr = *addrs.v2().ok_or(Reason::NoV2Address)?;
    let generation = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed);
    let handler = Arc::new(OsdHandler {
        objecter: Arc::downgrade(objecter),
        session: Arc::downgrade(session),
        generation,
    });
    let connecting = objecter.messenger.connect_osd(addr, session.osd, handler);
    let link = connecting.await.map_err(Reason::Connect)?;
    tracing::debug!(osd = %session.osd, %addr, "connected");
    if session.connected(link, addrs, generation) {
        // The handler of a connection that this side has ended is not told so.
        objecter.lingering.disconnected(session.osd);
    }
    Ok(())
}

/// Stands for the attempt that an answer is to, where that is not known.
const NO_ATTEMPT: i32 = -1;

/// Takes in what an OSD says on one connection.
#[derive(Debug)]
struct OsdHandler {
    objecter: Weak<Objecter>,
    session: Weak<OsdSession>,
    generation: u64,
}

impl OsdHandler {
    fn handle(
        &self,
        objecter: &Arc<Objecter>,
        session: &OsdSession,
        message: Message,
    ) -> denc::Result<()> {
        match message.kind {
            kind::OSD_OPREPLY => handle_reply(objecter, session, message),
            kind::OSD_MAP => {
                let maps = OsdMapMessage::parse(&message.front)?;
                if objecter.messenger.check_fsid(maps.fsid) {
                    objecter.handle_maps(&maps);
                }
            }
            kind::WATCH_NOTIFY => {
                let event = WatchNotify::decode(&mut Reader::new("MWatchNotify", &message.front))?;
                objecter.watches.dispatch(event, message.data.into_bytes());
            }
            kind::OSD_BACKOFF => {
                let backoff = OsdBackoff::decode(&mut Reader::new("MOSDBackoff", &message.front))?;
                match backoff.step {
                    BackoffStep::Block => session.block(backoff, self.generation),
                    BackoffStep::Unblock => {
                        session.unblock(backoff.pg, backoff.id, self.generation);
                    }
                    BackoffStep::AckBlock => {}
                }
            }
            other => tracing::trace!(kind = %other, "a message that is of no interest"),
        }
        Ok(())
    }
}

fn handle_reply(objecter: &Arc<Objecter>, session: &OsdSession, message: Message) {
    let tid = message.tid;
    let data = message.data.into_bytes();
    match OsdOpReply::parse(message.version, &message.front, &data) {
        Ok(answer) => {
            if let Some(op) = session.take_answered(tid, answer.attempt) {
                objecter.answered(op, answer);
            }
        }
        Err(source) => {
            // Whoever waits for this answer must not wait for ever.
            if let Some(op) = session.take_answered(tid, NO_ATTEMPT) {
                op.complete(Err(Error::Decode {
                    from: format!("osd.{}", session.osd),
                    source,
                }));
            }
        }
    }
}

impl msgr2::driver::Handler for OsdHandler {
    fn message(&self, message: Message) {
        let Some((objecter, session)) = self.objecter.upgrade().zip(self.session.upgrade()) else {
            return;
        };
        if let Err(error) = self.handle(&objecter, &session, message) {
            tracing::warn!(osd = %session.osd, %error, "something that cannot be understood");
        }
    }

    fn closed(&self, error: msgr2::Error) {
        if let Some(session) = self.session.upgrade() {
            tracing::debug!(osd = %session.osd, %error, "lost the connection");
            session.disconnected(self.generation);
            if let Some(objecter) = self.objecter.upgrade() {
                objecter.lingering.disconnected(session.osd);
            }
        }
    }
}
