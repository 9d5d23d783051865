//! The map of an image's head while this client has the image's lock, kept in memory and as it is
//! stored (ceph: src/librbd/ObjectMap.cc).

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rados::Errno;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::bit_vector::{BitVector, ObjectState};
use super::stored::StoredMap;
use super::tracker::{ClaimId, Outcome, Progress, Purpose, Tracker, Update, UpdateId};
use crate::{Error, Result};

/// The map of the head. Dropping it without [`close`](Self::close) leaves the map locked, for the next
/// owner of the image's lock to break.
#[derive(Debug)]
pub(crate) struct ObjectMap {
    shared: Arc<Shared>,
    /// Held by whoever makes the map anew, one at a time.
    rebuilding: tokio::sync::Mutex<()>,
    sender: AbortHandle,
}

/// Who must hear what becomes of the map.
pub(crate) trait Owner: Send + Sync {
    /// The header has just been told that the map cannot be relied on.
    fn invalidated(&self);
    /// OSDs say that this client does not have the image's lock.
    fn lock_doubted(&self);
    /// The error for what needed the lock then.
    fn lock_lost(&self) -> Error;
    /// How long may be waited for others who write to the same objects, if not for ever, and the error
    /// then.
    fn patience(&self) -> Option<(Duration, Error)>;
}

struct Shared {
    stored: StoredMap,
    owner: Box<dyn Owner>,
    state: Mutex<State>,
    /// Wakes the sender: there may be changes to send.
    work: Notify,
    /// Claims may have been granted or be gone.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    tracker: Tracker,
    /// Whether the map can be relied on. If not, it is kept all the same, and the header says so.
    is_valid: bool,
    /// Why a change was refused last.
    refusal: Option<Error>,
}

/// The right to write to objects, or to remove them: what the map says is right for that. Given up when
/// dropped.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    id: ClaimId,
}

impl ObjectMap {
    /// Keeps a map that has been loaded.
    pub(super) fn new(
        stored: StoredMap,
        owner: Box<dyn Owner>,
        map: BitVector,
        is_valid: bool,
    ) -> Self {
        let shared = Arc::new(Shared {
            stored,
            owner,
            state: Mutex::new(State {
                tracker: Tracker::new(map),
                is_valid,
                refusal: None,
            }),
            work: Notify::new(),
            changed: Notify::new(),
        });
        let sender = tokio::spawn(send_updates(Arc::clone(&shared))).abort_handle();
        Self {
            shared,
            rebuilding: tokio::sync::Mutex::new(()),
            sender,
        }
    }

    /// Whether an object may exist. Only true as long as the image's lock is held.
    pub(crate) fn may_exist(&self, object_no: u64) -> bool {
        let state = self.shared.lock();
        !state.is_valid || state.tracker.may_exist(object_no)
    }

    /// Whether the map can be relied on.
    pub(crate) fn is_valid(&self) -> bool {
        self.shared.lock().is_valid
    }

    /// What the map says of an object of which nothing is changing; `None` of others.
    pub(super) fn settled_state(&self, object_no: u64) -> Option<ObjectState> {
        let state = self.shared.lock();
        let settled = state.tracker.is_settled(object_no);
        settled
            .then(|| state.tracker.map().get(object_no))
            .flatten()
    }

    /// How many objects the map has.
    pub(super) fn len(&self) -> u64 {
        self.shared.lock().tracker.map().len()
    }

    /// Waits until the map says that these objects may exist. They may be written while the claim is
    /// held. At once if it does.
    ///
    /// # Errors
    /// If this client has lost the image's lock, and what the cluster fails with: nothing may be written
    /// then. [`Error::WritesUnfinished`] if operations may take only so long.
    ///
    /// # Cancellation
    /// The claim is given up.
    pub(crate) async fn claim_write(&self, objects: Range<u64>) -> Result<Claim> {
        self.claim(Purpose::Write, objects).await
    }

    /// Waits until nobody else has a claim on these objects, and the map says that they are being
    /// removed. Those of them that exist may be removed while the claim is held;
    /// [`finish`](Claim::finish) it then.
    ///
    /// # Errors
    /// As [`claim_write`](Self::claim_write).
    ///
    /// # Cancellation
    /// The claim is given up. The objects count as existing.
    pub(crate) async fn claim_removal(&self, objects: Range<u64>) -> Result<Claim> {
        self.claim(Purpose::Remove, objects).await
    }

    /// Gives the map another number of objects, when the image is about to grow or has been shrunk.
    ///
    /// # Errors
    /// As [`claim_write`](Self::claim_write). If the map alone is at fault, it is marked as invalid.
    ///
    /// # Cancellation
    /// The stored map may have been resized: the image must not be grown then without doing this again.
    pub(crate) async fn resize(&self, objects: u64) -> Result<()> {
        let _claim = self.claim(Purpose::Replace, 0..0).await?;
        let state = match self.shared.stored.resize(objects).await {
            Ok(()) => ObjectState::Nonexistent,
            Err(error) => {
                self.shared.invalidate(error).await?;
                ObjectState::Exists
            }
        };
        self.shared.lock().tracker.resize(objects, state);
        Ok(())
    }

    /// The right to make the map anew.
    pub(super) async fn rebuilding(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.rebuilding.lock().await
    }

