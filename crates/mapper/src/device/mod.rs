//! What can be served as a block device.
//!
//! A [`BlockDevice`] is the meeting point of two worlds: above it are the ways in which a device is
//! offered (the NBD server, FUSE), below it what keeps the bytes (an image in a cluster, or
//! [memory](memory::MemoryDevice) in tests).
//!
//! All offsets and lengths are in bytes. Payload is handed over as [`Bytes`] in both directions, and
//! what reads as zeroes is handed over as a [hole](Segment::Hole), so that nobody fills or copies a
//! buffer on the way.

mod error;
pub mod image;
mod ledger;
pub mod memory;

use std::future::Future;

use buffers::BufferPool;
use bytes::Bytes;
use smallvec::SmallVec;

pub use error::DeviceError;
pub use ledger::{Ledger, Tally, Traffic};

/// What an operation on a device gives.
pub type Result<T, E = DeviceError> = std::result::Result<T, E>;

/// A device of bytes.
///
/// Whoever serves a device checks requests before they get here: offset and length lie inside the
/// device as [`size_bytes`](Self::size_bytes) had it a moment ago, and nothing that changes the device
/// is asked of one that is read-only. Requests run concurrently and in no order among each other.
///
/// **Cancellation:** a future that is dropped half-way leaves the range of its request in an unknown state
/// (as after an error), and nothing else.
pub trait BlockDevice: Send + Sync + 'static {
    /// The size in bytes. It may change while the device is served.
    fn size_bytes(&self) -> u64;

    /// Whether everything that changes the device would be refused.
    fn is_read_only(&self) -> bool;

    /// What sizes suit the device.
    fn limits(&self) -> Limits;

    /// What to read the payload of writes into.
    fn buffers(&self) -> BufferPool {
        BufferPool::default()
    }

    /// Reads `len` bytes from `offset` on.
    ///
    /// # Errors
    /// Those of what keeps the bytes.
    fn read(&self, offset: u64, len: u64) -> impl Future<Output = Result<ReadData>> + Send;

    /// Writes `data` at `offset`. With `is_fua` the bytes are on stable storage when this returns.
    ///
    /// # Errors
    /// Those of what keeps the bytes; the range is then in an unknown state.
    fn write(
        &self,
        offset: u64,
        data: Bytes,
        is_fua: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Returns when every write, discard and write of zeroes that returned before this was called,
    /// wherever it came from, is on stable storage.
    ///
    /// # Errors
    /// Those of what keeps the bytes.
    fn flush(&self) -> impl Future<Output = Result<()>> + Send;

    /// How many bytes have been written and are not on stable storage yet: what the next flush is for.
    fn buffered_bytes(&self) -> u64 {
        0
    }

    /// Says that the contents of a range are no longer needed. What is read there afterwards is either
    /// zeroes or what was there before.
    ///
    /// # Errors
    /// Those of what keeps the bytes.
    fn discard(&self, offset: u64, len: u64) -> impl Future<Output = Result<()>> + Send;

    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// Those of what keeps the bytes; `ENOTSUP` if it was to be [fast](ZeroMode::is_fast) and would not be.
    fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        mode: ZeroMode,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Says what is allocated, from `offset` on: at least one extent, and no more than `len` bytes.
    /// Less than the range may be described.
    ///
    /// # Errors
    /// Those of what keeps the bytes.
    fn block_status(
        &self,
        offset: u64,
        len: u64,
    ) -> impl Future<Output = Result<Vec<BlockExtent>>> + Send;

    /// Says that a range will be read soon. Doing nothing is right, if not helpful.
    ///
    /// # Errors
    /// Those of what keeps the bytes.
    fn prefetch(&self, offset: u64, len: u64) -> impl Future<Output = Result<()>> + Send {
        let _ = (offset, len);
        std::future::ready(Ok(()))
    }
}

/// What sizes suit a device. All are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Offsets and lengths of requests are multiples of this. At most 64 KiB.
    pub minimum_bytes: u32,
    /// Requests of this size and alignment are efficient. At least 512 bytes and at least the minimum; for an
    /// image its stripe unit, when that is not too large for a file system's block.
    pub preferred_bytes: u32,
    /// The largest payload of one read or write. At least the preferred size.
    pub maximum_bytes: u32,
    /// Discards of less than this, or not aligned to it, free no space; for an image its object size.
    pub discard_granularity_bytes: u32,
    /// The size of requests that keep most of the storage busy; for an image its stripe unit times its
    /// stripe count, at least its object size.
    pub optimal_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            minimum_bytes: 1,
            preferred_bytes: 4096,
            maximum_bytes: MAX_PAYLOAD_BYTES,
            discard_granularity_bytes: 4096,
            optimal_bytes: 4096,
        }
    }
}

/// The largest payload of a request that anything in here takes: NBD's recommended maximum.
pub const MAX_PAYLOAD_BYTES: u32 = 32 << 20;

/// What was read: the segments in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadData {
    segments: SmallVec<[Segment; 2]>,
}

/// A part of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Bytes.
    Data(Bytes),
    /// That many zeroes.
    Hole(u64),
}

impl Segment {
    /// Length in bytes.
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Hole(len) => *len,
        }
    }
}

impl ReadData {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes at the end.
    pub fn push_data(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.segments.push(Segment::Data(data));
        }
    }

    /// Adds `len` zeroes at the end; next to another hole they become one.
    pub fn push_hole(&mut self, len: u64) {
        match self.segments.last_mut() {
            _ if len == 0 => {}
            Some(Segment::Hole(last)) => *last += len,
            _ => self.segments.push(Segment::Hole(len)),
        }
    }

    /// The segments in order, none of them empty.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Length in bytes, holes included.
    pub fn len_bytes(&self) -> u64 {
        self.segments.iter().map(Segment::len_bytes).sum()
    }
}

impl From<Bytes> for ReadData {
    fn from(data: Bytes) -> Self {
        let mut read = Self::new();
        read.push_data(data);
        read
    }
}

impl IntoIterator for ReadData {
    type Item = Segment;
    type IntoIter = smallvec::IntoIter<[Segment; 2]>;

    fn into_iter(self) -> Self::IntoIter {
        self.segments.into_iter()
    }
}

/// How zeroes are to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZeroMode {
    /// Whether the range may give its space back. If not, later writes to it must not run out of space.
    pub may_unmap: bool,
    /// Whether to fail with `ENOTSUP` rather than be no faster than writing the zeroes as data.
    pub is_fast: bool,
}

/// A run of bytes of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockExtent {
    /// Length in bytes, not zero.
    pub len_bytes: u64,
    /// Whether no space is taken.
    pub is_hole: bool,
    /// Whether it reads as zeroes.
    pub is_zero: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_holes_are_one_and_empty_parts_are_none() {
        let mut read = ReadData::new();
        read.push_hole(0);
        read.push_hole(3);
        read.push_hole(4);
        read.push_data(Bytes::new());
        read.push_data(Bytes::from_static(b"ab"));
        assert_eq!(
            read.segments(),
            [Segment::Hole(7), Segment::Data(Bytes::from_static(b"ab"))]
        );
        assert_eq!(read.len_bytes(), 9);
    }
}
