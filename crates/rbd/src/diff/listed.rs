//! What became of an object between two snapshots, by the list of its clones
//! (ceph: src/librados/snap_set_diff.cc, `calc_snap_set_diff`; src/librbd/io/ObjectRequest.cc,
//! `ObjectListSnapsRequest`).

use denc::SnapId;
use rados::{CloneInfo, SnapSet};

use super::intervals::Intervals;

/// Which parts of an object changed, by offset in the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectDiff {
    /// What was written.
    pub(super) data: Intervals,
    /// Where there is nothing any more.
    pub(super) zeroed: Intervals,
}

/// What changed between the snapshots `from`, 0 for the very beginning, and `to`. `object_size` is
/// the most that an object can hold; with `whole_object`, one of which anything changed counts as
/// changed altogether.
pub(super) fn object_diff(
    set: &SnapSet,
    from: SnapId,
    to: SnapId,
    object_size: u64,
    whole_object: bool,
) -> ObjectDiff {
    let found = compare(set, from, to);
    let (mut data, mut zeroed) = (found.diff, Intervals::default());
    if found.unknown || (whole_object && !data.is_empty()) {
        data = Intervals::of(0..object_size);
    } else if !whole_object && from != BEGINNING {
        // What was cut off is among the changes.
        let before = compare(set, BEGINNING, from).size;
        zeroed.insert(found.size..before);
        data.subtract(&zeroed);
    }
    if !found.exists {
        zeroed.union_of(&data);
        data = Intervals::default();
    }
    data.clip(0..object_size);
    zeroed.clip(0..object_size);
    ObjectDiff { data, zeroed }
}

/// How the state of an object at one snapshot differs from that at another.
struct Comparison {
    diff: Intervals,
    /// Whether the object exists in the end.
    exists: bool,
    /// How large it then is; 0 if it does not exist.
    size: u64,
    /// Whether it cannot be told what changed.
    unknown: bool,
}

/// The snapshots at which the object was like a clone, first and last. `None` if that is not known
/// because all of them have been removed.
fn lifetime(set: &SnapSet, clone: &CloneInfo) -> Option<(SnapId, SnapId)> {
    if clone.id == SnapId::HEAD {
        return Some((SnapId(set.seq.0.saturating_add(1)), SnapId::HEAD));
    }
    Some((*clone.snaps.first()?, *clone.snaps.last()?))
}

fn compare(set: &SnapSet, from: SnapId, to: SnapId) -> Comparison {
    let mut diff = Intervals::default();
    let mut start_size = None;
    let mut clones = set.clones.iter().peekable();
    while let Some(clone) = clones.next() {
        let Some((first, last)) = lifetime(set, clone) else {
            return Comparison {
                diff: Intervals::default(),
                // Rather too much than too little.
                exists: true,
                size: clone.size,
                unknown: true,
            };
        };
        if last < from {
            continue;
        }
        let start_size = *start_size.get_or_insert_with(|| {
            if from < first {
                // At the start, there was no such object.
                diff.insert(0..clone.size);
                0
            } else {
                clone.size
            }
        });
        if to < first {
            break;
        }
        if to <= last {
            return Comparison {
                diff,
                exists: true,
                size: clone.size,
                unknown: false,
            };
        }
        if let Some(next) = clones.peek() {
            let boundary = if next.size >= clone.size {
                next.size
            } else if clone.size <= start_size {
                // It was cut off below its size at the start.
                clone.size
            } else {
                // What was cut off above that is as it was then: nothing.
                let boundary = next.size.max(start_size);
                diff.remove(boundary..clone.size);
                boundary
            };
            let mut changed = Intervals::of(0..boundary);
            for (offset, len) in &clone.overlap {
                changed.remove(*offset..offset.saturating_add(*len));
            }
            diff.union_of(&changed);
        }
    }
    // In the end, there is no such object.
    Comparison {
        diff: Intervals::of(0..start_size.unwrap_or(0)),
        exists: false,
        size: 0,
        unknown: false,
    }
}

