//! Finding a monitor that answers: a few at a time, the first that lets us in is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use denc::EntityAddr;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::candidates::{self, Monitor};
use super::key_search::Proof;
use super::patience::Patience;
use super::session::{MonitorHandler, Opened};
use super::{MonClient, Status};
use crate::auth::{self, random};
use crate::{Attempts, Error, features};

impl MonClient {
    /// Tries monitors until one lets us in.
    ///
    /// # Cancellation
    /// Ends the attempts.
    pub(super) async fn hunt(self: &Arc<Self>, patience: &mut Patience) -> Opened {
        let mut monitors = Vec::new();
        loop {
            if monitors.is_empty() {
                monitors = self.shuffled_monitors();
            }
            let timing = self.timing();
            // A monitor that is not preferred must not win a race against one that is.
            let priority = monitors.first().map(|monitor| monitor.priority);
            let equals = monitors
                .iter()
                .take_while(|monitor| Some(monitor.priority) == priority);
            let at_once = equals.count().min(timing.hunt_parallel);
            let rest = monitors.split_off(at_once);
            let round = std::mem::replace(&mut monitors, rest);
            let limit = patience.limit(&timing);
            let started = Instant::now();
            // Where there are others they are tried before any is tried again.
            let tries_again = monitors.is_empty();
            if let Some(opened) = self.try_at_once(round, limit, tries_again).await {
                patience.shrink(&timing);
                return opened;
            }
            patience.grow(&timing);
            if tries_again {
                // Attempts that fail at once must not turn into a storm of connections.
                tokio::select! {
                    () = sleep_until(started + limit.min(MAX_PAUSE)) => {}
                    () = self.keys.untried() => {}
                }
            }
        }
    }

    /// The known monitors: the preferred ones first, and otherwise in random order so that clients
    /// spread over them.
    fn shuffled_monitors(&self) -> Vec<Monitor> {
        let mut monitors = match &self.lock().monmap {
            Some(monmap) => candidates::of_monmap(monmap),
            None => Vec::new(),
        };
        if monitors.is_empty() {
            monitors.clone_from(&self.configured);
        }
        candidates::shuffle(monitors, |bound| {
            let mut bytes = [0; 8];
            random(&mut bytes);
            u64::from_le_bytes(bytes) % bound.max(1)
        })
    }

