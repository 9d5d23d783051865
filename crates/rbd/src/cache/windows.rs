//! What has been read ahead, or is being: without I/O and clocks.

use std::collections::VecDeque;
use std::time::Duration;

use crate::read::ReadData;

/// Ranges of an image that have been asked for. They do not overlap.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// In the order in which they were asked for.
    windows: VecDeque<Window>,
    last_id: u64,
}

#[derive(Debug)]
struct Window {
    id: u64,
    from: u64,
    to: u64,
    asked: Duration,
    /// None until it has come.
    data: Option<ReadData>,
}

/// What is there for a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All of it.
    Data(ReadData),
    /// All of it has been asked for, and some has not come.
    Pending,
    /// Not all. What overlaps it is forgotten: reads of the same bytes are to be answered in one way.
    Nothing,
}

impl Windows {
    /// Something is asked for, at the time `now`. Gives its number.
    pub(super) fn ask(&mut self, from: u64, to: u64, now: Duration) -> u64 {
        self.forget(from, to);
        if self.windows.len() == MAX_WINDOWS {
            self.windows.pop_front();
        }
        self.last_id += 1;
        self.windows.push_back(Window {
            id: self.last_id,
            from,
            to,
            asked: now,
            data: None,
        });
        self.last_id
    }

    /// What was asked for has come, or not.
    pub(super) fn came(&mut self, id: u64, data: Option<ReadData>) {
        let Some(index) = self.windows.iter().position(|window| window.id == id) else {
            return;
        };
        match (data, self.windows.get_mut(index)) {
            (Some(data), Some(window)) if data.len() == window.to - window.from => {
                window.data = Some(data);
            }
            _ => drop(self.windows.remove(index)),
        }
    }

    /// The bytes of a range may be others now.
    pub(super) fn forget(&mut self, from: u64, to: u64) {
        self.windows
            .retain(|window| window.to <= from || window.from >= to);
    }

    /// All bytes may be others now.
    pub(super) fn forget_all(&mut self) {
        self.windows.clear();
    }

    /// Looks for a range, in what was asked for not before `since`.
    pub(super) fn find(&mut self, from: u64, to: u64, since: Duration) -> Found {
        if self.windows.is_empty() {
            return Found::Nothing;
        }
        let mut data = ReadData::default();
        let mut next = from;
        let mut is_pending = false;
        while next < to {
            let window = self
                .windows
                .iter()
                .find(|window| window.from <= next && next < window.to && window.asked >= since);
            let Some(window) = window else {
                self.forget(from, to);
                return Found::Nothing;
            };
            let end = window.to.min(to);
            match &window.data {
                Some(held) => data.append_part(held, next - window.from, end - next),
                None => is_pending = true,
            }
            next = end;
        }
        if is_pending {
            return Found::Pending;
        }
        Found::Data(data)
    }
}

/// So many ranges are kept: what a reader is in, what comes next, and as much for a second reader.
const MAX_WINDOWS: usize = 4;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Segment;

    fn data(from: u64, to: u64) -> ReadData {
        let middle = (from + to) / 2;
        let bytes: Bytes = (from..middle).map(|at| u8::try_from(at).unwrap()).collect();
        ReadData {
            segments: [Segment::Data(bytes), Segment::Zero(to - middle)]
                .into_iter()
                .collect(),
        }
    }

    const NOW: Duration = Duration::from_secs(7);

    fn found(windows: &mut Windows, from: u64, to: u64) -> Option<Vec<u8>> {
        match windows.find(from, to, NOW) {
            Found::Data(data) => Some(data.to_vec()),
            _ => None,
        }
    }

    #[test]
    fn what_has_come_is_found_over_several_windows() {
        let mut windows = Windows::default();
        let first = windows.ask(10, 20, NOW);
        let second = windows.ask(20, 24, NOW);
        windows.came(second, Some(data(20, 24)));
        assert_eq!(windows.find(12, 22, NOW), Found::Pending);
        windows.came(first, Some(data(10, 20)));
        assert_eq!(
            found(&mut windows, 12, 22),
            Some(vec![12, 13, 14, 0, 0, 0, 0, 0, 20, 21])
        );
        assert_eq!(found(&mut windows, 23, 24), Some(vec![0]));
    }

    #[test]
    fn what_is_not_all_there_is_forgotten() {
        let mut windows = Windows::default();
        let id = windows.ask(10, 20, NOW);
        windows.came(id, Some(data(10, 20)));
        assert_eq!(windows.find(0, 5, NOW), Found::Nothing);
        assert!(found(&mut windows, 10, 20).is_some());
        assert_eq!(windows.find(15, 21, NOW), Found::Nothing);
        assert_eq!(windows.find(10, 11, NOW), Found::Nothing);
    }

    #[test]
    fn what_may_be_other_bytes_by_now_is_not_found() {
        let mut windows = Windows::default();
        let id = windows.ask(10, 20, NOW);
        windows.forget(0, 10);
        windows.forget(20, 30);
        assert_eq!(windows.find(10, 20, NOW), Found::Pending);
        windows.forget(19, 20);
        windows.came(id, Some(data(10, 20)));
        assert_eq!(windows.find(10, 11, NOW), Found::Nothing);

        let id = windows.ask(10, 20, NOW);
        windows.came(id, Some(data(10, 20)));
        assert_eq!(windows.find(10, 20, NOW + NOW), Found::Nothing);
    }

    #[test]
    fn few_are_kept_and_failures_are_none() {
        let mut windows = Windows::default();
        for at in 0..10 {
            windows.ask(at * 10, at * 10 + 10, NOW);
        }
        assert_eq!(windows.windows.len(), MAX_WINDOWS);
        let last = windows.last_id;
        windows.came(last, None);
        windows.came(last - 1, Some(data(0, 3)));
        assert_eq!(windows.windows.len(), MAX_WINDOWS - 2);
        windows.forget_all();
        assert_eq!(windows.find(60, 61, NOW), Found::Nothing);
    }
}
