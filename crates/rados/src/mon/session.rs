//! The session with the monitor that was found.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use denc::{Decode, EntityAddr, Epoch, Reader, Writer};
use msgr2::Message;
use msgr2::driver::Link;
use tokio::time::{Instant, sleep_until};

use super::configuration::Timing;
use super::patience::Patience;
use super::requests::Answer;
use super::subscriptions::{MONMAP, OSDMAP};
use super::vitals::{Rhythm, Verdict, Vitals};
use super::{MonClient, State, Status};
use crate::auth::Granted;
use crate::connections::{Connection, Peer};
use crate::msg::kind;
use crate::msg::mon::{
    Auth, AuthReply, MonCommandAck, MonGetVersionReply, MonMapMessage, MonSubscribe,
};
use crate::msg::osd::OsdMapMessage;

/// What clients use towards monitors; it has no meaning in the protocol.
pub(super) const PRIORITY: u16 = 127;
/// How often a monitor that owes something is asked for a sign of life.
const URGENT_PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long tickets are waited for on one session.
const RENEWAL_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a monitor that has let us in.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) link: Link,
    pub(super) granted: Option<Granted>,
    pub(super) addr: EntityAddr,
    pub(super) generation: u64,
}

/// The connection in use.
#[derive(Debug)]
pub(super) struct Session {
    link: Link,
    addr: EntityAddr,
    /// Tells connections apart, so that what an old one still says is not taken for the new one's.
    generation: u64,
    /// The request for tickets that has not been answered.
    renewal: Option<Renewing>,
    vitals: Vitals,
}

/// A request for tickets.
#[derive(Debug)]
struct Renewing {
    request: cephx::Renewal,
    asked: Instant,
}

impl Renewing {
    fn is_overdue(&self) -> bool {
        Instant::now() >= self.overdue_at()
    }

    /// When another monitor is to be asked.
    fn overdue_at(&self) -> Instant {
        self.asked + RENEWAL_LIMIT
    }
}

impl Session {
    /// Sends something that somebody waits for, and asks for a sign of life.
    pub(super) fn ask(&mut self, message: Message) {
        // A lost connection is reported to the handler, and everything is sent again on the next.
        let _ = self.link.send(message);
        self.vitals.asked_urgently(Instant::now());
        self.ask_for_life();
    }

    fn ask_for_life(&self) {
        let _ = self.link.keepalive(SystemTime::now().into());
    }
}

impl MonClient {
    /// The connection in use, if there is one.
    pub(crate) fn connection(&self) -> Option<Connection> {
        let state = self.lock();
        let link = &state.session.as_ref()?.link;
        Some(Connection::new(Peer::Monitor, link.info()))
    }

