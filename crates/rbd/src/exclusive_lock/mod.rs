//! The exclusive lock of an image: who may write.
//!
//! An image with the feature `exclusive-lock` is written by one client at a time. It holds a lock on
//! the header object, taken before the first write and given to others when they ask for it. Whoever
//! finds the lock held looks whether the holder still watches the header, which is how clients are seen
//! to be alive; it asks the living, and breaks the lock of the dead
//! (ceph: src/librbd/ManagedLock.cc, ExclusiveLock.cc, ImageWatcher.cc; krbd: `rbd_acquire_lock`).
//!
//! [`machine`] decides what to do, [`driver`] does it, [`holder`] lets writers in.
//!
//! # Why nothing is written under a lock that is lost
//!
//! *Given up.* The lock is given up when all operations under it have ended. That is known from what
//! the operations themselves hold on to, not from who still waits for them: an operation whose caller
//! has lost patience, or was told that the time for it is over (`rados_osd_op_timeout`), may still be
//! carried out. If no OSD ever answers it, the lock is not given up at all, and others may break it.
//!
//! *Broken.* OSDs do not know of the lock. A client that was taken for dead may have operations on their
//! way, and it may be told late or never. So whoever breaks a lock has the holder blocklisted first:
//!
//! 1. It waits until its own map has the entry, at epoch `e` say. All its operations carry at least `e`
//!    from then on, the one that breaks the lock included.
//! 2. An OSD carries out no operation before it has the map that the operation carries. So when anything
//!    of the new owner's has been carried out in a placement group, nothing of the old one's is any more.
//!    What of the old owner's gets there before is as if it had been written before the lock was broken.
//! 3. That must hold for owners after the next one, too, who have not blocklisted anybody. The OSD that
//!    has the header object has carried out the breaking of the lock, thus has `e` or a later map, and
//!    says in each answer which one it has. So whoever takes the lock waits for that map
//!    (see [`rados::Reply::epoch`]).
//!
//! Where the configuration forbids blocklisting, somebody else has to see to it.
//!
//! *Taken for dead.* A client cannot prevent that its last operations come late, but it can stop as soon
//! as others may take it for dead. The watch tells when an OSD may have dropped it because it has not
//! been confirmed for its timeout, reckoned from when the last confirmed sign of life was sent. From
//! then on no write is let in, until the watch is registered again and the cluster says that the lock is
//! still held. When it is not, what is known because of the lock is forgotten, and it is taken anew like
//! that of any other client.
//!
//! None of that may hang on whether this client has had the time to notice: a process that was stopped
//! would go on with a write. So whoever lets a writer in looks at the clock first
//! ([`rados::WatchValidity`]). Whoever finds the time to be over has ended the watch by that, whatever
//! is confirmed in the same moment, so that no write is let in before the lock has been looked up. What
//! had been let in before is not called back; only blocklisting keeps that out.

mod acquire;
mod driver;
mod holder;
mod hooks;
mod machine;

use std::pin::pin;

use tokio::time::timeout;

pub(crate) use self::acquire::fence;
use self::driver::Driver;
pub(crate) use self::holder::ExclusiveLock;
use self::holder::{Answer, Grant, Pin, Wish};
use self::machine::Event;
use crate::image::Tasks;
use crate::in_flight::Submitted;
use crate::maintenance::serve;
use crate::notification::{Message, Response};
use crate::{Error, Features, Image, Locker, Result};

/// What the owner of an image's lock does when others ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockPolicy {
    /// It gives the lock up, after those who wait have had their turn.
    #[default]
    Cooperative,
    /// It keeps the lock until it is told to release it.
    Exclusive,
}

/// Where the lock of an image is, as far as this client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockStatus {
    /// This client does not have it and does not want it.
    Unlocked,
    /// This client is about to take it.
    Acquiring,
    /// This client waits for the other client that has it, if it is known, to give it up.
    Waiting(Option<Locker>),
    /// This client has it.
    Owned,
    /// This client has had it, but cannot tell whether it still has: nothing is written until it can.
    Suspended,
    /// This client is giving it up.
    Releasing,
    /// The cluster serves this client no more: its lock has been broken, or somebody has blocklisted
    /// it for another reason. Everything fails.
    Blocklisted,
}

/// Who carries out maintenance of an image.
#[derive(Debug)]
pub(crate) enum Maintainer {
    /// This client, which keeps the lock meanwhile.
    Owner(Ownership),
    /// This other client, which has the lock and has to be asked.
    Remote(Locker),
}

/// Keeps the lock from being given up to others, where the image has one.
#[derive(Debug)]
pub(crate) struct Ownership {
    _pin: Option<Pin>,
}

impl Image {
    /// Where the image's lock is. A client that is blocklisted is, whether or not the image has a lock.
    pub fn lock_status(&self) -> LockStatus {
        if self.pool().cluster().is_blocklisted() {
            return LockStatus::Blocklisted;
        }
        self.lock().status()
    }

