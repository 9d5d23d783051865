//! Reading images.

use bytes::Bytes;
use denc::DecodeError;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::{Errno, Operation, SparseRead};
use smallvec::SmallVec;

use crate::error::undecodable;
use crate::in_flight::Submitted;
use crate::layout::{ObjectExtent, Piece};
use crate::{Image, Result};

/// What was read: the segments of the range, in order and without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadData {
    /// Adjacent zero segments are one.
    pub segments: SmallVec<[Segment; 4]>,
}

/// A run of bytes that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// These bytes.
    Data(Bytes),
    /// So many zero bytes, which are stored nowhere.
    Zero(u64),
}

impl Segment {
    /// How many bytes of the image it is.
    pub const fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zero(len) => *len,
        }
    }

    /// Whether it is no bytes at all.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadData {
    /// How many bytes of the image it is.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(Segment::len).sum()
    }

    /// Whether it is no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in one place, the zeros written out: one copy.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Data(data) => bytes.extend_from_slice(data),
                Segment::Zero(len) => {
                    let len = usize::try_from(*len).unwrap_or(usize::MAX);
                    bytes.resize(bytes.len().saturating_add(len), 0);
                }
            }
        }
        bytes
    }

    /// Adds `len` bytes of `other` from `offset` on, or what there is of them.
    pub(crate) fn append_part(&mut self, other: &Self, offset: u64, len: u64) {
        let mut start = 0;
        for segment in &other.segments {
            let end = start + segment.len();
            let (from, to) = (offset.max(start), (offset + len).min(end));
            if from < to {
                self.push(match segment {
                    Segment::Data(data) => Segment::Data(slice(data, from - start, to - start)),
                    Segment::Zero(_) => Segment::Zero(to - from),
                });
            }
            start = end;
        }
    }

    fn push(&mut self, segment: Segment) {
        match (self.segments.last_mut(), segment) {
            (_, segment) if segment.is_empty() => {}
            (Some(Segment::Zero(before)), Segment::Zero(len)) => *before += len,
            (_, segment) => self.segments.push(segment),
        }
    }
}

/// A run of bytes of an image, and whether anything is stored for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its length in bytes.
    pub len: u64,
    /// Whether something is stored. If not, the bytes are zeros.
    pub allocated: bool,
}

/// Data found in an object: offset in the object and bytes, ascending and apart.
pub(crate) type Runs = SmallVec<[(u64, Bytes); 1]>;

impl Image {
    /// Reads `len` bytes at `offset`.
    ///
    /// Holes are not filled with zeros in memory; the data is what came from the network, not
    /// copied.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds); what the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting and leaves nothing behind.
    pub async fn read(&self, offset: u64, len: u64) -> Result<ReadData> {
        let _submitted = self.begin_read().await?;
        self.check_bounds(offset, len, self.size_bytes())?;
        match self.cache() {
            // Without a cache, it is not to make every request's future large.
            Some(cache) => Box::pin(cache.read(self, offset, len)).await,
            None => self.read_range(offset, len).await,
        }
    }

    /// Reads what objects hold, and what is buffered for them.
    pub(crate) async fn read_range(&self, offset: u64, len: u64) -> Result<ReadData> {
        let Some(extent) = self.layout().only_extent(offset, len) else {
            // What is seldom needed is not to make every request's future large.
            return Box::pin(self.read_objects(offset, len)).await;
        };
        let runs = self.read_object(&extent).await?;
        let mut data = ReadData::default();
        for (_, segment) in place(&extent, runs) {
            data.push(segment);
        }
        Ok(data)
    }

    async fn read_objects(&self, offset: u64, len: u64) -> Result<ReadData> {
        let objects: Vec<Vec<(u64, Segment)>> = stream::iter(self.layout().extents(offset, len))
            .map(|extent| self.read_placed(extent))
            .buffer_unordered(OBJECTS_IN_FLIGHT)
            .try_collect()
            .await?;
        let mut placed: Vec<_> = objects.into_iter().flatten().collect();
        placed.sort_unstable_by_key(|(at, _)| *at);
        let mut data = ReadData::default();
        for (_, segment) in placed {
            data.push(segment);
        }
        Ok(data)
    }

    /// Begins a read: with the lock, if that was asked for.
    async fn begin_read(&self) -> Result<Option<Submitted>> {
        if self.is_stale() || self.lock_on_read() || self.is_for_header_only() {
            return Box::pin(self.begin_read_with_header()).await;
        }
        Ok(None)
    }

