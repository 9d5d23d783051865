//! Enabling and disabling features of existing images (ceph: src/librbd/operation/
//! EnableFeaturesRequest.cc, DisableFeaturesRequest.cc).

use denc::SnapId;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::Operation;

use crate::error::InvalidOptions;
use crate::notification::Maintenance;
use crate::object_map::{self, ObjectState, invalid_flags};
use crate::progress::OBJECTS_IN_FLIGHT;
use crate::{
    Error, Features, Flags, Image, ImageInfo, Result, SnapshotSelector, directory, header,
    object_names,
};

impl Image {
    /// Enables features. If another client has the image's exclusive lock, it is asked to do it. Others
    /// who have the image open are told.
    ///
    /// Object-map and fast-diff come together. The new object maps are made from the objects, which
    /// takes its time; until that is done, they are marked as invalid.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] for features that are enabled already, that lack others, or that
    /// cannot be enabled on an existing image or by this version; [`Error::ReadOnly`];
    /// [`Error::OwnerFailed`] if the owner of the lock cannot do it; as
    /// [`acquire_lock`](Self::acquire_lock).
    ///
    /// # Cancellation
    /// Dropping the future, or a failure, may leave an object map that does not exist, but is marked
    /// as invalid: clients cope with that. The owner of the lock goes on with it.
    pub async fn enable_features(&self, features: Features) -> Result<()> {
        let before = self.features();
        self.change_features_by_owner(features, true).await?;
        let enabled = self.features().without(before);
        if invalid_flags(enabled).is_empty() {
            return Ok(());
        }
        for snap in self.snapshots() {
            let snap = SnapshotSelector::Id(snap.id);
            self.rebuild_object_map(Some(&snap), |_| {}).await?;
        }
        self.rebuild_object_map(None, |_| {}).await
    }

    /// Disables features. If another client has the image's exclusive lock, it is asked to do it. Others
    /// who have the image open are told.
    ///
    /// Disabling object-map disables fast-diff, too.
    ///
    /// # Errors
    /// As [`enable_features`](Self::enable_features), but for features that are disabled already,
    /// that others need, or that cannot be disabled.
    ///
    /// # Cancellation
    /// Dropping the future, or a failure, may leave the features enabled without an object map:
    /// clients take that as an invalid one. The owner of the lock goes on with it.
    pub async fn disable_features(&self, features: Features) -> Result<()> {
        self.change_features_by_owner(features, false).await
    }

    async fn change_features_by_owner(&self, features: Features, enabled: bool) -> Result<()> {
        self.check_header_writable()?;
        self.refresh().await?;
        let wanted = Maintenance::UpdateFeatures {
            features: self.features_to_update(features, enabled)?,
            enabled,
        };
        self.maintain(&wanted, |_| ()).await
    }

    /// Changes the features, for whoever has the lock.
    pub(crate) async fn update_features(&self, features: Features, enabled: bool) -> Result<()> {
        let _turn = self.maintenance().lock().await;
        self.check_header_writable()?;
        let _reading = self.reading().lock().await;
        self.reload().await?;
        let features = self.features_to_update(features, enabled)?;
        // What has to be done for a write depends on them.
        self.hold_writes().await?;
        let info = self.info();
        if enabled {
            self.enable(&info, features).await?;
        } else {
            self.disable(&info, features).await?;
        }
        self.reload().await
    }

    async fn enable(&self, info: &ImageInfo, features: Features) -> Result<()> {
        let flags = invalid_flags(features);
        if !flags.is_empty() {
            self.close_object_map().await;
            self.set_all_flags(info, flags, flags).await?;
        }
        self.change_features(info.features | features, features)
            .await?;
        if features.contains(Features::OBJECT_MAP) {
            self.make_object_maps(info).await?;
        }
        if !flags.is_empty() {
            let (features, flags) = (info.features | features, info.flags | flags);
            self.reopen_object_map(info, features, flags).await?;
        }
        Ok(())
    }

    async fn disable(&self, info: &ImageInfo, features: Features) -> Result<()> {
        self.close_object_map().await;
        if features.contains(Features::OBJECT_MAP) {
            self.remove_object_maps(info).await?;
        }
        self.change_features(info.features.without(features), features)
            .await?;
        let flags = invalid_flags(features);
        if !flags.is_empty() {
            self.set_all_flags(info, Flags::NONE, flags).await?;
        }
        let flags = info.flags.without(flags);
        self.reopen_object_map(info, info.features.without(features), flags)
            .await
    }

