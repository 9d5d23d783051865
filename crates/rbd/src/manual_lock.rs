//! Locks that people and programs put on images by command (ceph: src/librbd/internal.cc, `lock`,
//! `break_lock`).
//!
//! Nothing but the good will of those who ask for it depends on such a lock, except that no client takes
//! the exclusive lock of an image while there is one.

use denc::EntityName;
use rados::{Errno, Operation};

use crate::exclusive_lock::fence;
use crate::lock::{self, LockInfo, Locker, NewLock};
use crate::{Error, Image, Result, directory};

impl Image {
    /// Who holds the lock now: by command, or automatically.
    ///
    /// # Errors
    /// What the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn lockers(&self) -> Result<LockInfo> {
        let operation = lock::get_info(Operation::new());
        directory::call(self.pool(), self.header_object(), operation).await
    }

    /// Locks the image under the name `cookie`, until the lock is removed, whatever becomes of this
    /// client. With a tag, others may lock it too, with the same one.
    ///
    /// # Errors
    /// [`Error::Locked`] if the image is locked in a way that excludes this, automatically for example;
    /// [`Error::ReadOnly`]; what the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether it is locked.
    pub async fn lock_add(&self, cookie: &str, shared_tag: Option<&str>) -> Result<()> {
        self.check_header_writable()?;
        let new = NewLock {
            cookie,
            tag: shared_tag.unwrap_or_default(),
            shared: shared_tag.is_some(),
        };
        let operation = lock::lock(Operation::new(), new);
        let (pool, header) = (self.pool(), self.header_object());
        let (result, _) = pool.execute_raw(header, operation).await?;
        match Errno::check(result) {
            Ok(_) => Ok(()),
            Err(Errno::EBUSY | Errno::EEXIST) => {
                let info = self.lockers().await?;
                Err(self.locked_by(&info.lockers))
            }
            Err(errno) => Err(pool.operation_error(header, errno).into()),
        }
    }

    /// Takes the lock away from a client. Unless `rbd_blocklist_on_break_lock` says otherwise, that is
    /// blocklisted: nothing that it still sends is carried out.
    ///
    /// # Errors
    /// [`Error::NoSuchLock`] if it does not hold the lock under that name; [`Error::ReadOnly`]; what the
    /// cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves open how far it got. Doing it again does the rest.
    pub async fn lock_remove(&self, client: EntityName, cookie: &str) -> Result<()> {
        self.check_header_writable()?;
        let no_lock = || Error::NoSuchLock {
            image: self.full_name().to_string(),
            locker: format!("{client} as {cookie:?}"),
        };
        let info = self.lockers().await?;
        let mut lockers = info.lockers.iter();
        let locker = lockers
            .find(|locker| locker.name == client && locker.cookie == cookie)
            .ok_or_else(no_lock)?;
        fence(self, &locker.addr).await?;
        let operation = lock::break_lock(Operation::new(), client, cookie);
        match self.pool().execute(self.header_object(), operation).await {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Errno::ENOENT => Err(no_lock()),
            Err(error) => Err(error.into()),
        }
    }

    /// The error for an image that these have locked.
    pub(crate) fn locked_by(&self, lockers: &[Locker]) -> Error {
        let lockers: Vec<_> = lockers.iter().map(Locker::to_string).collect();
        Error::Locked {
            image: self.full_name().to_string(),
            lockers: lockers.join(", "),
        }
    }
}
