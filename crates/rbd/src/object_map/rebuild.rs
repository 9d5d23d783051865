//! Making maps anew from the objects (ceph: src/librbd/operation/RebuildObjectMapRequest.cc).

use denc::SnapId;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::Operation;

use super::bit_vector::{BitVector, ObjectState};
use super::survey::Survey;
use super::{class, invalid_flags};
use crate::error::InvalidOptions;
use crate::notification::Maintenance;
use crate::progress::{Counter, OBJECTS_IN_FLIGHT};
use crate::{
    Error, Flags, Image, ImageInfo, Progress, Result, SnapshotSelector, header, object_names,
    resize,
};

impl Image {
    /// Makes the map of the image, or of a snapshot of it, anew, and says that it can be relied on.
    /// The image can be written meanwhile.
    ///
    /// If another client has the image's lock, it is asked to do it, or, for a snapshot, to give up the
    /// lock.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if the image has no object map, or too many objects for one;
    /// [`Error::NoSuchSnapshot`]; as [`check_writable`](Self::check_writable) and
    /// [`acquire_lock`](Self::acquire_lock); [`Error::OwnerFailed`]; what the cluster fails with. A map
    /// of the image that was not made anew completely is marked as invalid.
    ///
    /// # Cancellation
    /// As for a failure. The owner of the lock goes on with it.
    pub async fn rebuild_object_map(
        &self,
        snap: Option<&SnapshotSelector>,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        self.check_writable()?;
        self.refresh().await?;
        let info = self.info();
        self.check_has_object_map(&info)?;
        let Some(selector) = snap else {
            return self
                .maintain(&Maintenance::RebuildObjectMap, progress)
                .await;
        };
        let snap = info.snapshot(selector, self.full_name())?.id;
        self.acquire_lock().await?;
        let _ownership = self.own_for_maintenance().await?;
        self.rebuild_snapshot_map(snap, progress).await?;
        self.refresh().await?;
        self.announce_header_update().await;
        Ok(())
    }

    /// For those who have the lock.
    async fn rebuild_snapshot_map(
        &self,
        snap: SnapId,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        let info = self.info();
        let size = info.version(snap).map_or(0, |(size, _)| size);
        let objects = self.mapped_objects(&info, size)?;
        let mut map = BitVector::new(objects, ObjectState::Nonexistent);
        let survey = Survey::of(&info, snap);
        self.survey_objects(&survey, objects, progress, |object_no, state| {
            map.set(object_no, state);
        })
        .await?;
        let object = object_names::object_map(&info.id, snap);
        let operation = class::save(Operation::new(), &map);
        self.pool().execute(&object, operation).await?;
        let flags = invalid_flags(info.features);
        let operation = header::set_flags(Operation::new(), Flags::NONE, flags, snap);
        self.pool().execute(self.header_object(), operation).await?;
        Ok(())
    }

    /// For those who have the lock. The size of the image may change meanwhile.
    pub(crate) async fn rebuild_head_map(
        &self,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        let map = self.object_map().ok_or_else(|| self.no_object_map())?;
        let _alone = map.rebuilding().await;
        let (info, objects) = {
            let _turn = self.maintenance().lock().await;
            let info = self.info();
            let objects = self.mapped_objects(&info, info.size_bytes)?;
            if map.len() > objects {
                // Somebody who shrank it did not come to an end.
                let from = map.len().saturating_mul(self.object_size());
                resize::trim(self, info.size_bytes, from, |_| {}).await?;
            }
            map.forget(objects).await?;
            (info, objects)
        };
        let survey = Survey::of(&info, SnapId::HEAD);
        self.survey_objects(&survey, objects, progress, |object_no, state| {
            map.found(object_no, state);
        })
        .await?;
        map.save().await?;
        self.refresh().await
    }

    fn mapped_objects(&self, info: &ImageInfo, size: u64) -> Result<u64> {
        let objects = info.layout.object_count(size);
        if objects <= super::MAX_OBJECTS {
            return Ok(objects);
        }
        Err(Error::InvalidOptions {
            image: self.full_name().to_string(),
            reason: InvalidOptions::TooManyObjects { objects },
        })
    }

    /// Finds out about every object.
    pub(super) async fn survey_objects(
        &self,
        survey: &Survey,
        objects: u64,
        progress: impl FnMut(Progress) + Send,
        mut found: impl FnMut(u64, ObjectState) + Send,
    ) -> Result<()> {
        let mut counter = Counter::new(objects, progress);
        let mut states = stream::iter(0..objects)
            .map(|object_no| self.survey_object(survey, object_no))
            .buffer_unordered(OBJECTS_IN_FLIGHT);
        while let Some((object_no, state)) = states.try_next().await? {
            found(object_no, state);
            counter.step();
        }
        Ok(())
    }
}