    /// Forgets what the map says of the image's objects, and marks it as invalid, until
    /// [`found`](Self::found) has told of all of them and [`save`](Self::save) is called.
    pub(super) async fn forget(&self, objects: u64) -> Result<()> {
        let _claim = self.claim(Purpose::Replace, 0..0).await?;
        self.shared.mark_invalid().await?;
        // Changes are stored meanwhile, too; it does not matter if they cannot be.
        if let Err(error) = self.shared.stored.clear(objects).await {
            tracing::warn!(%error, object = self.shared.stored.object, "cannot clear the object map");
        }
        self.shared.lock().tracker.forget(objects);
        Ok(())
    }

    pub(super) fn found(&self, object_no: u64, state: ObjectState) {
        self.shared.lock().tracker.found(object_no, state);
    }

    /// Stores the map as it is now and says that it can be relied on.
    pub(super) async fn save(&self) -> Result<()> {
        let _claim = self.claim(Purpose::Replace, 0..0).await?;
        let map = self.shared.lock().tracker.map().clone();
        self.shared.stored.save(&map).await?;
        self.shared.stored.mark(true).await?;
        self.shared.lock().is_valid = true;
        Ok(())
    }

    /// Says that the map cannot be relied on.
    ///
    /// # Errors
    /// If this client has lost the image's lock, and what the cluster fails with.
    pub(super) async fn mark_invalid(&self) -> Result<()> {
        self.shared.mark_invalid().await
    }

    /// Gives up the map's lock, after changes that are on the way. There must be no claims any more.
    ///
    /// # Cancellation
    /// The map may stay locked.
    pub(crate) async fn close(&self) {
        self.shared
            .until(|tracker| tracker.is_idle().then_some(()))
            .await;
        self.shared.stored.unlock().await;
    }

    async fn claim(&self, purpose: Purpose, objects: Range<u64>) -> Result<Claim> {
        let (claim, progress) = {
            let mut state = self.shared.lock();
            let id = state.tracker.claim(purpose, objects);
            let claim = Claim {
                shared: Arc::clone(&self.shared),
                id,
            };
            (claim, state.tracker.progress(id))
        };
        let granted = match progress {
            Progress::Granted => true,
            Progress::Refused => false,
            // What is seldom needed is not to make every write's future large.
            Progress::Pending => Box::pin(self.decided(&claim)).await?,
        };
        if granted {
            return Ok(claim);
        }
        let refusal = self.shared.lock().refusal.clone();
        Err(refusal.unwrap_or_else(|| self.shared.owner.lock_lost()))
    }

    /// Waits until a claim is granted, or not.
    async fn decided(&self, claim: &Claim) -> Result<bool> {
        self.shared.work.notify_one();
        let decided = self
            .shared
            .until(|tracker| match tracker.progress(claim.id) {
                Progress::Pending => None,
                Progress::Granted => Some(true),
                Progress::Refused => Some(false),
            });
        match self.shared.owner.patience() {
            Some((limit, error)) => timeout(limit, decided).await.map_err(|_| error),
            None => Ok(decided.await),
        }
    }
}

impl Drop for ObjectMap {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

impl Claim {
    /// All objects of a removal are gone. Done when the map says so, too.
    ///
    /// # Cancellation
    /// Gives up waiting.
    pub(crate) async fn finish(&self) {
        self.shared.lock().tracker.finish(self.id);
        self.shared.work.notify_one();
        let gone = |tracker: &Tracker| tracker.is_gone(self.id).then_some(());
        self.shared.until(gone).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.tracker.release(self.id);
        if !state.tracker.is_idle() {
            drop(state);
            self.shared.work.notify_one();
        }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Claim").field(&self.id).finish()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.stored.object).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the tracker gives something.
    async fn until<T>(&self, look: impl Fn(&Tracker) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before looking, so that nothing changes unseen in between.
            changed.as_mut().enable();
            let found = look(&self.lock().tracker);
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    /// Sends a change, and sees to it that what depends on it may go on, or does not.
    async fn send(&self, update: Update) -> (UpdateId, Outcome) {
        let outcome = match self.stored.update(&update).await {
            Ok(()) => Outcome::Done,
            Err(error) => match self.invalidate(error).await {
                Ok(()) => Outcome::Invalidated,
                Err(refusal) => {
                    self.lock().refusal = Some(refusal);
                    Outcome::Refused
                }
            },
        };
        (update.id, outcome)
    }

    /// A change has failed. Either the header says that the map cannot be relied on, or nothing may
    /// happen that depends on it.
    async fn invalidate(&self, error: rados::Error) -> Result<()> {
        tracing::warn!(%error, object = self.stored.object, "cannot change the object map");
        if matches!(
            error,
            rados::Error::Blocklisted { .. } | rados::Error::ShutDown
        ) {
            return Err(error.into());
        }
        // That the lock of the map is gone can mean that the image's lock is: the header knows.
        if !self.lock().is_valid && error.errno() != Errno::EBUSY {
            return Ok(());
        }
        self.mark_invalid().await
    }

    async fn mark_invalid(&self) -> Result<()> {
        match self.stored.mark(false).await {
            Ok(()) => {
                self.lock().is_valid = false;
                self.owner.invalidated();
                Ok(())
            }
            Err(error) if error.errno() == Errno::EBUSY => {
                self.owner.lock_doubted();
                Err(self.owner.lock_lost())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends changes as they become due, until it is aborted.
async fn send_updates(shared: Arc<Shared>) {
    let mut sent = FuturesUnordered::new();
    loop {
        loop {
            let update = shared.lock().tracker.poll_update();
            let Some(update) = update else {
                break;
            };
            sent.push(shared.send(update));
        }
        shared.changed.notify_waiters();
        tokio::select! {
            Some((id, outcome)) = sent.next() => shared.lock().tracker.updated(id, outcome),
            () = shared.work.notified() => {}
        }
    }
}
