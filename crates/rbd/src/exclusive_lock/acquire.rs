//! Taking the lock, and breaking that of a dead client (ceph: src/librbd/managed_lock/
//! AcquireRequest.cc, BreakRequest.cc; krbd: `rbd_try_lock`).

use std::time::Duration;

use denc::EntityAddr;
use rados::{Errno, Operation, Watchers};

use crate::lock::{AUTOMATIC_TAG, LockInfo, Locker, NewLock, automatic_cookie};
use crate::notification::ClientId;
use crate::{Image, Result, directory, lock};

/// How an attempt to take the lock ended.
#[derive(Debug)]
pub(super) enum Attempt {
    Taken,
    /// A living client has it.
    Owned(Locker),
}

/// Takes the lock if it is free or its owner is dead.
///
/// # Errors
/// [`Error::Locked`](crate::Error::Locked) if a person or a program has locked the image by command; what the cluster fails
/// with.
///
/// # Cancellation
/// May leave the lock taken, or a dead client blocklisted. Taking it again then finds it taken.
pub(super) async fn acquire(image: &Image, client: ClientId) -> Result<Attempt> {
    let mut attempts = 0;
    loop {
        if try_lock(image, client).await? {
            return Ok(Attempt::Taken);
        }
        let info = lock_info(image).await?;
        let Some(owner) = owner(image, &info)? else {
            // It has been given up since.
            continue;
        };
        attempts += 1;
        if attempts == MAX_ATTEMPTS || is_alive(image, owner).await? {
            return Ok(Attempt::Owned(owner.clone()));
        }
        // It may have changed hands between the two questions.
        if lock_info(image).await? == info {
            break_dead(image, owner).await?;
        }
    }
}

/// Whether the lock is taken now.
async fn try_lock(image: &Image, client: ClientId) -> Result<bool> {
    let cookie = automatic_cookie(client.handle);
    let new = NewLock {
        cookie: &cookie,
        tag: AUTOMATIC_TAG,
        shared: false,
    };
    let operation = lock::lock(Operation::new(), new);
    let (pool, header) = (image.pool(), image.header_object());
    let (result, reply) = pool.execute_raw(header, operation).await?;
    match Errno::check(result) {
        // From an attempt of whose success nobody heard, perhaps.
        Ok(_) | Err(Errno::EEXIST) => {
            pool.cluster().wait_for_osdmap(reply.epoch).await?;
            Ok(true)
        }
        Err(Errno::EBUSY) => Ok(false),
        Err(errno) => Err(pool.operation_error(header, errno).into()),
    }
}

async fn lock_info(image: &Image) -> Result<LockInfo> {
    let operation = lock::get_info(Operation::new());
    directory::call(image.pool(), image.header_object(), operation).await
}

/// The client that has the lock, which must have taken it by itself.
fn owner<'a>(image: &Image, info: &'a LockInfo) -> Result<Option<&'a Locker>> {
    let Some(owner) = info.lockers.first() else {
        return Ok(None);
    };
    if info.shared || info.tag != AUTOMATIC_TAG || owner.watch_cookie().is_none() {
        return Err(image.locked_by(&info.lockers));
    }
    Ok(Some(owner))
}

/// Whether the watch still exists in whose name the lock was taken.
async fn is_alive(image: &Image, owner: &Locker) -> Result<bool> {
    let Some(cookie) = owner.watch_cookie() else {
        return Ok(true);
    };
    let cluster = image.pool().cluster();
    if owner.is_at(&cluster.addr()) {
        // Another image of this very client.
        return Ok(cluster.has_watch(cookie));
    }
    let operation = Operation::new().list_watchers();
    let Watchers(watchers) =
        directory::call(image.pool(), image.header_object(), operation).await?;
    Ok(watchers
        .iter()
        .any(|watcher| watcher.cookie == cookie && owner.is_at(&watcher.addr)))
}

async fn break_dead(image: &Image, owner: &Locker) -> Result<()> {
    tracing::warn!(image = image.full_name(), %owner, "breaking the lock of a dead client");
    fence(image, &owner.addr).await?;
    let operation = lock::break_lock(Operation::new(), owner.name, &owner.cookie);
    let (pool, header) = (image.pool(), image.header_object());
    // Somebody else may have broken it already.
    directory::ignoring(pool, header, operation, Errno::ENOENT).await
}

/// Makes sure that nothing of a client's is carried out any more, once its lock is broken, unless the
/// configuration says that somebody else sees to that (`rbd_blocklist_on_break_lock`).
///
/// This client is not blocklisted by itself: what it has submitted under a lock of an image that is not
/// open any more is ahead, object by object, of what it will submit.
pub(crate) async fn fence(image: &Image, addr: &EntityAddr) -> Result<()> {
    let cluster = image.pool().cluster();
    let own = cluster.addr();
    if (own.socket, own.nonce) == (addr.socket, addr.nonce) {
        return Ok(());
    }
    // By the names of since Pacific, and of before.
    let is_wanted =
        image.option(&["rbd_blocklist_on_break_lock", "rbd_blacklist_on_break_lock"])?;
    if is_wanted == Some(false) {
        return Ok(());
    }
    // Zero leaves it to the monitors.
    let seconds: Option<u64> = image.option(&[
        "rbd_blocklist_expire_seconds",
        "rbd_blacklist_expire_seconds",
    ])?;
    let expire = seconds.filter(|seconds| *seconds > 0);
    Ok(cluster
        .blocklist(addr, expire.map(Duration::from_secs))
        .await?)
}

/// How often the lock is looked at while it keeps changing hands, before its owner is asked for it.
const MAX_ATTEMPTS: usize = 5;
