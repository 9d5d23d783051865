//! How much may be in flight at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::op::Budget;
use crate::config::InFlightLimits;
use crate::{Error, Result};

/// Makes submitters wait while too much is in flight.
#[derive(Debug)]
pub(super) struct Limits {
    operations: Arc<Semaphore>,
    /// What input is counted in, because a semaphore cannot count that many bytes.
    kibibytes: Arc<Semaphore>,
    all_kibibytes: u32,
}

impl Limits {
    /// At least one operation may be in flight, with some input.
    pub(super) fn new(limits: InFlightLimits) -> Self {
        let operations = usize::try_from(limits.operations).unwrap_or(usize::MAX);
        // A semaphore has fewer permits than a `u32` may be on a small machine.
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let kibibytes = u32::try_from(limits.bytes.0 / 1024).unwrap_or(u32::MAX);
        let all_kibibytes = kibibytes.clamp(1, most);
        Self {
            operations: Arc::new(Semaphore::new(operations.clamp(1, Semaphore::MAX_PERMITS))),
            kibibytes: Arc::new(Semaphore::new(
                usize::try_from(all_kibibytes).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            all_kibibytes,
        }
    }

    /// Waits until an operation with that much input may be in flight.
    ///
    /// One that is larger than the limit may be when nothing else is. Cancellation-safe.
    pub(super) async fn take(&self, input_len_bytes: usize) -> Result<Budget> {
        let kibibytes = u32::try_from(input_len_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let kibibytes =
            Arc::clone(&self.kibibytes).acquire_many_owned(kibibytes.min(self.all_kibibytes));
        let operations = Arc::clone(&self.operations).acquire_owned();
        Ok(Budget {
            _operations: operations.await.map_err(|_| Error::ShutDown)?,
            _kibibytes: kibibytes.await.map_err(|_| Error::ShutDown)?,
        })
    }

    /// Whether nothing is taken.
    #[cfg(test)]
    pub(super) fn are_untouched(&self, limits: InFlightLimits) -> bool {
        let all = Self::new(limits);
        let left = |limits: &Self| {
            let semaphores = [&limits.operations, &limits.kibibytes];
            semaphores.map(|semaphore| semaphore.available_permits())
        };
        left(self) == left(&all)
    }

    /// For an operation that must not wait, and that there are few of.
    pub(super) fn take_nothing(&self) -> Result<Budget> {
        let nothing = |semaphore: &Arc<Semaphore>| {
            let permits = Arc::clone(semaphore).try_acquire_many_owned(0);
            permits.map_err(|_| Error::ShutDown)
        };
        Ok(Budget {
            _operations: nothing(&self.operations)?,
            _kibibytes: nothing(&self.kibibytes)?,
        })
    }

    /// How many operations, and how many KiB of input, may be added.
    #[cfg(test)]
    pub(super) fn available(&self) -> (usize, usize) {
        let kibibytes = self.kibibytes.available_permits();
        (self.operations.available_permits(), kibibytes)
    }

    /// Nobody may submit any more.
    pub(super) fn close(&self) {
        self.operations.close();
        self.kibibytes.close();
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
