//! What can go wrong with images.

use std::time::Duration;

use denc::DecodeError;
use rados::Errno;

use crate::{Features, OpFeatures};

/// Why something could not be done with an image.
///
/// Images are named as people write them: `POOL/IMAGE`, `POOL/NAMESPACE/IMAGE`, with `@SNAPSHOT`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster failed or refused an operation on one of the image's objects.
    #[error(transparent)]
    Rados(#[from] rados::Error),
    /// There is no image of this name.
    #[error("no image {image}")]
    NoSuchImage {
        /// The image asked for.
        image: String,
    },
    /// The image has no such snapshot.
    #[error("image {image} has no snapshot {snapshot}")]
    NoSuchSnapshot {
        /// The image.
        image: String,
        /// The name or the number asked for.
        snapshot: String,
    },
    /// The image has no such key in its metadata.
    #[error("image {image} has no metadata {key:?}")]
    NoSuchMetadata {
        /// The image.
        image: String,
        /// The key asked for.
        key: String,
    },
    /// The pool has no such namespace.
    #[error("pool {pool} has no namespace {namespace:?}")]
    NoSuchNamespace {
        /// The pool.
        pool: String,
        /// The namespace asked for.
        namespace: String,
    },
    /// An image of this name exists already.
    #[error("image {image} exists already")]
    ImageExists {
        /// The image.
        image: String,
    },
    /// An image, pool or namespace was named in a way that cannot be.
    #[error("{text:?} names no image: expected [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]")]
    InvalidName {
        /// What was given.
        text: String,
    },
    /// A list of features that cannot be understood.
    #[error(
        "{text:?} is not a feature: expected a number or some of {}",
        Features::ALL
    )]
    InvalidFeatures {
        /// The part that is not understood.
        text: String,
    },
    /// An image cannot be made or changed as asked.
    #[error("image {image}: {reason}")]
    InvalidOptions {
        /// The image.
        image: String,
        /// What is wrong with the request.
        reason: InvalidOptions,
    },
    /// A pool cannot hold what it was to hold.
    #[error("pool {pool} cannot hold {what}: {reason}")]
    UnsuitablePool {
        /// The pool.
        pool: String,
        /// What it was to hold.
        what: &'static str,
        /// What is missing.
        reason: &'static str,
    },
    /// An image from before 2013, whose header has another format.
    #[error(
        "image {image} has format 1, which is not supported; copy it to a new image with upstream's rbd"
    )]
    Format1 {
        /// The image.
        image: String,
    },
    /// The image has features without which its contents cannot be understood.
    #[error("image {image} cannot be opened: this version does not know {features}")]
    UnsupportedFeatures {
        /// The image.
        image: String,
        /// Those that are not known.
        features: Features,
    },
    /// The image's contents are partly those of another image.
    #[error(
        "image {image} is a clone of {parent}, which this version cannot read through; flatten it with: rbd flatten {image}"
    )]
    HasParent {
        /// The image.
        image: String,
        /// Pool number, image id and snapshot number of the other one.
        parent: String,
    },
    /// The image is being migrated.
    #[error("image {image} is being migrated; finish that with: rbd migration commit {image}")]
    Migrating {
        /// The image.
        image: String,
    },
    /// The image has features that this version cannot keep intact when it writes.
    #[error("image {image} cannot be written by this version because of {features}{}{}", if remedy.is_empty() { "" } else { "; turn that off with: " }, remedy)]
    NotWritable {
        /// The image.
        image: String,
        /// Those features.
        features: Features,
        /// The command that turns them off; empty if there is none.
        remedy: String,
    },
    /// The image takes part in something this version does not know and must not disturb.
    #[error("image {image} cannot be written by this version because of {features}")]
    UnknownOperations {
        /// The image.
        image: String,
        /// Those that are not known.
        features: OpFeatures,
    },
    /// The image, or its snapshot, was opened for reading only.
    #[error("{image} is open for reading only")]
    ReadOnly {
        /// The image.
        image: String,
    },
    /// A range that is not within the image.
    #[error("{image}: {len} bytes at {offset} reach beyond the end at {size}")]
    OutOfBounds {
        /// The image.
        image: String,
        /// Where the range starts, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The size of the image in bytes.
        size: u64,
    },
    /// The image would lose data and that was not asked for.
    #[error("image {image}: shrinking from {from} to {to} bytes was not allowed")]
    ShrinkRefused {
        /// The image.
        image: String,
        /// The size it has, in bytes.
        from: u64,
        /// The size asked for, in bytes.
        to: u64,
    },
    /// The image has snapshots.
    #[error(
        "image {image} has snapshots - these must be deleted with 'snap purge' before the image can be removed"
    )]
    HasSnapshots {
        /// The image.
        image: String,
        /// How many.
        count: usize,
    },
    /// The image is a member of a group.
    #[error("image {image} belongs to group {group} of pool {pool}; take it out first")]
    InGroup {
        /// The image.
        image: String,
        /// The number of the group's pool.
        pool: i64,
        /// The group's id.
        group: String,
    },
    /// Others have the image open.
    #[error("image {image} still has watchers: {watchers}")]
    InUse {
        /// The image.
        image: String,
        /// Their addresses.
        watchers: String,
    },
    /// Somebody holds a lock on the image.
    #[error("image {image} is locked by {lockers}")]
    Locked {
        /// The image.
        image: String,
        /// Who, from where and with which cookie.
        lockers: String,
    },
    /// Somebody does not hold the lock that was to be taken away.
    #[error("image {image} is not locked by {locker}")]
    NoSuchLock {
        /// The image.
        image: String,
        /// The client and its name for the lock.
        locker: String,
    },
    /// The image's exclusive lock turned out to have been taken away from this client.
    #[error("image {image}: the lock has been broken by another client")]
    LockLost {
        /// The image.
        image: String,
    },
    /// Another client has the image's exclusive lock and keeps it.
    #[error("image {image} is locked by {owner}, which does not give up the lock")]
    LockRefused {
        /// The image.
        image: String,
        /// Who, from where and with which cookie.
        owner: String,
    },
    /// The image's exclusive lock could not be had within the time set.
    #[error("image {image} could not be locked within {} s{}{}", limit.as_secs_f64(), if owner.is_some() { ": it is locked by " } else { "" }, owner.as_deref().unwrap_or_default())]
    LockTimedOut {
        /// The image.
        image: String,
        /// Who has the lock, if that is known.
        owner: Option<String>,
        /// How long was waited.
        limit: Duration,
    },
    /// Writes that were submitted before have not ended within the time that an operation may take
    /// (`rados_osd_op_timeout`). They may still be carried out.
    #[error("image {image}: writes have not ended within {} s", limit.as_secs_f64())]
    WritesUnfinished {
        /// The image.
        image: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Writes that were buffered, and done for those who submitted them, will never be carried out. Nothing
    /// more is written before the image is opened anew.
    #[error("image {image}: {bytes} bytes of buffered writes have been lost: {reason}")]
    WritesLost {
        /// The image.
        image: String,
        /// How many bytes.
        bytes: u64,
        /// Why they could not be written.
        reason: String,
        /// The errno of that.
        errno: Errno,
    },
    /// The client that has the image's exclusive lock was asked to do something, and could not.
    #[error("image {image}: {what} failed at the owner of the lock, {owner}: {errno}")]
    OwnerFailed {
        /// The image.
        image: String,
        /// Who, from where and with which cookie.
        owner: String,
        /// What it was asked for.
        what: &'static str,
        /// What it answered.
        errno: Errno,
    },
    /// The header says something that cannot be.
    #[error("the header of image {image} cannot be right: {field} is {value}")]
    InvalidHeader {
        /// The image.
        image: String,
        /// What is wrong.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// The header kept changing while it was read.
    #[error("image {image} keeps changing: its header could not be read as a whole")]
    KeepsChanging {
        /// The image.
        image: String,
    },
    /// The system has no random numbers to make an id of.
    #[error("no random numbers to be had for the id of image {image}")]
    NoRandomness {
        /// The image.
        image: String,
    },
}

/// Why an image cannot be made or changed as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOptions {
    /// The object size.
    #[error("the object size must be a power of two from 4 KiB to 32 MiB")]
    ObjectSize,
    /// Only one of stripe unit and stripe count.
    #[error("must specify both (or neither) of stripe-unit and stripe-count")]
    HalfStriped,
    /// The stripe unit.
    #[error("stripe unit {unit} is not a factor of the object size {object_size}")]
    StripeUnit {
        /// The stripe unit in bytes.
        unit: u64,
        /// The object size in bytes.
        object_size: u64,
    },
    /// More bytes than can be numbered.
    #[error("size or stripe count is too large")]
    TooLarge,
    /// More objects than an object map can hold.
    #[error("{objects} objects are more than an object map can hold")]
    TooManyObjects {
        /// The number of objects.
        objects: u64,
    },
    /// Features that need others.
    #[error("{feature} needs {needs}")]
    Dependency {
        /// The feature asked for.
        feature: Features,
        /// What it needs.
        needs: Features,
    },
    /// A feature that others need.
    #[error("{feature} cannot be disabled before {needed_by}")]
    NeededBy {
        /// The feature to be disabled.
        feature: Features,
        /// Those that need it.
        needed_by: Features,
    },
    /// Features that this version cannot give to an image.
    #[error("this version cannot make images with {0}")]
    UnsupportedFeatures(Features),
    /// A feature that what was asked for is about.
    #[error("the image lacks {0}")]
    Lacks(Features),
    /// Features that cannot be changed once an image exists.
    #[error("cannot update immutable features: {0}")]
    ImmutableFeatures(Features),
    /// Features that this version cannot change.
    #[error("this version cannot update {0}; use upstream's rbd")]
    UnchangeableFeatures(Features),
    /// Nothing to enable.
    #[error("one or more requested features are already enabled: {0}")]
    AlreadyEnabled(Features),
    /// Nothing to disable.
    #[error("one or more requested features are already disabled: {0}")]
    AlreadyDisabled(Features),
    /// A snapshot that does not come before what it is to be compared with.
    #[error("the snapshot to compare with is the younger one")]
    YoungerSnapshot,
    /// No feature at all.
    #[error("update requires at least one feature")]
    NoFeatures,
}

