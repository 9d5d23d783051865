//! Looking for the user's key again where the configuration says it is, after the one in use was
//! refused: it may have been rotated.
//!
//! Reading may take as long as a file system hangs, so this goes on beside everything else that is
//! done with monitors.

use std::sync::atomic::{AtomicU64, Ordering};

use denc::GlobalId;
use tokio::sync::{oneshot, watch};

use super::MonClient;

/// What the monitors have refused, and how many keys there have been.
#[derive(Debug)]
pub(super) struct KeySearch {
    refused: watch::Sender<Option<Refused>>,
    /// The number of the key in use.
    number: AtomicU64,
}

/// What the monitors have refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// The number of the key that was used.
    key: u64,
    /// Whom the client claimed to be when it was turned away, if it was somebody already.
    identity: Option<GlobalId>,
}

impl KeySearch {
    pub(super) fn new() -> Self {
        Self {
            refused: watch::Sender::new(None),
            number: AtomicU64::new(0),
        }
    }

    /// The number of the key in use, to be taken before it is used.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Asks for another key. If there is none, the client gives up `identity`. A search under way
    /// is not disturbed.
    pub(super) fn refused(&self, key: u64, identity: Option<GlobalId>) {
        self.refused.send_replace(Some(Refused { key, identity }));
    }
}

impl MonClient {
    /// Looks for keys whenever one has been refused, for ever.
    ///
    /// # Cancellation
    /// What is being read is not used.
    pub(super) async fn look_for_keys(&self) {
        let mut refusals = self.keys.refused.subscribe();
        while refusals.changed().await.is_ok() {
            let Some(refused) = *refusals.borrow_and_update() else {
                continue;
            };
            // What was refused before a key was found says nothing of that one.
            if refused.key != self.keys.number() {
                continue;
            }
            if self.reload_key().await {
                self.wishes.tickets();
            } else if let Some(identity) = refused.identity
                && identity == self.messenger.global_id()
            {
                // The monitors may have forgotten us while we were away.
                tracing::warn!("the monitors do not take this client back as who it was");
                self.messenger.credentials.forget_identity();
            }
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
