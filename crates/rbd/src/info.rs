//! Everything an image's header says.

use std::sync::Arc;

use denc::{PoolId, SnapId, UTime};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::{Operation, Pool, Reply, SnapContext};

use crate::error::undecodable;
use crate::header::{self, FeatureSets, GroupReply, OptionalParent, OptionalPool, Size};
use crate::lock::{self, LockInfo};
use crate::{
    Error, Features, Flags, Layout, OpFeatures, Parent, Result, Snapshot, SnapshotSelector,
    object_names,
};

/// What the header of an image says, all of it read at about the same time.
#[derive(Clone, Debug)]
pub struct ImageInfo {
    /// The part of the names of the image's objects that stays when it is renamed.
    pub id: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How its bytes are laid out over objects.
    pub layout: Layout,
    /// What the names of its data objects start with.
    pub block_name_prefix: String,
    /// What it can do.
    pub features: Features,
    /// What it takes part in.
    pub op_features: OpFeatures,
    /// What is wrong with it.
    pub flags: Flags,
    /// The pool of the data objects, if it is another one than that of the header.
    pub data_pool: Option<PoolId>,
    /// When it was made.
    pub created: UTime,
    /// When it was last read, give or take a minute; many clients do not record it.
    pub accessed: UTime,
    /// When it was last written, give or take a minute; many clients do not record it.
    pub modified: UTime,
    /// What it is a clone of.
    pub parent: Option<Parent>,
    /// The group it belongs to.
    pub group: Option<GroupSpec>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Who holds the image's lock.
    pub lock: LockInfo,
    /// What writes must preserve.
    pub(crate) snap_context: Arc<SnapContext>,
    /// Features that forbid even reading to those who do not know them.
    pub(crate) incompatible: Features,
}

/// Names a group of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// The number of the pool that the group belongs to.
    pub pool: PoolId,
    /// The group's id.
    pub id: String,
}

impl ImageInfo {
    /// How many objects the image can have.
    pub const fn object_count(&self) -> u64 {
        self.layout.object_count(self.size_bytes)
    }

    /// The size in bytes and the flags of a version of the image, unless it is a snapshot that does
    /// not exist.
    pub(crate) fn version(&self, snap: SnapId) -> Option<(u64, Flags)> {
        if snap == SnapId::HEAD {
            return Some((self.size_bytes, self.flags));
        }
        let snap = SnapshotSelector::Id(snap).find(&self.snapshots)?;
        Some((snap.size_bytes, snap.flags))
    }

    /// The snapshot chosen by `selector`.
    ///
    /// # Errors
    /// [`Error::NoSuchSnapshot`], with `image` for the image's name.
    pub fn snapshot(&self, selector: &SnapshotSelector, image: &str) -> Result<&Snapshot> {
        selector
            .find(&self.snapshots)
            .ok_or_else(|| Error::NoSuchSnapshot {
                image: image.to_string(),
                snapshot: selector.to_string(),
            })
    }

    /// Checks that the data of the image, or of a snapshot of it, can be understood.
    ///
    /// # Errors
    /// By name, what this version cannot follow.
    pub(crate) fn check_readable(&self, image: &str, snap: Option<&Snapshot>) -> Result<()> {
        let image = || image.to_string();
        let unknown = self.incompatible.without(Features::READABLE);
        if !unknown.is_empty() {
            return Err(Error::UnsupportedFeatures {
                image: image(),
                features: unknown,
            });
        }
        if self.features.intersects(Features::DIRTY_CACHE) {
            return Err(Error::UnsupportedFeatures {
                image: image(),
                features: Features::DIRTY_CACHE,
            });
        }
        if self.features.intersects(Features::MIGRATING) {
            return Err(Error::Migrating { image: image() });
        }
        let shows_parent = match (snap, &self.parent) {
            (Some(snap), _) => snap.parent_overlap.is_some_and(|overlap| overlap > 0),
            (None, Some(parent)) => parent.overlap > 0,
            (None, None) => false,
        };
        if shows_parent {
            let parent = self.parent.as_ref();
            return Err(Error::HasParent {
                image: image(),
                parent: parent.map_or_else(String::new, |parent| parent.spec.to_string()),
            });
        }
        Ok(())
    }

