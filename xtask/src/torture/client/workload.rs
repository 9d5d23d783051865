//! The load: reads and writes of one and many blocks, mostly of a small part of the image, so that they
//! meet; clearings, discards and flushes among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::super::journal::{Entry, Journal, Kind};
use super::super::stamp::{self, BLOCK, OpId, Seen};
use super::device::Device;

pub(super) struct Workload<D> {
    device: D,
    journal: Journal,
    lane: u32,
    generation: u32,
    blocks: u64,
    next: AtomicU32,
    /// Nothing is to be changed at the moment.
    is_quiet: AtomicBool,
    is_over: Arc<AtomicBool>,
}

impl<D: Device> Workload<D> {
    pub(super) fn new(
        device: D,
        journal: Journal,
        lane: u32,
        generation: u32,
        blocks: u64,
        is_over: Arc<AtomicBool>,
    ) -> Self {
        Self {
            device,
            journal,
            lane,
            generation,
            blocks,
            next: AtomicU32::new(1),
            is_quiet: AtomicBool::new(false),
            is_over,
        }
    }

    /// One operation after the other, until it is over.
    pub(super) async fn run(&self, mut rng: fastrand::Rng) -> anyhow::Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            let kind = match rng.u32(..100) {
                _ if self.is_quiet.load(Ordering::Relaxed) => Kind::Read,
                ..40 => Kind::Read,
                40..86 => Kind::Write,
                86..91 => Kind::Zero,
                91..96 => Kind::Discard,
                _ => Kind::Flush,
            };
            let count = match rng.u32(..100) {
                ..60 => 1,
                60..85 => rng.u64(2..16),
                85..97 => rng.u64(16..80),
                // More than two objects.
                _ => rng.u64(500..600),
            };
            let room = if rng.u32(..3) == 0 { self.blocks } else { HOT };
            let first = rng.u64(..room).min(self.blocks.saturating_sub(count));
            let pace = if self.operate(kind, first, count).await? {
                PACE
            } else {
                PACE_OF_FAILURES
            };
            tokio::time::sleep(pace).await;
        }
        Ok(())
    }

    /// Changes things for a while and does not for another, for ever.
    pub(super) async fn take_turns(&self, mut rng: fastrand::Rng) {
        loop {
            tokio::time::sleep(Duration::from_millis(rng.u64(TURN))).await;
            self.is_quiet.fetch_xor(true, Ordering::Relaxed);
        }
    }

    /// Reads every block once.
    pub(super) async fn read_back(&self) -> anyhow::Result<()> {
        let mut first = 0;
        while first < self.blocks {
            let count = READ_BACK.min(self.blocks - first);
            self.operate(Kind::Read, first, count).await?;
            first += count;
        }
        Ok(())
    }

    pub(super) async fn close(&self) -> anyhow::Result<()> {
        self.device.flush().await?;
        self.device.close().await?;
        Ok(self.journal.note(&Entry::Closed {
            generation: self.generation,
        })?)
    }

    /// Whether it succeeded.
    async fn operate(&self, kind: Kind, first: u64, count: u64) -> anyhow::Result<bool> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = OpId::new(self.generation, number);
        let (first, count) = match kind {
            Kind::Flush => (0, 0),
            _ => (first, count),
        };
        self.journal.note(&Entry::Submitted {
            id,
            kind,
            first,
            count,
        })?;
        let entry = match self.submit(id, kind, first, count).await {
            Ok(seen) => Entry::Done { id, seen },
            Err(error) if D::is_refusal(&error) => Entry::Refused { id },
            Err(error) => Entry::Failed {
                id,
                error: format!("{error:#}"),
            },
        };
        self.journal.note(&entry)?;
        Ok(matches!(entry, Entry::Done { .. }))
    }

    async fn submit(
        &self,
        id: OpId,
        kind: Kind,
        first: u64,
        count: u64,
    ) -> anyhow::Result<Vec<Seen>> {
        let (offset, len) = (first * BLOCK as u64, count * BLOCK as u64);
        let blocks = first..first + count;
        match kind {
            Kind::Read => {
                let data = self.device.read(offset, len).await?;
                let seen = blocks.zip(data.chunks(BLOCK));
                let seen = seen.map(|(block, bytes)| stamp::examine(self.lane, block, bytes));
                return Ok(seen.collect());
            }
            Kind::Write => {
                let content = blocks.flat_map(|block| stamp::content(self.lane, id, block));
                let data: Bytes = content.collect::<Vec<u8>>().into();
                self.device.write(offset, data).await?;
            }
            Kind::Zero => self.device.zero(offset, len).await?,
            Kind::Discard => self.device.discard(offset, len).await?,
            Kind::Flush => self.device.flush().await?,
        }
        Ok(Vec::new())
    }
}

/// The part of the image that gets most of the load: some objects' worth of blocks.
const HOT: u64 = 600;
/// So much at a time is read back.
const READ_BACK: u64 = 256;
/// Between the operations of a job, for the machine's sake.
const PACE: Duration = Duration::from_millis(4);
const PACE_OF_FAILURES: Duration = Duration::from_millis(200);
/// How long a client is quiet or is not, in milliseconds.
const TURN: std::ops::Range<u64> = 200..1200;