impl Error {
    /// The closest errno: what the kernel, an NBD client or a command's exit status is told.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Rados(error) => error.errno(),
            Self::OwnerFailed { errno, .. } | Self::WritesLost { errno, .. } => *errno,
            Self::NoSuchImage { .. }
            | Self::NoSuchSnapshot { .. }
            | Self::NoSuchMetadata { .. }
            | Self::NoSuchNamespace { .. }
            | Self::NoSuchLock { .. } => Errno::ENOENT,
            Self::ImageExists { .. } => Errno::EEXIST,
            Self::InvalidName { .. }
            | Self::InvalidFeatures { .. }
            | Self::InvalidOptions { .. }
            | Self::UnsuitablePool { .. }
            | Self::OutOfBounds { .. }
            | Self::ShrinkRefused { .. } => Errno::EINVAL,
            Self::Format1 { .. }
            | Self::UnsupportedFeatures { .. }
            | Self::HasParent { .. }
            | Self::Migrating { .. } => Errno::EOPNOTSUPP,
            Self::NotWritable { .. }
            | Self::UnknownOperations { .. }
            | Self::ReadOnly { .. }
            | Self::LockRefused { .. } => Errno::EROFS,
            Self::LockTimedOut { .. } | Self::WritesUnfinished { .. } => Errno::ETIMEDOUT,
            Self::HasSnapshots { .. } => Errno::ENOTEMPTY,
            Self::InGroup { .. } => Errno(31),
            Self::LockLost { .. } | Self::InUse { .. } | Self::Locked { .. } => Errno::EBUSY,
            Self::InvalidHeader { .. } => Errno::EBADMSG,
            Self::KeepsChanging { .. } => Errno::EAGAIN,
            Self::NoRandomness { .. } => Errno::EIO,
        }
    }

    /// Whether the cluster answered that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rados(error) if error.errno() == Errno::ENOENT)
    }
}

/// For an answer of `object` that makes no sense.
pub(crate) fn undecodable(pool: &rados::Pool, object: &str) -> impl Fn(DecodeError) -> Error {
    move |source| Error::Rados(pool.decode_error(object, source))
}
