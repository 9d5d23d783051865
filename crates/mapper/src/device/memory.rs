//! A device in memory, for tests and for measuring everything but the storage.
//!
//! It remembers what was asked of it, and can be told to fail, to hold requests back, and to lose what was
//! not flushed, as a machine without power does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::{BlockDevice, BlockExtent, DeviceError, Limits, ReadData, Result, ZeroMode};

/// A device in memory. Clones are the same device.
#[derive(Clone, Debug)]
pub struct MemoryDevice {
    shared: Arc<Shared>,
}

/// What was asked of a [`MemoryDevice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the names are those of the methods and their arguments"
)]
pub enum Operation {
    Read {
        offset: u64,
        len: u64,
    },
    Write {
        offset: u64,
        len: u64,
        is_fua: bool,
    },
    Flush,
    Discard {
        offset: u64,
        len: u64,
    },
    WriteZeroes {
        offset: u64,
        len: u64,
        mode: ZeroMode,
    },
    BlockStatus {
        offset: u64,
        len: u64,
    },
    Prefetch {
        offset: u64,
        len: u64,
    },
}

/// Decides whether an operation fails.
pub type Fault = Box<dyn Fn(&Operation) -> Option<DeviceError> + Send>;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    is_held: watch::Sender<bool>,
    started: watch::Sender<usize>,
}

struct State {
    size: u64,
    is_read_only: bool,
    limits: Limits,
    /// Chunks of [`CHUNK`] bytes by number; what is not there is a hole.
    chunks: BTreeMap<u64, Chunk>,
    /// The chunks as they were at the last flush, where they differ: `None` for a hole.
    unflushed: BTreeMap<u64, Option<Chunk>>,
    operations: Vec<Operation>,
    fault: Option<Fault>,
}

type Chunk = Box<[u8]>;

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("size", &self.size)
            .field("is_read_only", &self.is_read_only)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl MemoryDevice {
    /// A device of `size_bytes` zeroes.
    pub fn new(size_bytes: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    size: size_bytes,
                    is_read_only: false,
                    limits: Limits::default(),
                    chunks: BTreeMap::new(),
                    unflushed: BTreeMap::new(),
                    operations: Vec::new(),
                    fault: None,
                }),
                is_held: watch::Sender::new(false),
                started: watch::Sender::new(0),
            }),
        }
    }

    /// The same device with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.state().limits = limits;
        self
    }

    /// Makes the device read-only, or writable again.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.state().is_read_only = is_read_only;
    }

    /// Changes the size. What is cut off is lost.
    pub fn resize(&self, size_bytes: u64) {
        let mut state = self.state();
        if size_bytes < state.size {
            let old = state.size;
            state.zero(size_bytes, old - size_bytes);
        }
        state.size = size_bytes;
    }

    /// Has `fault` look at every operation before it is done.
    pub fn set_fault(&self, fault: impl Fn(&Operation) -> Option<DeviceError> + Send + 'static) {
        self.state().fault = Some(Box::new(fault));
    }

    /// Lets everything succeed again.
    pub fn clear_fault(&self) {
        self.state().fault = None;
    }

    /// Holds back all operations that are not done yet, or lets them go on.
    pub fn hold(&self, is_held: bool) {
        self.shared.is_held.send_replace(is_held);
    }

    /// Operations started since the device was made.
    pub fn started(&self) -> usize {
        *self.shared.started.borrow()
    }

    /// Waits until `count` operations have been started since the device was made.
    pub async fn wait_started(&self, count: usize) {
        let mut started = self.shared.started.subscribe();
        // The sender lives as long as `self`.
        let _ = started.wait_for(|started| *started >= count).await;
    }

    /// Everything that was asked so far, in order, and forgotten hereby.
    pub fn take_operations(&self) -> Vec<Operation> {
        std::mem::take(&mut self.state().operations)
    }

    /// Loses everything that is neither flushed nor written through, as a loss of power would.
    pub fn lose_unflushed(&self) {
        let mut state = self.state();
        for (number, chunk) in std::mem::take(&mut state.unflushed) {
            match chunk {
                Some(chunk) => state.chunks.insert(number, chunk),
                None => state.chunks.remove(&number),
            };
        }
    }

    /// The contents of a range, whatever faults are set. What is beyond the end reads as zeroes.
    pub fn contents(&self, offset: u64, len: usize) -> Bytes {
        let mut data = BytesMut::with_capacity(len);
        for segment in self.state().read(offset, len as u64) {
            match segment {
                super::Segment::Data(bytes) => data.extend_from_slice(&bytes),
                super::Segment::Hole(hole) => {
                    data.resize(data.len() + usize::try_from(hole).unwrap_or(usize::MAX), 0);
                }
            }
        }
        data.freeze()
    }

    /// Puts bytes on stable storage, whatever faults are set.
    pub fn set_contents(&self, offset: u64, data: &[u8]) {
        self.state().write(offset, data, true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, operation: Operation) -> Result<MutexGuard<'_, State>> {
        {
            let mut state = self.state();
            if state.operations.len() < MAX_OPERATIONS_KEPT {
                state.operations.push(operation);
            }
        }
        self.shared.started.send_modify(|count| *count += 1);
        if *self.shared.is_held.borrow() {
            let mut is_held = self.shared.is_held.subscribe();
            // The sender lives as long as `self`.
            let _ = is_held.wait_for(|is_held| !is_held).await;
        }
        let state = self.state();
        match state.fault.as_ref().and_then(|fault| fault(&operation)) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }
}

