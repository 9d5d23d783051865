//! The map of an image's head as it is stored, and how this client changes it
//! (ceph: src/librbd/object_map/LockRequest.cc, UpdateRequest.cc, InvalidateRequest.cc).
//!
//! The object that holds the map has a lock of its own. It belongs to the client that has the image's
//! lock, and every change is one operation with the assertion that this client holds it: OSDs carry out
//! no change of a client that has been replaced.

use denc::SnapId;
use rados::{Errno, Operation, Pool};

use super::bit_vector::{BitVector, ObjectState};
use super::class;
use super::tracker::Update;
use crate::lock::{self, AUTOMATIC_TAG, LockInfo, NewLock};
use crate::{Flags, directory, header};

/// Where the map is, and by what this client may change it.
#[derive(Clone, Debug)]
pub(super) struct StoredMap {
    pub(super) pool: Pool,
    /// The object that holds the map.
    pub(super) object: String,
    pub(super) header_object: String,
    /// The cookie with which this client has taken the image's lock.
    pub(super) cookie: String,
    /// The flags that say that the map cannot be relied on.
    pub(super) invalid_flags: Flags,
}

impl StoredMap {
    /// Takes the map's lock, away from others if need be: they do not have the image's lock any more.
    ///
    /// As with librbd, this does not fail. Without the lock, changes do.
    pub(super) async fn lock(&self) {
        for _ in 0..LOCK_ATTEMPTS {
            match self.try_lock().await {
                Ok(()) => return,
                Err(error) if error.errno() == Errno::EEXIST => return,
                Err(error) if error.errno() == Errno::EBUSY => {}
                Err(error) => {
                    tracing::warn!(%error, object = self.object, "cannot lock the object map");
                    return;
                }
            }
            if let Err(error) = self.break_locks().await {
                tracing::warn!(%error, object = self.object, "cannot break the object map's lock");
                return;
            }
        }
        tracing::warn!(object = self.object, "others keep locking the object map");
    }

    async fn try_lock(&self) -> rados::Result<()> {
        let new = NewLock {
            cookie: COOKIE,
            tag: TAG,
            shared: false,
        };
        let operation = lock::lock(Operation::new(), new);
        self.pool.execute(&self.object, operation).await.map(drop)
    }

    async fn break_locks(&self) -> crate::Result<()> {
        let operation = lock::get_info(Operation::new());
        let info: LockInfo = directory::call(&self.pool, &self.object, operation).await?;
        for locker in info.lockers {
            let operation = lock::break_lock(Operation::new(), locker.name, &locker.cookie);
            directory::ignoring(&self.pool, &self.object, operation, Errno::ENOENT).await?;
        }
        Ok(())
    }

    /// Gives up the map's lock. If that fails, the next owner of the image's lock breaks it.
    pub(super) async fn unlock(&self) {
        let operation = lock::unlock(Operation::new(), COOKIE);
        if let Err(error) = self.pool.execute(&self.object, operation).await {
            tracing::debug!(%error, object = self.object, "cannot unlock the object map");
        }
    }

    /// Carries out a change, part by part if it is a large one.
    pub(super) async fn update(&self, update: &Update) -> rados::Result<()> {
        let mut start = update.objects.start;
        while start < update.objects.end {
            let end = update
                .objects
                .end
                .min(start.saturating_add(MAX_OBJECTS_PER_UPDATE));
            let change = class::update(self.change(), start..end, update.state, update.expected);
            self.pool.execute(&self.object, change).await?;
            start = end;
        }
        Ok(())
    }

    /// Gives the map another number of objects; new ones do not exist.
    pub(super) async fn resize(&self, objects: u64) -> rados::Result<()> {
        let change = class::resize(self.change(), objects, ObjectState::Nonexistent);
        self.pool.execute(&self.object, change).await.map(drop)
    }

    /// Puts a map in which no object exists in the place of what is there, whatever that is.
    pub(super) async fn clear(&self, objects: u64) -> rados::Result<()> {
        let change = self.change().truncate(0);
        let change = class::resize(change, objects, ObjectState::Nonexistent);
        self.pool.execute(&self.object, change).await.map(drop)
    }

    /// Makes `map` the map.
    pub(super) async fn save(&self, map: &BitVector) -> rados::Result<()> {
        let change = class::save(self.change(), map);
        self.pool.execute(&self.object, change).await.map(drop)
    }

    /// Says in the header whether the map can be relied on. `EBUSY` if this client does not have the
    /// image's lock any more.
    pub(super) async fn mark(&self, valid: bool) -> rados::Result<()> {
        let flags = if valid {
            Flags::NONE
        } else {
            self.invalid_flags
        };
        let operation = lock::assert_locked(Operation::new(), &self.cookie, AUTOMATIC_TAG);
        let operation = header::set_flags(operation, flags, self.invalid_flags, SnapId::HEAD);
        self.pool
            .execute(&self.header_object, operation)
            .await
            .map(drop)
    }

    /// The beginning of a change.
    fn change(&self) -> Operation {
        lock::assert_locked(Operation::new(), COOKIE, TAG)
    }
}

/// There is one holder at a time, who needs no names.
const COOKIE: &str = "";
const TAG: &str = "";
/// Nobody locks the map who does not have the image's lock.
const LOCK_ATTEMPTS: usize = 3;
/// As librbd: 16 of the blocks that are checksummed and written as a whole.
const MAX_OBJECTS_PER_UPDATE: u64 = 256 << 10;
