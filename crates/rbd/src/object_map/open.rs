//! Opening the map of an image's head when the image's lock has been taken
//! (ceph: src/librbd/object_map/RefreshRequest.cc).

use denc::SnapId;
use rados::{Errno, Operation, Pool, Reply};

use super::bit_vector::{BitVector, MAX_OBJECTS, ObjectState};
use super::keeper::{ObjectMap, Owner};
use super::stored::StoredMap;
use super::{class, invalid_flags};
use crate::{Flags, ImageInfo, Result, object_names};

/// What is there in place of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// It cannot be read.
    Missing,
    /// It makes no sense.
    Corrupt,
    /// It has too few objects.
    Short,
}

impl ObjectMap {
    /// Locks and loads the map of an image whose lock this client has taken with `cookie`.
    ///
    /// A map that is damaged is marked as invalid; until it is rebuilt, every object counts as existing.
    ///
    /// # Errors
    /// If a damaged map cannot be marked.
    ///
    /// # Cancellation
    /// The map may stay locked: the next owner of the image's lock breaks that.
    pub(crate) async fn open(
        pool: &Pool,
        info: &ImageInfo,
        cookie: String,
        owner: Box<dyn Owner>,
    ) -> Result<Self> {
        let stored = StoredMap {
            pool: pool.clone(),
            object: object_names::object_map(&info.id, SnapId::HEAD),
            header_object: object_names::header(&info.id),
            cookie,
            invalid_flags: invalid_flags(info.features),
        };
        stored.lock().await;
        let objects = info.object_count();
        let loaded = pool
            .execute(&stored.object, class::load(Operation::new()))
            .await;
        let mut is_valid = !info.flags.contains(Flags::OBJECT_MAP_INVALID);
        let map = match judge(loaded, objects)? {
            Ok(map) => map,
            Err(damage) => {
                tracing::warn!(object = stored.object, ?damage, "the object map is damaged");
                if is_valid {
                    stored.mark(false).await?;
                    owner.invalidated();
                    is_valid = false;
                }
                repair(&stored, damage, objects).await;
                BitVector::new(objects.min(MAX_OBJECTS), ObjectState::Exists)
            }
        };
        Ok(Self::new(stored, owner, map, is_valid))
    }
}

/// What an attempt to load the map of an image of so many objects has given. One that has more is not
/// damaged: the image has been shrunk by somebody who did not get to it.
fn judge(loaded: rados::Result<Reply>, objects: u64) -> Result<Result<BitVector, Damage>> {
    let reply = match loaded {
        Ok(reply) => reply,
        Err(error) => {
            return match error.errno() {
                Errno::EINVAL => Ok(Err(Damage::Corrupt)),
                Errno::ESHUTDOWN => Err(error.into()),
                _ => Ok(Err(Damage::Missing)),
            };
        }
    };
    Ok(match reply.decode::<BitVector>(0, "object_map_load") {
        Ok(map) if map.len() < objects => Err(Damage::Short),
        Ok(map) => Ok(map),
        Err(_) => Err(Damage::Corrupt),
    })
}

/// Lets later changes be stored. If that fails, they do, which is harmless.
async fn repair(stored: &StoredMap, damage: Damage, objects: u64) {
    let repaired = match damage {
        Damage::Missing => return,
        Damage::Corrupt => stored.clear(objects).await,
        Damage::Short => stored.resize(objects).await,
    };
    if let Err(error) = repaired {
        tracing::warn!(%error, object = stored.object, "cannot repair the object map");
    }
}
