//! What the owner of an image's lock can be asked to do for others.

use bytes::Bytes;
use denc::{Reader, SnapId, Writer};

use super::AsyncRequestId;
use crate::{Features, SnapshotNamespace};

/// Something that the owner of the image's lock shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// With it, the owner answers at once, tells how far it is and says when it is done. Without, it
    /// answers when it is done.
    ///
    /// Before 16.2, requests about snapshots, [`Maintenance::Rename`] and
    /// [`Maintenance::UpdateFeatures`] had no id, and owners of then do these before they answer
    /// whatever they are sent: who sends an id cannot tell what an answer means. All owners take
    /// these without. All other requests had an id from the start, and old owners need it.
    pub(crate) id: Option<AsyncRequestId>,
    pub(crate) wanted: Maintenance,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Maintenance {
    Flatten,
    Resize {
        /// The new size in bytes.
        size: u64,
        /// Whether the new size may be less than the old one.
        allow_shrink: bool,
    },
    SnapCreate {
        snapshot: SnapshotName,
        /// `SNAP_CREATE_FLAG_*`: 1 to skip quiescing, 2 to ignore that it failed.
        flags: u64,
    },
    SnapRemove(SnapshotName),
    RebuildObjectMap,
    SnapRename {
        id: SnapId,
        to: SnapshotName,
    },
    SnapProtect(SnapshotName),
    SnapUnprotect(SnapshotName),
    Rename {
        /// The new name of the image.
        name: String,
    },
    UpdateFeatures {
        features: Features,
        enabled: bool,
    },
    Migrate,
    Sparsify {
        /// How many zeros in a row are not worth keeping, in bytes.
        sparse_size: u64,
    },
    MetadataUpdate {
        key: String,
        /// The new value; `None` to remove the key.
        value: Option<Bytes>,
    },
}

/// A snapshot by its name and by who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotName {
    pub(crate) name: String,
    pub(crate) namespace: SnapshotNamespace,
}

impl Request {
    /// Reads what follows the number of the operation; `None` if it is not that of a request.
    pub(super) fn decode_fields(
        operation: u32,
        version: u8,
        fields: &mut Reader<'_>,
    ) -> denc::Result<Option<Self>> {
        let mut read = Fields { version, fields };
        let (id, wanted) = match operation {
            FLATTEN => (read.id()?, Maintenance::Flatten),
            RESIZE => {
                let size = read.fields.u64()?;
                let id = read.id()?;
                let allow_shrink = version < 4 || read.fields.bool()?;
                (id, Maintenance::Resize { size, allow_shrink })
            }
            SNAP_CREATE => {
                let (id, snapshot) = read.snapshot_to_create()?;
                let flags = if version >= 7 { read.fields.u64()? } else { 0 };
                (id, Maintenance::SnapCreate { snapshot, flags })
            }
            SNAP_REMOVE => read.snapshot(Maintenance::SnapRemove)?,
            REBUILD_OBJECT_MAP => (read.id()?, Maintenance::RebuildObjectMap),
            SNAP_RENAME => {
                let snap = read.fields.get()?;
                read.snapshot(|to| Maintenance::SnapRename { id: snap, to })?
            }
            SNAP_PROTECT => read.snapshot(Maintenance::SnapProtect)?,
            SNAP_UNPROTECT => read.snapshot(Maintenance::SnapUnprotect)?,
            RENAME => {
                let name = read.fields.get()?;
                (read.late_id()?, Maintenance::Rename { name })
            }
            UPDATE_FEATURES => {
                let features = read.fields.get()?;
                let enabled = read.fields.bool()?;
                let wanted = Maintenance::UpdateFeatures { features, enabled };
                (read.late_id()?, wanted)
            }
            MIGRATE => (read.id()?, Maintenance::Migrate),
            SPARSIFY => {
                let id = read.id()?;
                let sparse_size = read.fields.u64()?;
                (id, Maintenance::Sparsify { sparse_size })
            }
            METADATA_UPDATE => {
                let key = read.fields.get()?;
                let value = read.fields.get()?;
                (read.late_id()?, Maintenance::MetadataUpdate { key, value })
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { id, wanted }))
    }

    /// Writes the number of the operation and what follows it.
    pub(super) fn encode_fields<'a>(&self, fields: &'a mut Writer) -> &'a mut Writer {
        let id = self.id.unwrap_or(AsyncRequestId::NONE);
        fields.u32(self.wanted.operation());
        match &self.wanted {
            Maintenance::Flatten | Maintenance::RebuildObjectMap | Maintenance::Migrate => {
                fields.put(&id)
            }
            Maintenance::Resize { size, allow_shrink } => {
                fields.u64(*size).put(&id).bool(*allow_shrink)
            }
            Maintenance::SnapCreate { snapshot, flags } => {
                snapshot.encode(fields).put(&id).u64(*flags)
            }
            Maintenance::SnapRemove(snapshot)
            | Maintenance::SnapProtect(snapshot)
            | Maintenance::SnapUnprotect(snapshot) => snapshot.encode(fields).put(&id),
            Maintenance::SnapRename { id: snap, to } => to.encode(fields.put(snap)).put(&id),
            Maintenance::Rename { name } => fields.str(name).put(&id),
            Maintenance::UpdateFeatures { features, enabled } => {
                fields.u64(features.0).bool(*enabled).put(&id)
            }
            Maintenance::Sparsify { sparse_size } => fields.put(&id).u64(*sparse_size),
            Maintenance::MetadataUpdate { key, value } => fields.str(key).put(value).put(&id),
        }
    }
}

