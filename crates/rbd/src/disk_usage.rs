//! How much of an image is stored (ceph: src/tools/rbd/action/DiskUsage.cc).

use denc::SnapId;

use crate::{Image, Result, Snapshot, SnapshotNamespace};

/// What one version of an image takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    /// The snapshot; `None` for the image as it is now.
    pub snap: Option<Snapshot>,
    /// The size of this version in bytes.
    pub provisioned_bytes: u64,
    /// How many of these bytes are stored, and were not in the snapshot before.
    pub used_bytes: u64,
}

impl Image {
    /// What each of the user's snapshots takes, oldest first, and last the image as it is now. If it
    /// is open at a snapshot, that one is the last.
    ///
    /// By default, objects count as a whole, which with the feature fast-diff asks no objects. With
    /// `exact`, only those parts of them that are stored, as far as that is known.
    ///
    /// # Errors
    /// As [`diff`](Self::diff).
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn disk_usage(&self, exact: bool) -> Result<Vec<DiskUsage>> {
        self.finish_writes().await?;
        let info = self.current_info().await?;
        self.check_readable(&info)?;
        let last = self.read_snap();
        let snapshots = info
            .snapshots
            .iter()
            .filter(|snap| snap.namespace == SnapshotNamespace::User || snap.id == last)
            .filter(|snap| snap.id <= last);
        let head = (last == SnapId::HEAD).then_some(None);
        let mut usages = Vec::new();
        let mut from = crate::diff::BEGINNING;
        for snap in snapshots.map(Some).chain(head) {
            let to = snap.map_or(SnapId::HEAD, |snap| snap.id);
            let mut used_bytes = 0;
            self.diff_versions(&info, from, to, !exact, |extent| {
                if extent.exists {
                    used_bytes += extent.len;
                }
            })
            .await?;
            usages.push(DiskUsage {
                snap: snap.cloned(),
                provisioned_bytes: snap.map_or(info.size_bytes, |snap| snap.size_bytes),
                used_bytes,
            });
            from = to;
        }
        Ok(usages)
    }
}