    /// Finds monitors and serves the sessions with them, for ever: the task's body.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::join!(
            self.stay_in_touch(),
            self.look_for_keys(),
            self.check_pools()
        );
    }

    async fn stay_in_touch(self: &Arc<Self>) {
        let mut patience = Patience::new();
        loop {
            let opened = self.hunt(&mut patience).await;
            tracing::debug!(addr = %opened.addr, "connected to a monitor");
            self.begin(opened);
            self.serve(&mut patience).await;
            self.status
                .send_replace(Status::Hunting(Default::default()));
        }
    }

    /// Uses a connection from now on: subscribes, and asks again what has not been answered.
    fn begin(&self, opened: Opened) {
        if let Some(granted) = opened.granted {
            self.messenger.credentials.adopt(granted);
            self.objecter.tickets_renewed();
        }
        let mut state = self.lock();
        state.session = Some(Session {
            link: opened.link,
            addr: opened.addr,
            generation: opened.generation,
            renewal: None,
            vitals: Vitals::default(),
        });
        self.subscribe(&mut state);
        state.requests.ask_again();
        state.send_requests(&self.messenger);
        if state
            .session
            .as_ref()
            .is_some_and(|session| session.link.is_closed())
        {
            // It ended before there was a session whose end its handler could have told.
            state.session = None;
            self.wishes.wake();
        }
        drop(state);
        self.status.send_replace(Status::Connected);
    }

    /// Does what time and wishes demand until the session is lost.
    async fn serve(&self, patience: &mut Patience) {
        while self.examine(patience) {
            self.fulfil_wishes();
            tokio::select! {
                () = sleep_until(self.next_look(patience)) => {}
                () = self.wishes.woken() => {}
            }
        }
    }

    /// Asks for a sign of life if it is time to. Gives false if the session is over, or there has been
    /// no sign for too long.
    fn examine(&self, patience: &mut Patience) -> bool {
        let timing = self.timing();
        let mut state = self.lock();
        let is_owing = state.is_owing();
        let rhythm = state.rhythm(patience, &timing);
        let Some(session) = &mut state.session else {
            return false;
        };
        if session.renewal.as_ref().is_some_and(Renewing::is_overdue) {
            tracing::warn!(addr = %session.addr, "the monitor renews no tickets");
            state.session = None;
            return false;
        }
        let heard = session.link.last_heard();
        match session.vitals.examine(Instant::now(), heard, rhythm) {
            Verdict::Wait => {}
            Verdict::Ask { has_answered } => {
                session.ask_for_life();
                // As good a time as any.
                self.messenger.buffers.trim();
                if has_answered && !is_owing {
                    patience.shrink(&timing);
                }
            }
            Verdict::Dead => {
                tracing::warn!(addr = %session.addr, "the monitor has gone silent");
                state.session = None;
                patience.grow(&timing);
                return false;
            }
        }
        true
    }

    /// When there is something to do for the session, unless it is for a wish.
    fn next_look(&self, patience: &Patience) -> Instant {
        let now = Instant::now();
        let state = self.lock();
        let Some(session) = &state.session else {
            return now;
        };
        let rhythm = state.rhythm(patience, &self.timing());
        let vitals = session.vitals.next(now, rhythm);
        if let Some(renewal) = &session.renewal {
            return vitals.min(renewal.overdue_at());
        }
        let due = self.messenger.credentials.renewal_due(now);
        due.map_or(vitals, |due| vitals.min(state.renewals.next(due)))
    }

    fn fulfil_wishes(&self) {
        let credentials = &self.messenger.credentials;
        if self.wishes.take_tickets() && !credentials.serve_osds() {
            credentials.insist();
        }
        self.renew_tickets();
        let whole = self.wishes.take_whole_osdmap();
        if self.wishes.take_osdmap() || whole {
            let mut state = self.lock();
            if whole {
                state.subscriptions.want_whole(OSDMAP);
            }
            self.subscribe_from(&mut state, whole);
        }
    }

    fn subscribe(&self, state: &mut State) {
        self.subscribe_from(state, false);
    }

    fn subscribe_from(&self, state: &mut State, whole_osdmap: bool) {
        if !whole_osdmap {
            let epoch = self.objecter.map().map_or(Epoch(0), |map| map.epoch());
            state.subscriptions.have(OSDMAP, epoch);
        }
        let (version, compat_version) = MonSubscribe::VERSION;
        let message = Message {
            kind: kind::MON_SUBSCRIBE,
            priority: PRIORITY,
            version,
            compat_version,
            front: Writer::encode(&MonSubscribe {
                what: state.subscriptions.wanted(),
                hostname: self.config.load().host(),
            }),
            ..Message::default()
        };
        if let Some(session) = &mut state.session {
            session.ask(message);
        }
    }

    /// Asks for tickets that are missing or about to expire, unless it has just been done.
    fn renew_tickets(&self) {
        let credentials = &self.messenger.credentials;
        let now = Instant::now();
        let mut state = self.lock();
        let State {
            session: Some(session),
            renewals,
            monmap,
            ..
        } = &mut *state
        else {
            return;
        };
        if session.renewal.is_some() {
            return;
        }
        match credentials.renewal_due(now).filter(|due| *due <= now) {
            None => return renewals.settled(),
            Some(due) if renewals.next(due) > now => return,
            Some(_) => renewals.asked(now),
        }
        let Some(renewal) = credentials.renewal() else {
            return;
        };
        session.ask(Message {
            kind: kind::AUTH,
            priority: PRIORITY,
            version: 1,
            compat_version: 1,
            front: Writer::encode(&Auth {
                protocol: msgr2::AuthMethod::CEPHX.0,
                payload: &renewal.payload(),
                monmap_epoch: monmap.as_ref().map_or(Epoch(0), |monmap| monmap.epoch),
            }),
            ..Message::default()
        });
        session.renewal = Some(Renewing {
            request: renewal,
            asked: now,
        });
    }

    fn handle(&self, generation: u64, message: &Message) -> denc::Result<()> {
        let front = &message.front;
        match message.kind {
            kind::MON_MAP => self.handle_monmap(front)?,
            kind::OSD_MAP => self.handle_osdmap(front)?,
            kind::CONFIG => self.handle_config(front)?,
            kind::AUTH_REPLY => self.handle_auth(generation, front)?,
            kind::MON_GET_VERSION_REPLY => {
                let reply = MonGetVersionReply::decode(&mut Reader::new("version", front))?;
                let answer = Answer {
                    version: reply.newest,
                    ..Answer::default()
                };
                self.lock().requests.answered(reply.handle, answer);
            }
            kind::MON_COMMAND_ACK => {
                let ack = MonCommandAck::decode(&mut Reader::new("command ack", front))?;
                let data = message.data.clone().into_bytes();
                let answer = Answer {
                    result: ack.result,
                    status: ack.status,
                    data,
                    ..Answer::default()
                };
                self.lock().requests.answered(message.tid, answer);
            }
            other => tracing::trace!(kind = %other, "a message that is of no interest"),
        }
        Ok(())
    }

    fn handle_monmap(&self, front: &Bytes) -> denc::Result<()> {
        let MonMapMessage(monmap) = MonMapMessage::decode(&mut Reader::new("MMonMap", front))?;
        if !self.messenger.check_fsid(monmap.fsid) {
            tracing::warn!(fsid = %monmap.fsid, "a monitor of another cluster is ignored");
            self.wishes.wake();
            self.lock().session = None;
            return Ok(());
        }
        let mut state = self.lock();
        state.subscriptions.have(MONMAP, monmap.epoch);
        state.monmap = Some(monmap);
        state.send_requests(&self.messenger);
        Ok(())
    }

    fn handle_osdmap(&self, front: &Bytes) -> denc::Result<()> {
        let maps = OsdMapMessage::parse(front)?;
        if self.messenger.check_fsid(maps.fsid) {
            self.objecter.handle_maps(&maps);
        }
        Ok(())
    }

    fn handle_auth(&self, generation: u64, front: &Bytes) -> denc::Result<()> {
        let reply = AuthReply::decode(&mut Reader::new("MAuthReply", front))?;
        let renewal = {
            let mut state = self.lock();
            let session = state
                .session
                .as_mut()
                .filter(|session| session.generation == generation);
            session.and_then(|session| session.renewal.take())
        };
        let Some(Renewing { request, .. }) = renewal else {
            return Ok(());
        };
        let credentials = &self.messenger.credentials;
        let taken = match crate::Errno::check(reply.result) {
            Err(errno) => Err(format!("{errno} {}", reply.message)),
            Ok(_) => credentials
                .handle_renewal(&request, &reply.payload)
                .map_err(|error| error.to_string()),
        };
        match taken {
            Ok(()) => self.objecter.tickets_renewed(),
            Err(reason) => {
                // Whoever lets us in anew gives tickets, or says that the key is no good.
                tracing::warn!(reason, "the monitor renews no tickets");
                self.end(generation);
            }
        }
        // Others may be due.
        self.wishes.wake();
        Ok(())
    }

    /// The connection of this generation is gone.
    fn closed(&self, generation: u64, error: &msgr2::Error) {
        if self.end(generation) {
            tracing::info!(%error, "lost the monitor");
        }
    }

    /// Ends the session over the connection of this generation. Gives false if there is none.
    fn end(&self, generation: u64) -> bool {
        let mut state = self.lock();
        let is_current = state
            .session
            .as_ref()
            .is_some_and(|session| session.generation == generation);
        if is_current {
            state.session = None;
            self.wishes.wake();
        }
        is_current
    }
}

