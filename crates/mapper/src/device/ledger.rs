//! A device that keeps account of its requests, so that it can be said what gets lost when they are given up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use buffers::BufferPool;
use bytes::Bytes;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{BlockDevice, BlockExtent, DeviceError, Limits, ReadData, Result, ZeroMode};

/// Requests by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Reads, questions about what is allocated, and the like: requests that change nothing.
    pub reads: u64,
    /// Writes of data.
    pub writes: u64,
    /// How many bytes they have.
    pub written_bytes: u64,
    /// Discards and writes of zeroes.
    pub discards: u64,
    /// How many bytes they reach over.
    pub discarded_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes of writes that have been answered and are not on stable storage.
    #[serde(default)]
    pub buffered_bytes: u64,
}

impl Tally {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there are none that change the device.
    pub const fn is_harmless(&self) -> bool {
        self.writes == 0 && self.discards == 0 && self.flushes == 0 && self.buffered_bytes == 0
    }

    fn combine(&mut self, other: &Self, add: fn(u64, u64) -> u64) {
        for (ours, theirs) in [
            (&mut self.reads, other.reads),
            (&mut self.writes, other.writes),
            (&mut self.written_bytes, other.written_bytes),
            (&mut self.discards, other.discards),
            (&mut self.discarded_bytes, other.discarded_bytes),
            (&mut self.flushes, other.flushes),
            (&mut self.buffered_bytes, other.buffered_bytes),
        ] {
            *ours = add(*ours, theirs);
        }
    }

    fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    fn subtract(&mut self, other: &Self) {
        self.combine(other, u64::saturating_sub);
    }

    const fn read() -> Self {
        Self {
            reads: 1,
            ..Self::none()
        }
    }

    const fn write(len: u64) -> Self {
        Self {
            writes: 1,
            written_bytes: len,
            ..Self::none()
        }
    }

    const fn discard(len: u64) -> Self {
        Self {
            discards: 1,
            discarded_bytes: len,
            ..Self::none()
        }
    }

    const fn flush() -> Self {
        Self {
            flushes: 1,
            ..Self::none()
        }
    }

    const fn none() -> Self {
        Self {
            reads: 0,
            writes: 0,
            written_bytes: 0,
            discards: 0,
            discarded_bytes: 0,
            flushes: 0,
            buffered_bytes: 0,
        }
    }
}

/// `2 writes (8192 bytes), 1 flush, 4096 buffered bytes`; `nothing` if there are none.
impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, one, many, bytes) in [
            (self.reads, "read", "reads", None),
            (self.writes, "write", "writes", Some(self.written_bytes)),
            (
                self.discards,
                "discard",
                "discards",
                Some(self.discarded_bytes),
            ),
            (self.flushes, "flush", "flushes", None),
        ] {
            if count == 0 {
                continue;
            }
            let name = if count == 1 { one } else { many };
            write!(formatter, "{separator}{count} {name}")?;
            if let Some(bytes) = bytes {
                write!(formatter, " ({bytes} bytes)")?;
            }
            separator = ", ";
        }
        if self.buffered_bytes > 0 {
            write!(
                formatter,
                "{separator}{} buffered bytes",
                self.buffered_bytes
            )?;
        }
        if self.is_empty() {
            formatter.write_str("nothing")?;
        }
        Ok(())
    }
}

/// A device that counts the requests in flight, and that can be [abandoned](Self::abandon). Clones are the same device.
#[derive(Clone, Debug)]
pub struct Ledger<D> {
    device: Arc<D>,
    accounts: Arc<Mutex<Accounts>>,
    abandoned: CancellationToken,
}

#[derive(Debug)]
struct Accounts {
    /// Requests that have been neither answered nor given up.
    in_flight: Tally,
    /// Requests that were failed because the device was abandoned.
    dropped: Tally,
    is_abandoned: bool,
    /// When a request was last answered, or came when there was none.
    progress: Instant,
}

/// How requests are getting on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests that have not been answered, and what is not on stable storage of those that have.
    pub in_flight: Tally,
    /// Requests that were failed because the device was abandoned.
    pub dropped: Tally,
    /// How long there have been requests without any of them being answered.
    pub stalled: Option<Duration>,
}

impl<D: BlockDevice> Ledger<D> {
    /// A device with its accounts empty.
    pub fn new(device: Arc<D>) -> Self {
        Self {
            device,
            accounts: Arc::new(Mutex::new(Accounts {
                in_flight: Tally::none(),
                dropped: Tally::none(),
                is_abandoned: false,
                progress: Instant::now(),
            })),
            abandoned: CancellationToken::new(),
        }
    }