    async fn begin_read_with_header(&self) -> Result<Option<Submitted>> {
        loop {
            let info = self.current_info().await?;
            self.check_readable(&info)?;
            if !self.lock_on_read() {
                return Ok(None);
            }
            let submitted = self.submit_locked(info.features).await?;
            if submitted.is_some() && !self.is_stale() {
                return Ok(submitted);
            }
        }
    }

    async fn read_placed(&self, extent: ObjectExtent) -> Result<Vec<(u64, Segment)>> {
        let runs = self.read_object(&extent).await?;
        Ok(place(&extent, runs).collect())
    }

    /// What is in an extent of an object: what is buffered counts before what is stored.
    async fn read_object(&self, extent: &ObjectExtent) -> Result<Runs> {
        let Some(write_back) = self.write_back() else {
            return self.read_stored(extent).await;
        };
        // Before the read is sent: what is written out meanwhile is in one or the other.
        let (from, to) = (extent.offset, extent.offset + extent.len);
        let buffered = write_back.overlay(extent.object_no, from, to);
        let len: u64 = buffered.iter().map(|(_, data)| data.len() as u64).sum();
        if len == extent.len {
            return Ok(buffered);
        }
        let stored = self.read_stored(extent).await?;
        Ok(lay_over(stored, buffered))
    }

    /// What is stored in an extent of an object.
    async fn read_stored(&self, extent: &ObjectExtent) -> Result<Runs> {
        if !self.may_exist(extent.object_no) {
            return Ok(Runs::new());
        }
        let sparse = extent.len >= SPARSE_READ_THRESHOLD;
        let operation = Operation::new().at_snap(self.read_snap());
        let operation = if sparse {
            operation.sparse_read(extent.offset, extent.len)
        } else {
            operation.read(extent.offset, extent.len)
        };
        let operation = self.read_from_replicas(operation)?;
        let object = self.data_object(extent.object_no);
        let object = object.as_str();
        let (result, reply) = self.data_pool().execute_raw(object, operation).await?;
        match Errno::check(result) {
            Ok(_) => {}
            Err(Errno::ENOENT) => return Ok(Runs::new()),
            Err(errno) => return Err(self.data_pool().operation_error(object, errno).into()),
        }
        let answer = reply.data(0);
        let runs = if sparse {
            sparse_runs(&answer)
        } else {
            Ok(Runs::from_iter([(extent.offset, answer)]))
        };
        runs.map(|runs| clip(runs, extent.offset, extent.len))
            .map_err(undecodable(self.data_pool(), object))
    }

    /// Where in `len` bytes at `offset` something is stored.
    ///
    /// The answer is by object and cheap: up to its last byte that was ever written an object counts
    /// as stored.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    /// As [`read`](Self::read).
    pub async fn extents(&self, offset: u64, len: u64) -> Result<Vec<Extent>> {
        let _submitted = self.begin_read().await?;
        self.check_bounds(offset, len, self.size_bytes())?;
        if let Some(cache) = self.cache() {
            cache.settle(self, offset, len).await?;
        }
        // All pieces of an object are asked about together, so whole sets of objects at a time.
        let objects: Vec<Vec<(u64, Extent)>> = stream::iter(self.layout().extents(offset, len))
            .map(|extent| self.stored_pieces(extent))
            .buffer_unordered(OBJECTS_IN_FLIGHT)
            .try_collect()
            .await?;
        let mut placed: Vec<_> = objects.into_iter().flatten().collect();
        placed.sort_unstable_by_key(|(at, _)| *at);
        let mut extents: Vec<Extent> = Vec::new();
        for (_, extent) in placed {
            match extents.last_mut() {
                Some(last) if last.allocated == extent.allocated => last.len += extent.len,
                _ => extents.push(extent),
            }
        }
        Ok(extents)
    }

    async fn stored_pieces(&self, extent: ObjectExtent) -> Result<Vec<(u64, Extent)>> {
        let size = self.stored_size(extent.object_no).await?;
        let mut pieces = Vec::new();
        let mut in_object = extent.offset;
        for Piece { at, len } in extent.pieces {
            let stored = size.saturating_sub(in_object).min(len);
            let parts = [(at, stored, true), (at + stored, len - stored, false)];
            for (at, len, allocated) in parts {
                if len > 0 {
                    pieces.push((at, Extent { len, allocated }));
                }
            }
            in_object += len;
        }
        Ok(pieces)
    }