    /// Opens the map of an image that has got these features and flags, if it has one that this client
    /// keeps.
    async fn reopen_object_map(
        &self,
        info: &ImageInfo,
        features: Features,
        flags: Flags,
    ) -> Result<()> {
        if !features.contains(Features::OBJECT_MAP) || !self.lock().is_held() {
            return Ok(());
        }
        let mut info = info.clone();
        (info.features, info.flags) = (features, flags);
        self.open_object_map(&info).await
    }

    /// What is to be enabled or disabled when `wanted` is asked for.
    fn features_to_update(&self, wanted: Features, enabled: bool) -> Result<Features> {
        let info = self.info();
        self.check_changeable(&info)?;
        let features = if enabled {
            to_enable(info.features, wanted)
        } else {
            to_disable(info.features, wanted)
        };
        features.map_err(|reason| Error::InvalidOptions {
            image: self.full_name().to_string(),
            reason,
        })
    }

    /// Refuses images that this version must not change.
    fn check_changeable(&self, info: &ImageInfo) -> Result<()> {
        let hindering = info
            .features
            .and(Features::MIGRATING | Features::NON_PRIMARY | Features::DIRTY_CACHE)
            .with(info.features.without(Features::ALL));
        if !hindering.is_empty() {
            return Err(Error::NotWritable {
                image: self.full_name().to_string(),
                features: hindering,
                remedy: String::new(),
            });
        }
        Ok(())
    }

    async fn change_features(&self, features: Features, mask: Features) -> Result<()> {
        let operation = header::set_features(Operation::new(), features, mask);
        self.pool().execute(self.header_object(), operation).await?;
        Ok(())
    }

    /// Sets flags of the head and of all snapshots.
    async fn set_all_flags(&self, info: &ImageInfo, flags: Flags, mask: Flags) -> Result<()> {
        for snap in maps(info).map(|(snap, _)| snap) {
            let operation = header::set_flags(Operation::new(), flags, mask, snap);
            self.pool().execute(self.header_object(), operation).await?;
        }
        Ok(())
    }