impl Maintenance {
    /// As people who use upstream's `rbd` call it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Flatten => "flatten",
            Self::Resize { .. } => "resize",
            Self::SnapCreate { .. } => "snap create",
            Self::SnapRemove(_) => "snap remove",
            Self::RebuildObjectMap => "object-map rebuild",
            Self::SnapRename { .. } => "snap rename",
            Self::SnapProtect(_) => "snap protect",
            Self::SnapUnprotect(_) => "snap unprotect",
            Self::Rename { .. } => "rename",
            Self::UpdateFeatures { enabled: true, .. } => "feature enable",
            Self::UpdateFeatures { enabled: false, .. } => "feature disable",
            Self::Migrate => "migration execute",
            Self::Sparsify { .. } => "sparsify",
            Self::MetadataUpdate { value: Some(_), .. } => "image-meta set",
            Self::MetadataUpdate { value: None, .. } => "image-meta remove",
        }
    }

    /// Whether owners of all releases complete it later if it has an id: see [`Request::id`].
    pub(crate) const fn takes_id(&self) -> bool {
        match self {
            Self::Flatten
            | Self::Resize { .. }
            | Self::RebuildObjectMap
            | Self::Migrate
            | Self::Sparsify { .. }
            // Who does not know of ids does not know of these either.
            | Self::MetadataUpdate { .. } => true,
            Self::SnapCreate { .. }
            | Self::SnapRemove(_)
            | Self::SnapRename { .. }
            | Self::SnapProtect(_)
            | Self::SnapUnprotect(_)
            | Self::Rename { .. }
            | Self::UpdateFeatures { .. } => false,
        }
    }

    /// `NOTIFY_OP_*`.
    const fn operation(&self) -> u32 {
        match self {
            Self::Flatten => FLATTEN,
            Self::Resize { .. } => RESIZE,
            Self::SnapCreate { .. } => SNAP_CREATE,
            Self::SnapRemove(_) => SNAP_REMOVE,
            Self::RebuildObjectMap => REBUILD_OBJECT_MAP,
            Self::SnapRename { .. } => SNAP_RENAME,
            Self::SnapProtect(_) => SNAP_PROTECT,
            Self::SnapUnprotect(_) => SNAP_UNPROTECT,
            Self::Rename { .. } => RENAME,
            Self::UpdateFeatures { .. } => UPDATE_FEATURES,
            Self::Migrate => MIGRATE,
            Self::Sparsify { .. } => SPARSIFY,
            Self::MetadataUpdate { .. } => METADATA_UPDATE,
        }
    }
}

impl SnapshotName {
    fn encode<'a>(&self, fields: &'a mut Writer) -> &'a mut Writer {
        fields.str(&self.name).put(&self.namespace)
    }
}

/// Reads the parts that requests have in common.
struct Fields<'a, 'b> {
    version: u8,
    fields: &'a mut Reader<'b>,
}

impl Fields<'_, '_> {
    fn id(&mut self) -> denc::Result<Option<AsyncRequestId>> {
        let id = self.fields.get()?;
        Ok((id != AsyncRequestId::NONE).then_some(id))
    }

    /// The id of what had none before version 7.
    fn late_id(&mut self) -> denc::Result<Option<AsyncRequestId>> {
        if self.version >= 7 {
            self.id()
        } else {
            Ok(None)
        }
    }

    fn snapshot(
        &mut self,
        wanted: impl FnOnce(SnapshotName) -> Maintenance,
    ) -> denc::Result<(Option<AsyncRequestId>, Maintenance)> {
        let snapshot = self.snapshot_name(6)?;
        Ok((self.late_id()?, wanted(snapshot)))
    }

    /// A version earlier than all other requests, these said whose snapshot it would be.
    fn snapshot_to_create(&mut self) -> denc::Result<(Option<AsyncRequestId>, SnapshotName)> {
        let snapshot = self.snapshot_name(5)?;
        Ok((self.late_id()?, snapshot))
    }

    /// Messages older than the version `with_namespace` are about the user's snapshots.
    fn snapshot_name(&mut self, with_namespace: u8) -> denc::Result<SnapshotName> {
        Ok(SnapshotName {
            name: self.fields.get()?,
            namespace: if self.version >= with_namespace {
                self.fields.get()?
            } else {
                SnapshotNamespace::User
            },
        })
    }
}

const FLATTEN: u32 = 6;
const RESIZE: u32 = 7;
const SNAP_CREATE: u32 = 8;
const SNAP_REMOVE: u32 = 9;
const REBUILD_OBJECT_MAP: u32 = 10;
const SNAP_RENAME: u32 = 11;
const SNAP_PROTECT: u32 = 12;
const SNAP_UNPROTECT: u32 = 13;
const RENAME: u32 = 14;
const UPDATE_FEATURES: u32 = 15;
const MIGRATE: u32 = 16;
const SPARSIFY: u32 = 17;
const METADATA_UPDATE: u32 = 20;
