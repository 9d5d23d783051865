//! Writing images.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use buffers::Spares;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::Operation;
use smallvec::SmallVec;

use crate::cache::{CachedWrite, WriteBack};
use crate::in_flight::Submitted;
use crate::layout::ObjectExtent;
use crate::object_map::{Claim, ObjectMap};
use crate::read::OBJECTS_IN_FLIGHT;
use crate::{Features, Image, ImageInfo, Result};

/// What a write needs from before its first operation to after its last: the lock, where the image has
/// one, is not given up before.
#[derive(Debug)]
pub(crate) struct WriteGuard {
    pub(crate) info: Arc<ImageInfo>,
    /// The map that has to be kept right, if the image has one.
    pub(crate) object_map: Option<Arc<ObjectMap>>,
    write: Arc<Write>,
    spares: Arc<SpareWrites>,
}

/// What a write has got before it begins: it counts as submitted, under the lock where the image has
/// one.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) submitted: Submitted,
    pub(crate) info: Arc<ImageInfo>,
    pub(crate) object_map: Option<Arc<ObjectMap>>,
    /// What it may be made of.
    pub(crate) spares: Arc<SpareWrites>,
}

/// What is left of writes that are over.
pub(crate) type SpareWrites = Spares<Arc<Write>>;

/// Held by all operations of a write.
#[derive(Debug, Default)]
pub(crate) struct Write {
    /// That on the object, if the write is to one object only.
    claim: OnceLock<Claim>,
    /// After the claim, so that there are no claims when all writes are over. Set as long as it is not.
    submitted: Option<Submitted>,
}

/// What operations on one object need, and hold.
#[derive(Debug)]
pub(crate) struct ObjectGuard<'a> {
    write: &'a WriteGuard,
    token: Arc<dyn Any + Send + Sync>,
}

impl WriteGuard {
    pub(crate) fn new(admission: Admission) -> Self {
        let mut write = admission.spares.take().unwrap_or_default();
        match Arc::get_mut(&mut write) {
            Some(write) => write.submitted = Some(admission.submitted),
            // Who has put it back has not let go of it yet.
            None => {
                write = Arc::new(Write {
                    claim: OnceLock::new(),
                    submitted: Some(admission.submitted),
                });
            }
        }
        Self {
            info: admission.info,
            object_map: admission.object_map,
            write,
            spares: admission.spares,
        }
    }

    /// Begins to write to one object of several. Nothing that waits for other objects may be waited for
    /// with what this gives.
    ///
    /// # Errors
    /// If the map of objects cannot be kept right.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn object(&self, object_no: u64) -> Result<ObjectGuard<'_>> {
        let Some(map) = &self.object_map else {
            return Ok(self.unmapped());
        };
        let claim = map.claim_write(object_no..object_no + 1).await?;
        Ok(self.claimed(Arc::new((claim, Arc::clone(&self.write)))))
    }

    /// As [`object`](Self::object), for the only object of the write, which keeps it until it is over.
    async fn only_object(&self, object_no: u64) -> Result<ObjectGuard<'_>> {
        if let Some(map) = &self.object_map {
            let claim = map.claim_write(object_no..object_no + 1).await?;
            // There is no other.
            let _ = self.write.claim.set(claim);
        }
        Ok(self.unmapped())
    }

    /// For operations on objects of which the map need not know, or that somebody else has claimed.
    pub(crate) fn unmapped(&self) -> ObjectGuard<'_> {
        self.claimed(Arc::clone(&self.write) as _)
    }

    /// For operations on objects under a claim that `token` holds.
    fn claimed(&self, token: Arc<dyn Any + Send + Sync>) -> ObjectGuard<'_> {
        ObjectGuard { write: self, token }
    }

    /// For operations that remove objects under this claim.
    pub(crate) fn removing(&self, claim: &Arc<Claim>) -> ObjectGuard<'_> {
        self.claimed(Arc::new((Arc::clone(claim), Arc::clone(&self.write))))
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        // Operations that are still on their way hold it, too.
        if let Some(write) = Arc::get_mut(&mut self.write) {
            drop(write.claim.take());
            drop(write.submitted.take());
            self.spares.put(Arc::clone(&self.write));
        }
    }
}

