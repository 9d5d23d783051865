//! Where an image has the map of its head, while it has its lock.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::invalid_flags;
use super::keeper::{ObjectMap, Owner};
use crate::image::WeakImage;
use crate::lock::automatic_cookie;
use crate::{Error, Features, Flags, Image, ImageInfo, InvalidOptions, Result};

/// Holds the map while there is one.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    map: RwLock<Option<Arc<ObjectMap>>>,
}

impl Slot {
    pub(crate) fn get(&self) -> Option<Arc<ObjectMap>> {
        let map = self.map.read();
        map.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn take(&self) -> Option<Arc<ObjectMap>> {
        let map = self.map.write();
        map.unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, new: ObjectMap) {
        let map = self.map.write();
        *map.unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(new));
    }
}

impl Image {
    /// Opens the map of the head of the image that is like this. This client must have the lock, and
    /// nobody may write yet.
    pub(crate) async fn open_object_map(&self, info: &ImageInfo) -> Result<()> {
        let Some(client) = self.lock().client() else {
            return Err(rados::Error::ShutDown.into());
        };
        let owner = HeaderOwner {
            image: self.downgrade(),
            name: self.full_name().to_string(),
            flags: invalid_flags(info.features),
        };
        let cookie = automatic_cookie(client.handle);
        let map = ObjectMap::open(self.pool(), info, cookie, Box::new(owner)).await?;
        self.object_map_slot().put(map);
        Ok(())
    }

    /// Closes the map of the head, if it is open. Nobody may write any more.
    pub(crate) async fn close_object_map(&self) {
        if let Some(map) = self.object_map_slot().take() {
            map.close().await;
        }
    }

    /// Whether an object may exist in what is read. If not, there is no need to ask.
    pub(crate) fn may_exist(&self, object_no: u64) -> bool {
        if let Some(map) = self.snap_map() {
            return map.may_exist(object_no);
        }
        let Some(map) = self.object_map() else {
            return true;
        };
        map.may_exist(object_no)
            // Somebody else may have written by now.
            || !self.lock().is_held()
            // Somebody may have found out that it is wrong.
            || self.info().flags.contains(Flags::OBJECT_MAP_INVALID)
    }

    pub(super) fn no_object_map(&self) -> Error {
        Error::InvalidOptions {
            image: self.full_name().to_string(),
            reason: InvalidOptions::Lacks(Features::OBJECT_MAP),
        }
    }
}

/// Hears for the image what becomes of the map.
struct HeaderOwner {
    image: WeakImage,
    name: String,
    flags: Flags,
}

impl Owner for HeaderOwner {
    fn invalidated(&self) {
        if let Some(image) = self.image.upgrade() {
            tracing::warn!(image = self.name, "the object map is marked as invalid");
            image.add_known_flags(self.flags);
        }
    }

    fn lock_doubted(&self) {
        if let Some(image) = self.image.upgrade() {
            // Nobody is let in until the cluster has said that the lock is still held.
            image.lock().watch_lost();
            image.lock().watch_regained();
        }
    }

    fn lock_lost(&self) -> Error {
        Error::LockLost {
            image: self.name.clone(),
        }
    }

    fn patience(&self) -> Option<(Duration, Error)> {
        let limit = self.image.upgrade()?.operation_limit().ok()??;
        let error = Error::WritesUnfinished {
            image: self.name.clone(),
            limit,
        };
        Some((limit, error))
    }
}
