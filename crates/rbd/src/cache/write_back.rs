//! Buffering an image's writes and writing them out: what drives the [`Buffer`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::buffer::{Buffer, OVERHEAD, Overlay, WriteOut};
use super::options::CacheOptions;
use super::state::{Basis, State, WriteBatch, is_final};
use crate::layout::{ObjectExtent, ObjectRange};
use crate::write::{Admission, slices};
use crate::{Error, Image, Result};

/// The writes of an image that are not on the OSDs.
#[derive(Debug)]
pub(crate) struct WriteBack {
    image: String,
    max_age: Duration,
    /// What is kept in memory at most, in bytes.
    limit: u32,
    /// How much of it makes the task write out, and until how much is left.
    target: u64,
    state: Mutex<State>,
    /// The memory that may still be taken, in bytes.
    room: Semaphore,
    /// Wakes the task.
    work: Notify,
    /// Something has been written out, or was lost.
    progress: Notify,
    /// Something could not be written out, or was lost.
    trouble: Notify,
    /// What times are counted from.
    epoch: Instant,
}

/// What is to be waited for.
#[derive(Clone, Debug)]
enum Ranges {
    Some(SmallVec<[ObjectRange; 2]>),
    All,
}

impl Ranges {
    fn holds(&self, buffer: &Buffer<WriteBatch>, stamp: u64) -> bool {
        match self {
            Self::Some(ranges) => ranges.iter().any(|range| {
                let end = range.offset + range.len;
                buffer.holds(range.object_no, range.offset, end, stamp)
            }),
            Self::All => buffer.holds_any(stamp),
        }
    }
}

/// What the task is to do.
pub(super) struct Plan {
    pub(super) outs: SmallVec<[WriteOut<WriteBatch>; 4]>,
    /// When to look again, if nothing happens before.
    pub(super) wake: Option<Instant>,
    /// Whether there is nothing more to come.
    pub(super) is_over: bool,
}

