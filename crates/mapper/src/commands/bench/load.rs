//! The I/Os of a benchmark.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rbd::Image;

use super::Plan;
use crate::args::transfer::{IoType, Pattern};

/// I/Os that several workers carry out together.
#[derive(Debug)]
pub(super) struct Load {
    image: Image,
    io_type: IoType,
    pattern: Pattern,
    io_bytes: u64,
    total_bytes: u64,
    read_percent: u64,
    threads: u64,
    /// What is written, the same bytes again and again.
    payload: Bytes,
    /// How many I/Os of this size fit into the image.
    slots: u64,
    /// Bytes whose I/O has been begun.
    begun_bytes: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    random: Mutex<Random>,
}

/// What has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) io_bytes: u64,
}

impl Load {
    pub(super) fn new(image: Image, plan: &Plan) -> Self {
        let mut random = Random::new();
        let payload = match plan.io_type {
            IoType::Read => Bytes::new(),
            IoType::Write | IoType::Readwrite => {
                let [byte, ..] = random.next().to_le_bytes();
                Bytes::from(vec![byte; usize::try_from(plan.io_bytes).unwrap_or(0)])
            }
        };
        Self {
            slots: (image.size_bytes() / plan.io_bytes).max(1),
            image,
            io_type: plan.io_type,
            pattern: plan.pattern,
            io_bytes: plan.io_bytes,
            total_bytes: plan.total_bytes,
            read_percent: plan.read_percent,
            threads: plan.threads.into(),
            payload,
            begun_bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            random: Mutex::new(random),
        }
    }

    /// Does one I/O after the other until all of them together are done.
    pub(super) async fn work(&self, thread: u32) -> rbd::Result<()> {
        let mut slot = match self.pattern {
            Pattern::FullSeq => u64::from(thread) % self.slots,
            Pattern::Rand | Pattern::Seq => self.below(self.slots),
        };
        while self.begun_bytes.fetch_add(self.io_bytes, Ordering::Relaxed) < self.total_bytes {
            let offset = slot * self.io_bytes;
            if self.is_read() {
                self.image.read(offset, self.io_bytes).await?;
                self.reads.fetch_add(1, Ordering::Relaxed);
            } else {
                self.image.write(offset, self.payload.clone()).await?;
                self.writes.fetch_add(1, Ordering::Relaxed);
            }
            slot = match self.pattern {
                Pattern::Rand => self.below(self.slots),
                Pattern::Seq => (slot + 1) % self.slots,
                Pattern::FullSeq => (slot + self.threads) % self.slots,
            };
        }
        Ok(())
    }

    /// Waits for what was written, and lets others see that the image is not used any more.
    pub(super) async fn close(&self) -> rbd::Result<()> {
        match self.io_type {
            IoType::Read => Ok(()),
            IoType::Write | IoType::Readwrite => self.image.close().await,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            io_bytes: self.io_bytes,
        }
    }

    fn is_read(&self) -> bool {
        match self.io_type {
            IoType::Read => true,
            IoType::Write => false,
            IoType::Readwrite => self.below(100) < self.read_percent,
        }
    }

    fn below(&self, bound: u64) -> u64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.next() % bound.max(1)
    }
}

/// Numbers that look random (SplitMix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// From the seed that the standard library has for its hash maps.
    fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