impl State {
    /// How to watch over the monitor. One that owes something is not waited for longer than another
    /// one would be when looking for one that answers.
    fn rhythm(&self, patience: &Patience, timing: &Timing) -> Rhythm {
        let (interval, limit) = (timing.ping_interval, timing.ping_timeout);
        if !self.is_owing() {
            return Rhythm { interval, limit };
        }
        Rhythm {
            interval: interval.min(URGENT_PING_INTERVAL),
            limit: limit.map(|limit| limit.min(patience.limit(timing))),
        }
    }

    /// Whether somebody waits for the monitor.
    fn is_owing(&self) -> bool {
        self.session.as_ref().is_some_and(|session| {
            session.vitals.are_urgent() || session.renewal.is_some() || self.requests.are_asked()
        })
    }
}

/// Takes in what a monitor says.
#[derive(Debug)]
pub(super) struct MonitorHandler {
    client: Weak<MonClient>,
    generation: u64,
}

impl MonitorHandler {
    pub(super) fn new(client: &Arc<MonClient>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            client: Arc::downgrade(client),
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }
}

impl msgr2::driver::Handler for MonitorHandler {
    fn message(&self, message: Message) {
        let Some(client) = self.client.upgrade() else {
            return;
        };
        if let Err(error) = client.handle(self.generation, &message) {
            tracing::warn!(%error, "a monitor sent something that cannot be understood");
        }
    }

    fn closed(&self, error: msgr2::Error) {
        if let Some(client) = self.client.upgrade() {
            client.closed(self.generation, &error);
        }
    }
}