impl WriteBack {
    /// A buffer for an image; none if that says that every write is to wait for the OSDs.
    pub(super) fn new(image: &Image, options: &CacheOptions) -> Option<Self> {
        let most = u64::try_from(Semaphore::MAX_PERMITS).unwrap_or(u64::MAX);
        let limit = options.dirty_limit().min(most);
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        if limit == 0 {
            return None;
        }
        Some(Self {
            image: image.full_name().to_string(),
            max_age: options.max_dirty_age,
            limit,
            target: options.target_dirty_bytes.min(limit.into()),
            state: Mutex::new(State::new(
                image.object_size(),
                !options.writethrough_until_flush,
            )),
            room: Semaphore::new(usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS)),
            work: Notify::new(),
            progress: Notify::new(),
            trouble: Notify::new(),
            epoch: Instant::now(),
        })
    }

    /// Whether a write of so many bytes is buffered.
    ///
    /// # Errors
    /// If data has been lost before.
    pub(super) fn takes(&self, len: u64) -> Result<bool> {
        let state = self.lock();
        state.check_lost()?;
        Ok(state.is_open && len + OVERHEAD <= self.limit.into())
    }

    /// Somebody has flushed, and so will do that again.
    pub(crate) fn open(&self) {
        self.lock().is_open = true;
    }

    /// The bytes that are buffered.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().buffer.bytes()
    }

    /// Whether nothing is buffered.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().buffer.is_empty()
    }

    /// What is buffered of a range of an object.
    pub(crate) fn overlay(&self, object_no: u64, from: u64, to: u64) -> Overlay {
        let state = self.lock();
        if state.buffer.is_empty() {
            return Overlay::new();
        }
        state.buffer.overlay(object_no, from, to)
    }

    /// Buffers a write as soon as there is room for it. Done when it is buffered or, with `is_fua`, on the
    /// OSDs.
    ///
    /// # Errors
    /// If data has been lost; what the cluster fails with when room is waited for, and then nothing has
    /// been written; or when the OSDs are, and then the write stays buffered.
    ///
    /// # Cancellation
    /// Dropping the future before there is room leaves nothing behind. After that, the write is buffered.
    pub(super) async fn write(
        &self,
        image: &Image,
        mut admission: Admission,
        extents: &[ObjectExtent],
        data: &[Bytes],
        is_fua: bool,
    ) -> Result<()> {
        let len: u64 = extents.iter().map(|extent| extent.len).sum();
        let cost = u32::try_from(len + OVERHEAD).unwrap_or(u32::MAX);
        let mut room = self.take_room(cost).await?;
        let (stamp, failures) = loop {
            match self.insert(image, admission, extents, data, room)? {
                Inserted::Done { stamp, failures } => break (stamp, failures),
                Inserted::Unfit(returned, unused) => (admission, room) = (returned, unused),
            }
            self.settle_ranges(&Ranges::All).await?;
        };
        if is_fua {
            let ranges = Ranges::Some(extents.iter().map(range_of).collect());
            self.demand(&ranges);
            self.wait_until_gone(&ranges, stamp, failures).await?;
        }
        Ok(())
    }

    async fn take_room(&self, cost: u32) -> Result<SemaphorePermit<'_>> {
        if let Ok(room) = self.room.try_acquire_many(cost) {
            return Ok(room);
        }
        let urgent = self.urge()?;
        tokio::select! {
            biased;
            room = self.room.acquire_many(cost) => Ok(room.map_err(|_| rados::Error::ShutDown)?),
            error = self.trouble_since(urgent.failures) => Err(error),
        }
    }

    fn insert<'a>(
        &self,
        image: &Image,
        admission: Admission,
        extents: &[ObjectExtent],
        data: &[Bytes],
        room: SemaphorePermit<'a>,
    ) -> Result<Inserted<'a>> {
        let now = self.epoch.elapsed();
        let mut state = self.lock();
        state.check_lost()?;
        let was_empty = state.buffer.is_empty();
        if was_empty {
            state.basis = None;
        }
        if state
            .basis
            .as_ref()
            .is_some_and(|basis| !basis.is_of(&admission))
        {
            return Ok(Inserted::Unfit(admission, room));
        }
        state.basis.get_or_insert_with(|| Basis::of(&admission));
        let batch = state.batch_for(admission);
        state.taken += room.num_permits() as u64;
        room.forget();
        for extent in extents {
            for (offset, slice) in slices(extent, data) {
                let buffer = &mut state.buffer;
                buffer.insert(extent.object_no, offset, slice, now, &batch);
            }
        }
        self.balance(&mut state);
        let stamp = state.buffer.last_stamp();
        let failures = state.failures;
        let begins_to_pump = !state.is_pumping && state.buffer.dirty_retained() > self.target;
        state.is_pumping |= begins_to_pump;
        let wakes = was_empty || begins_to_pump || state.urgent > 0;
        let starts = !std::mem::replace(&mut state.is_running, true);
        drop(state);
        if starts {
            tokio::spawn(super::write_out::run(image.without_tasks()));
        } else if wakes {
            self.work.notify_one();
        }
        Ok(Inserted::Done { stamp, failures })
    }

    /// Takes room for what the buffer has grown by, as far as there is some, or gives back what it does
    /// not need any more.
    fn balance(&self, state: &mut State) {
        let retained = state.buffer.retained();
        if retained < state.taken {
            let free = usize::try_from(state.taken - retained).unwrap_or(usize::MAX);
            state.taken = retained;
            self.room.add_permits(free);
        } else if retained > state.taken {
            let wanted = usize::try_from(retained - state.taken).unwrap_or(usize::MAX);
            state.taken += self.room.forget_permits(wanted) as u64;
        }
    }

    /// Waits until everything that counts as submitted before is over, `ended` being the end of that.
    ///
    /// # Errors
    /// If something could not be written out: it stays buffered, and is tried again by the next who
    /// waits, or after a while. If data has been lost.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting.
    pub(crate) async fn flush<T>(&self, ended: impl Future<Output = T>) -> Result<T> {
        let urgent = self.urge()?;
        tokio::select! {
            biased;
            ended = ended => {
                self.lock().check_lost()?;
                Ok(ended)
            }
            error = self.trouble_since(urgent.failures) => Err(error),
        }
    }

    /// As [`flush`](Self::flush), but for those who cannot fail: what cannot be written out is lost in
    /// the end. They are told who flush or write later.
    pub(crate) async fn drain(&self, ended: impl Future<Output = ()>) {
        let mut ended = std::pin::pin!(ended);
        let mut attempts = 0;
        loop {
            let Ok(urgent) = self.urge() else {
                return ended.await;
            };
            let error = tokio::select! {
                biased;
                () = ended.as_mut() => return,
                error = self.trouble_since(urgent.failures) => error,
            };
            drop(urgent);
            // What may still be carried out must be waited for in any case.
            if !matches!(error, Error::Rados(rados::Error::OperationTimedOut { .. })) {
                attempts += 1;
            }
            if attempts == DRAIN_ATTEMPTS {
                self.lose(&error);
            }
            if tokio::time::timeout(RETRY, ended.as_mut()).await.is_ok() {
                return;
            }
        }
    }

    /// Waits until what is buffered of a range of the image is on the OSDs.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// # Cancellation
    /// As [`flush`](Self::flush).
    pub(super) async fn settle(&self, image: &Image, offset: u64, len: u64) -> Result<()> {
        {
            let state = self.lock();
            state.check_lost()?;
            if state.buffer.is_empty() {
                return Ok(());
            }
        }
        let ranges = if len > image.object_size().saturating_mul(MANY_OBJECTS) {
            Ranges::All
        } else {
            Ranges::Some(image.layout().ranges(offset, len).collect())
        };
        self.settle_ranges(&ranges).await
    }

    /// Waits until all that is buffered is on the OSDs.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub(crate) async fn settle_all(&self) -> Result<()> {
        self.settle_ranges(&Ranges::All).await
    }

    async fn settle_ranges(&self, ranges: &Ranges) -> Result<()> {
        let (stamp, failures) = {
            let state = self.lock();
            (state.buffer.last_stamp(), state.failures)
        };
        let _urgent = match ranges {
            Ranges::All => Some(self.urge()?),
            Ranges::Some(_) => None,
        };
        self.demand(ranges);
        self.wait_until_gone(ranges, stamp, failures).await
    }

    /// Has ranges written out before all else.
    fn demand(&self, ranges: &Ranges) {
        if let Ranges::Some(ranges) = ranges {
            let mut state = self.lock();
            state.pause_until = Duration::ZERO;
            for range in ranges {
                let end = range.offset + range.len;
                state.buffer.demand(range.object_no, range.offset, end);
            }
        }
        self.work.notify_one();
    }

    async fn wait_until_gone(&self, ranges: &Ranges, stamp: u64, failures: u64) -> Result<()> {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            // Registers before looking, so that nothing happens unseen in between.
            progress.as_mut().enable();
            {
                let state = self.lock();
                if let Some(error) = state.trouble_since(failures) {
                    return Err(error);
                }
                if !ranges.holds(&state.buffer, stamp) {
                    return Ok(());
                }
            }
            progress.await;
        }
    }

    /// Has everything written out at once, until what this gives is dropped.
    fn urge(&self) -> Result<Urgent<'_>> {
        let mut state = self.lock();
        state.check_lost()?;
        state.urgent += 1;
        state.pause_until = Duration::ZERO;
        let failures = state.failures;
        if !state.buffer.is_clean() {
            self.work.notify_one();
        }
        Ok(Urgent {
            write_back: self,
            failures,
        })
    }

    /// Waits until something cannot be written out, other than before.
    async fn trouble_since(&self, failures: u64) -> Error {
        loop {
            let trouble = self.trouble.notified();
            tokio::pin!(trouble);
            // Registers before looking, so that nothing happens unseen in between.
            trouble.as_mut().enable();
            let error = self.lock().trouble_since(failures);
            if let Some(error) = error {
                return error;
            }
            trouble.await;
        }
    }

    /// What is buffered must not be written any more.
    pub(crate) fn lose(&self, why: &Error) {
        let mut state = self.lock();
        let bytes = state.buffer.drop_dirty();
        state.is_last_attempt = !state.buffer.is_empty();
        if bytes > 0 {
            state.lose(&self.image, bytes, why);
        }
        self.balance(&mut state);
        drop(state);
        self.trouble.notify_waiters();
        self.progress.notify_waiters();
    }

    /// Nobody has the image any more: what is buffered is written out, or lost.
    pub(crate) fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.work.notify_one();
    }

    /// Whatever the task waited for may have happened.
    pub(crate) fn wake(&self) {
        self.work.notify_one();
    }

    /// For the task: until it has to be called again.
    pub(super) async fn worked(&self) {
        self.work.notified().await;
    }

    /// For the task: what it is to send, at most so many operations.
    pub(super) fn plan(&self, is_lock_in_doubt: bool, free: usize) -> Plan {
        let now = self.epoch.elapsed();
        let mut state = self.lock();
        let mut plan = Plan {
            outs: SmallVec::new(),
            wake: None,
            is_over: state.is_abandoned && state.buffer.is_clean(),
        };
        if is_lock_in_doubt {
            plan.wake = (!state.buffer.is_clean()).then(|| Instant::now() + RETRY);
            return plan;
        }
        if now < state.pause_until {
            let next = self.epoch + state.pause_until;
            plan.wake = (!state.buffer.is_clean()).then_some(next);
            return plan;
        }
        while plan.outs.len() < free {
            let dirty = state.buffer.dirty_retained();
            state.is_pumping &= dirty > self.target / 4 * 3;
            let takes_all = state.urgent > 0 || state.is_abandoned || state.is_pumping;
            let max_age = self.max_age;
            let out = state
                .buffer
                .next_write_out(|since| takes_all || since.is_zero() || since + max_age <= now);
            match out {
                Some(out) => plan.outs.push(out),
                None => break,
            }
        }
        if plan.outs.len() < free
            && let Some(oldest) = state.buffer.oldest()
        {
            let next = oldest + self.max_age;
            // What is due and could not be sent waits for what is in flight.
            plan.wake = (next > now).then(|| self.epoch + next);
        }
        plan
    }

    /// For the task: an operation has ended.
    pub(super) fn ended(&self, out: &WriteOut<WriteBatch>, result: Result<()>) {
        let mut state = self.lock();
        let is_trouble = match result {
            Ok(()) => {
                state.buffer.completed(out);
                false
            }
            Err(error) if state.is_hopeless() || is_final(&error) => {
                state.buffer.completed(out);
                let bytes = out.len() + state.buffer.drop_dirty();
                state.lose(&self.image, bytes, &error);
                true
            }
            Err(error) => {
                tracing::warn!(image = self.image, %error, "buffered writes cannot be written out yet");
                let now = self.epoch.elapsed();
                state.buffer.failed(out, now);
                state.failures += 1;
                state.failure = Some(error);
                state.pause_until = now + RETRY;
                true
            }
        };
        state.is_last_attempt &= !state.buffer.is_empty();
        self.balance(&mut state);
        drop(state);
        self.progress.notify_waiters();
        if is_trouble {
            self.trouble.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a write.
enum Inserted<'a> {
    Done {
        stamp: u64,
        failures: u64,
    },
    /// It must not be buffered together with what is.
    Unfit(Admission, SemaphorePermit<'a>),
}

/// Somebody waits for everything to be written out.
struct Urgent<'a> {
    write_back: &'a WriteBack,
    /// How often that had failed when they began.
    failures: u64,
}

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.write_back.lock().urgent -= 1;
    }
}

fn range_of(extent: &ObjectExtent) -> ObjectRange {
    ObjectRange {
        object_no: extent.object_no,
        offset: extent.offset,
        len: extent.len,
    }
}

/// After how long it is tried again what failed, if nobody waits for it.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is tried before the lock is given up, and with it what cannot be written.
const DRAIN_ATTEMPTS: u32 = 3;
/// Who waits for more than so many objects may as well wait for all.
const MANY_OBJECTS: u64 = 16;
