//! A cluster that always answers the same, and a client of NBD that always asks the same: what stands on both sides of a
//! block device whose work per operation is to be counted.
//!
//! ```text
//! nbd::Client ── unix socket ──> the program that is measured ── TCP, messenger v2 ──> Cluster
//! ```
//!
//! [`Cluster`] is a monitor, and an OSD with one image of [`IMAGE_SIZE`] bytes that has the features of `rbd create`. It keeps
//! nothing: what is read is always the [`pattern`], and what is written has to be the pattern, too. [`Script`] says which
//! requests are sent.
#![forbid(unsafe_code)]

mod cluster;
mod daemon;
mod image;
mod monitor;
pub mod nbd;
mod osd;
mod osdmap;
mod request;
mod script;
#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use script::{Direction, Script};

use std::sync::LazyLock;

use bytes::Bytes;

/// The name of the pool.
pub const POOL: &str = "rbd";
/// The name of the image.
pub const IMAGE: &str = "disk";
/// The size of the image in bytes.
pub const IMAGE_SIZE: u64 = OBJECT_SIZE << 10;
/// The size of an object in bytes.
pub const OBJECT_SIZE: u64 = 1 << OBJECT_ORDER;
const OBJECT_ORDER: u8 = 22;

/// What every object holds.
pub fn pattern() -> &'static Bytes {
    &PATTERN
}

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    let bytes = (0..OBJECT_SIZE).map(|_| random.u8(..));
    bytes.collect()
});
