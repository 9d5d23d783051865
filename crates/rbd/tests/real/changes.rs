//! What changed between two versions of an image, as we tell it and as upstream's `rbd diff` does.
//!
//! Where upstream is wrong it is so in known ways, which are told from what is stored.

use std::collections::BTreeMap;

use minicluster::Release;
use rbd::{DiffExtent, DiffOptions, Image, SnapshotSelector};
use serde_json::Value;

use crate::support::*;

/// What an image, or a snapshot of it, is compared with, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'a> {
    /// The older version; the beginning if there is none.
    pub(crate) from: Option<&'a str>,
    pub(crate) whole_object: bool,
}

impl Changes<'_> {
    pub(crate) async fn ours(&self, image: &Image) -> Vec<DiffExtent> {
        let options = DiffOptions {
            from: self.from.map(|snap| SnapshotSelector::Name(snap.into())),
            whole_object: self.whole_object,
        };
        let mut extents = Vec::new();
        image
            .diff(&options, |extent| extents.push(extent))
            .await
            .unwrap();
        merged(extents)
    }

    pub(crate) fn told(&self, spec: &str) -> Vec<DiffExtent> {
        merged(self.listed(spec))
    }

    /// Each line that upstream tells, in ascending order.
    fn listed(&self, spec: &str) -> Vec<DiffExtent> {
        let mut args = vec!["diff", spec];
        if let Some(from) = self.from {
            args.extend(["--from-snap", from]);
        }
        if self.whole_object {
            args.push("--whole-object");
        }
        let told = rbd_json(&args);
        let told = told.as_array().unwrap().iter();
        let mut extents: Vec<_> = told
            .map(|extent| DiffExtent {
                offset: extent["offset"].as_u64().unwrap(),
                len: extent["length"].as_u64().unwrap(),
                exists: extent["exists"] == "true",
            })
            .collect();
        extents.sort_unstable_by_key(|extent| (extent.offset, extent.exists, extent.len));
        extents
    }

    /// Sees to it that we and upstream tell the same of an image, which upstream knows by `spec`.
    pub(crate) async fn assert_told(&self, image: &Image, spec: &str) {
        let mut told = self.listed(spec);
        let mut ours = self.ours(image).await;
        if self.from.is_none() {
            // Releases differ in whether what has come and gone since the beginning is worth a word.
            told.retain(|extent| extent.exists);
            ours.retain(|extent| extent.exists);
        }
        let is_misplaced = cluster().release() < Release::Pacific
            && self.whole_object
            && !image.layout().is_plain();
        if is_misplaced {
            self.assert_misplaced(image, spec, &ours, &told).await;
        } else {
            self.assert_same(image, spec, &ours, &merged(told)).await;
        }
    }

    async fn assert_same(
        &self,
        image: &Image,
        spec: &str,
        ours: &[DiffExtent],
        told: &[DiffExtent],
    ) {
        for extent in without(told, ours) {
            // Until Quincy, it does not forget what was written behind what is an object's end now, and
            // takes that for zeroed even if all of the object counts as changed.
            let in_whole = self.whole_object && without(&[with(extent, true)], ours).is_empty();
            let is_behind_end = cluster().release() < Release::Reef
                && (extent.exists || in_whole)
                && is_zero(image, &extent).await;
            // Until Octopus, nor does it forget what was written between the two versions to an object
            // that neither of them has.
            let has_come_and_gone = || {
                cluster().release() < Release::Pacific
                    && !extent.exists
                    && self.is_in_neither(image, &extent)
            };
            assert!(
                is_behind_end || has_come_and_gone(),
                "{spec}, {self:?}: {extent:?} is missing in {ours:?}, told {told:?}"
            );
        }
        for extent in without(ours, told) {
            // It does not notice that objects were cut off if the image has grown again.
            let in_whole = without(&[with(extent, false)], told).is_empty();
            let is_grown_again = self.whole_object && (!extent.exists || in_whole);
            // Until Octopus, what was cut off an object counts as data as long as there is the object.
            let is_cut_off = || {
                cluster().release() < Release::Pacific
                    && without(&[with(extent, true)], told).is_empty()
                    && is_behind_ends(image, &extent)
            };
            assert!(
                (is_grown_again || is_cut_off()) && is_zero(image, &extent).await,
                "{spec}, {self:?}: {extent:?} is too much in {ours:?}, told {told:?}"
            );
        }
    }

    /// Until Octopus, each whole object of an image with stripes is told as one run of bytes from where
    /// its set of objects begins.
    async fn assert_misplaced(
        &self,
        image: &Image,
        spec: &str,
        ours: &[DiffExtent],
        told: &[DiffExtent],
    ) {
        let expected = misplaced(image, ours);
        let split = |extents: &[DiffExtent]| -> (Vec<_>, Vec<_>) {
            extents.iter().copied().partition(|extent| extent.exists)
        };
        let (expected_data, mut expected_holes) = split(&expected);
        let (told_data, told_holes) = split(told);
        assert_eq!(told_data, expected_data, "{spec}, {self:?}: {ours:?}");
        for hole in told_holes {
            let at = expected_holes.iter().position(|expected| *expected == hole);
            let at = at.unwrap_or_else(|| {
                panic!("{spec}, {self:?}: {hole:?} is missing in {ours:?}, told {told:?}")
            });
            expected_holes.remove(at);
        }
        // What is left was cut off, as above.
        for hole in ours.iter().filter(|extent| !extent.exists) {
            assert!(is_zero(image, hole).await, "{spec}, {self:?}: {hole:?}");
        }
    }

    /// Whether there is an object for the bytes neither in the older version nor in the image.
    fn is_in_neither(&self, image: &Image, extent: &DiffExtent) -> bool {
        let snapshots = image.snapshots();
        let from = self.from.map(|from| {
            let snapshot = snapshots.iter().find(|snapshot| snapshot.name == from);
            snapshot.unwrap().id.0
        });
        pieces(image, extent).into_keys().all(|object_no| {
            let stored = Stored::of(image, object_no);
            let is_in = |version| stored.len(version).is_some();
            !is_in(version(image)) && from.is_none_or(|from| !is_in(Some(from)))
        })
    }
}