    async fn make_object_maps(&self, info: &ImageInfo) -> Result<()> {
        stream::iter(maps(info))
            .map(|(snap, objects)| async move {
                let object = object_names::object_map(&info.id, snap);
                let operation =
                    object_map::class::resize(Operation::new(), objects, ObjectState::Nonexistent);
                self.pool().execute(&object, operation).await.map(drop)
            })
            .buffer_unordered(OBJECTS_IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        Ok(())
    }

    async fn remove_object_maps(&self, info: &ImageInfo) -> Result<()> {
        stream::iter(maps(info))
            .map(|(snap, _)| async move {
                let object = object_names::object_map(&info.id, snap);
                directory::remove_object(self.pool(), &object).await
            })
            .buffer_unordered(OBJECTS_IN_FLIGHT)
            .try_collect()
            .await
    }
}

/// The head and every snapshot, and how many objects each can have.
fn maps(info: &ImageInfo) -> impl Iterator<Item = (SnapId, u64)> + Send {
    let snapshots = info
        .snapshots
        .iter()
        .map(|snap| (snap.id, info.layout.object_count(snap.size_bytes)));
    std::iter::once((SnapId::HEAD, info.object_count())).chain(snapshots)
}

/// What is to be enabled when `wanted` is asked for.
fn to_enable(present: Features, wanted: Features) -> Result<Features, InvalidOptions> {
    let maps = Features::OBJECT_MAP | Features::FAST_DIFF;
    if wanted.is_empty() {
        return Err(InvalidOptions::NoFeatures);
    }
    let immutable = wanted.without(Features::MUTABLE);
    if !immutable.is_empty() {
        return Err(InvalidOptions::ImmutableFeatures(immutable));
    }
    if present.contains(wanted) {
        return Err(InvalidOptions::AlreadyEnabled(wanted));
    }
    let mut enabled = wanted.without(present);
    if enabled.intersects(maps) {
        enabled = maps.without(present) | enabled;
    }
    if enabled.contains(Features::JOURNALING) {
        return Err(InvalidOptions::UnchangeableFeatures(Features::JOURNALING));
    }
    (present | enabled).check_dependencies()?;
    Ok(enabled)
}

/// What is to be disabled when `wanted` is asked for.
fn to_disable(present: Features, wanted: Features) -> Result<Features, InvalidOptions> {
    if wanted.is_empty() {
        return Err(InvalidOptions::NoFeatures);
    }
    let immutable = wanted.without(Features::MUTABLE | Features::DISABLE_ONLY);
    if !immutable.is_empty() {
        return Err(InvalidOptions::ImmutableFeatures(immutable));
    }
    let mut disabled = wanted.and(present);
    if disabled.is_empty() {
        return Err(InvalidOptions::AlreadyDisabled(wanted));
    }
    if disabled.contains(Features::OBJECT_MAP) {
        disabled = disabled | present.and(Features::FAST_DIFF);
    }
    if disabled.contains(Features::JOURNALING) {
        return Err(InvalidOptions::UnchangeableFeatures(Features::JOURNALING));
    }
    let needing = present
        .without(disabled)
        .and(Features::OBJECT_MAP | Features::JOURNALING);
    if disabled.contains(Features::EXCLUSIVE_LOCK) && !needing.is_empty() {
        return Err(InvalidOptions::NeededBy {
            feature: Features::EXCLUSIVE_LOCK,
            needed_by: needing,
        });
    }
    Ok(disabled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Features = Features::EXCLUSIVE_LOCK;
    const MAP: Features = Features::OBJECT_MAP;
    const DIFF: Features = Features::FAST_DIFF;

    #[test]
    fn object_map_and_fast_diff_come_and_go_together() {
        assert_eq!(to_enable(LOCK, MAP), Ok(MAP | DIFF));
        assert_eq!(to_enable(LOCK, DIFF), Ok(MAP | DIFF));
        assert_eq!(to_enable(Features::NONE, LOCK | MAP), Ok(LOCK | MAP | DIFF));
        assert_eq!(to_disable(LOCK | MAP | DIFF, MAP), Ok(MAP | DIFF));
        assert_eq!(to_disable(LOCK | MAP | DIFF, DIFF), Ok(DIFF));
        assert_eq!(to_enable(LOCK | MAP, DIFF), Ok(DIFF));
    }

    #[test]
    fn what_others_need_stays() {
        assert!(matches!(
            to_enable(Features::LAYERING, MAP),
            Err(InvalidOptions::Dependency { .. })
        ));
        assert_eq!(
            to_disable(LOCK | MAP | DIFF, LOCK),
            Err(InvalidOptions::NeededBy {
                feature: LOCK,
                needed_by: MAP
            })
        );
        let all = LOCK | MAP | DIFF;
        assert_eq!(to_disable(Features::LAYERING | all, all), Ok(all));
    }

    #[test]
    fn what_cannot_change_is_refused() {
        for features in [
            Features::LAYERING,
            Features::STRIPING,
            Features::OPERATIONS,
            Features(1 << 40),
        ] {
            assert_eq!(
                to_enable(LOCK, features),
                Err(InvalidOptions::ImmutableFeatures(features))
            );
            assert_eq!(
                to_disable(LOCK, features),
                Err(InvalidOptions::ImmutableFeatures(features))
            );
        }
        assert!(to_enable(LOCK, Features::DEEP_FLATTEN).is_err());
        assert_eq!(
            to_disable(Features::DEFAULT, Features::DEEP_FLATTEN),
            Ok(Features::DEEP_FLATTEN)
        );
        assert!(to_enable(LOCK, Features::JOURNALING).is_err());
        assert!(to_disable(LOCK | Features::JOURNALING, Features::JOURNALING).is_err());
    }

    #[test]
    fn nothing_to_do_is_an_error() {
        assert_eq!(
            to_enable(LOCK, LOCK),
            Err(InvalidOptions::AlreadyEnabled(LOCK))
        );
        assert_eq!(
            to_disable(Features::NONE, LOCK),
            Err(InvalidOptions::AlreadyDisabled(LOCK))
        );
        assert_eq!(
            to_enable(LOCK, Features::NONE),
            Err(InvalidOptions::NoFeatures)
        );
    }
}
