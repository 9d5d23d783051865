//! Noticing that an image is read from front to back, and what comes next then: pure arithmetic
//! (ceph: src/common/Readahead.cc).

use std::ops::Range;

use super::options::ReadAheadOptions;

/// Follows what is read.
#[derive(Debug)]
pub(super) struct Detector {
    options: ReadAheadOptions,
    /// Ends that are better than others, in bytes, the smallest first.
    alignments: [u64; 2],
    /// Where the next read begins, if it continues the last one.
    next: u64,
    /// Reads that each continued the one before, and their bytes.
    reads: u64,
    bytes: u64,
    /// How much was read ahead last, zero if nothing.
    ahead: u64,
    /// Up to where has been read ahead.
    ahead_end: u64,
    /// What comes after that when a read gets there.
    trigger: u64,
    /// All that was ever read.
    total: u64,
}

impl Detector {
    /// For an image whose objects have this size, and whose sets of objects hold so many bytes.
    pub(super) const fn new(options: ReadAheadOptions, object_size: u64, set_size: u64) -> Self {
        Self {
            options,
            alignments: [object_size, set_size],
            next: u64::MAX,
            reads: 0,
            bytes: 0,
            ahead: 0,
            ahead_end: 0,
            trigger: 0,
            total: 0,
        }
    }

    /// Whether nothing is read ahead any more.
    pub(super) const fn is_over(&self) -> bool {
        let limit = self.options.disable_after_bytes;
        limit > 0 && self.total >= limit
    }

    /// Takes note of a read, of an image that ends at `size`. Gives what to read ahead.
    pub(super) fn read(&mut self, offset: u64, len: u64, size: u64) -> Option<Range<u64>> {
        if self.is_over() {
            return None;
        }
        self.total = self.total.saturating_add(len);
        if offset == self.next {
            self.reads += 1;
            self.bytes += len;
        } else {
            (self.reads, self.bytes) = (0, 0);
            (self.ahead, self.ahead_end, self.trigger) = (0, 0, 0);
        }
        self.next = offset + len;
        let is_wanted = self.reads >= self.options.trigger_requests && self.next >= self.trigger;
        if !is_wanted || self.next >= size || self.ahead_end >= size {
            return None;
        }
        let wanted = if self.ahead == 0 {
            self.bytes
        } else {
            self.ahead.saturating_mul(2)
        };
        self.ahead = wanted.min(self.options.max_bytes);
        let start = self.ahead_end.max(self.next);
        let end = self.aligned(start + self.ahead).min(size);
        let len = end.saturating_sub(start);
        self.trigger = start + len / 2;
        self.ahead_end = end;
        (len > 0).then_some(start..end)
    }

    /// An end near this one that is better, if it does not make half as much or half as much more.
    fn aligned(&self, end: u64) -> u64 {
        for alignment in self.alignments {
            let over = end % alignment;
            let short = alignment - over;
            if over < self.ahead / 2 && over < short {
                return end - over;
            }
            if short < self.ahead / 2 {
                return end + short;
            }
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const OBJECT: u64 = 4096 * KIB;
    const SIZE: u64 = 1 << 30;

    fn detector(options: ReadAheadOptions) -> Detector {
        Detector::new(options, OBJECT, OBJECT)
    }

    fn options() -> ReadAheadOptions {
        ReadAheadOptions::default()
    }

    #[test]
    fn reads_in_a_row_are_noticed_and_read_ahead_of_in_growing_steps() {
        let mut detector = detector(options());
        let mut ahead = Vec::new();
        for block in 0..1024 {
            let at = block * 4 * KIB;
            if let Some(range) = detector.read(at, 4 * KIB, SIZE) {
                assert!(range.start >= at + 4 * KIB);
                ahead.push((block, range));
            }
        }
        let (first, range) = ahead[0].clone();
        assert_eq!((first, range), (10, 44 * KIB..84 * KIB));
        for pair in ahead.windows(2) {
            assert_eq!(pair[0].1.end, pair[1].1.start);
        }
        let lens: Vec<u64> = ahead.iter().map(|(_, r)| (r.end - r.start) / KIB).collect();
        assert_eq!(lens[..5], [40, 80, 160, 320, 512]);
        let ends_with_object = ahead.iter().any(|(_, range)| range.end == OBJECT);
        assert!(ends_with_object, "{ahead:?}");
    }

    #[test]
    fn a_jump_begins_anew() {
        let mut detector = detector(options());
        for block in 0..11 {
            detector.read(block * KIB, KIB, SIZE);
        }
        assert!(detector.read(OBJECT, KIB, SIZE).is_none());
        for block in 1..10 {
            assert!(detector.read(OBJECT + block * KIB, KIB, SIZE).is_none());
        }
        assert_eq!(
            detector.read(OBJECT + 10 * KIB, KIB, SIZE),
            Some(OBJECT + 11 * KIB..OBJECT + 21 * KIB)
        );
    }

    #[test]
    fn nothing_is_read_behind_the_end_or_when_it_is_over() {
        let mut detector = detector(ReadAheadOptions {
            trigger_requests: 1,
            ..options()
        });
        detector.read(0, 64 * KIB, 130 * KIB);
        assert_eq!(
            detector.read(64 * KIB, 64 * KIB, 130 * KIB),
            Some(128 * KIB..130 * KIB)
        );
        assert!(detector.read(128 * KIB, 2 * KIB, 130 * KIB).is_none());

        let limited = ReadAheadOptions {
            trigger_requests: 1,
            disable_after_bytes: 2 * KIB,
            ..options()
        };
        let mut detector = Detector::new(limited, OBJECT, OBJECT);
        assert!(detector.read(0, KIB, SIZE).is_none());
        assert!(detector.read(KIB, KIB, SIZE).is_some());
        assert!(detector.is_over());
        assert!(detector.read(2 * KIB, KIB, SIZE).is_none());

        let never = ReadAheadOptions {
            trigger_requests: 1,
            max_bytes: 0,
            ..options()
        };
        let mut detector = Detector::new(never, OBJECT, OBJECT);
        detector.read(0, KIB, SIZE);
        assert!(detector.read(KIB, KIB, SIZE).is_none());
    }
}
