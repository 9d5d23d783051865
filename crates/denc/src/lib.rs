//! Ceph's wire encoding.
//!
//! Everything that monitors, OSDs and clients exchange is built from a few rules: integers are
//! little-endian; strings and byte blobs carry a 32-bit length; collections carry a 32-bit count;
//! structures that may grow are wrapped in an *envelope* of version, compatible version and length,
//! so that an older reader can skip the tail it does not know.
//!
//! [`Reader`] takes bytes apart without ever running off their end, [`Writer`] puts them together,
//! and [`Decode`] and [`Encode`] are what types implement. On top stand the types that every layer
//! shares: [addresses](EntityAddr), [names](EntityName), [times](UTime), [feature bits](Features)
//! and the numbers that must not be mixed up ([`PoolId`], [`Epoch`], [`Tid`], ...).
//!
//! The crate knows nothing of sockets, clocks or files.
//!
//! ```
//! use denc::{Decode, Encode, Reader, Writer};
//!
//! let mut writer = Writer::new();
//! vec!["a".to_string(), "b".to_string()].encode(&mut writer);
//! let bytes = writer.freeze();
//! let mut reader = Reader::new("two names", &bytes);
//! assert_eq!(Vec::<String>::decode(&mut reader)?, ["a", "b"]);
//! reader.finish()?;
//! # Ok::<(), denc::DecodeError>(())
//! ```
#![forbid(unsafe_code)]

mod addr;
mod entity;
mod envelope;
mod error;
mod features;
mod ids;
mod read;
mod time;
mod wire;
mod write;

pub use addr::{AddrType, EntityAddr, EntityAddrVec, ParseAddrError};
pub use entity::{AuthEntityName, EntityName, EntityType, ParseEntityNameError};
pub use envelope::Envelope;
pub use error::{DecodeError, DecodeErrorKind};
pub use features::Features;
pub use ids::{Epoch, GlobalId, OsdId, PoolId, SnapId, Tid, Uuid};
pub use read::Reader;
pub use time::UTime;
pub use wire::{Decode, Encode};
pub use write::Writer;

/// What decoding gives: the value, or where and why the bytes make no sense.
pub type Result<T, E = DecodeError> = core::result::Result<T, E>;
