//! Who holds locks on an image (ceph: src/cls/lock/cls_lock_types.h, cls_lock_ops.h).

use std::fmt;

use denc::{Decode, EntityAddr, EntityName, Reader, UTime, Writer};
use rados::Operation;

/// The name of the lock on an image's header.
const IMAGE_LOCK: &str = "rbd_lock";
/// How the cookies of locks begin that clients take by themselves.
const AUTOMATIC: &str = "auto ";

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

const SHARED: u8 = 2;

/// Who holds the lock on a header, answered as [`LockInfo`].
pub(crate) fn get_info(operation: Operation) -> Operation {
    let mut input = Writer::new();
    input.envelope(1, 1, |fields| {
        fields.str(IMAGE_LOCK);
    });
    operation.call("lock", "get_info", input.as_slice())
}

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