    /// The size of an object in bytes, 0 if there is none.
    async fn stored_size(&self, object_no: u64) -> Result<u64> {
        if !self.may_exist(object_no) {
            return Ok(0);
        }
        let object = self.data_object(object_no);
        let object = object.as_str();
        let operation = Operation::new().at_snap(self.read_snap()).stat();
        let operation = self.read_from_replicas(operation)?;
        let (result, reply) = self.data_pool().execute_raw(object, operation).await?;
        match Errno::check(result) {
            Ok(_) => {
                let stat: rados::Stat = reply
                    .decode(0, "stat")
                    .map_err(undecodable(self.data_pool(), object))?;
                Ok(stat.size)
            }
            Err(Errno::ENOENT) => Ok(0),
            Err(errno) => Err(self.data_pool().operation_error(object, errno).into()),
        }
    }
}

/// The runs of a sparse read's answer.
fn sparse_runs(answer: &Bytes) -> Result<Runs, DecodeError> {
    let sparse = SparseRead::parse(answer)?;
    let mut rest = sparse.data;
    let mut runs = Runs::new();
    for (offset, len) in sparse.extents {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        runs.push((offset, rest.split_to(len)));
    }
    Ok(runs)
}

/// Cuts off what was not asked for.
fn clip(runs: Runs, offset: u64, len: u64) -> Runs {
    let end = offset.saturating_add(len);
    runs.into_iter()
        .filter_map(|(start, data)| {
            let run_end = start.saturating_add(data.len() as u64);
            let (from, to) = (start.max(offset), run_end.min(end));
            (from < to).then(|| (from, slice(&data, from - start, to - start)))
        })
        .collect()
}

/// Puts runs over others.
fn lay_over(below: Runs, above: Runs) -> Runs {
    if above.is_empty() {
        return below;
    }
    let mut runs = Runs::new();
    for (start, data) in below {
        let end = start + data.len() as u64;
        let mut next = start;
        for (from, covering) in &above {
            let to = from + covering.len() as u64;
            if *from >= end {
                break;
            }
            if *from > next {
                runs.push((next, slice(&data, next - start, from - start)));
            }
            next = next.max(to.min(end));
        }
        if next < end {
            runs.push((next, slice(&data, next - start, end - start)));
        }
    }
    runs.extend(above);
    runs.sort_unstable_by_key(|(start, _)| *start);
    runs
}

/// Puts what an object holds where it belongs in the request, with zeros for what it does not hold.
/// The order is that of the object.
fn place(extent: &ObjectExtent, runs: Runs) -> impl Iterator<Item = (u64, Segment)> + Send {
    let mut placed: SmallVec<[(u64, Segment); 2]> = SmallVec::new();
    let mut runs = runs.into_iter().peekable();
    let mut start = extent.offset;
    for &Piece { at, len } in &extent.pieces {
        let end = start + len;
        let mut next = start;
        while let Some((run_start, data)) = runs.peek() {
            let run_end = run_start + data.len() as u64;
            if *run_start >= end {
                break;
            }
            let from = (*run_start).max(next);
            let to = run_end.min(end);
            if from > next {
                placed.push((at + (next - start), Segment::Zero(from - next)));
            }
            if to > from {
                let data = slice(data, from - run_start, to - run_start);
                placed.push((at + (from - start), Segment::Data(data)));
                next = to;
            }
            if run_end > end {
                break;
            }
            runs.next();
        }
        if next < end {
            placed.push((at + (next - start), Segment::Zero(end - next)));
        }
        start = end;
    }
    placed.into_iter()
}

/// Part of `data`, cut to what is there.
fn slice(data: &Bytes, from: u64, to: u64) -> Bytes {
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
    data.slice(index(from)..index(to).max(index(from)))
}

/// From this length in bytes on, holes are left out of what OSDs send (librbd:
/// `rbd_sparse_read_threshold_bytes`).
const SPARSE_READ_THRESHOLD: u64 = 64 << 10;
/// Objects that one request reads or writes at the same time. What many requests together have in
/// flight is bounded below, by the objecter.
pub(crate) const OBJECTS_IN_FLIGHT: usize = 32;