impl State {
    fn read(&self, offset: u64, len: u64) -> ReadData {
        let mut read = ReadData::new();
        for piece in pieces(offset, len) {
            match self.chunks.get(&piece.chunk) {
                Some(chunk) => {
                    let bytes = chunk.get(piece.start..piece.start + piece.len);
                    read.push_data(Bytes::copy_from_slice(bytes.unwrap_or_default()));
                }
                None => read.push_hole(piece.len as u64),
            }
        }
        read
    }

    fn write(&mut self, offset: u64, mut data: &[u8], is_fua: bool) {
        for piece in pieces(offset, data.len() as u64) {
            let (head, rest) = data.split_at(piece.len);
            data = rest;
            self.remember(piece.chunk);
            copy_into(
                self.chunks.entry(piece.chunk).or_insert_with(zeroes),
                &piece,
                head,
            );
            // Of a chunk that was not flushed, only what is written now becomes stable.
            if is_fua && let Some(stable) = self.unflushed.get_mut(&piece.chunk) {
                copy_into(stable.get_or_insert_with(zeroes), &piece, head);
            }
        }
    }

    fn zero(&mut self, offset: u64, len: u64) {
        for piece in pieces(offset, len) {
            self.remember(piece.chunk);
            if piece.len == CHUNK {
                self.chunks.remove(&piece.chunk);
            } else if let Some(chunk) = self.chunks.get_mut(&piece.chunk) {
                copy_into(chunk, &piece, &vec![0; piece.len]);
            }
        }
    }

    /// Keeps what was there at the last flush.
    fn remember(&mut self, chunk: u64) {
        self.unflushed
            .entry(chunk)
            .or_insert_with(|| self.chunks.get(&chunk).cloned());
    }
}

impl BlockDevice for MemoryDevice {
    fn size_bytes(&self) -> u64 {
        self.state().size
    }

    fn is_read_only(&self) -> bool {
        self.state().is_read_only
    }

    fn limits(&self) -> Limits {
        self.state().limits
    }

    async fn read(&self, offset: u64, len: u64) -> Result<ReadData> {
        Ok(self
            .start(Operation::Read { offset, len })
            .await?
            .read(offset, len))
    }

    async fn write(&self, offset: u64, data: Bytes, is_fua: bool) -> Result<()> {
        let len = data.len() as u64;
        let operation = Operation::Write {
            offset,
            len,
            is_fua,
        };
        self.start(operation).await?.write(offset, &data, is_fua);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.start(Operation::Flush).await?.unflushed.clear();
        Ok(())
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.start(Operation::Discard { offset, len })
            .await?
            .zero(offset, len);
        Ok(())
    }

    async fn write_zeroes(&self, offset: u64, len: u64, mode: ZeroMode) -> Result<()> {
        let operation = Operation::WriteZeroes { offset, len, mode };
        self.start(operation).await?.zero(offset, len);
        Ok(())
    }

