//! What is done for others and for this client alike, by the owner of the lock.

use rados::Errno;

use crate::exclusive_lock::Ownership;
use crate::notification::Maintenance;
use crate::{Error, Features, Image, Progress, Result, directory, rename};

impl Maintenance {
    /// Whether this version does such things for others.
    pub(super) const fn is_served(&self) -> bool {
        matches!(
            self,
            Self::Resize { .. }
                | Self::RebuildObjectMap
                | Self::Rename { .. }
                | Self::UpdateFeatures { .. }
                | Self::MetadataUpdate { .. }
        )
    }
}

impl Image {
    /// Does something with the lock, if the image has one, and tells everybody that the header has
    /// changed.
    ///
    /// # Errors
    /// What it fails with. Nobody is told then.
    ///
    /// # Cancellation
    /// As that of what is done.
    pub(super) async fn perform(
        &self,
        ownership: Ownership,
        wanted: &Maintenance,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<()> {
        match wanted {
            Maintenance::Resize { size, allow_shrink } => {
                self.change_size(*size, *allow_shrink, progress).await?;
            }
            Maintenance::RebuildObjectMap => self.rebuild_head_map(progress).await?,
            Maintenance::UpdateFeatures { features, enabled } => {
                self.update_features(*features, *enabled).await?;
            }
            Maintenance::MetadataUpdate { key, value } => {
                self.update_metadata(key, value.as_deref()).await?;
            }
            // The header does not know the name.
            Maintenance::Rename { name } => return self.give_name(name).await,
            // Is not taken on in the first place.
            _ => return Err(self.not_done(wanted, "this client", Errno::EOPNOTSUPP)),
        }
        self.announce_header_update().await;
        drop(ownership);
        if !self.features().contains(Features::EXCLUSIVE_LOCK) {
            // There is nothing to hold any more.
            self.release_lock().await?;
        }
        Ok(())
    }

    async fn give_name(&self, name: &str) -> Result<()> {
        let known = directory::image_name(self.pool(), &self.id()).await?;
        let known = known.unwrap_or_else(|| self.name().to_string());
        rename(self.pool(), &known, name).await
    }

    pub(super) fn not_done(&self, wanted: &Maintenance, owner: &str, errno: Errno) -> Error {
        Error::OwnerFailed {
            image: self.full_name().to_string(),
            owner: owner.to_string(),
            what: wanted.name(),
            errno,
        }
    }
}