    /// The device itself.
    pub const fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// How requests are getting on.
    pub fn traffic(&self) -> Traffic {
        let buffered_bytes = self.device.buffered_bytes();
        let accounts = lock(&self.accounts);
        Traffic {
            in_flight: Tally {
                buffered_bytes: if accounts.is_abandoned {
                    0
                } else {
                    buffered_bytes
                },
                ..accounts.in_flight
            },
            dropped: accounts.dropped,
            stalled: (!accounts.in_flight.is_empty()).then(|| accounts.progress.elapsed()),
        }
    }

    /// Fails the requests in flight, and all that come from now on. What is counted as dropped was not answered otherwise.
    pub fn abandon(&self) {
        {
            let mut accounts = lock(&self.accounts);
            accounts.is_abandoned = true;
            let in_flight = std::mem::take(&mut accounts.in_flight);
            accounts.dropped.add(&in_flight);
        }
        self.abandoned.cancel();
    }

    /// As [`abandon`](Self::abandon), where what the device holds back will not be written any more either: that counts as
    /// dropped, too.
    pub fn abandon_with_buffers(&self) {
        let buffered = Tally {
            buffered_bytes: self.device.buffered_bytes(),
            ..Tally::none()
        };
        {
            let mut accounts = lock(&self.accounts);
            if !accounts.is_abandoned {
                accounts.dropped.add(&buffered);
            }
        }
        self.abandon();
    }

    /// Returns when there have been requests for `patience` without any of them being answered.
    ///
    /// **Cancellation:** safe.
    pub async fn stalled(&self, patience: Duration) {
        loop {
            let progress = {
                let accounts = lock(&self.accounts);
                (!accounts.in_flight.is_empty()).then_some(accounts.progress)
            };
            match progress {
                Some(progress) if progress.elapsed() >= patience => return,
                Some(progress) => sleep_until(progress + patience).await,
                None => sleep(patience).await,
            }
        }
    }

    /// Carries out a request with its entry in the accounts.
    ///
    /// Gets what makes the work's future, because there would be room for two of it in this one if it
    /// got the future itself.
    async fn account<T, F>(&self, entry: Tally, work: impl FnOnce() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut entry = Entry::open(&self.accounts, entry)?;
        let done = tokio::select! {
            biased;
            done = work() => done,
            () = self.abandoned.cancelled() => return Err(given_up()),
        };
        entry.close(done)
    }
}

/// A request in flight. Dropping it takes it out of the accounts.
struct Entry<'a> {
    accounts: &'a Mutex<Accounts>,
    tally: Tally,
    is_open: bool,
}

impl<'a> Entry<'a> {
    fn open(accounts: &'a Mutex<Accounts>, tally: Tally) -> Result<Self> {
        let mut state = lock(accounts);
        if state.is_abandoned {
            state.dropped.add(&tally);
            return Err(given_up());
        }
        if state.in_flight.is_empty() {
            state.progress = Instant::now();
        }
        state.in_flight.add(&tally);
        drop(state);
        Ok(Self {
            accounts,
            tally,
            is_open: true,
        })
    }

    /// Takes it out of the accounts with its answer; what has been counted as dropped meanwhile has failed.
    fn close<T>(&mut self, answer: Result<T>) -> Result<T> {
        self.is_open = false;
        let mut state = lock(self.accounts);
        if state.is_abandoned {
            return Err(given_up());
        }
        state.in_flight.subtract(&self.tally);
        state.progress = Instant::now();
        answer
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.is_open {
            let mut state = lock(self.accounts);
            if !state.is_abandoned {
                state.in_flight.subtract(&self.tally);
            }
        }
    }
}

fn lock(accounts: &Mutex<Accounts>) -> MutexGuard<'_, Accounts> {
    accounts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn given_up() -> DeviceError {
    DeviceError::new(Errno::SHUTDOWN, "the device has been given up by force")
}

