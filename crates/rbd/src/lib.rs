//! RADOS block device images: what `rbd` makes and librbd reads and writes, on top of [`rados`].
//!
//! [`create`], [`list`], [`rename`] and [`remove`] work on a pool; [`Image`] is one that is open.
//!
//! ```no_run
//! # async fn example(pool: &rados::Pool) -> rbd::Result<()> {
//! use rbd::{CreateOptions, Image, OpenOptions};
//!
//! rbd::create(pool, "disk", &CreateOptions::new(1 << 30)).await?;
//! let image = Image::open(pool, "disk", OpenOptions::default()).await?;
//! let first = image.read(0, 4096).await?;
//! assert_eq!(first.segments[..], [rbd::Segment::Zero(4096)]);
//! # Ok(())
//! # }
//! ```
//!
//! An image with the feature `exclusive-lock` is locked by the first write, and handed to other clients
//! that ask for it: see [`Image::close`], [`LockPolicy`] and [`LockStatus`].
//!
//! Images whose features call for something that this version does not do when it writes can be read
//! but not written: see [`Image::check_writable`]. Clones, images being migrated and images of format
//! 1 are refused.
#![forbid(unsafe_code)]

mod cache;
mod create;
mod decode_any;
#[cfg(test)]
#[path = "../../denc/testdata/dencoder.rs"]
#[expect(dead_code, reason = "others need more of it")]
mod dencoder;
mod diff;
mod directory;
mod discard;
mod disk_usage;
mod error;
mod exclusive_lock;
mod features;
mod follow;
mod header;
mod header_watch;
mod image;
mod in_flight;
mod info;
pub mod layout;
mod lock;
mod maintenance;
mod manual_lock;
mod metadata;
mod notification;
mod object_map;
mod object_names;
mod overrides;
mod parent;
mod pool_check;
#[cfg(test)]
mod printed;
mod progress;
mod read;
mod read_policy;
mod remove;
mod rename;
mod resize;
mod snapshot;
mod spec;
mod update_features;
#[cfg(test)]
mod vectors;
mod watchers;
mod write;

pub use cache::{Cache, CacheOptions, CachePolicy, ReadAheadOptions};
pub use create::{CreateOptions, create};
#[doc(hidden)]
pub use decode_any::{decode_any, decode_any_notification, decode_object_map};
pub use diff::{DiffExtent, DiffOptions};
pub use directory::{ImageEntry, list};
pub use discard::Zeroes;
pub use disk_usage::DiskUsage;
pub use error::{Error, InvalidOptions};
pub use exclusive_lock::{LockPolicy, LockStatus};
pub use features::{Features, Flags, OpFeatures};
pub use image::{Image, OpenOptions};
pub use info::{GroupSpec, ImageInfo};
pub use layout::Layout;
pub use lock::{LockInfo, Locker};
pub use object_map::ObjectMapCheck;
#[cfg(feature = "bench")]
pub use object_map::{ObjectBits, TrackedMap};
pub use parent::{Parent, ParentSpec};
pub use progress::Progress;
pub use read::{Extent, ReadData, Segment};
pub use remove::remove;
pub use rename::rename;
pub use snapshot::{Protection, Snapshot, SnapshotNamespace, SnapshotSelector};
pub use spec::ImageSpec;

/// What operations give.
pub type Result<T, E = Error> = core::result::Result<T, E>;
