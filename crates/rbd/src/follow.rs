//! Noticing what others change about an image: a watch on its header
//! (ceph: src/librbd/WatchNotifyTypes.h).

use std::sync::atomic::{AtomicU64, Ordering};

use denc::Reader;
use rados::{Error, Notification, NotifyReply, WatchHandler};

/// Counts what was announced, so that it is known whether the header was read since.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    announced: AtomicU64,
    /// What had been announced when the header was last about to be read.
    known: AtomicU64,
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

    fn announce(&self) {
        self.announced.fetch_add(1, Ordering::AcqRel);
    }
}

impl WatchHandler for Follower {
    /// Whoever changes the header waits for the answers of all watchers. No operation submitted
    /// after this answer relies on the old header.
    ///
    /// The answer is empty, as from everybody who does not hold the image's lock.
    fn notified(&self, notification: Notification, reply: NotifyReply) {
        if changes_header(&notification.payload) {
            self.announce();
        }
        drop(reply);
    }

    /// What is announced from now on is not heard. It is made up for when the watch works again.
    fn lost(&self, _error: &Error) {}

    fn missed(&self) {
        self.announce();
    }
}

/// Whether a notification says, or may say, that the header has changed.
fn changes_header(payload: &[u8]) -> bool {
    let mut reader = Reader::new("image notification", payload);
    let operation = reader
        .envelope("NotifyMessage", u8::MAX)
        .and_then(|mut message| message.reader.u32());
    // What cannot be understood may be anything.
    operation.map_or(true, |operation| operation == HEADER_UPDATE)
}

const HEADER_UPDATE: u32 = 3;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;
    use denc::GlobalId;

    use super::*;

    fn notify(follower: &Follower, payload: &[u8]) {
        let (sender, answers) = mpsc::channel();
        let notification = Notification {
            id: 1,
            payload: Bytes::copy_from_slice(payload),
            notifier: GlobalId(1),
        };
        let reply = NotifyReply::new(move |answer| sender.send(answer).unwrap());
        follower.notified(notification, reply);
        assert!(answers.try_recv().unwrap().is_empty());
    }

    #[test]
    fn only_changes_of_the_header_count() {
        let follower = Follower::default();
        notify(&follower, &[7, 1, 4, 0, 0, 0, 18, 0, 0, 0]);
        assert!(!follower.is_stale());
        notify(&follower, &[7, 1, 4, 0, 0, 0, 3, 0, 0, 0]);
        assert!(follower.is_stale());
        follower.caught_up(follower.announced());
        assert!(!follower.is_stale());
        notify(&follower, &[7, 1]);
        assert!(follower.is_stale());
    }

    #[test]
    fn what_is_announced_while_reading_is_read_again() {
        let follower = Follower::default();
        follower.missed();
        let before = follower.announced();
        follower.missed();
        follower.caught_up(before);
        assert!(follower.is_stale());
    }
}