    /// Checks that writing keeps everything intact that the image's features promise.
    ///
    /// # Errors
    /// [`Error::NotWritable`] with the features and the command that turns them off, and
    /// [`Error::UnknownOperations`].
    pub(crate) fn check_writable(&self, image: &str) -> Result<()> {
        let unknown = self.features.without(Features::ALL);
        let hindering = self.features.and(Features::UNWRITABLE).with(unknown);
        if !hindering.is_empty() {
            return Err(Error::NotWritable {
                image: image.to_string(),
                features: hindering,
                remedy: remedy(image, hindering),
            });
        }
        let unknown = self.op_features.without(OpFeatures::WRITABLE);
        if !unknown.is_empty() {
            return Err(Error::UnknownOperations {
                image: image.to_string(),
                features: unknown,
            });
        }
        Ok(())
    }

    /// Reads the header of the image with this id. `image` is its name in errors.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] if there is no header; [`Error::InvalidHeader`] if it makes no sense.
    pub(crate) async fn load(pool: &Pool, id: &str, image: &str) -> Result<Self> {
        let object = object_names::header(id);
        for _ in 0..MAX_ATTEMPTS {
            let mut info = Self::load_head(pool, &object, id, image).await?;
            let ids: Vec<SnapId> = info.snap_context.snaps.iter().rev().copied().collect();
            match load_snapshots(pool, &object, &ids).await {
                Ok(snapshots) => {
                    info.snapshots = snapshots;
                    return Ok(info);
                }
                // One was removed since the list was read.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::KeepsChanging {
            image: image.to_string(),
        })
    }

    /// All but the snapshots.
    async fn load_head(pool: &Pool, object: &str, id: &str, image: &str) -> Result<Self> {
        let mut operation = Operation::new();
        for step in HEAD_STEPS {
            operation = step(operation);
        }
        let reply = pool.execute(object, operation).await.map_err(|error| {
            if error.errno() == rados::Errno::ENOENT {
                Error::NoSuchImage {
                    image: image.to_string(),
                }
            } else {
                error.into()
            }
        })?;
        let decoded = Head::decode(&reply).map_err(undecodable(pool, object))?;
        let striping = if decoded.features.features.contains(Features::STRIPING) {
            let operation = header::get_stripe_unit_count(Operation::new());
            Some(crate::directory::call(pool, object, operation).await?)
        } else {
            None
        };
        decoded.into_info(id, image, striping)
    }
}

/// What is asked about the head, in this order and in one operation, so that it fits together.
const HEAD_STEPS: [fn(Operation) -> Operation; 14] = [
    |operation| header::get_size(operation, SnapId::HEAD),
    header::get_object_prefix,
    |operation| header::get_features(operation, SnapId::HEAD, true),
    header::get_snapcontext,
    |operation| header::get_flags(operation, SnapId::HEAD),
    header::op_features_get,
    header::get_data_pool,
    header::parent_get,
    |operation| header::parent_overlap_get(operation, SnapId::HEAD),
    header::image_group_get,
    header::get_create_timestamp,
    header::get_access_timestamp,
    header::get_modify_timestamp,
    lock::get_info,
];

/// The answers to [`HEAD_STEPS`].
struct Head {
    size: Size,
    prefix: String,
    features: FeatureSets,
    snap_context: SnapContext,
    flags: Flags,
    op_features: OpFeatures,
    data_pool: Option<PoolId>,
    parent: Option<crate::ParentSpec>,
    overlap: Option<u64>,
    group: Option<GroupSpec>,
    times: [UTime; 3],
    lock: LockInfo,
}

impl Head {
    fn decode(reply: &Reply) -> denc::Result<Self> {
        Ok(Self {
            size: reply.decode(0, "get_size")?,
            prefix: reply.decode(1, "get_object_prefix")?,
            features: reply.decode(2, "get_features")?,
            snap_context: reply
                .decode::<header::SnapContextReply>(3, "get_snapcontext")?
                .0,
            flags: reply.decode(4, "get_flags")?,
            op_features: reply.decode(5, "op_features_get")?,
            data_pool: reply.decode::<OptionalPool>(6, "get_data_pool")?.0,
            parent: reply.decode::<OptionalParent>(7, "parent_get")?.0,
            overlap: reply.decode(8, "parent_overlap_get")?,
            group: reply.decode::<GroupReply>(9, "image_group_get")?.0,
            times: [
                reply.decode(10, "get_create_timestamp")?,
                reply.decode(11, "get_access_timestamp")?,
                reply.decode(12, "get_modify_timestamp")?,
            ],
            lock: reply.decode(13, "get_info")?,
        })
    }

