//! Snapshots of images (ceph: src/cls/rbd/cls_rbd_types.h, `SnapshotNamespace`).

use bytes::Bytes;
use denc::{Decode, Encode, PoolId, Reader, SnapId, UTime, Writer};

use crate::Flags;

/// A snapshot of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub id: SnapId,
    /// Its name; unique among the user's snapshots of the image.
    pub name: String,
    /// The size of the image when it was made, in bytes.
    pub size_bytes: u64,
    /// Whether it may be removed.
    pub protection: Protection,
    /// When it was made.
    pub created: UTime,
    /// Who made it for what.
    pub namespace: SnapshotNamespace,
    /// How many clones hold on to it, not counting those registered the old way.
    pub children: u32,
    /// What is wrong with its object map.
    pub flags: Flags,
    /// How many bytes from its start show a parent; `None` if it has none.
    pub parent_overlap: Option<u64>,
}

/// Whether a snapshot may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// It may.
    Unprotected,
    /// It is just becoming removable.
    Unprotecting,
    /// It may not.
    Protected,
}

impl Decode for Protection {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        match reader.u8()? {
            0 => Ok(Self::Unprotected),
            1 => Ok(Self::Unprotecting),
            2 => Ok(Self::Protected),
            other => Err(reader.invalid("protection status", other.into())),
        }
    }
}

/// Who made a snapshot for what. Nothing is lost when it is decoded and encoded again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotNamespace {
    /// A person or a program, by name.
    User,
    /// It is this image's part of a snapshot of a group of images.
    Group {
        /// The pool of the group.
        pool: PoolId,
        /// The group.
        group_id: String,
        /// The snapshot of the group.
        group_snapshot_id: String,
    },
    /// It was removed, but clones still need it.
    Trash {
        /// What it was called.
        original_name: String,
        /// Who had made it: the number of the kind, 0 for a person or a program.
        original_kind: u32,
    },
    /// Mirroring, with what it keeps there, encoded.
    Mirror(Bytes),
    /// Something that this version does not know.
    Unknown {
        /// The number of the kind.
        kind: u32,
        /// What follows, encoded.
        data: Bytes,
    },
}

impl SnapshotNamespace {
    /// The name that upstream's tools print.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group { .. } => "group",
            Self::Trash { .. } => "trash",
            Self::Mirror(_) => "mirror",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl Decode for SnapshotNamespace {
    const MIN_LEN: usize = 10;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("SnapshotNamespace", 1)?.reader;
        Ok(match fields.u32()? {
            USER => Self::User,
            GROUP => Self::Group {
                pool: fields.get()?,
                group_id: fields.get()?,
                group_snapshot_id: fields.get()?,
            },
            TRASH => Self::Trash {
                original_name: fields.get()?,
                original_kind: fields.u32()?,
            },
            MIRROR => Self::Mirror(rest(&mut fields)),
            kind => Self::Unknown {
                kind,
                data: rest(&mut fields),
            },
        })
    }
}

impl Encode for SnapshotNamespace {
    fn encode(&self, writer: &mut Writer) {
        writer.envelope(1, 1, |fields| {
            match self {
                Self::User => fields.u32(USER),
                Self::Group {
                    pool,
                    group_id,
                    group_snapshot_id,
                } => fields
                    .u32(GROUP)
                    .put(pool)
                    .str(group_id)
                    .str(group_snapshot_id),
                Self::Trash {
                    original_name,
                    original_kind,
                } => fields.u32(TRASH).str(original_name).u32(*original_kind),
                Self::Mirror(data) => fields.u32(MIRROR).raw(data),
                Self::Unknown { kind, data } => fields.u32(*kind).raw(data),
            };
        });
    }
}

fn rest(fields: &mut Reader<'_>) -> Bytes {
    Bytes::copy_from_slice(fields.take_rest())
}

/// `SNAPSHOT_NAMESPACE_TYPE_*`.
const USER: u32 = 0;
const GROUP: u32 = 1;
const TRASH: u32 = 2;
const MIRROR: u32 = 3;

/// Names a snapshot to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotSelector {
    /// One of the user's snapshots, by name.
    Name(String),
    /// Any snapshot, by number.
    Id(SnapId),
}

impl SnapshotSelector {
    /// The snapshot among `snapshots`, if it is there.
    pub(crate) fn find<'a>(&self, snapshots: &'a [Snapshot]) -> Option<&'a Snapshot> {
        snapshots.iter().find(|snapshot| match self {
            Self::Name(name) => {
                snapshot.namespace == SnapshotNamespace::User && snapshot.name == *name
            }
            Self::Id(id) => snapshot.id == *id,
        })
    }
}

impl std::fmt::Display for SnapshotSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "id {id}"),
        }
    }
}