    /// Tries these monitors side by side. The first success ends the other attempts.
    async fn try_at_once(
        self: &Arc<Self>,
        monitors: Vec<Monitor>,
        limit: Duration,
        tries_again: bool,
    ) -> Option<Opened> {
        let mut attempts = JoinSet::new();
        for monitor in monitors {
            let client = Arc::clone(self);
            attempts.spawn(async move { client.knock(&monitor, limit, tries_again).await });
        }
        while let Some(attempt) = attempts.join_next().await {
            match attempt {
                Ok(Some(opened)) => return Some(opened),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "an attempt to reach a monitor ended early"),
            }
        }
        None
    }

    /// Tries a monitor, and if wanted again and again for as long as `limit`: one that is about to
    /// start, or to join a quorum, turns clients away and takes them a moment later (ceph:
    /// src/msg/async/ProtocolV2.cc, `ProtocolV2::_fault`).
    async fn knock(
        self: Arc<Self>,
        monitor: &Monitor,
        limit: Duration,
        tries_again: bool,
    ) -> Option<Opened> {
        let started = Instant::now();
        let backoff = self.timing().connect_backoff;
        let mut pause = backoff.initial.max(SHORTEST_BACKOFF);
        loop {
            let proof = self.proof();
            let failures = match self.try_monitor(monitor.clone(), limit).await {
                Ok(opened) => return Some(opened),
                Err(failures) => failures,
            };
            let is_refused = failures.iter().any(|failure| failure.refused.is_some());
            self.report(failures, proof);
            // A refusal is no matter of time.
            if is_refused || !tries_again || started.elapsed() + pause >= limit {
                return None;
            }
            sleep(pause).await;
            pause = pause
                .saturating_mul(2)
                .min(backoff.max)
                .max(SHORTEST_BACKOFF);
        }
    }

    /// Tries the places of one monitor one after the other.
    async fn try_monitor(
        self: &Arc<Self>,
        monitor: Monitor,
        limit: Duration,
    ) -> Result<Opened, Vec<Failure>> {
        let mut failures = Vec::new();
        let mut places = VecDeque::from(monitor.places);
        let mut seen_v1 = false;
        while let Some(place) = places.pop_front() {
            let addrs = match candidates::resolve(&place).await {
                Ok(addrs) => addrs,
                Err(reason) => {
                    failures.push(Failure {
                        place: place.to_string(),
                        reason,
                        refused: None,
                    });
                    continue;
                }
            };
            for addr in addrs {
                let error = match self.try_addr(addr, limit).await {
                    Ok(opened) => return Ok(opened),
                    Err(error) => error,
                };
                if let (msgr2::Error::V1Banner, Some(socket), false) =
                    (&error, addr.socket, seen_v1)
                {
                    seen_v1 = true;
                    let default = candidates::default_place(socket.ip());
                    if socket.port() != default.port && !places.contains(&default) {
                        places.push_back(default);
                    }
                }
                failures.push(self.failure(addr, &error));
            }
        }
        Err(failures)
    }

    async fn try_addr(
        self: &Arc<Self>,
        addr: EntityAddr,
        limit: Duration,
    ) -> Result<Opened, msgr2::Error> {
        let handler = Arc::new(MonitorHandler::new(self));
        let generation = handler.generation();
        let (link, granted) = self.messenger.connect_monitor(addr, limit, handler).await?;
        Ok(Opened {
            link,
            granted,
            addr,
            generation,
        })
    }

    fn failure(&self, addr: EntityAddr, error: &msgr2::Error) -> Failure {
        let refused = auth::refusal(error).map(|reason| Error::AuthRefused {
            addr,
            user: self.messenger.credentials.name().to_string(),
            reason,
        });
        let place = match addr.socket {
            Some(socket) => format!("v2:{socket}"),
            None => addr.to_string(),
        };
        Failure {
            place,
            reason: with_hint(error),
            refused,
        }
    }

    /// Tells whoever waits for a connection what has happened when `proof` was shown.
    fn report(&self, failures: Vec<Failure>, proof: Proof) {
        let mut refused = failures.iter().find_map(|failure| failure.refused.clone());
        // The key of a client that has never been let in has just been read.
        if let Some(error) = &refused
            && self.messenger.global_id().0 != 0
        {
            self.keys.refused(proof, error.clone());
        }
        self.status.send_modify(|status| {
            if let Some(error) = refused.take() {
                *status = Status::Refused(error);
                return;
            }
            let mut attempts = match status {
                Status::Hunting(attempts) => std::mem::take(attempts),
                _ => Attempts::default(),
            };
            for Failure { place, reason, .. } in failures {
                tracing::debug!(%place, %reason, "cannot reach a monitor");
                attempts.0.retain(|(known, _)| *known != place);
                attempts.0.push((place, reason));
            }
            *status = Status::Hunting(attempts);
        });
    }
}

/// An error, what caused it, and what to do about it where that is known.
fn with_hint(error: &msgr2::Error) -> String {
    let text = with_causes(error);
    match error {
        msgr2::Error::V1Banner => {
            format!(
                "{text}, this client v2: `ceph mon enable-msgr2` makes monitors speak it, if their \
                 ms_bind_msgr2 is true"
            )
        }
        msgr2::Error::MissingFeatures(missing) => {
            format!(
                "{text}, which this client lacks: {}",
                features::names(*missing)
            )
        }
        msgr2::Error::PeerLacksFeatures(missing) => {
            format!("{text}: {}", features::names(*missing))
        }
        _ => text,
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The longest pause between rounds whose attempts fail at once.
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// Monitors are not tried more often than this, whatever is configured.
const SHORTEST_BACKOFF: Duration = Duration::from_millis(50);

/// Why a monitor could not be used.
#[derive(Debug)]
pub(super) struct Failure {
    place: String,
    reason: String,
    /// Set if the monitor would not have us, whatever monitor it is.
    refused: Option<Error>,
}

#[cfg(test)]
mod tests {
    use denc::Features;

    use super::with_hint;

    #[test]
    fn features_that_are_missing_are_named() {
        let features = Features(1 << 18 | 1 << 50);
        let text = with_hint(&msgr2::Error::MissingFeatures(features));
        assert!(
            text.ends_with("which this client lacks: CRUSH_TUNABLES, SERVER_TENTACLE"),
            "{text}"
        );
        let text = with_hint(&msgr2::Error::PeerLacksFeatures(Features(1 << 59)));
        assert!(text.ends_with(": MSG_ADDR2"), "{text}");
    }
}
