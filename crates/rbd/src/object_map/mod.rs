//! The map of the objects of an image that exist (ceph: src/librbd/ObjectMap.cc, object_map/).
//!
//! An image with the feature `object-map` has for its head, and for each snapshot, a map of two bits for
//! every object. While a client has the image's lock, it keeps the map of the head: an object is marked
//! before the first write to it, and before and after it is removed. So what a map says not to exist does
//! not, and need not be read, removed or looked for. With `fast-diff`, the maps tell which objects have
//! changed since the last snapshot, too.
//!
//! A map that cannot be kept is marked as invalid in the header *before* anything happens that it does
//! not tell. It is kept as well as that is possible all the same, until it is made anew.
//!
//! [`tracker`] decides what is to be stored when, [`keeper`] stores it, [`open`] begins with that;
//! [`survey`] finds out what a map should say.

#[cfg(feature = "bench")]
mod bench;
mod bit_vector;
mod check;
pub(crate) mod class;
mod keeper;
mod open;
mod rebuild;
mod slot;
mod stored;
mod survey;
mod tracker;

use denc::SnapId;
use rados::{Errno, Operation, Pool};

#[cfg(feature = "bench")]
pub use self::bench::{ObjectBits, TrackedMap};
pub(crate) use self::bit_vector::{BitVector, MAX_OBJECTS, ObjectState};
pub use self::check::ObjectMapCheck;
pub(crate) use self::keeper::{Claim, ObjectMap};
pub(crate) use self::slot::Slot;
use crate::error::undecodable;
use crate::{Features, Flags, Image, ImageInfo, Result, Snapshot, header, object_names};

/// Loads the map of the head or of a snapshot. `None` if there is none, or if it makes no sense.
pub(crate) async fn load(pool: &Pool, id: &str, snap: SnapId) -> Result<Option<BitVector>> {
    let object = object_names::object_map(id, snap);
    let operation = class::load(Operation::new());
    let (result, reply) = pool.execute_raw(&object, operation).await?;
    match Errno::check(result) {
        Ok(_) => {
            let decoded = reply.decode(0, "object_map_load");
            decoded.map(Some).map_err(undecodable(pool, &object))
        }
        Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(pool.operation_error(&object, errno).into()),
    }
}

/// Loads the map of a snapshot, if it can be relied on.
pub(crate) async fn load_snapshot_map(
    pool: &Pool,
    info: &ImageInfo,
    snap: &Snapshot,
) -> Result<Option<BitVector>> {
    let kept = info.features.contains(Features::OBJECT_MAP);
    if !kept || snap.flags.contains(Flags::OBJECT_MAP_INVALID) {
        return Ok(None);
    }
    let map = load(pool, &info.id, snap.id).await?;
    let objects = info.layout.object_count(snap.size_bytes);
    Ok(map.filter(|map| map.len() >= objects))
}

/// The flags that say that what these features keep cannot be relied on.
pub(crate) const fn invalid_flags(features: Features) -> Flags {
    let mut flags = Flags::NONE;
    if features.contains(Features::OBJECT_MAP) {
        flags = flags.with(Flags::OBJECT_MAP_INVALID);
    }
    if features.contains(Features::FAST_DIFF) {
        flags = flags.with(Flags::FAST_DIFF_INVALID);
    }
    flags
}

impl Image {
    /// Marks the map of the head or of a snapshot as one that cannot be relied on.
    async fn invalidate_object_map(&self, info: &ImageInfo, version: SnapId) -> Result<()> {
        if let (SnapId::HEAD, Some(map)) = (version, self.object_map()) {
            return map.mark_invalid().await;
        }
        let flags = invalid_flags(info.features);
        let operation = header::set_flags(Operation::new(), flags, flags, version);
        self.pool().execute(self.header_object(), operation).await?;
        Ok(())
    }
}
