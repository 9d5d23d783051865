//! What is known of an image's buffered writes as a whole, and how it changes: nothing here waits.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rados::SnapContext;

use super::buffer::{Batch, Buffer};
use crate::object_map::ObjectMap;
use crate::write::{Admission, WriteGuard};
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct State {
    pub(super) buffer: Buffer<WriteBatch>,
    /// What has been taken of the room.
    pub(super) taken: u64,
    /// What the next write may be put together with, as long as any of it is buffered.
    pub(super) batch: Weak<WriteBatch>,
    /// On what everything relies that is buffered.
    pub(super) basis: Option<Basis>,
    /// Whether writes are buffered: not before it is known that somebody flushes.
    pub(super) is_open: bool,
    /// How many wait for everything to be written out.
    pub(super) urgent: usize,
    /// Whether it is written out because there is too much of it.
    pub(super) is_pumping: bool,
    /// How often something could not be written out.
    pub(super) failures: u64,
    pub(super) failure: Option<Error>,
    /// Until when nothing is tried, unless somebody comes who waits for it.
    pub(super) pause_until: Duration,
    /// Whether what is in flight is lost if it fails.
    pub(super) is_last_attempt: bool,
    /// Why data has been lost.
    pub(super) lost: Option<Error>,
    pub(super) is_running: bool,
    /// Nobody has the image any more.
    pub(super) is_abandoned: bool,
}

/// What writes rely on that can be written out side by side and in any order.
#[derive(Debug)]
pub(super) struct Basis {
    snap_context: Arc<SnapContext>,
    object_map: Option<Arc<ObjectMap>>,
}

impl Basis {
    pub(super) fn of(admission: &Admission) -> Self {
        Self {
            snap_context: Arc::clone(&admission.info.snap_context),
            object_map: admission.object_map.clone(),
        }
    }

    pub(super) fn is_of(&self, admission: &Admission) -> bool {
        let snap_context = &admission.info.snap_context;
        let same_snapshots =
            Arc::ptr_eq(&self.snap_context, snap_context) || self.snap_context == *snap_context;
        let same_map = match (&self.object_map, &admission.object_map) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        };
        same_snapshots && same_map
    }
}

/// Writes of one generation, with what they hold until they are on the OSDs.
#[derive(Debug)]
pub(super) struct WriteBatch {
    pub(super) guard: WriteGuard,
    generation: u64,
}

impl Batch for WriteBatch {
    fn generation(&self) -> u64 {
        self.generation
    }
}

impl State {
    /// Nothing is buffered of an image whose objects have this size, and nothing will be before it is
    /// `is_open`.
    pub(super) const fn new(object_size: u64, is_open: bool) -> Self {
        Self {
            buffer: Buffer::new(object_size),
            taken: 0,
            batch: Weak::new(),
            basis: None,
            is_open,
            urgent: 0,
            is_pumping: false,
            failures: 0,
            failure: None,
            pause_until: Duration::ZERO,
            is_last_attempt: false,
            lost: None,
            is_running: false,
            is_abandoned: false,
        }
    }

    pub(super) fn check_lost(&self) -> Result<()> {
        self.lost.clone().map_or(Ok(()), Err)
    }

    /// Whether nothing is tried again.
    pub(super) const fn is_hopeless(&self) -> bool {
        self.lost.is_some() || self.is_abandoned || self.is_last_attempt
    }

    pub(super) fn trouble_since(&self, failures: u64) -> Option<Error> {
        let failed = (self.failures > failures).then(|| self.failure.clone());
        self.lost.clone().or_else(|| failed.flatten())
    }

    /// What a write is put together with: its own generation, so that whoever waits for that does not
    /// wait for what comes later.
    pub(super) fn batch_for(&mut self, admission: Admission) -> Arc<WriteBatch> {
        let generation = admission.submitted.generation();
        let latest = self.batch.upgrade();
        if let Some(latest) = &latest
            && latest.generation == generation
        {
            return Arc::clone(latest);
        }
        let batch = Arc::new(WriteBatch {
            guard: WriteGuard::new(admission),
            generation,
        });
        if latest.is_none_or(|latest| latest.generation < generation) {
            self.batch = Arc::downgrade(&batch);
        }
        batch
    }

    pub(super) fn lose(&mut self, image: &str, bytes: u64, why: &Error) {
        if self.lost.is_some() {
            return;
        }
        tracing::error!(image, bytes, error = %why, "buffered writes are lost");
        self.lost = Some(Error::WritesLost {
            image: image.to_string(),
            bytes,
            reason: why.to_string(),
            errno: why.errno(),
        });
    }
}

/// Whether there is no point in trying it again.
pub(super) fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::LockLost { .. }
            | Error::Rados(
                rados::Error::Blocklisted { .. }
                    | rados::Error::ShutDown
                    | rados::Error::PoolGone { .. }
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(4 << 20, true)
    }

    fn failure(name: &str) -> Error {
        Error::LockLost {
            image: name.to_owned(),
        }
    }

    #[test]
    fn what_was_lost_first_is_what_everybody_is_told() {
        let mut state = state();
        assert!(state.check_lost().is_ok());
        state.lose("rbd/a", 10, &failure("first"));
        state.lose("rbd/a", 99, &failure("second"));
        let lost = state.check_lost().unwrap_err();
        assert!(
            matches!(&lost, Error::WritesLost { bytes: 10, reason, .. } if reason.contains("first")),
            "{lost}"
        );
        assert_eq!(lost.errno(), failure("first").errno());
        // Also those who came after it.
        assert!(state.trouble_since(state.failures).is_some());
    }

    #[test]
    fn failures_are_told_to_those_who_waited_then() {
        let mut state = state();
        let before = state.failures;
        assert!(state.trouble_since(before).is_none());
        state.failures += 1;
        state.failure = Some(failure("now"));
        assert!(
            matches!(state.trouble_since(before), Some(Error::LockLost { image }) if image == "now")
        );
        assert!(state.trouble_since(state.failures).is_none());
    }

    #[test]
    fn nothing_is_tried_again_when_nobody_could_be_told() {
        assert!(!state().is_hopeless());
        let mut abandoned = state();
        abandoned.is_abandoned = true;
        assert!(abandoned.is_hopeless());
        let mut last = state();
        last.is_last_attempt = true;
        assert!(last.is_hopeless());
        let mut lost = state();
        lost.lose("rbd/a", 1, &failure("gone"));
        assert!(lost.is_hopeless());
    }

    #[test]
    fn some_errors_are_final() {
        assert!(is_final(&failure("gone")));
        assert!(is_final(&Error::Rados(rados::Error::ShutDown)));
        let busy = Error::WritesUnfinished {
            image: "rbd/a".to_owned(),
            limit: Duration::from_secs(1),
        };
        assert!(!is_final(&busy));
    }
}
