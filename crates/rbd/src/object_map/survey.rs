//! What the map of an image, or of a snapshot, should say, found out from the objects themselves
//! (ceph: src/librbd/operation/ObjectMapIterate.cc).

use denc::SnapId;
use rados::{CloneInfo, SnapSet};

use super::bit_vector::ObjectState;
use crate::{Features, ImageInfo};

/// What is found out about, and how it is told.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// The head, or a snapshot.
    version: SnapId,
    /// The image's snapshots, oldest first.
    snapshots: Vec<SnapId>,
    /// Whether the map tells objects apart that have not changed since the last snapshot.
    fast_diff: bool,
}

impl Survey {
    /// Of a version of an image.
    pub(crate) fn of(info: &ImageInfo, version: SnapId) -> Self {
        Self {
            version,
            snapshots: info.snapshots.iter().map(|snap| snap.id).collect(),
            fast_diff: info.features.contains(Features::FAST_DIFF),
        }
    }

    /// The state of the object of which this is stored.
    pub(crate) fn state(&self, set: &SnapSet) -> ObjectState {
        for clone in &set.clones {
            let Some((first, last)) = self.lifetime(set, clone) else {
                continue;
            };
            if last < self.version {
                continue;
            }
            if self.version < first {
                break;
            }
            // At that snapshot already, it was like this.
            if self.fast_diff && first != self.version {
                return ObjectState::ExistsClean;
            }
            return ObjectState::Exists;
        }
        ObjectState::Nonexistent
    }

    /// The versions of the image, first and last, at which the object was like a clone. `None` if
    /// there are none any more.
    fn lifetime(&self, set: &SnapSet, clone: &CloneInfo) -> Option<(SnapId, SnapId)> {
        if clone.id == SnapId::HEAD {
            let first = SnapId(set.seq.0.saturating_add(1));
            return Some((self.version_from(first), SnapId::HEAD));
        }
        let (first, last) = (clone.snaps.first()?, clone.snaps.last()?);
        Some((self.version_from(*first), *last))
    }

    /// The first version that is not older than a snapshot.
    fn version_from(&self, snap: SnapId) -> SnapId {
        let at = self.snapshots.partition_point(|known| *known < snap);
        self.snapshots.get(at).copied().unwrap_or(SnapId::HEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clone(id: SnapId, snaps: &[u64]) -> CloneInfo {
        CloneInfo {
            id,
            snaps: snaps.iter().copied().map(SnapId).collect(),
            overlap: Vec::new(),
            size: 1,
        }
    }

    /// Written before snapshot 3, written before 7, and removed; written again after 9.
    fn set() -> SnapSet {
        SnapSet {
            clones: vec![
                clone(SnapId(5), &[3, 5]),
                clone(SnapId(7), &[7]),
                clone(SnapId::HEAD, &[]),
            ],
            seq: SnapId(9),
        }
    }

    fn states(snapshots: &[u64], fast_diff: bool) -> String {
        let ids: Vec<SnapId> = snapshots.iter().copied().map(SnapId).collect();
        let versions = ids.iter().copied().chain([SnapId::HEAD]);
        let states = versions.map(|version| {
            let snapshots = ids.clone();
            let survey = Survey {
                version,
                snapshots,
                fast_diff,
            };
            match survey.state(&set()) {
                ObjectState::Nonexistent => '.',
                ObjectState::Exists => 'x',
                ObjectState::Pending => 'p',
                ObjectState::ExistsClean => 'c',
            }
        });
        states.collect()
    }

    #[test]
    fn an_object_is_clean_where_it_is_as_it_was() {
        assert_eq!(states(&[2, 3, 5, 7, 9], true), ".xcx.x");
        assert_eq!(states(&[2, 3, 5, 7, 9], false), ".xxx.x");
        assert_eq!(states(&[2, 3, 5, 7, 9, 12], true), ".xcx.xc");
    }

    #[test]
    fn snapshots_that_are_gone_do_not_count() {
        assert_eq!(states(&[5, 7], true), "xxx");
        assert_eq!(states(&[], true), "x");
    }

    #[test]
    fn what_is_stored_of_no_snapshot_is_not_there() {
        let set = SnapSet {
            clones: vec![clone(SnapId(5), &[])],
            seq: SnapId(5),
        };
        let survey = Survey {
            version: SnapId::HEAD,
            snapshots: Vec::new(),
            fast_diff: true,
        };
        assert_eq!(survey.state(&set), ObjectState::Nonexistent);
        assert_eq!(survey.state(&SnapSet::default()), ObjectState::Nonexistent);
    }
}