impl ObjectGuard<'_> {
    /// Makes an operation part of the write: it preserves the image's snapshots, and as long as it may
    /// still be carried out, though nobody waits for it, the write is not over.
    pub(crate) fn include(&self, operation: Operation) -> Operation {
        operation
            .with_snap_context(Arc::clone(&self.write.info.snap_context))
            .holding(Arc::clone(&self.token))
    }
}

impl Image {
    /// Writes `data` at `offset`. When it is done, the data is on the disks of all replicas, unless the
    /// image is open with a [`cache`](crate::OpenOptions::cache): then it may be buffered until the next
    /// [`flush`](Self::flush).
    ///
    /// Two writes that overlap in time and place may leave either one's bytes, object by object.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds); as
    /// [`check_writable`](Self::check_writable) and [`acquire_lock`](Self::acquire_lock); what the
    /// cluster fails with. Parts of a write that failed may have been carried out.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting: any part may or may not have been, or still be, carried
    /// out. [`flush`](Self::flush) waits for those that may.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        let buffers = std::slice::from_ref(&data);
        self.write_buffers(offset, data.len() as u64, buffers, false)
            .await
    }

    /// As [`write`](Self::write), but when it is done, the data is on the disks of all replicas in any
    /// case (in the words of block devices, FUA: force unit access).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    /// As [`write`](Self::write).
    pub async fn write_fua(&self, offset: u64, data: Bytes) -> Result<()> {
        let buffers = std::slice::from_ref(&data);
        self.write_buffers(offset, data.len() as u64, buffers, true)
            .await
    }

    /// Writes buffers one behind the other at `offset`, without putting them together first.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    /// As [`write`](Self::write).
    pub async fn write_vectored(&self, offset: u64, data: &[Bytes]) -> Result<()> {
        let len = data.iter().map(|buffer| buffer.len() as u64).sum();
        self.write_buffers(offset, len, data, false).await
    }

    async fn write_buffers(
        &self,
        offset: u64,
        len: u64,
        data: &[Bytes],
        is_fua: bool,
    ) -> Result<()> {
        let admission = self.admit_write().await?;
        self.check_bounds(offset, len, admission.info.size_bytes)?;
        let Some(cache) = self.cache() else {
            return self.write_at(admission, offset, len, data).await;
        };
        let write = CachedWrite {
            offset,
            len,
            data,
            is_fua,
        };
        // Without a cache, it is not to make every request's future large.
        Box::pin(cache.write(self, admission, write)).await
    }

    /// Writes to the objects.
    pub(crate) async fn write_at(
        &self,
        admission: Admission,
        offset: u64,
        len: u64,
        data: &[Bytes],
    ) -> Result<()> {
        let guard = WriteGuard::new(admission);
        let Some(extent) = self.layout().only_extent(offset, len) else {
            // What is seldom needed is not to make every request's future large.
            return Box::pin(self.write_objects(&guard, offset, len, data)).await;
        };
        let object = guard.only_object(extent.object_no).await?;
        self.write_object(extent, data, &object).await
    }

    async fn write_objects(
        &self,
        guard: &WriteGuard,
        offset: u64,
        len: u64,
        data: &[Bytes],
    ) -> Result<()> {
        stream::iter(self.layout().extents(offset, len))
            .map(async |extent| {
                let object = guard.object(extent.object_no).await?;
                self.write_object(extent, data, &object).await
            })
            .buffer_unordered(OBJECTS_IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Writes what an object gets of a request's buffers.
    async fn write_object(
        &self,
        extent: ObjectExtent,
        data: &[Bytes],
        guard: &ObjectGuard<'_>,
    ) -> Result<()> {
        let object = self.data_object(extent.object_no);
        for operation in write_operations(&extent, data, self.object_size()) {
            let operation = guard.include(operation);
            self.data_pool().execute(object.as_str(), operation).await?;
        }
        Ok(())
    }

    /// Begins a write: with the lock, if the image has one, and with what the header says now.
    ///
    /// Whoever holds what this gives must not wait for the header to be read again: that may wait for
    /// the end of all writes.
    ///
    /// # Errors
    /// As [`check_writable`](Self::check_writable) and [`acquire_lock`](Self::acquire_lock).
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind, apart from the lock, perhaps.
    pub(crate) async fn begin_write(&self) -> Result<WriteGuard> {
        self.admit_write().await.map(WriteGuard::new)
    }

    /// As [`begin_write`](Self::begin_write), for what may become part of another write.
    async fn admit_write(&self) -> Result<Admission> {
        match self.try_admit_write() {
            Some(admitted) => admitted,
            None => Box::pin(self.admit_write_with_header()).await,
        }
    }

    /// Begins a write if that takes no waiting.
    fn try_admit_write(&self) -> Option<Result<Admission>> {
        let locked = self.features().contains(Features::EXCLUSIVE_LOCK);
        let submitted = if locked {
            self.lock().try_submit()?
        } else {
            self.writes().submit()
        };
        // From here on the header is not read again before the write is over, unless it is stale already.
        let info = self.info();
        if self.is_stale() || locked != info.features.contains(Features::EXCLUSIVE_LOCK) {
            return None;
        }
        if let Err(error) = self.check_data_writable(&info) {
            return Some(Err(error));
        }
        let object_map = self.object_map();
        if info.features.contains(Features::OBJECT_MAP) && object_map.is_none() {
            return None;
        }
        Some(Ok(Admission {
            submitted,
            info,
            object_map,
            spares: Arc::clone(self.spare_writes()),
        }))
    }

    async fn admit_write_with_header(&self) -> Result<Admission> {
        loop {
            let before = self.current_info().await?;
            self.check_data_writable(&before)?;
            let Some(submitted) = self.submit_locked(before.features).await? else {
                continue;
            };
            // The header is read when the lock is taken; and while that was waited for, others may have
            // changed it.
            let info = self.info();
            let locked = before.features.contains(Features::EXCLUSIVE_LOCK);
            if self.is_stale() || (!locked && info.features.contains(Features::EXCLUSIVE_LOCK)) {
                continue;
            }
            self.check_data_writable(&info)?;
            let object_map = self.object_map();
            if info.features.contains(Features::OBJECT_MAP) && object_map.is_none() {
                // It got the feature after this client had taken the lock.
                drop(submitted);
                self.release_lock().await?;
                continue;
            }
            return Ok(Admission {
                submitted,
                info,
                object_map,
                spares: Arc::clone(self.spare_writes()),
            });
        }
    }

    /// What maintenance needs that changes objects: as [`begin_write`](Self::begin_write), for those who
    /// keep the lock by other means.
    pub(crate) fn begin_maintenance(&self) -> WriteGuard {
        WriteGuard::new(Admission {
            submitted: self.writes().submit(),
            info: self.info(),
            object_map: self.object_map(),
            spares: Arc::clone(self.spare_writes()),
        })
    }

    /// Waits until every write, discard and write of zeros that was submitted before is done and, if
    /// the image is open with a [`cache`](crate::OpenOptions::cache), on the disks of all replicas.
    ///
    /// # Errors
    /// [`Error::WritesUnfinished`](crate::Error::WritesUnfinished) if operations may take only so long
    /// and one of these has taken longer and may still be carried out. Whether those succeeded that are
    /// not cached is told to those who submitted them. With a cache, what the cluster fails with; the
    /// data is kept then and written out by the next flush. [`Error::WritesLost`](crate::Error::WritesLost)
    /// once data has been lost.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting.
    pub async fn flush(&self) -> Result<()> {
        if let Some(write_back) = self.write_back() {
            write_back.open();
        }
        self.finish_writes().await
    }

    /// As [`flush`](Self::flush), for this library itself, which says nothing about who writes.
    pub(crate) async fn finish_writes(&self) -> Result<()> {
        let ended = self.writes().flush();
        match self.write_back() {
            Some(write_back) => self.within_limit(write_back.flush(ended)).await?,
            None => self.within_limit(ended).await,
        }
    }

    /// Waits for the end of all writes submitted so far, before the lock is given up come what may.
    pub(crate) async fn drain_writes(&self) {
        let ended = self.writes().flush();
        match self.write_back() {
            Some(write_back) => write_back.drain(ended).await,
            None => ended.await,
        }
    }

    /// How many bytes have been written and are not known to be on the disks of all replicas: without a
    /// [`cache`](crate::OpenOptions::cache), none. What is being written a second time counts twice.
    pub fn buffered_bytes(&self) -> u64 {
        self.write_back().map_or(0, WriteBack::bytes)
    }
}

/// The operations that write one object's extent: nearly always one.
///
/// Every buffer becomes a step of its own, so that nothing has to be copied together.
fn write_operations(
    extent: &ObjectExtent,
    data: &[Bytes],
    object_size: u64,
) -> impl Iterator<Item = Operation> + Send + use<> {
    let slices = slices(extent, data);
    let steps = slices.chunks(MAX_STEPS);
    let operations: SmallVec<[Operation; 1]> = steps
        .map(|pieces| write_operation(pieces, object_size))
        .collect();
    operations.into_iter()
}

/// The operation that writes pieces of an object.
pub(crate) fn write_operation(pieces: &[(u64, Bytes)], object_size: u64) -> Operation {
    let hinted = Operation::new().alloc_hint(object_size, object_size);
    if let [(0, whole)] = pieces
        && whole.len() as u64 == object_size
    {
        return hinted.write_full(whole.clone());
    }
    pieces.iter().fold(hinted, |operation, (offset, piece)| {
        operation.write(*offset, piece.clone())
    })
}

/// The parts of a request's buffers that go to an extent: where in the object, and what.
pub(crate) fn slices(extent: &ObjectExtent, data: &[Bytes]) -> SmallVec<[(u64, Bytes); 1]> {
    let mut slices = SmallVec::new();
    let mut in_object = extent.offset;
    for piece in &extent.pieces {
        let piece_end = piece.at + piece.len;
        let mut buffer_start = 0;
        for buffer in data {
            let buffer_end = buffer_start + buffer.len() as u64;
            let from = piece.at.max(buffer_start);
            let to = piece_end.min(buffer_end);
            if from < to {
                let index = |at: u64| usize::try_from(at - buffer_start).unwrap_or(usize::MAX);
                slices.push((
                    in_object + (from - piece.at),
                    buffer.slice(index(from)..index(to)),
                ));
            }
            buffer_start = buffer_end;
        }
        in_object += piece.len;
    }
    slices
}

/// Steps of one operation; more writes to an object go in further operations.
pub(crate) const MAX_STEPS: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::Layout;

    proptest! {
        #[test]
        fn every_byte_goes_to_its_object_uncopied(
            unit in 0u32..4,
            stripe_count in 1u64..4,
            offset in 0u64..20_000,
            lens in vec(0usize..5000, 1..5),
        ) {
            let layout = Layout::new(12, 1 << (9 + unit), stripe_count).unwrap();
            let mut next = 0u32;
            let buffers: Vec<Bytes> = lens
                .iter()
                .map(|len| {
                    (0..*len).map(|_| { next += 1; (next % 251) as u8 }).collect::<Vec<_>>().into()
                })
                .collect();
            let flat = buffers.concat();
            let mut seen = vec![false; flat.len()];
            for extent in layout.extents(offset, flat.len() as u64) {
                let mut expected_offset = extent.offset;
                for (in_object, slice) in slices(&extent, &buffers) {
                    prop_assert_eq!(in_object, expected_offset);
                    expected_offset += slice.len() as u64;
                    let uncopied = buffers
                        .iter()
                        .any(|buffer| buffer.as_ptr_range().contains(&slice.as_ptr()));
                    prop_assert!(uncopied);
                    for (index, byte) in slice.iter().enumerate() {
                        let at = layout.image_offset(extent.object_no, in_object + index as u64);
                        let at = usize::try_from(at.unwrap() - offset).unwrap();
                        prop_assert_eq!(flat[at], *byte);
                        prop_assert!(!std::mem::replace(&mut seen[at], true));
                    }
                }
                prop_assert_eq!(expected_offset, extent.offset + extent.len);
            }
            prop_assert!(seen.iter().all(|seen| *seen));
        }
    }

    #[test]
    fn a_write_of_many_pieces_takes_few_operations() {
        let layout = Layout::new(16, 512, 2).unwrap();
        let data = Bytes::from(vec![1; 128 << 10]);
        let extents: Vec<_> = layout.extents(0, data.len() as u64).collect();
        assert_eq!(extents.len(), 2);
        let operations = write_operations(&extents[0], std::slice::from_ref(&data), 1 << 16);
        assert_eq!(operations.count(), 2);
    }
}
