//! The session with the monitor that was found.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use denc::{Decode, EntityAddr, Epoch, Reader, Writer};
use msgr2::Message;
use msgr2::driver::Link;
use tokio::time::interval;

use super::requests::Answer;
use super::subscriptions::{MONMAP, OSDMAP};
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
    renewal: Option<cephx::Renewal>,
}

impl Session {
    pub(super) fn send(&self, message: Message) {
        // A lost connection is reported to the handler, and everything is sent again on the next.
        let _ = self.link.send(message);
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
        loop {
            let opened = self.hunt().await;
            tracing::debug!(addr = %opened.addr, "connected to a monitor");
            self.begin(opened);
            self.serve().await;
            self.status
                .send_replace(Status::Hunting(Default::default()));
        }
    }

    /// Uses a connection from now on: subscribes, and asks again what has not been answered.
    fn begin(&self, opened: Opened) {
        if let Some(granted) = opened.granted {
            self.messenger.credentials.adopt(granted);
        }
        let mut state = self.lock();
        state.session = Some(Session {
            link: opened.link,
            addr: opened.addr,
            generation: opened.generation,
            renewal: None,
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
    async fn serve(&self) {
        let mut ping = interval(self.timing().ping_interval);
        loop {
            tokio::select! {
                _ = ping.tick() => {
                    if !self.ping() {
                        return;
                    }
                    self.renew_tickets();
                }
                () = self.wishes.woken() => {}
            }
            if self.lock().session.is_none() {
                return;
            }
            self.fulfil_wishes();
        }
    }

    /// Asks for a sign of life. Gives false if there has been none for too long.
    fn ping(&self) -> bool {
        let mut state = self.lock();
        let Some(session) = &state.session else {
            return false;
        };
        let silence = session.link.last_heard().elapsed();
        if self
            .timing()
            .ping_timeout
            .is_some_and(|limit| silence > limit)
        {
            tracing::warn!(addr = %session.addr, "the monitor has gone silent");
            state.session = None;
            return false;
        }
        let _ = session.link.keepalive(SystemTime::now().into());
        true
    }

    fn fulfil_wishes(&self) {
        if self.wishes.take_tickets() {
            self.renew_tickets();
        }
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
        let Some(session) = &state.session else {
            return;
        };
        let (version, compat_version) = MonSubscribe::VERSION;
        session.send(Message {
            kind: kind::MON_SUBSCRIBE,
            priority: PRIORITY,
            version,
            compat_version,
            front: Writer::encode(&MonSubscribe {
                what: state.subscriptions.wanted(),
                hostname: self.config.load().host(),
            }),
            ..Message::default()
        });
    }

    /// Asks for tickets that are missing or about to expire.
    fn renew_tickets(&self) {
        let mut state = self.lock();
        let monmap_epoch = state
            .monmap
            .as_ref()
            .map_or(Epoch(0), |monmap| monmap.epoch);
        let Some(session) = state
            .session
            .as_mut()
            .filter(|session| session.renewal.is_none())
        else {
            return;
        };
        let Some(renewal) = self.messenger.credentials.renewal() else {
            return;
        };
        session.send(Message {
            kind: kind::AUTH,
            priority: PRIORITY,
            version: 1,
            compat_version: 1,
            front: Writer::encode(&Auth {
                protocol: msgr2::AuthMethod::CEPHX.0,
                payload: &renewal.payload(),
                monmap_epoch,
            }),
            ..Message::default()
        });
        session.renewal = Some(renewal);
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
        let Some(renewal) = renewal else {
            return Ok(());
        };
        if let Err(errno) = crate::Errno::check(reply.result) {
            tracing::warn!(%errno, message = reply.message, "the monitor renews no tickets");
            self.keys.refused(self.keys.number(), None);
        } else if let Err(error) = self
            .messenger
            .credentials
            .handle_renewal(&renewal, &reply.payload)
        {
            tracing::warn!(%error, "the monitor's tickets are of no use");
            self.keys.refused(self.keys.number(), None);
        } else {
            self.objecter.tickets_renewed();
        }
        Ok(())
    }

    /// The connection of this generation is gone.
    fn closed(&self, generation: u64, error: &msgr2::Error) {
        let mut state = self.lock();
        if state
            .session
            .as_ref()
            .is_some_and(|session| session.generation == generation)
        {
            tracing::info!(%error, "lost the monitor");
            state.session = None;
            self.wishes.wake();
        }
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