impl<D: BlockDevice> BlockDevice for Ledger<D> {
    fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.device.is_read_only()
    }

    fn limits(&self) -> Limits {
        self.device.limits()
    }

    fn buffers(&self) -> BufferPool {
        self.device.buffers()
    }

    async fn read(&self, offset: u64, len: u64) -> Result<ReadData> {
        self.account(Tally::read(), || self.device.read(offset, len))
            .await
    }

    async fn write(&self, offset: u64, data: Bytes, is_fua: bool) -> Result<()> {
        let entry = Tally::write(data.len() as u64);
        self.account(entry, || self.device.write(offset, data, is_fua))
            .await
    }

    async fn flush(&self) -> Result<()> {
        self.account(Tally::flush(), || self.device.flush()).await
    }

    fn buffered_bytes(&self) -> u64 {
        self.device.buffered_bytes()
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.account(Tally::discard(len), || self.device.discard(offset, len))
            .await
    }

    async fn write_zeroes(&self, offset: u64, len: u64, mode: ZeroMode) -> Result<()> {
        let work = || self.device.write_zeroes(offset, len, mode);
        self.account(Tally::discard(len), work).await
    }

    async fn block_status(&self, offset: u64, len: u64) -> Result<Vec<BlockExtent>> {
        self.account(Tally::read(), || self.device.block_status(offset, len))
            .await
    }

    async fn prefetch(&self, offset: u64, len: u64) -> Result<()> {
        self.account(Tally::read(), || self.device.prefetch(offset, len))
            .await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::device::memory::MemoryDevice;

    fn ledger() -> (MemoryDevice, Ledger<MemoryDevice>) {
        let memory = MemoryDevice::new(1 << 20);
        let ledger = Ledger::new(Arc::new(memory.clone()));
        (memory, ledger)
    }

    #[tokio::test]
    async fn answered_requests_leave_no_trace() {
        let (_, ledger) = ledger();
        ledger
            .write(0, Bytes::from_static(b"abc"), false)
            .await
            .unwrap();
        assert_eq!(ledger.read(0, 3).await.unwrap().len_bytes(), 3);
        ledger.flush().await.unwrap();
        ledger.abandon();
        assert_eq!(ledger.traffic(), Traffic::default());
    }

    #[tokio::test]
    async fn what_is_under_way_or_comes_later_is_dropped_and_counted() {
        let (memory, ledger) = ledger();
        memory.hold(true);
        let mut write = Box::pin(ledger.write(0, Bytes::from_static(&[1; 4096]), true));
        let mut discard = Box::pin(ledger.discard(8192, 4096));
        let mut read = Box::pin(ledger.read(0, 512));
        assert!((&mut write).now_or_never().is_none());
        assert!((&mut discard).now_or_never().is_none());
        assert!((&mut read).now_or_never().is_none());
        // A request that its client has forgotten is nobody's loss.
        drop(read);
        let in_flight = ledger.traffic().in_flight;
        assert_eq!(
            in_flight.to_string(),
            "1 write (4096 bytes), 1 discard (4096 bytes)"
        );
        ledger.abandon();
        // What gets done all the same is not answered as if it had been: it is among the dropped.
        memory.hold(false);
        for ended in [write.await, discard.await, ledger.flush().await] {
            assert_eq!(ended.unwrap_err().errno(), Errno::SHUTDOWN);
        }
        let traffic = ledger.traffic();
        assert!(traffic.in_flight.is_empty());
        assert_eq!(
            traffic.dropped.to_string(),
            "1 write (4096 bytes), 1 discard (4096 bytes), 1 flush"
        );
        assert!(!traffic.dropped.is_harmless());
    }

    #[tokio::test(start_paused = true)]
    async fn only_requests_that_nothing_comes_of_are_stalled() {
        const PATIENCE: Duration = Duration::from_secs(10);

        let (memory, ledger) = ledger();
        let began = Instant::now();
        let mut stalled = Box::pin(ledger.stalled(PATIENCE));
        assert!(
            tokio::time::timeout(PATIENCE * 3, &mut stalled)
                .await
                .is_err()
        );
        memory.hold(true);
        let hanging = {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.flush().await })
        };
        stalled.await;
        assert!(began.elapsed() >= PATIENCE * 4);
        assert!(ledger.traffic().stalled.unwrap() >= PATIENCE);
        ledger.abandon();
        assert!(hanging.await.unwrap().is_err());
        assert_eq!(ledger.traffic().stalled, None);
    }

    #[test]
    fn nothing_is_called_so() {
        assert_eq!(Tally::default().to_string(), "nothing");
        let mut tally = Tally::read();
        tally.add(&Tally::flush());
        tally.add(&Tally::flush());
        assert_eq!(tally.to_string(), "1 read, 2 flushes");
    }
}
