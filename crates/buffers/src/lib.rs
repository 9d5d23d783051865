//! Buffers for what is read from sockets, used again once nobody needs their bytes any more.
//!
//! A large buffer that comes fresh from the system costs a page fault for every 4 KiB of it: several
//! times as much as to read into it. So buffers are kept. Whoever takes one need not give it back: the
//! pool sees that all slices of it have been dropped.
//!
//! And [`Spares`], for other things that every operation needs.
#![forbid(unsafe_code)]

mod spares;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

pub use spares::Spares;

/// A pool of buffers. Clones are the same pool.
#[derive(Clone, Debug)]
pub struct BufferPool {
    kept: Arc<Mutex<Kept>>,
    max_kept_bytes: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// Buffers by their capacity in bytes, in the order in which they were made. The first one that is
    /// free is used, so that few are used often, and are in the processor's cache.
    by_capacity: BTreeMap<usize, Vec<Buffer>>,
    bytes: usize,
}

#[derive(Debug)]
struct Buffer {
    /// The end of the buffer, which was not given out: it keeps the rest from being freed.
    rest: BytesMut,
    /// Whether it was used since the pool was trimmed last.
    is_used: bool,
}

impl BufferPool {
    /// A pool that keeps no more than so many bytes, those in use included. What is needed beyond is
    /// made, and not kept.
    pub fn new(max_kept_bytes: usize) -> Self {
        Self {
            kept: Arc::default(),
            max_kept_bytes,
        }
    }

    /// An empty buffer with room for `len` bytes, and no more than that.
    ///
    /// Short ones are not worth to be kept.
    pub fn take(&self, len: usize) -> BytesMut {
        if len < MIN_LEN {
            return BytesMut::with_capacity(len);
        }
        let capacity = capacity_for(len);
        let kept = &mut *self.lock();
        let buffers = kept.by_capacity.entry(capacity).or_default();
        if let Some(buffer) = buffers
            .iter_mut()
            .find_map(|buffer| buffer.reuse(len, capacity))
        {
            return buffer;
        }
        if kept.bytes + capacity > self.max_kept_bytes {
            return BytesMut::with_capacity(len);
        }
        let mut taken = BytesMut::with_capacity(capacity);
        let rest = taken.split_off(len);
        let is_used = true;
        buffers.push(Buffer { rest, is_used });
        kept.bytes += capacity;
        taken
    }

    /// Lets go of the buffers that were not used since this was called last.
    pub fn trim(&self) {
        let mut kept = self.lock();
        let mut bytes = 0;
        kept.by_capacity.retain(|capacity, buffers| {
            buffers.retain_mut(|buffer| std::mem::take(&mut buffer.is_used));
            bytes += capacity * buffers.len();
            !buffers.is_empty()
        });
        kept.bytes = bytes;
    }

    /// Bytes of the buffers that are kept, those in use included.
    pub fn kept_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for BufferPool {
    /// Keeps some objects of the usual size.
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl Buffer {
    /// The buffer, if nobody has any of its bytes.
    fn reuse(&mut self, len: usize, capacity: usize) -> Option<BytesMut> {
        if !self.rest.try_reclaim(capacity) {
            return None;
        }
        self.is_used = true;
        let rest = self.rest.split_off(len);
        Some(std::mem::replace(&mut self.rest, rest))
    }
}

/// What a buffer for `len` bytes has room for: one of four sizes between powers of two, so that there
/// are few different ones, and a byte for the pool.
fn capacity_for(len: usize) -> usize {
    let needed = len + 1;
    let step = (needed.next_power_of_two() >> 3).max(1);
    needed.next_multiple_of(step)
}

/// Shorter buffers are made anew each time.
const MIN_LEN: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &BufferPool, len: usize) -> BytesMut {
        let mut buffer = pool.take(len);
        assert!(buffer.is_empty());
        assert_eq!(buffer.capacity(), len);
        buffer.resize(len, 7);
        buffer
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_slice_is_gone() {
        let pool = BufferPool::default();
        let mut bytes = filled(&pool, 64 << 10).freeze();
        let start = bytes.as_ptr();
        let slice = bytes.split_off(1000);
        drop(bytes);
        let second = filled(&pool, 64 << 10);
        assert_ne!(second.as_ptr(), start);
        assert_eq!(slice[..], [7; (64 << 10) - 1000]);
        drop(slice);
        assert_eq!(filled(&pool, 64 << 10).as_ptr(), start);
        assert_eq!(pool.kept_bytes(), 2 * capacity_for(64 << 10));
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let pool = BufferPool::new(2 << 20);
        let held: Vec<_> = (0..5).map(|_| filled(&pool, 1 << 20)).collect();
        assert!(pool.kept_bytes() <= 2 << 20);
        assert!(pool.kept_bytes() > 1 << 20);
        drop(held);
        assert_eq!(pool.kept_bytes(), capacity_for(1 << 20));
    }

    #[test]
    fn what_is_not_used_is_let_go_of() {
        let pool = BufferPool::default();
        let held = [filled(&pool, 1 << 20), filled(&pool, 1 << 20)];
        pool.trim();
        assert_eq!(pool.kept_bytes(), 2 * capacity_for(1 << 20));
        drop(held);
        drop(filled(&pool, 1 << 20));
        pool.trim();
        assert_eq!(pool.kept_bytes(), capacity_for(1 << 20));
        pool.trim();
        assert_eq!(pool.kept_bytes(), 0);
    }

    #[test]
    fn what_is_let_go_of_while_in_use_stays_whole() {
        let pool = BufferPool::default();
        let held = filled(&pool, 1 << 20).freeze();
        pool.trim();
        pool.trim();
        assert_eq!(pool.kept_bytes(), 0);
        assert!(held.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn little_room_is_wasted() {
        for len in [MIN_LEN, 65535, 65536, 100_000, 4 << 20, (4 << 20) + 24] {
            let capacity = capacity_for(len);
            assert!(capacity > len && capacity <= len + len / 4 + 1, "{len}");
        }
        let pool = BufferPool::default();
        drop(filled(&pool, MIN_LEN - 1));
        assert_eq!(pool.kept_bytes(), 0);
    }
}
