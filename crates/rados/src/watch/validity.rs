//! Whether a watch can be relied on, for those who do something only while it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Tells whether a watch is certain to be seen by others, at any moment and without waiting: also when
/// the task that keeps it alive has not been able to notice that it is not, as in a process that was
/// stopped and goes on. Cheap to clone; all clones tell of the same watch.
///
/// Time counts on while a process is stopped, but not while the whole machine is suspended.
#[derive(Clone, Debug)]
pub struct WatchValidity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What the nanoseconds of `until` are counted from.
    start: Instant,
    /// Until when the OSD keeps the watch for certain, or [`ENDED`].
    until: AtomicU64,
}

impl WatchValidity {
    /// That of a watch which the OSD keeps until `until`.
    pub(super) fn new(start: Instant, until: Instant) -> Self {
        let validity = Self {
            inner: Arc::new(Inner {
                start,
                until: AtomicU64::new(ENDED),
            }),
        };
        validity.begin(until);
        validity
    }

    /// Whether others see the watch for certain.
    ///
    /// Once this was false the watch counts as lost, whatever the OSD may confirm afterwards: it is
    /// [lost](super::WatchHandler::lost), and not valid before it has been registered again. Costs one
    /// look at the clock.
    pub fn is_valid(&self) -> bool {
        self.is_valid_at(Instant::now())
    }

    pub(super) fn is_valid_at(&self, now: Instant) -> bool {
        let now = self.nanoseconds(now);
        let mut until = self.inner.until.load(Ordering::Acquire);
        while now >= until {
            if until == ENDED {
                return false;
            }
            // If it has been confirmed in the meantime, that counts.
            match self.replace(until, ENDED) {
                Ok(_) => return false,
                Err(later) => until = later,
            }
        }
        true
    }

    /// The OSD keeps the watch until `until`. Gives false if the validity has ended: nothing but a new
    /// registration brings it back.
    #[must_use]
    pub(super) fn extend(&self, until: Instant) -> bool {
        let before = self.inner.until.load(Ordering::Acquire);
        // Only an end comes in between.
        before != ENDED && self.replace(before, self.nanoseconds(until)).is_ok()
    }

    /// The watch has been registered anew.
    pub(super) fn begin(&self, until: Instant) {
        let until = self.nanoseconds(until);
        self.inner.until.store(until, Ordering::Release);
    }

    /// The watch is lost.
    pub(super) fn end(&self) {
        self.inner.until.store(ENDED, Ordering::Release);
    }

    fn replace(&self, before: u64, after: u64) -> Result<u64, u64> {
        let until = &self.inner.until;
        until.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Never [`ENDED`].
    fn nanoseconds(&self, at: Instant) -> u64 {
        let since: Duration = at.saturating_duration_since(self.inner.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// Earlier than everything.
const ENDED: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_to_have_ended_is_not_extended() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let validity = WatchValidity::new(start, at(30));
        assert!(validity.is_valid() && validity.is_valid_at(at(29)));
        assert!(validity.extend(at(35)));
        // Nobody has looked in between.
        assert!(validity.extend(at(65)));
        assert!(validity.is_valid_at(at(64)));
        let other = validity.clone();
        assert!(!other.is_valid_at(at(65)));
        assert!(!validity.extend(at(90)));
        assert!(!validity.is_valid_at(at(66)));
        validity.begin(at(96));
        assert!(other.is_valid_at(at(66)));
        validity.end();
        assert!(!other.is_valid() && !validity.extend(at(99)));
    }
}
