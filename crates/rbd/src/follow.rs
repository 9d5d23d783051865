//! Noticing what others change about an image.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Counts what was announced, so that it is known whether the header was read since.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    announced: AtomicU64,
    /// What had been announced when the header was last about to be read.
    known: AtomicU64,
    /// Tells those who want to know at once.
    changes: watch::Sender<()>,
}

impl Follower {
    /// Whether the header must be read again before anything is done that depends on it.
    pub(crate) fn is_stale(&self) -> bool {
        self.known.load(Ordering::Acquire) < self.announced.load(Ordering::Acquire)
    }

    /// What has been announced so far; to be taken before the header is read.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Acquire)
    }

    /// The header has been read after so much had been announced.
    pub(crate) fn caught_up(&self, announced: u64) {
        self.known.fetch_max(announced, Ordering::AcqRel);
    }

    /// Hears of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The header has changed, or may have.
    pub(crate) fn announce(&self) {
        self.announced.fetch_add(1, Ordering::AcqRel);
        self.changes.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_to_know_of_changes_hears_of_them() {
        let follower = Follower::default();
        let changes = follower.changes();
        assert!(!changes.has_changed().unwrap());
        follower.announce();
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn what_is_announced_while_reading_is_read_again() {
        let follower = Follower::default();
        follower.announce();
        let before = follower.announced();
        follower.announce();
        follower.caught_up(before);
        assert!(follower.is_stale());
    }
}
