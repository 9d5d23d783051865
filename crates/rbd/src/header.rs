//! Methods of the object class `rbd` on an image's header object: what is sent and how the answers
//! are encoded (ceph: src/cls/rbd/cls_rbd.cc, src/cls/rbd/cls_rbd_client.cc).
//!
//! Every function appends one step to an operation.

use bytes::Bytes;
use denc::{Decode, PoolId, Reader, SnapId, UTime, Writer};
use rados::Operation;

use crate::Features;
use crate::parent::ParentSpec;
use crate::snapshot::SnapshotNamespace;

pub(crate) const CLASS: &str = "rbd";

fn read(operation: Operation, method: &str, input: &Bytes) -> Operation {
    operation.call(CLASS, method, input)
}

fn read_plain(operation: Operation, method: &str) -> Operation {
    operation.call(CLASS, method, &[])
}

fn read_at(operation: Operation, method: &str, snap: SnapId) -> Operation {
    read(operation, method, &Writer::encode(&snap))
}

fn change(operation: Operation, method: &str, input: &Writer) -> Operation {
    operation.call_mut(CLASS, method, input.as_slice())
}

/// What a new header says.
#[derive(Clone, Debug)]
pub(crate) struct NewHeader<'a> {
    pub(crate) size: u64,
    pub(crate) order: u8,
    pub(crate) features: Features,
    pub(crate) object_prefix: &'a str,
    pub(crate) data_pool: Option<PoolId>,
}

/// Fills a header object that has just been created.
pub(crate) fn create(operation: Operation, new: &NewHeader<'_>) -> Operation {
    let mut input = Writer::new();
    input
        .u64(new.size)
        .u8(new.order)
        .u64(new.features.0)
        .str(new.object_prefix)
        .i64(new.data_pool.map_or(NO_POOL, |pool| pool.0));
    change(operation, "create", &input)
}

/// Answered as [`Size`].
pub(crate) fn get_size(operation: Operation, snap: SnapId) -> Operation {
    read_at(operation, "get_size", snap)
}

/// Sets the size in bytes.
pub(crate) fn set_size(operation: Operation, size: u64) -> Operation {
    let mut input = Writer::new();
    input.u64(size);
    change(operation, "set_size", &input)
}

/// Answered as a string.
pub(crate) fn get_object_prefix(operation: Operation) -> Operation {
    read_plain(operation, "get_object_prefix")
}

/// Answered as [`FeatureSets`].
pub(crate) fn get_features(operation: Operation, snap: SnapId, read_only: bool) -> Operation {
    let mut input = Writer::new();
    input.put(&snap).bool(read_only);
    read(operation, "get_features", &input.freeze())
}

/// Sets the features in `mask` to what they are in `features`.
pub(crate) fn set_features(operation: Operation, features: Features, mask: Features) -> Operation {
    let mut input = Writer::new();
    input.u64(features.0).u64(mask.0);
    change(operation, "set_features", &input)
}

/// Answered as [`SnapContextReply`].
pub(crate) fn get_snapcontext(operation: Operation) -> Operation {
    read_plain(operation, "get_snapcontext")
}

/// Answered as [`Flags`](crate::Flags).
pub(crate) fn get_flags(operation: Operation, snap: SnapId) -> Operation {
    read_at(operation, "get_flags", snap)
}

/// Sets the flags in `mask` to what they are in `flags`.
pub(crate) fn set_flags(
    operation: Operation,
    flags: crate::Flags,
    mask: crate::Flags,
    snap: SnapId,
) -> Operation {
    let mut input = Writer::new();
    input.u64(flags.0).u64(mask.0).put(&snap);
    change(operation, "set_flags", &input)
}

/// Answered as [`OpFeatures`](crate::OpFeatures).
pub(crate) fn op_features_get(operation: Operation) -> Operation {
    read_plain(operation, "op_features_get")
}

/// Answered as [`Striping`]. Fails on images without [`Features::STRIPING`].
pub(crate) fn get_stripe_unit_count(operation: Operation) -> Operation {
    read_plain(operation, "get_stripe_unit_count")
}

/// Sets stripe unit in bytes and stripe count.
pub(crate) fn set_stripe_unit_count(operation: Operation, unit: u64, count: u64) -> Operation {
    let mut input = Writer::new();
    input.u64(unit).u64(count);
    change(operation, "set_stripe_unit_count", &input)
}

/// Answered as [`OptionalPool`].
pub(crate) fn get_data_pool(operation: Operation) -> Operation {
    read_plain(operation, "get_data_pool")
}

/// Answered as [`UTime`].
pub(crate) fn get_create_timestamp(operation: Operation) -> Operation {
    read_plain(operation, "get_create_timestamp")
}

/// Answered as [`UTime`].
pub(crate) fn get_access_timestamp(operation: Operation) -> Operation {
    read_plain(operation, "get_access_timestamp")
}

/// Answered as [`UTime`].
pub(crate) fn get_modify_timestamp(operation: Operation) -> Operation {
    read_plain(operation, "get_modify_timestamp")
}

