//! Looking for the user's key again where the configuration says it is, after the one in use was
//! refused: it may have been rotated.
//!
//! Reading may take as long as a file system hangs, so this goes on beside everything else that is
//! done with monitors.

use std::sync::atomic::{AtomicU64, Ordering};

use denc::GlobalId;
use tokio::sync::{Notify, oneshot, watch};

use super::MonClient;
use crate::Error;

/// What the monitors have refused, and how many keys there have been.
#[derive(Debug)]
pub(super) struct KeySearch {
    refused: watch::Sender<Option<Refused>>,
    /// The number of the key in use.
    number: AtomicU64,
    /// There is something to show to monitors that they have not refused.
    untried: Notify,
}

/// What the monitors have refused.
#[derive(Clone, Debug)]
struct Refused {
    proof: Proof,
    /// How they said so.
    error: Error,
}

/// What this client shows to monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// The number of the key that is used.
    key: u64,
    /// Whom the client claims to be, 0 for nobody yet.
    identity: GlobalId,
}

impl KeySearch {
    pub(super) fn new() -> Self {
        Self {
            refused: watch::Sender::new(None),
            number: AtomicU64::new(0),
            untried: Notify::new(),
        }
    }

    /// The monitors would not have `proof`: asks for another key. If there is none, the client tries to
    /// be somebody else, and fails what cannot be done without the monitors if they refuse that as
    /// well. A search under way is not disturbed.
    pub(super) fn refused(&self, proof: Proof, error: Error) {
        self.refused.send_replace(Some(Refused { proof, error }));
    }

    /// Waits until there is something to show to monitors that they have not refused.
    pub(super) async fn untried(&self) {
        self.untried.notified().await;
    }
}

impl MonClient {
    /// What is shown to monitors from now on.
    pub(super) fn proof(&self) -> Proof {
        Proof {
            key: self.keys.number.load(Ordering::Acquire),
            identity: self.messenger.credentials.claimed_identity(),
        }
    }

    /// Looks for keys whenever one has been refused, for ever.
    ///
    /// # Cancellation
    /// What is being read is not used.
    pub(super) async fn look_for_keys(&self) {
        let mut refusals = self.keys.refused.subscribe();
        while refusals.changed().await.is_ok() {
            let Some(Refused { proof, error }) = refusals.borrow_and_update().clone() else {
                continue;
            };
            // What was refused before a key was found, or another identity claimed, says nothing of
            // what is shown now.
            if proof != self.proof() {
                continue;
            }
            if self.reload_key().await {
                self.wishes.tickets();
                self.keys.untried.notify_one();
            } else if proof == self.proof() {
                self.stay_refused(proof, error);
            }
        }
    }

    /// There is no other key to try.
    fn stay_refused(&self, proof: Proof, error: Error) {
        let credentials = &self.messenger.credentials;
        let is_claim = proof.identity != GlobalId(0);
        credentials.doubt_identity(is_claim);
        if is_claim {
            // The monitors may have forgotten us while we were away.
            tracing::debug!("the monitors do not take this client back as who it was");
            self.keys.untried.notify_one();
        } else if !credentials.serve_osds() {
            self.objecter.not_let_in(&error);
        }
    }

    /// Gives true if there is another key, which is used from now on.
    async fn reload_key(&self) -> bool {
        let config = self.config.load_full();
        let (sender, found) = oneshot::channel();
        // A thread of its own: the runtime would wait for one of its own when it ends.
        let thread = std::thread::Builder::new().name("key search".to_string());
        let started = thread.spawn(move || {
            let _ = sender.send(config.key());
        });
        if let Err(error) = started {
            tracing::warn!(%error, "the user's key was refused, and cannot be looked for");
            return false;
        }
        let key = match found.await {
            Ok(Ok(key)) => key,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the user's key was refused, and cannot be read again");
                return false;
            }
            Err(_) => return false,
        };
        let is_other = self.messenger.credentials.set_key(key);
        if is_other {
            self.keys.number.fetch_add(1, Ordering::Release);
            tracing::info!("the user's key was changed, the new one is used");
        }
        is_other
    }
}
