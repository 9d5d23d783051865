//! Things that are needed for every operation, kept to be used again: at a few microseconds for an
//! operation it counts how often memory is asked for.

use std::sync::{Mutex, PoisonError};

/// A few things that nobody uses at the moment.
#[derive(Debug)]
pub struct Spares<T>(Mutex<Vec<T>>);

impl<T> Spares<T> {
    /// One that was put back, if there is any.
    pub fn take(&self) -> Option<T> {
        self.lock(Vec::pop)
    }

    /// Keeps one that holds nothing any more, unless there are enough.
    pub fn put(&self, spare: T) {
        // What is left over is dropped when the lock is not held any more.
        let _left_over = self.lock(|spares| {
            if spares.len() >= MOST {
                return Some(spare);
            }
            spares.push(spare);
            None
        });
    }

    fn lock<R>(&self, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Spares<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// As many operations as one device usually has in flight.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_kept_and_not_any_number() {
        let spares = Spares::default();
        assert_eq!(spares.take(), None);
        for number in 0..MOST + 10 {
            spares.put(number);
        }
        assert_eq!(spares.take(), Some(MOST - 1));
        assert_eq!(
            (0..).take_while(|_| spares.take().is_some()).count(),
            MOST - 1
        );
    }
}