    /// Takes the lock, as the first write does. It may be given up again as soon as others ask for it,
    /// unless the image was opened with [`LockPolicy::Exclusive`].
    ///
    /// Does nothing if the image does not have the feature.
    ///
    /// # Errors
    /// [`Error::LockRefused`] if the owner keeps the lock, [`Error::Locked`] if it was locked by command,
    /// [`Error::LockTimedOut`] after [`lock_timeout`](crate::OpenOptions::lock_timeout);
    /// [`Error::ReadOnly`]; what the cluster fails with, above all when a dead owner cannot be
    /// blocklisted.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting. The lock may be taken all the same.
    pub async fn acquire_lock(&self) -> Result<()> {
        self.check_header_writable()?;
        let info = self.current_info().await?;
        if info.features.contains(Features::EXCLUSIVE_LOCK) {
            self.wait_for_lock(Wish::Submit).await?;
        }
        Ok(())
    }

    /// Gives up the lock, if this client holds it, when all writes submitted under it are done. The next
    /// write takes it again.
    ///
    /// # Errors
    /// As [`flush`](Self::flush): it is given up later then, or kept if buffered writes cannot be written
    /// out. If it cannot be given up, others break it when this client is gone.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting.
    pub async fn release_lock(&self) -> Result<()> {
        if self.write_back().is_some() {
            self.finish_writes().await?;
        }
        self.within_limit(self.lock().release()).await
    }

    /// Whether the lock has been held and perhaps is no more.
    pub(crate) fn is_lock_in_doubt(&self) -> bool {
        self.lock().is_in_doubt()
    }

    /// The error for what needed the lock when it turned out to be gone.
    pub(crate) fn lock_lost(&self) -> Error {
        Error::LockLost {
            image: self.full_name().to_string(),
        }
    }

    /// Counts a write that is about to be submitted, under the lock if the image has that feature.
    /// `None` means that what is known of the image is out of date.
    ///
    /// Cheap if the lock is held, or none is needed.
    pub(crate) async fn submit_locked(&self, features: Features) -> Result<Option<Submitted>> {
        if !features.contains(Features::EXCLUSIVE_LOCK) {
            return Ok(Some(self.writes().submit()));
        }
        if let Some(submitted) = self.lock().try_submit() {
            return Ok(Some(submitted));
        }
        Ok(match self.wait_for_lock(Wish::Submit).await? {
            Grant::Submit(submitted) => Some(submitted),
            _ => None,
        })
    }

    /// Sees who is to carry out maintenance: this client if nobody who is alive has the lock.
    ///
    /// # Errors
    /// As [`acquire_lock`](Self::acquire_lock), but owners are not asked to give up the lock.
    ///
    /// # Cancellation
    /// As [`acquire_lock`](Self::acquire_lock).
    pub(crate) async fn lock_for_maintenance(&self) -> Result<Maintainer> {
        let unlocked = || Maintainer::Owner(Ownership { _pin: None });
        if !self.features().contains(Features::EXCLUSIVE_LOCK) {
            return Ok(unlocked());
        }
        Ok(match self.wait_for_lock(Wish::Maintain).await? {
            Grant::Maintain(pin) => Maintainer::Owner(Ownership { _pin: Some(pin) }),
            Grant::Owned(owner) => Maintainer::Remote(owner),
            Grant::Submit(_) | Grant::Unneeded => unlocked(),
        })
    }

    /// As [`lock_for_maintenance`](Self::lock_for_maintenance), where nobody else can be asked to do it.
    pub(crate) async fn own_for_maintenance(&self) -> Result<Ownership> {
        match self.lock_for_maintenance().await? {
            Maintainer::Owner(ownership) => Ok(ownership),
            Maintainer::Remote(owner) => Err(self.locked_by(&[owner])),
        }
    }

    /// Keeps the lock, if this client has it.
    pub(crate) fn keep_lock(&self) -> Option<Ownership> {
        let pin = self.lock().try_pin()?;
        Some(Ownership { _pin: Some(pin) })
    }

    async fn wait_for_lock(&self, wish: Wish) -> Result<Grant> {
        self.start_tasks(|| Tasks {
            lock_driver: tokio::spawn(Driver::new(self.without_tasks()).run()).abort_handle(),
            server: tokio::spawn(serve(self.without_tasks())).abort_handle(),
        });
        let Some(limit) = self.lock_timeout() else {
            return self.lock().wait(wish).await;
        };
        // Kept until it is known whose the lock is.
        let mut wait = pin!(self.lock().wait(wish));
        match timeout(limit, wait.as_mut()).await {
            Ok(granted) => granted,
            Err(_) => Err(Error::LockTimedOut {
                image: self.full_name().to_string(),
                owner: self.lock().owner().map(|owner| owner.to_string()),
                limit,
            }),
        }
    }
}

impl ExclusiveLock {
    /// Takes in what another client, or this one, says about the lock. Gives the answer, if there is
    /// one.
    pub(crate) fn notified(&self, message: &Message) -> Option<Response> {
        let event = match message {
            Message::AcquiredLock(client) => (client, Event::PeerAcquired),
            Message::ReleasedLock(client) => (client, Event::PeerReleased),
            Message::RequestLock { client, .. } => (client, Event::Requested),
            _ => return None,
        };
        let (client, event) = event;
        if self.client().as_ref() == Some(client) {
            return None;
        }
        let result = match self.handle(event)? {
            Answer::Accepted => 0,
            Answer::Refused => -rados::Errno::EROFS.0,
        };
        Some(Response { result })
    }

    /// Nothing is heard of others any more, and they may take this client for dead.
    pub(crate) fn watch_lost(&self) {
        self.handle(Event::WatchLost);
    }

    /// Others see this client again.
    pub(crate) fn watch_regained(&self) {
        self.handle(Event::WatchRegained);
    }
}