/// What is older than every snapshot.
pub(crate) const BEGINNING: SnapId = SnapId(0);

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100;

    fn clone(id: u64, snaps: &[u64], size: u64, overlap: &[(u64, u64)]) -> CloneInfo {
        CloneInfo {
            id: SnapId(id),
            snaps: snaps.iter().copied().map(SnapId).collect(),
            overlap: overlap.to_vec(),
            size,
        }
    }

    fn head(size: u64) -> CloneInfo {
        CloneInfo {
            id: SnapId::HEAD,
            ..clone(0, &[], size, &[])
        }
    }

    /// What was written and what was zeroed.
    fn diff(set: &SnapSet, from: u64, to: SnapId, whole: bool) -> [String; 2] {
        let diff = object_diff(set, SnapId(from), to, SIZE, whole);
        [diff.data, diff.zeroed].map(|intervals| {
            let ranges = intervals.iter().map(|range| format!("{range:?}"));
            ranges.collect::<Vec<_>>().join(" ")
        })
    }

    /// 60 bytes at snapshot 3; 10..20 written and cut to 40 at 5; grown to 50 and removed at 8;
    /// written again behind that.
    fn history() -> SnapSet {
        SnapSet {
            clones: vec![
                clone(3, &[3], 60, &[(0, 10), (20, 20)]),
                clone(5, &[5], 40, &[(0, 40)]),
                clone(7, &[7], 50, &[]),
                head(30),
            ],
            seq: SnapId(8),
        }
    }

    #[test]
    fn from_the_beginning_it_is_what_is_there() {
        let set = history();
        assert_eq!(diff(&set, 0, SnapId(3), false), ["0..60", ""]);
        assert_eq!(diff(&set, 0, SnapId(2), false), ["", ""]);
        assert_eq!(diff(&set, 0, SnapId(5), false), ["0..40", ""]);
        assert_eq!(diff(&set, 0, SnapId(8), false), ["", ""]);
        assert_eq!(diff(&set, 0, SnapId::HEAD, true), ["0..100", ""]);
    }

    #[test]
    fn between_snapshots_it_is_what_was_written_and_cut_off() {
        let set = history();
        assert_eq!(diff(&set, 3, SnapId(5), false), ["10..20", "40..60"]);
        assert_eq!(diff(&set, 5, SnapId(7), false), ["40..50", ""]);
        assert_eq!(diff(&set, 3, SnapId(4), false), ["", "0..60"]);
        assert_eq!(diff(&set, 3, SnapId(5), true), ["0..100", ""]);
        assert_eq!(diff(&set, 3, SnapId(3), false), ["", ""]);
    }

    #[test]
    fn what_no_longer_exists_is_zeroed() {
        let set = history();
        assert_eq!(diff(&set, 7, SnapId(8), false), ["", "0..50"]);
        assert_eq!(diff(&set, 7, SnapId(8), true), ["", "0..100"]);
        assert_eq!(diff(&set, 8, SnapId::HEAD, false), ["0..30", ""]);
    }

    #[test]
    fn a_clone_of_which_all_snapshots_are_gone_may_be_anything() {
        let set = SnapSet {
            clones: vec![clone(3, &[], 60, &[]), head(30)],
            seq: SnapId(3),
        };
        assert!(compare(&set, SnapId(1), SnapId::HEAD).unknown);
    }

    #[test]
    fn numbers_that_cannot_be_do_no_harm() {
        let set = SnapSet {
            clones: vec![
                clone(3, &[3], u64::MAX, &[(u64::MAX, 5), (7, u64::MAX)]),
                head(u64::MAX),
            ],
            seq: SnapId(u64::MAX),
        };
        for to in [SnapId(3), SnapId(4), SnapId::HEAD] {
            for from in [0, 3] {
                diff(&set, from, to, false);
            }
        }
    }
}
