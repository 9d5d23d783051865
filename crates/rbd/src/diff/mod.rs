//! What changed between two versions of an image (ceph: src/librbd/api/DiffIterate.cc).

mod fast;
mod intervals;
mod listed;

use std::collections::BTreeMap;

use denc::SnapId;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::{Errno, Operation, SnapSet};

use self::fast::DiffState;
pub(crate) use self::listed::BEGINNING;
use self::listed::{ObjectDiff, object_diff};
use crate::error::{InvalidOptions, undecodable};
use crate::layout::ObjectExtent;
use crate::progress::OBJECTS_IN_FLIGHT;
use crate::{Error, Image, ImageInfo, Result, SnapshotSelector};

/// A run of bytes of an image that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffExtent {
    /// Where in the image it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Whether there is data now. If not, the bytes are zeros.
    pub exists: bool,
}

/// With what an image is compared, and how.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// The older version. Without one, everything that exists has changed.
    pub from: Option<SnapshotSelector>,
    /// Give whole objects, of which anything changed, instead of the parts that did. With the
    /// feature fast-diff this asks no objects.
    pub whole_object: bool,
}

impl Image {
    /// Tells what of the image, or of the snapshot it is open at, has changed: ascending by sets of
    /// objects, and within those.
    ///
    /// What was discarded since counts as changed, too, and so does what was written with the same
    /// bytes.
    ///
    /// # Errors
    /// [`Error::NoSuchSnapshot`]; [`Error::InvalidOptions`] if `from` is younger than what it is
    /// compared with; what the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn diff(
        &self,
        options: &DiffOptions,
        report: impl FnMut(DiffExtent) + Send,
    ) -> Result<()> {
        // Of what was submitted, all is to be seen.
        self.finish_writes().await?;
        let info = self.current_info().await?;
        self.check_readable(&info)?;
        let from = match &options.from {
            Some(selector) => info.snapshot(selector, self.full_name())?.id,
            None => BEGINNING,
        };
        let to = self.read_snap();
        if from > to {
            return Err(Error::InvalidOptions {
                image: self.full_name().to_string(),
                reason: InvalidOptions::YoungerSnapshot,
            });
        }
        self.diff_versions(&info, from, to, options.whole_object, report)
            .await
    }

    /// As [`diff`](Self::diff), between any two versions.
    pub(crate) async fn diff_versions(
        &self,
        info: &ImageInfo,
        from: SnapId,
        to: SnapId,
        whole_object: bool,
        report: impl FnMut(DiffExtent) + Send,
    ) -> Result<()> {
        if from == to {
            return Ok(());
        }
        let size = info.version(to).map_or(0, |(size, _)| size);
        let mut merger = Merger::new(self.layout().stripe_count(), report);
        // The map may have turned out to be wrong since the header was read.
        let kept = self.object_map().is_none_or(|map| map.is_valid());
        if whole_object
            && kept
            && let Some(states) = fast::object_states(self.pool(), info, from, to).await?
        {
            for extent in self.layout().extents(0, size) {
                let object = usize::try_from(extent.object_no).unwrap_or(usize::MAX);
                merger.put_whole(&extent, states.get(object).copied());
            }
        } else {
            let mut diffs = stream::iter(self.layout().extents(0, size))
                .map(|extent| self.listed_diff(extent, from, to, whole_object))
                .buffered(OBJECTS_IN_FLIGHT);
            while let Some((extent, diff)) = diffs.try_next().await? {
                merger.put(&extent, &diff);
            }
        }
        merger.finish();
        Ok(())
    }

    async fn listed_diff(
        &self,
        extent: ObjectExtent,
        from: SnapId,
        to: SnapId,
        whole_object: bool,
    ) -> Result<(ObjectExtent, ObjectDiff)> {
        let diff = match self.list_snaps(extent.object_no).await? {
            Some(set) => object_diff(&set, from, to, self.object_size(), whole_object),
            None => ObjectDiff::default(),
        };
        Ok((extent, diff))
    }

    /// What is stored under the name of an object; `None` if nothing is.
    pub(crate) async fn list_snaps(&self, object_no: u64) -> Result<Option<SnapSet>> {
        let object = self.data_object(object_no);
        let object = object.as_str();
        let operation = Operation::new().list_snaps();
        let (result, reply) = self.data_pool().execute_raw(object, operation).await?;
        match Errno::check(result) {
            Ok(_) => {
                let decoded = reply.decode(0, "list_snaps");
                decoded
                    .map(Some)
                    .map_err(undecodable(self.data_pool(), object))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.data_pool().operation_error(object, errno).into()),
        }
    }
}

