//! What other parts of the client want from the monitors.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Wishes that the monitor client's task fulfils when it gets to it; wishing twice is wishing once.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    osdmap: AtomicBool,
    whole_osdmap: AtomicBool,
    tickets: AtomicBool,
    woken: Notify,
}

impl Wishes {
    /// There may be a newer OSD map than ours.
    pub(crate) fn newer_osdmap(&self) {
        self.wish(&self.osdmap);
    }

    /// Our OSD map cannot be brought up to date by differences.
    pub(crate) fn whole_osdmap(&self) {
        self.wish(&self.whole_osdmap);
    }

    /// A service refused its ticket, or there is none for it.
    pub(crate) fn tickets(&self) {
        self.wish(&self.tickets);
    }

    fn wish(&self, what: &AtomicBool) {
        what.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// Wakes the monitor client's task without wishing for anything.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    pub(crate) fn take_osdmap(&self) -> bool {
        self.osdmap.swap(false, Ordering::Acquire)
    }

    pub(crate) fn take_whole_osdmap(&self) -> bool {
        self.whole_osdmap.swap(false, Ordering::Acquire)
    }

    pub(crate) fn take_tickets(&self) -> bool {
        self.tickets.swap(false, Ordering::Acquire)
    }
}
