//! The monitor client: finds a monitor, stays with it while it answers, and asks it for maps,
//! tickets and the results of commands.
//!
//! Messages are taken in synchronously, under one lock, by the connection's reader. One task, which
//! belongs to the [`Cluster`](crate::Cluster), hunts for monitors, does what time or [`Wishes`] demand,
//! and beside that looks for another key when the monitors refuse the one in use (ceph: src/mon/MonClient.h).

mod candidates;
mod configuration;
#[cfg(feature = "dns")]
mod dns;
mod hunt;
mod key_search;
mod patience;
mod renewals;
mod requests;
mod session;
mod subscriptions;
#[cfg(test)]
mod tests;
mod vitals;
mod wishes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use denc::Epoch;
use tokio::sync::watch;

use self::candidates::Monitor;
use self::configuration::Timing;
use self::key_search::KeySearch;
use self::renewals::Renewals;
use self::requests::{Question, Requests};
use self::session::Session;
use self::subscriptions::Subscriptions;
pub(crate) use self::wishes::Wishes;
use crate::cluster::CommandOutput;
use crate::config::Config;
use crate::messenger::Messenger;
use crate::monmap::MonMap;
use crate::objecter::Objecter;
use crate::{Attempts, Errno, Error, Result};

/// The client of the monitors.
#[derive(Debug)]
pub(crate) struct MonClient {
    messenger: Arc<Messenger>,
    objecter: Arc<Objecter>,
    wishes: Arc<Wishes>,
    keys: KeySearch,
    /// The monitors of the configuration, for as long as there is no monitor map.
    configured: Vec<Monitor>,
    /// The configuration, with what the monitors have added to it.
    config: ArcSwap<Config>,
    timing: ArcSwap<Timing>,
    /// Whether the monitors' part of the configuration is known, or not wanted.
    is_configured: watch::Sender<bool>,
    state: Mutex<State>,
    status: watch::Sender<Status>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    monmap: Option<MonMap>,
    subscriptions: Subscriptions,
    requests: Requests,
    renewals: Renewals,
}

/// How far the client has got.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Hunting, with what happened so far.
    Hunting(Attempts),
    /// Connected and authenticated.
    Connected,
    /// The monitors refuse us, which trying again will not change.
    Refused(Error),
}

impl MonClient {
    /// A client of the monitors that `config` or DNS names. It does nothing until [`run`](Self::run).
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn new(
        messenger: Arc<Messenger>,
        objecter: Arc<Objecter>,
        wishes: Arc<Wishes>,
        config: &Config,
    ) -> Result<Self> {
        let wants_config = config.uses_monitor_options()?;
        Ok(Self {
            messenger,
            objecter,
            wishes,
            keys: KeySearch::new(),
            configured: candidates::of_config(config).await?,
            timing: ArcSwap::from_pointee(Timing::of_config(config)?),
            config: ArcSwap::from_pointee(config.clone()),
            is_configured: watch::Sender::new(!wants_config),
            state: Mutex::new(State {
                subscriptions: Subscriptions::new(wants_config),
                ..State::default()
            }),
            status: watch::Sender::new(Status::Hunting(Attempts::default())),
        })
    }

    /// How far the client has got, and word of every change.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The monitors, once they are known.
    pub(crate) fn monmap(&self) -> Option<MonMap> {
        self.lock().monmap.clone()
    }

    /// Sends a command and waits for its result, over as many monitors as it takes.
    ///
    /// # Cancellation
    /// Dropping the future forgets the command, which may be carried out all the same.
    pub(crate) async fn command(
        &self,
        command: &serde_json::Value,
        input: Bytes,
    ) -> Result<CommandOutput> {
        let name = command
            .get("prefix")
            .and_then(|prefix| prefix.as_str())
            .unwrap_or_default();
        let question = Question::Command {
            name: name.to_string(),
            json: command.to_string(),
            input,
        };
        let answer = self.ask(question).await?;
        match Errno::check(answer.result) {
            Ok(_) => Ok(CommandOutput {
                status: answer.status,
                data: answer.data,
            }),
            Err(errno) => Err(Error::Command {
                command: name.to_string(),
                errno,
                status: answer.status,
            }),
        }
    }

    /// The newest epoch of the OSD map that the monitors have.
    ///
    /// # Cancellation
    /// Dropping the future forgets the question.
    pub(crate) async fn newest_osdmap(&self) -> Result<Epoch> {
        let answer = self.ask(Question::Version { what: "osdmap" }).await?;
        Ok(Epoch(u32::try_from(answer.version).unwrap_or(u32::MAX)))
    }

    async fn ask(&self, question: Question) -> Result<requests::Answer> {
        let limit = self.timing().op_timeout;
        let what = question.to_string();
        let pending = {
            let mut state = self.lock();
            let (tid, pending) = state.requests.add(question);
            state.send_requests(&self.messenger);
            requests::Pending::new(tid, pending, self)
        };
        // Somebody waits for the monitor now, so that it is examined more often.
        self.wishes.wake();
        match limit {
            Some(limit) => tokio::time::timeout(limit, pending.answer())
                .await
                .unwrap_or(Err(Error::TimedOut { what, limit })),
            None => pending.answer().await,
        }
    }

    /// How many questions have not been answered.
    #[cfg(test)]
    pub(crate) fn open_questions(&self) -> usize {
        self.lock().requests.len()
    }

    /// Fails everything that waits for an answer.
    pub(crate) fn shut_down(&self) {
        let mut state = self.lock();
        state.session = None;
        state.requests.clear();
    }

    /// Answers the objecter's question whether a pool that its map does not show exists: which map is
    /// the newest (ceph: src/osdc/Objecter.cc, `Objecter::_send_op_map_check`).
    async fn check_pools(&self) {
        loop {
            let ops = self.objecter.operations_without_pool().await;
            match self.newest_osdmap().await {
                Ok(newest) => self.objecter.newest_map_is(newest, &ops),
                // Asked again, since they still wait.
                Err(error) => tracing::debug!(%error, "cannot ask for the newest OSD map"),
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned lock guards a consistent state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Asks what has not been asked in this session.
    fn send_requests(&mut self, messenger: &Messenger) {
        if let Some(session) = &mut self.session {
            for message in self.requests.messages(messenger.fsid()) {
                session.ask(message);
            }
        }
    }
}