/// Puts what changed in objects where it is in the image, and what touches together.
struct Merger<F> {
    stripe_count: u64,
    /// The set of objects that is being looked at.
    set: u64,
    /// What changed in that set, by offset in the image: length, and whether there is data.
    found: BTreeMap<u64, (u64, bool)>,
    report: F,
}

impl<F: FnMut(DiffExtent)> Merger<F> {
    const fn new(stripe_count: u64, report: F) -> Self {
        Self {
            stripe_count,
            set: 0,
            found: BTreeMap::new(),
            report,
        }
    }

    /// Takes in an object. They come in ascending order.
    fn put(&mut self, extent: &ObjectExtent, diff: &ObjectDiff) {
        self.enter(extent.object_no);
        for (changed, exists) in [(&diff.data, true), (&diff.zeroed, false)] {
            for range in changed.iter() {
                let mut in_object = extent.offset;
                for piece in &extent.pieces {
                    let start = range.start.max(in_object);
                    let end = range.end.min(in_object + piece.len);
                    if start < end {
                        let at = piece.at + (start - in_object);
                        self.found.insert(at, (end - start, exists));
                    }
                    in_object += piece.len;
                }
            }
        }
    }

    /// Takes in an object that changed as a whole or not at all.
    fn put_whole(&mut self, extent: &ObjectExtent, state: Option<DiffState>) {
        self.enter(extent.object_no);
        let exists = match state {
            Some(DiffState::DataUpdated) => true,
            Some(DiffState::HoleUpdated) => false,
            Some(DiffState::Hole | DiffState::Data) | None => return,
        };
        for piece in &extent.pieces {
            self.found.insert(piece.at, (piece.len, exists));
        }
    }

    fn enter(&mut self, object_no: u64) {
        let set = object_no / self.stripe_count;
        if set != self.set {
            self.finish();
            self.set = set;
        }
    }

    /// Reports what was found in a set.
    fn finish(&mut self) {
        let mut last: Option<DiffExtent> = None;
        for (offset, (len, exists)) in std::mem::take(&mut self.found) {
            match &mut last {
                Some(last) if last.offset + last.len == offset && last.exists == exists => {
                    last.len += len;
                }
                _ => {
                    let next = DiffExtent {
                        offset,
                        len,
                        exists,
                    };
                    if let Some(done) = last.replace(next) {
                        (self.report)(done);
                    }
                }
            }
        }
        if let Some(last) = last {
            (self.report)(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::intervals::Intervals;
    use super::*;
    use crate::Layout;

    proptest! {
        /// Byte by byte: what changed in an object is reported where its bytes are in the image.
        #[test]
        fn changes_come_to_their_place(
            unit in 0u32..4,
            stripe_count in 1u64..4,
            size in 1u64..40_000,
            changes in vec((0u64..4096, 0u64..2000, any::<bool>()), 12),
        ) {
            let layout = Layout::new(12, 1 << (9 + unit), stripe_count).unwrap();
            let diff = |object_no: u64| {
                let (start, len, exists) =
                    changes[usize::try_from(object_no).unwrap() % changes.len()];
                let mut changed = Intervals::of(start..start + len);
                changed.clip(0..4096);
                let (data, zeroed) = if exists {
                    (changed, Intervals::default())
                } else {
                    (Intervals::default(), changed)
                };
                ObjectDiff { data, zeroed }
            };
            let mut reported = vec![None; usize::try_from(size).unwrap()];
            let mut last = None;
            let mut merger = Merger::new(layout.stripe_count(), |extent: DiffExtent| {
                let start = usize::try_from(extent.offset).unwrap();
                let end = start + usize::try_from(extent.len).unwrap();
                for byte in &mut reported[start..end] {
                    assert_eq!(byte.replace(extent.exists), None);
                }
                assert!(last < Some(extent.offset));
                last = Some(extent.offset);
            });
            for extent in layout.extents(0, size) {
                merger.put(&extent, &diff(extent.object_no));
            }
            merger.finish();
            for (at, reported) in reported.into_iter().enumerate() {
                let (object_no, in_object) = layout.locate(at as u64);
                let ObjectDiff { data, zeroed } = diff(object_no);
                let holds = |set: &Intervals| set.iter().any(|range| range.contains(&in_object));
                let expected = if holds(&data) {
                    Some(true)
                } else {
                    holds(&zeroed).then_some(false)
                };
                prop_assert_eq!(reported, expected, "byte {}", at);
            }
        }
    }
}
