//! The outcome of an operation on its way to whoever waits for it.
//!
//! Does what a channel for one value does, in a cell that is used again for the next operation.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use buffers::Spares;

use super::op::Outcome;

/// Cells that no operation uses.
pub(super) type Cells = Spares<Arc<Cell>>;

/// Where the outcome is put.
#[derive(Debug, Default)]
pub(super) struct Cell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    /// Who waits.
    waker: Option<Waker>,
    is_sender_gone: bool,
    is_receiver_gone: bool,
}

/// Hands an outcome over. Dropping it says that there will be none.
#[derive(Debug)]
pub(super) struct Sender(Arc<Cell>);

/// Waits for an outcome: nothing if there will be none. Dropping it says that nobody waits any more.
#[derive(Debug)]
pub(super) struct Receiver<'a> {
    /// Nothing once there is an outcome.
    cell: Option<Arc<Cell>>,
    cells: &'a Cells,
}

/// The two ends, with a cell that is used again if there is one.
pub(super) fn channel(cells: &Cells) -> (Sender, Receiver<'_>) {
    let cell = cells.take().unwrap_or_default();
    let receiver = Receiver {
        cell: Some(Arc::clone(&cell)),
        cells,
    };
    (Sender(cell), receiver)
}

impl Sender {
    /// Hands the outcome over, if anyone still waits for it.
    pub(super) fn send(self, outcome: Outcome) {
        self.0.lock().outcome = Some(outcome);
        // Being dropped wakes.
    }

    /// Whether nobody waits.
    pub(super) fn is_closed(&self) -> bool {
        self.0.lock().is_receiver_gone
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_sender_gone = true;
        let waker = state.waker.take();
        drop(state);
        // Not under the lock: what is woken may want it.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Receiver<'_> {
    /// Whether the outcome has been received.
    pub(super) const fn is_done(&self) -> bool {
        self.cell.is_none()
    }

    /// Says that nobody waits any more.
    pub(super) fn close(&mut self) {
        if let Some(cell) = &self.cell {
            cell.lock().is_receiver_gone = true;
        }
    }
}

impl Future for Receiver<'_> {
    type Output = Option<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(cell) = &self.cell else {
            return Poll::Ready(None);
        };
        let mut state = cell.lock();
        if !state.is_sender_gone {
            let is_known = state
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()));
            // What was there is dropped when the lock is not held any more.
            let before = match is_known {
                true => None,
                false => state.waker.replace(context.waker().clone()),
            };
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        let outcome = state.outcome.take();
        drop(state);
        if let Some(mut cell) = self.cell.take()
            && let Some(alone) = Arc::get_mut(&mut cell)
        {
            *alone = Cell::default();
            self.cells.put(cell);
        }
        Poll::Ready(outcome)
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl Cell {
    /// Nothing panics while the lock is held, so a poisoned lock guards a consistent state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::op::Reply;

    fn outcome(result: i32) -> Outcome {
        Ok((result, Reply::default()))
    }

    #[tokio::test]
    async fn an_outcome_wakes_who_waits_and_the_cell_is_used_again() {
        let cells = Cells::default();
        let mut used = Vec::new();
        for result in [1, 2] {
            let (sender, mut receiver) = channel(&cells);
            used.push(Arc::as_ptr(&sender.0));
            assert!((&mut receiver).now_or_never().is_none());
            assert!(!sender.is_closed() && !receiver.is_done());
            let (received, ()) = tokio::join!(&mut receiver, async {
                tokio::task::yield_now().await;
                sender.send(outcome(result));
            });
            assert_eq!(received.unwrap().unwrap().0, result);
            assert!(receiver.is_done());
        }
        assert_eq!(used[0], used[1]);
    }

    #[tokio::test]
    async fn either_end_hears_that_the_other_one_is_gone() {
        let cells = Cells::default();
        let (sender, receiver) = channel(&cells);
        drop(receiver);
        assert!(sender.is_closed());
        sender.send(outcome(0));
        let (sender, mut receiver) = channel(&cells);
        assert!((&mut receiver).now_or_never().is_none());
        drop(sender);
        assert!(receiver.await.is_none());
    }

    #[tokio::test]
    async fn what_was_sent_is_received_once_and_in_no_other_operation() {
        let cells = Cells::default();
        let (sender, receiver) = channel(&cells);
        sender.send(outcome(5));
        drop(receiver);
        let (sender, mut receiver) = channel(&cells);
        assert!((&mut receiver).now_or_never().is_none());
        sender.send(outcome(6));
        assert_eq!((&mut receiver).await.unwrap().unwrap().0, 6);
        assert!(receiver.await.is_none());
    }
}
