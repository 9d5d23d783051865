//! Sets of numbers as the ranges that they are made of (ceph: src/include/interval_set.h).

use std::ops::Range;

/// Ranges that are in ascending order, not empty, and neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Intervals(Vec<Range<u64>>);

impl Intervals {
    /// What is in one range.
    pub(super) fn of(range: Range<u64>) -> Self {
        let mut new = Self::default();
        new.insert(range);
        new
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// Takes in a range.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end < range.start);
        let last = self.0.partition_point(|known| known.start <= range.end);
        let met = self.0.get(first..last).unwrap_or_default();
        let start = met
            .first()
            .map_or(range.start, |met| met.start.min(range.start));
        let end = met.last().map_or(range.end, |met| met.end.max(range.end));
        self.0.splice(first..last, std::iter::once(start..end));
    }

    /// Takes out a range.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end <= range.start);
        let last = self.0.partition_point(|known| known.start < range.end);
        let met = self.0.get(first..last).unwrap_or_default();
        let before = met.first().map(|met| met.start..range.start);
        let behind = met.last().map(|met| range.end..met.end);
        let left = [before, behind].into_iter().flatten();
        let left: Vec<_> = left.filter(|range| !range.is_empty()).collect();
        self.0.splice(first..last, left);
    }

    pub(super) fn union_of(&mut self, other: &Self) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        for range in other.iter() {
            self.remove(range);
        }
    }

    /// Takes out all that is not in a range.
    pub(super) fn clip(&mut self, range: Range<u64>) {
        self.remove(0..range.start);
        self.remove(range.end..u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_sets_of_numbers(
            changes in vec((0u8..3, 0u64..60, 0u64..25), 0..30),
        ) {
            let mut intervals = Intervals::default();
            let mut model: BTreeSet<u64> = BTreeSet::new();
            for (change, start, len) in changes {
                let range = start..start + len;
                match change {
                    0 => {
                        intervals.insert(range.clone());
                        model.extend(range);
                    }
                    1 => {
                        intervals.remove(range.clone());
                        model.retain(|number| !range.contains(number));
                    }
                    _ => {
                        let range = 0..start + len;
                        intervals.clip(range.clone());
                        model.retain(|number| range.contains(number));
                    }
                }
                let found: BTreeSet<u64> = intervals.iter().flatten().collect();
                prop_assert_eq!(&found, &model);
                for pair in intervals.0.windows(2) {
                    prop_assert!(pair[0].end < pair[1].start, "{:?}", pair);
                }
                prop_assert!(intervals.0.iter().all(|range| !range.is_empty()));
                prop_assert_eq!(intervals.is_empty(), model.is_empty());
            }
        }
    }
}