    fn into_info(
        self,
        id: &str,
        image: &str,
        striping: Option<header::Striping>,
    ) -> Result<ImageInfo> {
        let invalid = |field, value| Error::InvalidHeader {
            image: image.to_string(),
            field,
            value,
        };
        let order = self.size.order;
        let layout = match striping {
            Some(striping) => Layout::new(order, striping.unit, striping.count)
                .map_err(|_| invalid("stripe unit", striping.unit))?,
            None => Layout::plain(order).map_err(|_| invalid("order", order.into()))?,
        };
        if self.size.size > Layout::MAX_SIZE {
            return Err(invalid("size", self.size.size));
        }
        let [created, accessed, modified] = self.times;
        Ok(ImageInfo {
            id: id.to_string(),
            size_bytes: self.size.size,
            layout,
            block_name_prefix: self.prefix,
            features: self.features.features,
            op_features: self.op_features,
            flags: self.flags,
            data_pool: self.data_pool,
            created,
            accessed,
            modified,
            parent: self.parent.map(|spec| Parent {
                spec,
                overlap: self.overlap.unwrap_or(0),
            }),
            group: self.group,
            snapshots: Vec::new(),
            lock: self.lock,
            snap_context: Arc::new(self.snap_context),
            incompatible: self.features.incompatible,
        })
    }
}

/// What the header says about these snapshots.
async fn load_snapshots(pool: &Pool, object: &str, ids: &[SnapId]) -> Result<Vec<Snapshot>> {
    let batches: Vec<Vec<SnapId>> = ids.chunks(SNAPSHOT_BATCH).map(<[_]>::to_vec).collect();
    let loaded: Vec<Vec<Snapshot>> = stream::iter(batches)
        .map(|batch| load_snapshot_batch(pool, object, batch))
        .buffered(SNAPSHOT_BATCHES_IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(loaded.into_iter().flatten().collect())
}

async fn load_snapshot_batch(pool: &Pool, object: &str, ids: Vec<SnapId>) -> Result<Vec<Snapshot>> {
    let mut operation = Operation::new();
    for &id in &ids {
        operation = header::snapshot_get(operation, id);
        operation = header::get_protection_status(operation, id);
        operation = header::get_flags(operation, id);
        operation = header::parent_overlap_get(operation, id);
    }
    let reply = pool.execute(object, operation).await?;
    (0..ids.len())
        .map(|index| decode_snapshot(&reply, index * STEPS_PER_SNAPSHOT))
        .collect::<denc::Result<_>>()
        .map_err(undecodable(pool, object))
}

fn decode_snapshot(reply: &Reply, first_step: usize) -> denc::Result<Snapshot> {
    let snapshot: header::SnapshotReply = reply.decode(first_step, "snapshot_get")?;
    Ok(Snapshot {
        id: snapshot.id,
        name: snapshot.name,
        size_bytes: snapshot.size,
        protection: reply.decode(first_step + 1, "get_protection_status")?,
        created: snapshot.created,
        namespace: snapshot.namespace,
        children: snapshot.children,
        flags: reply.decode(first_step + 2, "get_flags")?,
        parent_overlap: reply.decode(first_step + 3, "parent_overlap_get")?,
    })
}

/// The command that turns off `features`; empty if none can.
fn remedy(image: &str, features: Features) -> String {
    if !features.without(Features::MUTABLE).is_empty() {
        return String::new();
    }
    // Removing a journal is not done here.
    format!("rbd feature disable {image} {}", features.comma_separated())
}

const STEPS_PER_SNAPSHOT: usize = 4;
/// Snapshots asked about in one operation.
const SNAPSHOT_BATCH: usize = 16;
const SNAPSHOT_BATCHES_IN_FLIGHT: usize = 4;
/// How often a header that changes while it is read is read again.
const MAX_ATTEMPTS: usize = 10;