#[cfg(test)]
mod tests {
    use denc::Writer;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::Layout;

    /// Runs that are ascending and apart, as gap and length of each.
    fn runs_of(object: &[u8], gaps: &[(u64, u64)]) -> Runs {
        let mut runs = Runs::new();
        let mut next = 0;
        for (gap, len) in gaps {
            let start = next + gap;
            let end = (start + len).min(object.len() as u64);
            if start < end {
                let at = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                runs.push((start, Bytes::copy_from_slice(&object[at])));
            }
            next = start + len;
        }
        runs
    }

    proptest! {
        /// Places what objects hold by hand, byte by byte, and by `clip` and `place`.
        #[test]
        fn every_byte_comes_to_its_place(
            unit in 0u32..4,
            stripe_count in 1u64..4,
            offset in 0u64..20_000,
            len in 1u64..20_000,
            gaps in vec((0u64..700, 1u64..900), 0..12),
        ) {
            let layout = Layout::new(12, 1 << (9 + unit), stripe_count).unwrap();
            let object: Vec<u8> = (0..4096u32).map(|at| (at % 251) as u8 + 1).collect();
            let runs = runs_of(&object, &gaps);
            let mut held = vec![0; object.len()];
            for (start, data) in &runs {
                let start = usize::try_from(*start).unwrap();
                held[start..start + data.len()].copy_from_slice(data);
            }
            let expected: Vec<u8> = (offset..offset + len)
                .map(|at| held[usize::try_from(layout.locate(at).1).unwrap()])
                .collect();

            let mut placed = Vec::new();
            for extent in layout.extents(offset, len) {
                let runs = clip(runs.clone(), extent.offset, extent.len);
                placed.extend(place(&extent, runs));
            }
            placed.sort_unstable_by_key(|(at, _)| *at);
            let mut data = ReadData::default();
            for (at, segment) in placed {
                prop_assert_eq!(at, data.len(), "a gap or an overlap");
                data.push(segment);
            }
            prop_assert_eq!(data.len(), len);
            prop_assert_eq!(data.to_vec(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_laid_over_hides_what_is_below(
            below in vec((0u64..40, 1u64..60), 0..6),
            above in vec((1u64..40, 1u64..60), 0..6),
        ) {
            let (low, high) = (vec![1; 600], vec![2; 600]);
            let (below, above) = (runs_of(&low, &below), runs_of(&high, &above));
            let mut expected = vec![0; 600];
            for (start, data) in below.iter().chain(&above) {
                let start = usize::try_from(*start).unwrap();
                expected[start..start + data.len()].copy_from_slice(data);
            }
            let mut found = vec![0; 600];
            let mut next = 0;
            for (start, data) in lay_over(below, above) {
                prop_assert!(start >= next && !data.is_empty());
                next = start + data.len() as u64;
                let start = usize::try_from(start).unwrap();
                found[start..start + data.len()].copy_from_slice(&data);
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_was_not_asked_for_is_cut_off() {
        let run = |start: u64, text: &'static str| (start, Bytes::from_static(text.as_bytes()));
        let runs = Runs::from_iter([run(0, "abcd"), run(6, "ghij"), run(20, "u")]);
        let clipped = clip(runs, 2, 6);
        assert_eq!(clipped.as_slice(), [run(2, "cd"), run(6, "gh")]);
        assert!(clip(Runs::from_iter([run(u64::MAX, "abcd")]), 0, 10).is_empty());
    }

    #[test]
    fn sparse_answers_that_do_not_fit_are_refused() {
        let answer = |extents: &[(u64, u64)], data: &[u8]| {
            let mut writer = Writer::new();
            writer.put(extents).blob(data);
            sparse_runs(&writer.freeze())
        };
        let runs = answer(&[(4, 2), (9, 1)], b"abc").unwrap();
        assert_eq!(
            runs.as_slice(),
            [(4, Bytes::from("ab")), (9, Bytes::from("c"))]
        );
        assert!(answer(&[(4, 3)], b"ab").is_err());
    }

    #[test]
    fn zeros_next_to_each_other_are_one_segment() {
        let mut data = ReadData::default();
        for segment in [
            Segment::Zero(1),
            Segment::Zero(2),
            Segment::Data(Bytes::new()),
            Segment::Zero(3),
        ] {
            data.push(segment);
        }
        assert_eq!(data.segments[..], [Segment::Zero(6)]);
    }
}