    async fn block_status(&self, offset: u64, len: u64) -> Result<Vec<BlockExtent>> {
        let state = self.start(Operation::BlockStatus { offset, len }).await?;
        let mut extents: Vec<BlockExtent> = Vec::new();
        for piece in pieces(offset, len) {
            let is_hole = !state.chunks.contains_key(&piece.chunk);
            let len_bytes = piece.len as u64;
            match extents.last_mut() {
                Some(last) if last.is_hole == is_hole => last.len_bytes += len_bytes,
                _ => extents.push(BlockExtent {
                    len_bytes,
                    is_hole,
                    is_zero: is_hole,
                }),
            }
        }
        Ok(extents)
    }

    async fn prefetch(&self, offset: u64, len: u64) -> Result<()> {
        self.start(Operation::Prefetch { offset, len })
            .await
            .map(drop)
    }
}

/// A part of a range that lies in one chunk.
struct Piece {
    chunk: u64,
    start: usize,
    len: usize,
}

fn pieces(mut offset: u64, mut len: u64) -> impl Iterator<Item = Piece> {
    std::iter::from_fn(move || {
        let start = offset % CHUNK as u64;
        let part = len.min(CHUNK as u64 - start);
        let piece = Piece {
            chunk: offset / CHUNK as u64,
            start: usize::try_from(start).ok()?,
            len: usize::try_from(part).ok()?,
        };
        offset += part;
        len -= part;
        (part > 0).then_some(piece)
    })
}

fn copy_into(chunk: &mut Chunk, piece: &Piece, data: &[u8]) {
    if let Some(target) = chunk.get_mut(piece.start..piece.start + piece.len) {
        target.copy_from_slice(data);
    }
}

fn zeroes() -> Chunk {
    vec![0; CHUNK].into()
}

/// Granularity of allocation in bytes.
const CHUNK: usize = 4096;

/// Operations remembered until they are taken, so that a long run does not fill the memory.
const MAX_OPERATIONS_KEPT: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn power_loss_takes_what_was_not_flushed() {
        let device = MemoryDevice::new(1 << 20);
        device
            .write(0, Bytes::from_static(b"flushed"), false)
            .await
            .unwrap();
        device.flush().await.unwrap();
        device
            .write(0, Bytes::from_static(b"FLU"), false)
            .await
            .unwrap();
        device
            .write(100, Bytes::from_static(b"through"), true)
            .await
            .unwrap();
        device
            .write(9000, Bytes::from_static(b"lost"), false)
            .await
            .unwrap();
        device.lose_unflushed();
        assert_eq!(device.contents(0, 7), "flushed");
        assert_eq!(device.contents(100, 7), "through");
        assert_eq!(device.contents(9000, 4), [0; 4].as_slice());
    }

    #[tokio::test]
    async fn zeroed_chunks_are_holes() {
        let device = MemoryDevice::new(1 << 20);
        let data = Bytes::from(vec![7; 3 * CHUNK]);
        device.write(0, data, false).await.unwrap();
        device
            .write_zeroes(100, 2 * CHUNK as u64, ZeroMode::default())
            .await
            .unwrap();
        let extents = device.block_status(0, 4 * CHUNK as u64).await.unwrap();
        let holes: Vec<_> = extents.iter().map(|e| (e.len_bytes, e.is_hole)).collect();
        let chunk = CHUNK as u64;
        assert_eq!(
            holes,
            [(chunk, false), (chunk, true), (chunk, false), (chunk, true)]
        );
        assert_eq!(device.contents(99, 2), [7, 0].as_slice());
        assert_eq!(device.contents(2 * chunk + 99, 2), [0, 7].as_slice());
    }

    #[tokio::test]
    async fn faults_stop_operations() {
        let device = MemoryDevice::new(4096);
        device.set_fault(|operation| {
            matches!(operation, Operation::Flush)
                .then(|| DeviceError::new(rustix::io::Errno::IO, "no"))
        });
        assert!(device.flush().await.is_err());
        assert!(device.read(0, 1).await.is_ok());
        device.clear_fault();
        assert!(device.flush().await.is_ok());
    }
}