/// Answered as [`OptionalParent`].
pub(crate) fn parent_get(operation: Operation) -> Operation {
    read_plain(operation, "parent_get")
}

/// Answered as `Option<u64>`: how many bytes of the parent show through.
pub(crate) fn parent_overlap_get(operation: Operation, snap: SnapId) -> Operation {
    read_at(operation, "parent_overlap_get", snap)
}

/// Answered as [`SnapshotReply`].
pub(crate) fn snapshot_get(operation: Operation, snap: SnapId) -> Operation {
    read_at(operation, "snapshot_get", snap)
}

/// Answered as a byte: 0 unprotected, 1 being unprotected, 2 protected.
pub(crate) fn get_protection_status(operation: Operation, snap: SnapId) -> Operation {
    read_at(operation, "get_protection_status", snap)
}

/// Answered as [`GroupReply`].
pub(crate) fn image_group_get(operation: Operation) -> Operation {
    read_plain(operation, "image_group_get")
}

/// Answered as a string. Fails with `ENOENT` if there is no such key.
pub(crate) fn metadata_get(operation: Operation, key: &str) -> Operation {
    read(operation, "metadata_get", &Writer::encode(key))
}

/// Answered as a map of blobs.
pub(crate) fn metadata_list(operation: Operation, after: &str, max: u64) -> Operation {
    let mut input = Writer::new();
    input.str(after).u64(max);
    read(operation, "metadata_list", &input.freeze())
}

/// Sets one key.
pub(crate) fn metadata_set(operation: Operation, key: &str, value: &[u8]) -> Operation {
    let mut input = Writer::new();
    input.count(1).str(key).blob(value);
    change(operation, "metadata_set", &input)
}

/// Removes a key.
pub(crate) fn metadata_remove(operation: Operation, key: &str) -> Operation {
    let mut input = Writer::new();
    input.str(key);
    change(operation, "metadata_remove", &input)
}

const NO_POOL: i64 = -1;

/// Object size and size of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) order: u8,
    pub(crate) size: u64,
}

impl Decode for Size {
    const MIN_LEN: usize = 9;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            order: reader.u8()?,
            size: reader.u64()?,
        })
    }
}

/// All features, and those without which a client must not open the image the way it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FeatureSets {
    pub(crate) features: Features,
    pub(crate) incompatible: Features,
}

impl Decode for FeatureSets {
    const MIN_LEN: usize = 16;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            features: reader.get()?,
            incompatible: reader.get()?,
        })
    }
}

/// Stripe unit in bytes and stripe count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Striping {
    pub(crate) unit: u64,
    pub(crate) count: u64,
}

impl Decode for Striping {
    const MIN_LEN: usize = 16;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            unit: reader.u64()?,
            count: reader.u64()?,
        })
    }
}

/// The newest snapshot ever, and the existing ones, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapContextReply(pub(crate) rados::SnapContext);

impl Decode for SnapContextReply {
    const MIN_LEN: usize = 12;

    /// Refuses what OSDs would refuse in every write: snapshots that are not in descending order,
    /// or newer than the newest.
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let seq: SnapId = reader.get()?;
        let snaps: Vec<SnapId> = reader.get()?;
        let mut above = SnapId(seq.0.saturating_add(1));
        for snap in &snaps {
            if *snap >= above {
                return Err(reader.invalid("snapshot", snap.0));
            }
            above = *snap;
        }
        Ok(Self(rados::SnapContext { seq, snaps }))
    }
}

/// A pool, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionalPool(pub(crate) Option<PoolId>);

impl Decode for OptionalPool {
    const MIN_LEN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let pool: PoolId = reader.get()?;
        Ok(Self((pool.0 != NO_POOL).then_some(pool)))
    }
}

/// A parent, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionalParent(pub(crate) Option<ParentSpec>);

impl Decode for OptionalParent {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let spec: ParentSpec = reader.get()?;
        Ok(Self((spec.pool.0 != NO_POOL).then_some(spec)))
    }
}

/// The group an image belongs to, or none (`cls::rbd::GroupSpec`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupReply(pub(crate) Option<crate::info::GroupSpec>);

impl Decode for GroupReply {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("GroupSpec", 1)?.reader;
        let pool: PoolId = fields.get()?;
        let id: String = fields.get()?;
        Ok(Self(
            (pool.0 != NO_POOL).then_some(crate::info::GroupSpec { pool, id }),
        ))
    }
}

/// What the header says about one snapshot (`cls::rbd::SnapshotInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotReply {
    pub(crate) id: SnapId,
    pub(crate) namespace: SnapshotNamespace,
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) created: UTime,
    pub(crate) children: u32,
}

impl Decode for SnapshotReply {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("SnapshotInfo", 1)?.reader;
        Ok(Self {
            id: fields.get()?,
            namespace: fields.get()?,
            name: fields.get()?,
            size: fields.u64()?,
            created: fields.get()?,
            children: fields.u32()?,
        })
    }
}
