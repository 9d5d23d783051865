//! How much may be in flight at a time.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::InFlightLimits;
use crate::{Error, Result};

/// Makes submitters wait while too much is in flight. Clones are the same limits.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    operations: Semaphore,
    /// What input is counted in, because a semaphore cannot count that many bytes.
    kibibytes: Semaphore,
    all_kibibytes: u32,
}

/// What an operation in flight holds of the limits, until dropped.
#[derive(Debug)]
pub(super) struct Budget {
    inner: Arc<Inner>,
    operations: usize,
    kibibytes: u32,
}

impl Limits {
    /// At least one operation may be in flight, with some input.
    pub(super) fn new(limits: InFlightLimits) -> Self {
        let operations = usize::try_from(limits.operations).unwrap_or(usize::MAX);
        // A semaphore has fewer permits than a `u32` may be on a small machine.
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let kibibytes = u32::try_from(limits.bytes.0 / 1024).unwrap_or(u32::MAX);
        let all_kibibytes = kibibytes.clamp(1, most);
        let operations = operations.clamp(1, Semaphore::MAX_PERMITS);
        let inner = Inner {
            operations: Semaphore::new(operations),
            kibibytes: Semaphore::new(
                usize::try_from(all_kibibytes).unwrap_or(Semaphore::MAX_PERMITS),
            ),
            all_kibibytes,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What an operation with that much input takes.
    ///
    /// One that is larger than the limit may be in flight when nothing else is.
    fn kibibytes(&self, input_len_bytes: usize) -> u32 {
        let kibibytes = u32::try_from(input_len_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        kibibytes.min(self.inner.all_kibibytes)
    }

    /// What an operation with that much input needs, if it may be in flight now. Those who wait come
    /// first.
    pub(super) fn try_take(&self, input_len_bytes: usize) -> Option<Budget> {
        let wanted = self.kibibytes(input_len_bytes);
        let operation = self.inner.operations.try_acquire().ok()?;
        let kibibytes = self.inner.kibibytes.try_acquire_many(wanted).ok()?;
        Some(self.budget(operation, kibibytes, wanted))
    }

    /// Waits until an operation with that much input may be in flight. Cancellation-safe.
    pub(super) async fn take(&self, input_len_bytes: usize) -> Result<Budget> {
        let wanted = self.kibibytes(input_len_bytes);
        let operation = self.inner.operations.acquire();
        let operation = operation.await.map_err(|_| Error::ShutDown)?;
        let kibibytes = self.inner.kibibytes.acquire_many(wanted);
        let kibibytes = kibibytes.await.map_err(|_| Error::ShutDown)?;
        Ok(self.budget(operation, kibibytes, wanted))
    }

    fn budget(
        &self,
        operation: SemaphorePermit<'_>,
        kibibytes: SemaphorePermit<'_>,
        taken: u32,
    ) -> Budget {
        // They are given back when the budget is dropped.
        operation.forget();
        kibibytes.forget();
        Budget {
            inner: Arc::clone(&self.inner),
            operations: 1,
            kibibytes: taken,
        }
    }

    /// For an operation that must not wait, and that there are few of.
    pub(super) fn take_nothing(&self) -> Result<Budget> {
        if self.inner.operations.is_closed() {
            return Err(Error::ShutDown);
        }
        Ok(Budget {
            inner: Arc::clone(&self.inner),
            operations: 0,
            kibibytes: 0,
        })
    }

    /// Whether nothing is taken.
    #[cfg(test)]
    pub(super) fn are_untouched(&self, limits: InFlightLimits) -> bool {
        self.available() == Self::new(limits).available()
    }

    /// How many operations, and how many KiB of input, may be added.
    #[cfg(test)]
    pub(super) fn available(&self) -> (usize, usize) {
        let kibibytes = self.inner.kibibytes.available_permits();
        (self.inner.operations.available_permits(), kibibytes)
    }

    /// Nobody may submit any more.
    pub(super) fn close(&self) {
        self.inner.operations.close();
        self.inner.kibibytes.close();
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.inner.operations.add_permits(self.operations);
        let kibibytes = usize::try_from(self.kibibytes).unwrap_or(Semaphore::MAX_PERMITS);
        self.inner.kibibytes.add_permits(kibibytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::config::SizeBytes;

    #[test]
    fn what_takes_nothing_does_not_wait_until_the_end() {
        let limits = Limits::new(InFlightLimits {
            operations: 1,
            bytes: SizeBytes(1024),
        });
        let all = limits.take(1024).now_or_never().unwrap().unwrap();
        assert!(limits.take(0).now_or_never().is_none());
        limits.take_nothing().unwrap();
        assert!(limits.take(0).now_or_never().is_none());
        drop(all);
        assert!(limits.take(1024).now_or_never().is_some());
        limits.close();
        assert!(limits.take_nothing().is_err());
    }
}
