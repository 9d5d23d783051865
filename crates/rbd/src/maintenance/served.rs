//! Which requests of others the owner of an image's lock has taken on and which it is done with, so
//! that what is asked for again is not done again (ceph: src/librbd/ImageWatcher.cc,
//! `prepare_async_request`, `mark_async_request_complete`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::notification::AsyncRequestId;

/// The requests with an id.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Those that wait for their turn or are being carried out.
    pending: Vec<AsyncRequestId>,
    /// Those that were carried out, the one longest not heard of first.
    done: VecDeque<Done>,
}

#[derive(Debug)]
struct Done {
    id: AsyncRequestId,
    result: i32,
    /// When it was carried out or asked for again.
    at: Instant,
}

/// What is known of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing. It is to be carried out, and counts as pending from now on.
    New,
    Pending,
    /// It was carried out, with this result.
    Done(i32),
    /// Nothing, and there are too many already.
    TooMany,
}

impl Served {
    /// A request arrives.
    pub(super) fn receive(&mut self, id: AsyncRequestId, now: Instant) -> Known {
        self.expire(now);
        if self.pending.contains(&id) {
            return Known::Pending;
        }
        if let Some(result) = self.take_done(id) {
            self.remember(id, result, now);
            return Known::Done(result);
        }
        if self.pending.len() >= MAX_PENDING {
            return Known::TooMany;
        }
        self.pending.push(id);
        Known::New
    }

    /// A pending request has been carried out.
    pub(super) fn finish(&mut self, id: AsyncRequestId, result: i32, now: Instant) {
        self.forget(id);
        self.expire(now);
        if self.done.len() >= MAX_DONE {
            self.done.pop_front();
        }
        self.remember(id, result, now);
    }

    /// A pending request is not going to be carried out: if it is asked for again, it is a new one.
    pub(super) fn forget(&mut self, id: AsyncRequestId) {
        self.pending.retain(|pending| *pending != id);
    }

    fn take_done(&mut self, id: AsyncRequestId) -> Option<i32> {
        let at = self.done.iter().position(|done| done.id == id)?;
        self.done.remove(at).map(|done| done.result)
    }

    fn remember(&mut self, id: AsyncRequestId, result: i32, at: Instant) {
        self.done.push_back(Done { id, result, at });
    }

    fn expire(&mut self, now: Instant) {
        let is_old = |done: &Done| now.saturating_duration_since(done.at) > REMEMBERED;
        while self.done.front().is_some_and(is_old) {
            self.done.pop_front();
        }
    }
}

/// How long results are remembered, as librbd does.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How many results are remembered.
const MAX_DONE: usize = 256;
/// How many requests may wait for their turn.
pub(super) const MAX_PENDING: usize = 16;

#[cfg(test)]
mod tests {
    use denc::GlobalId;

    use super::*;
    use crate::notification::ClientId;

    fn id(request: u64) -> AsyncRequestId {
        AsyncRequestId {
            client: ClientId {
                gid: GlobalId(4123),
                handle: 7,
            },
            request,
        }
    }

    #[test]
    fn what_is_asked_for_again_is_done_once() {
        let mut served = Served::default();
        let now = Instant::now();
        assert_eq!(served.receive(id(1), now), Known::New);
        assert_eq!(served.receive(id(1), now), Known::Pending);
        served.finish(id(1), -22, now);
        assert_eq!(served.receive(id(1), now), Known::Done(-22));
        assert_eq!(served.receive(id(1), now), Known::Done(-22));
        // Numbers are those of a client.
        let mut other = id(1);
        other.client.handle = 8;
        assert_eq!(served.receive(other, now), Known::New);
    }

    #[test]
    fn results_are_remembered_for_a_while_after_they_were_asked_for() {
        let mut served = Served::default();
        let start = Instant::now();
        assert_eq!(served.receive(id(1), start), Known::New);
        served.finish(id(1), 0, start);
        assert_eq!(served.receive(id(1), start + REMEMBERED), Known::Done(0));
        let later = start + 2 * REMEMBERED;
        assert_eq!(served.receive(id(1), later), Known::Done(0));
        let late = later + REMEMBERED + Duration::from_millis(1);
        assert_eq!(served.receive(id(1), late), Known::New);
    }

    #[test]
    fn what_was_not_carried_out_is_new_again() {
        let mut served = Served::default();
        let now = Instant::now();
        assert_eq!(served.receive(id(1), now), Known::New);
        served.forget(id(1));
        assert_eq!(served.receive(id(1), now), Known::New);
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut served = Served::default();
        let now = Instant::now();
        for request in 0..MAX_PENDING as u64 {
            assert_eq!(served.receive(id(request), now), Known::New);
        }
        assert_eq!(served.receive(id(100), now), Known::TooMany);
        served.finish(id(0), 0, now);
        assert_eq!(served.receive(id(100), now), Known::New);

        for request in 200..200 + 2 * MAX_DONE as u64 {
            served.forget(id(100));
            assert_eq!(served.receive(id(100), now), Known::New);
            served.finish(id(request), 0, now);
        }
        assert_eq!(served.done.len(), MAX_DONE);
        served.forget(id(100));
        // The one longest not heard of goes first.
        assert_eq!(served.receive(id(200), now), Known::New);
        assert_eq!(
            served.receive(id(199 + 2 * MAX_DONE as u64), now),
            Known::Done(0)
        );
    }
}
