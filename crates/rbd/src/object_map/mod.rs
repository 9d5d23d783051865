//! The map of the objects of an image that exist (ceph: src/librbd/ObjectMap.cc, object_map/).

mod bit_vector;
mod check;
pub(crate) mod class;
mod survey;

use denc::SnapId;
use rados::{Errno, Operation, Pool};

pub(crate) use self::bit_vector::{BitVector, MAX_OBJECTS, ObjectState};
pub use self::check::ObjectMapCheck;
use crate::error::undecodable;
use crate::{Features, Flags, Image, ImageInfo, Result, header, object_names};

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
        let flags = invalid_flags(info.features);
        let operation = header::set_flags(Operation::new(), flags, flags, version);
        self.pool().execute(self.header_object(), operation).await?;
        Ok(())
    }
}
