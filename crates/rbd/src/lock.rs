//! Locks on an image's header, and on its object map: who holds them, and what the object class `lock`
//! is asked to do about them (ceph: src/cls/lock/cls_lock_types.h, cls_lock_ops.h).

use std::fmt;

use bytes::Bytes;
use denc::{Decode, EntityAddr, EntityName, Reader, UTime, Writer};
use rados::Operation;

/// The name of the lock on an image's header.
const IMAGE_LOCK: &str = "rbd_lock";
/// How the cookies of locks begin that clients take by themselves. The cookie of the client's watch
/// follows, by which others see whether it is alive.
const AUTOMATIC: &str = "auto ";
/// The tag of locks that clients take by themselves.
pub(crate) const AUTOMATIC_TAG: &str = "internal";

/// A holder of the lock on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locker {
    /// Who.
    pub name: EntityName,
    /// The holder's own name for the lock.
    pub cookie: String,
    /// Where it was connected from when it took the lock: the address that fencing it takes.
    pub addr: EntityAddr,
    /// What it said the lock is for.
    pub description: String,
}

impl Locker {
    /// Whether a client took it by itself for the image's exclusive-lock feature, and not a person
    /// or a program by command.
    pub fn is_automatic(&self) -> bool {
        self.cookie.starts_with(AUTOMATIC)
    }

    /// The cookie of the holder's watch, if it took the lock by itself.
    pub(crate) fn watch_cookie(&self) -> Option<u64> {
        self.cookie.strip_prefix(AUTOMATIC)?.parse().ok()
    }

    /// Whether it is connected from this address: it is that client instance.
    pub(crate) fn is_at(&self, addr: &EntityAddr) -> bool {
        // Each release has its own idea of what protocol it is an address of.
        (self.addr.socket, self.addr.nonce) == (addr.socket, addr.nonce)
    }
}

/// The cookie of a lock that a client with this watch takes by itself.
pub(crate) fn automatic_cookie(watch_cookie: u64) -> String {
    format!("{AUTOMATIC}{watch_cookie}")
}

impl fmt::Display for Locker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} as {:?}", self.name, self.addr, self.cookie)
    }
}

/// The state of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockInfo {
    /// The holders: at most one, unless the lock is shared.
    pub lockers: Vec<Locker>,
    /// What several holders agreed on.
    pub tag: String,
    /// Whether there may be several.
    pub shared: bool,
}

/// How a lock is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewLock<'a> {
    pub(crate) cookie: &'a str,
    /// Holders of a shared lock must agree on it.
    pub(crate) tag: &'a str,
    pub(crate) shared: bool,
}

/// Takes the lock. Fails with `EBUSY` if others hold it in a way that excludes this, with `EEXIST` if
/// this client holds it already with this cookie.
pub(crate) fn lock(operation: Operation, new: NewLock<'_>) -> Operation {
    let kind = if new.shared { SHARED } else { EXCLUSIVE };
    let no_end = UTime::default();
    change(operation, "lock", |fields| {
        fields
            .u8(kind)
            .str(new.cookie)
            .str(new.tag)
            .str("")
            .put(&no_end)
            .u8(0);
    })
}

/// Gives up the lock that this client has taken with this cookie. Fails with `ENOENT` if it does not
/// hold it.
pub(crate) fn unlock(operation: Operation, cookie: &str) -> Operation {
    change(operation, "unlock", |fields| {
        fields.str(cookie);
    })
}

/// Takes the lock away from a client. Fails with `ENOENT` if that does not hold it with this cookie.
pub(crate) fn break_lock(operation: Operation, name: EntityName, cookie: &str) -> Operation {
    change(operation, "break_lock", |fields| {
        fields.put(&name).str(cookie);
    })
}

/// Fails with `EBUSY` unless this client has taken the lock, for itself alone, with this cookie and tag.
pub(crate) fn assert_locked(operation: Operation, cookie: &str, tag: &str) -> Operation {
    change(operation, "assert_locked", |fields| {
        fields.u8(EXCLUSIVE).str(cookie).str(tag);
    })
}

/// Who holds the lock on a header, answered as [`LockInfo`].
pub(crate) fn get_info(operation: Operation) -> Operation {
    operation.call("lock", "get_info", &input(|_| {}))
}

/// Calls a method whose input begins with the name of the lock.
fn change(operation: Operation, method: &str, rest: impl FnOnce(&mut Writer)) -> Operation {
    operation.call_mut("lock", method, &input(rest))
}

fn input(rest: impl FnOnce(&mut Writer)) -> Bytes {
    let mut input = Writer::new();
    input.envelope(1, 1, |fields| {
        fields.str(IMAGE_LOCK);
        rest(fields);
    });
    input.freeze()
}

/// `ClsLockType`.
const EXCLUSIVE: u8 = 1;
const SHARED: u8 = 2;

impl Decode for LockInfo {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("cls_lock_get_info_reply", 1)?.reader;
        Ok(Self {
            lockers: fields.get()?,
            shared: fields.u8()? == SHARED,
            tag: fields.get()?,
        })
    }
}

impl Decode for Locker {
    /// Two envelopes, name and empty cookie, expiration, address, empty description.
    const MIN_LEN: usize = 6 + EntityName::MIN_LEN + 4 + 6 + UTime::LEN + EntityAddr::MIN_LEN + 4;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut id = reader.envelope("locker_id_t", 1)?.reader;
        let name = id.get()?;
        let cookie = id.get()?;
        let mut info = reader.envelope("locker_info_t", 1)?.reader;
        info.skip(UTime::LEN)?;
        Ok(Self {
            name,
            cookie,
            addr: info.get()?,
            description: info.get()?,
        })
    }
}