/// The snapshot that an image is open at.
fn version(image: &Image) -> Option<u64> {
    image.snap().map(|snapshot| snapshot.id.0)
}

/// Whether there are objects for all bytes, which end before them.
fn is_behind_ends(image: &Image, extent: &DiffExtent) -> bool {
    pieces(image, extent).into_iter().all(|(object_no, piece)| {
        let len = Stored::of(image, object_no).len(version(image));
        len.is_some_and(|len| len <= piece.start)
    })
}

/// Extents as they are printed, those that touch and are the same put together.
fn merged(extents: impl IntoIterator<Item = DiffExtent>) -> Vec<DiffExtent> {
    let mut merged: Vec<DiffExtent> = Vec::new();
    for extent in extents {
        match merged.last_mut() {
            Some(last)
                if last.offset + last.len == extent.offset && last.exists == extent.exists =>
            {
                last.len += extent.len;
            }
            _ => merged.push(extent),
        }
    }
    merged
}

/// Those parts of some extents that others do not have, or not in the same way.
fn without(extents: &[DiffExtent], others: &[DiffExtent]) -> Vec<DiffExtent> {
    let mut left = extents.to_vec();
    for other in others {
        let (start, end) = (other.offset, other.offset + other.len);
        left = left
            .into_iter()
            .flat_map(|extent| {
                let extent_end = extent.offset + extent.len;
                if extent.exists != other.exists || extent_end <= start || end <= extent.offset {
                    return vec![extent];
                }
                let before = extent.offset..start.max(extent.offset);
                let behind = end.min(extent_end)..extent_end;
                let parts = [before, behind].into_iter().filter(|part| !part.is_empty());
                parts
                    .map(|part| DiffExtent {
                        offset: part.start,
                        len: part.end - part.start,
                        ..extent
                    })
                    .collect()
            })
            .collect();
    }
    left
}

const fn with(extent: DiffExtent, exists: bool) -> DiffExtent {
    DiffExtent { exists, ..extent }
}

async fn is_zero(image: &Image, extent: &DiffExtent) -> bool {
    let read = image.read(extent.offset, extent.len).await.unwrap();
    read.to_vec().iter().all(|byte| *byte == 0)
}

/// What of an object is in an extent.
struct Piece {
    /// The first such byte, by its offset in the object.
    start: u64,
    /// How many there are.
    len: u64,
}

/// What of which object is in an extent.
fn pieces(image: &Image, extent: &DiffExtent) -> BTreeMap<u64, Piece> {
    let layout = image.layout();
    let mut pieces = BTreeMap::new();
    let end = extent.offset + extent.len;
    let mut offset = extent.offset;
    while offset < end {
        let unit_end = (offset / layout.stripe_unit() + 1) * layout.stripe_unit();
        let next = end.min(unit_end);
        let (object_no, start) = layout.locate(offset);
        let piece = pieces.entry(object_no).or_insert(Piece { start, len: 0 });
        piece.len += next - offset;
        offset = next;
    }
    pieces
}

/// Objects that changed as a whole, each as one run of bytes from where its set begins, in ascending
/// order.
fn misplaced(image: &Image, extents: &[DiffExtent]) -> Vec<DiffExtent> {
    let layout = image.layout();
    let mut objects = BTreeMap::new();
    for extent in extents {
        for (object_no, piece) in pieces(image, extent) {
            *objects.entry((object_no, extent.exists)).or_default() += piece.len;
        }
    }
    let of_object = |((object_no, exists), len)| DiffExtent {
        offset: object_no / layout.stripe_count() * layout.set_size(),
        len,
        exists,
    };
    let mut extents: Vec<_> = objects.into_iter().map(of_object).collect();
    extents.sort_unstable_by_key(|extent| (extent.offset, extent.exists, extent.len));
    extents
}

/// An object in the versions of its image, as `rados listsnaps` tells.
struct Stored {
    /// How long it is in snapshots.
    snapshots: BTreeMap<u64, u64>,
    /// How long it is now.
    head: Option<u64>,
}

impl Stored {
    fn of(image: &Image, object_no: u64) -> Self {
        let object = format!("{}.{object_no:016x}", image.block_name_prefix());
        let args = ["-p", "rbd", "listsnaps", &object, "--format", "json"];
        let listed = blocking(|| cluster().rados(&args)).unwrap();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let mut stored = Self {
            snapshots: BTreeMap::new(),
            head: None,
        };
        for clone in listed["clones"].as_array().unwrap() {
            let len = clone["size"].as_u64().unwrap();
            if clone["id"] == "head" {
                stored.head = Some(len);
            }
            for snapshot in clone["snapshots"].as_array().unwrap() {
                let id = snapshot["id"].as_u64().unwrap();
                stored.snapshots.insert(id, len);
            }
        }
        stored
    }

    /// How long it is in a snapshot or now, if it is there at all. What nothing is listed for is taken
    /// to be as it is now, though it may be younger than the snapshot.
    fn len(&self, version: Option<u64>) -> Option<u64> {
        let listed = version.and_then(|snap| self.snapshots.get(&snap));
        listed.copied().or(self.head)
    }
}
