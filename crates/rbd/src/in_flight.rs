//! Which writes have been submitted and not been answered yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts writes so that a flush can wait for those submitted before it, and only for those.
///
/// Writes are counted by *generation*; a flush begins a new one and waits until the older ones are
/// empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the generation at the front of `writes`.
    oldest: u64,
    /// Writes in flight by generation, oldest first. Empty only before the first write; the front
    /// is zero only if it is the newest.
    writes: VecDeque<usize>,
}

impl State {
    fn newest(&self) -> u64 {
        self.oldest + (self.writes.len() as u64).saturating_sub(1)
    }

    fn forget_finished(&mut self) {
        while self.writes.len() > 1 && self.writes.front() == Some(&0) {
            self.writes.pop_front();
            self.oldest += 1;
        }
    }
}

/// A write in flight, until dropped.
#[derive(Debug)]
pub(crate) struct Submitted {
    inner: Arc<Inner>,
    generation: u64,
}

impl InFlight {
    /// Counts a write that is about to be submitted.
    pub(crate) fn submit(&self) -> Submitted {
        let mut state = self.inner.lock();
        if state.writes.is_empty() {
            state.writes.push_back(0);
        }
        if let Some(newest) = state.writes.back_mut() {
            *newest += 1;
        }
        Submitted {
            generation: state.newest(),
            inner: Arc::clone(&self.inner),
        }
    }

    /// Waits for every write submitted before this is called. Those submitted meanwhile are not waited
    /// for.
    pub(crate) fn flush(&self) -> impl Future<Output = ()> + Send + use<'_> {
        let next = {
            let mut state = self.inner.lock();
            state.writes.push_back(0);
            state.forget_finished();
            state.newest()
        };
        self.ended_before(next)
    }

    /// Waits for the end of all generations before this one.
    async fn ended_before(&self, generation: u64) {
        loop {
            let ended = self.inner.ended.notified();
            tokio::pin!(ended);
            // Registers before looking, so that nothing ends unseen in between.
            ended.as_mut().enable();
            if self.inner.lock().oldest >= generation {
                return;
            }
            ended.await;
        }
    }
}

impl Submitted {
    /// Writes of a generation are waited for together with those of all older ones.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        let index = usize::try_from(self.generation - state.oldest).unwrap_or(usize::MAX);
        if let Some(count) = state.writes.get_mut(index) {
            *count -= 1;
        }
        let before = state.oldest;
        state.forget_finished();
        if state.oldest != before {
            drop(state);
            self.inner.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_flush_waits_for_what_was_submitted_before_it() {
        let writes = InFlight::default();
        let first = writes.submit();
        let second = writes.submit();
        let mut flush = Box::pin(writes.flush());
        assert!((&mut flush).now_or_never().is_none());
        let later = writes.submit();
        drop(second);
        assert!((&mut flush).now_or_never().is_none());
        drop(first);
        assert!((&mut flush).now_or_never().is_some());
        drop(later);
    }

    #[test]
    fn a_flush_without_writes_is_at_once() {
        let writes = InFlight::default();
        assert!(writes.flush().now_or_never().is_some());
        drop(writes.submit());
        assert!(writes.flush().now_or_never().is_some());
        assert!(writes.flush().now_or_never().is_some());
        assert!(writes.inner.lock().writes.len() <= 1);
    }

    #[test]
    fn flushes_wait_each_for_their_own() {
        let writes = InFlight::default();
        let first = writes.submit();
        let mut flush_one = Box::pin(writes.flush());
        assert!((&mut flush_one).now_or_never().is_none());
        let second = writes.submit();
        let mut flush_two = Box::pin(writes.flush());
        assert!((&mut flush_two).now_or_never().is_none());
        drop(second);
        assert!((&mut flush_two).now_or_never().is_none());
        drop(first);
        assert!((&mut flush_one).now_or_never().is_some());
        assert!((&mut flush_two).now_or_never().is_some());
    }
}
