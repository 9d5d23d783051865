//! Giving space back and writing zeros.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::{Errno, Operation};

use crate::layout::ObjectRange;
use crate::read::OBJECTS_IN_FLIGHT;
use crate::write::WriteGuard;
use crate::{Image, Result};

/// What becomes of the space behind zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zeroes {
    /// It is given back where possible.
    #[default]
    Deallocate,
    /// It stays, or is taken: zeros are stored.
    Allocate,
}

impl Image {
    /// Gives back the space of `len` bytes at `offset`, as far as that is worth while.
    ///
    /// As with librbd, the range is cut object by object to whole granules of 64 KiB (of the object
    /// size, if that is less, and then the tail of an object counts as one): those read as zeros
    /// afterwards. The rest of the range keeps what it holds. Where zeros are wanted, use
    /// [`write_zeroes`](Self::write_zeroes).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    /// As [`write`](Self::write).
    pub async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let object_size = self.object_size();
        let granule = DISCARD_GRANULARITY.min(object_size);
        self.clear(offset, len, move |range| {
            whole_granules(range, granule, object_size)
                .map(|range| zeroing(range, object_size, Zeroes::Deallocate))
        })
        .await
    }

    /// Makes `len` bytes at `offset` zeros, exactly.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    /// As [`write`](Self::write).
    pub async fn write_zeroes(&self, offset: u64, len: u64, zeroes: Zeroes) -> Result<()> {
        let object_size = self.object_size();
        self.clear(offset, len, move |range| {
            Some(zeroing(range, object_size, zeroes))
        })
        .await
    }

    async fn clear(
        &self,
        offset: u64,
        len: u64,
        zeroing: impl Fn(ObjectRange) -> Option<Zeroing> + Send,
    ) -> Result<()> {
        let guard = self.begin_write().await?;
        self.check_bounds(offset, len, guard.info.size_bytes)?;
        let _change = match self.cache() {
            Some(cache) => Some(cache.begin_change(self, offset, len).await?),
            None => None,
        };
        let ranges = self.layout().ranges(offset, len);
        let zeroings = ranges.filter_map(|range| Some((range.object_no, zeroing(range)?)));
        stream::iter(zeroings)
            .map(|(object_no, zeroing)| self.clear_object(&guard, object_no, zeroing))
            .buffer_unordered(OBJECTS_IN_FLIGHT)
            .try_collect()
            .await
    }

    /// Makes zeros in an object, if it exists or is to exist afterwards.
    pub(crate) async fn clear_object(
        &self,
        guard: &WriteGuard,
        object_no: u64,
        zeroing: Zeroing,
    ) -> Result<()> {
        let (map, operation) = match (&guard.object_map, zeroing) {
            (_, Zeroing::Write(operation)) => {
                let object = guard.object(object_no).await?;
                return self.zero(object_no, object.include(operation)).await;
            }
            (None, Zeroing::Change(operation) | Zeroing::Remove(operation)) => {
                let operation = guard.unmapped().include(operation);
                return self.zero(object_no, operation).await;
            }
            (Some(map), _) if !map.may_exist(object_no) => return Ok(()),
            (Some(_), Zeroing::Change(operation)) => {
                let object = guard.object(object_no).await?;
                return self.zero(object_no, object.include(operation)).await;
            }
            (Some(map), Zeroing::Remove(operation)) => (map, operation),
        };
        let claim = Arc::new(map.claim_removal(object_no..object_no + 1).await?);
        let operation = guard.removing(&claim).include(operation);
        self.zero(object_no, operation).await?;
        claim.finish().await;
        Ok(())
    }

    /// Carries out an operation for which it is good if there is no such object.
    pub(crate) async fn zero(&self, object_no: u64, operation: Operation) -> Result<()> {
        let object = self.data_object(object_no);
        crate::directory::ignoring(self.data_pool(), object.as_str(), operation, Errno::ENOENT)
            .await
    }
}

/// An operation that makes zeros, by what becomes of the object.
#[derive(Clone, Debug)]
pub(crate) enum Zeroing {
    /// It exists afterwards.
    Write(Operation),
    /// It is changed if it exists.
    Change(Operation),
    /// It does not exist afterwards.
    Remove(Operation),
}

/// The part of a range that consists of whole granules (librbd:
/// `ImageDiscardRequest::prune_object_extents`).
fn whole_granules(range: ObjectRange, granule: u64, object_size: u64) -> Option<ObjectRange> {
    let end = range.offset + range.len;
    if granule == object_size && end >= object_size {
        // Objects of one granule may be cut short.
        return Some(range);
    }
    let start = range.offset.next_multiple_of(granule);
    let end = end - end % granule;
    (start < end).then(|| ObjectRange {
        offset: start,
        len: end - start,
        ..range
    })
}

/// The operation that makes a range of an object zeros: without the object, if nothing else is in it.
fn zeroing(range: ObjectRange, object_size: u64, zeroes: Zeroes) -> Zeroing {
    let ObjectRange { offset, len, .. } = range;
    match zeroes {
        Zeroes::Allocate => Zeroing::Write(stored_zeros(range, object_size)),
        Zeroes::Deallocate if len == object_size => Zeroing::Remove(Operation::new().delete()),
        Zeroes::Deallocate if offset + len == object_size => {
            Zeroing::Change(Operation::new().truncate(offset))
        }
        Zeroes::Deallocate => Zeroing::Change(Operation::new().zero(offset, len)),
    }
}

/// Zeros that take space, without sending them all.
fn stored_zeros(range: ObjectRange, object_size: u64) -> Operation {
    let block = ZERO_BLOCK.len() as u64;
    let blocks_len = range.len - range.len % block;
    let mut operation = Operation::new().alloc_hint(object_size, object_size);
    if blocks_len > 0 {
        let pattern = Bytes::from_static(&ZERO_BLOCK);
        operation = operation.write_same(range.offset, blocks_len, pattern);
    }
    let rest = usize::try_from(range.len - blocks_len).unwrap_or(0);
    if rest > 0 {
        let rest = Bytes::from_static(&ZERO_BLOCK).slice(..rest);
        operation = operation.write(range.offset + blocks_len, rest);
    }
    operation
}

/// Smaller discards free no space worth the effort (librbd: `rbd_discard_granularity_bytes`).
const DISCARD_GRANULARITY: u64 = 64 << 10;
static ZERO_BLOCK: [u8; 4096] = [0; 4096];

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn granules(offset: u64, end: u64, granule: u64, object_size: u64) -> Option<(u64, u64)> {
        let range = ObjectRange {
            object_no: 0,
            offset,
            len: end - offset,
        };
        whole_granules(range, granule, object_size).map(|range| (range.offset, range.len))
    }

    #[test]
    fn discards_shrink_to_whole_granules() {
        let size = 4096 * KIB;
        assert_eq!(granules(0, size, 64 * KIB, size), Some((0, size)));
        assert_eq!(
            granules(1, size, 64 * KIB, size),
            Some((64 * KIB, size - 64 * KIB))
        );
        assert_eq!(
            granules(KIB, 129 * KIB, 64 * KIB, size),
            Some((64 * KIB, 64 * KIB))
        );
        assert_eq!(granules(KIB, 127 * KIB, 64 * KIB, size), None);
        assert_eq!(granules(0, 63 * KIB, 64 * KIB, size), None);
    }

    #[test]
    fn objects_of_one_granule_may_be_cut_short() {
        let size = 16 * KIB;
        assert_eq!(granules(KIB, size, size, size), Some((KIB, 15 * KIB)));
        assert_eq!(granules(KIB, 15 * KIB, size, size), None);
        assert_eq!(granules(0, 15 * KIB, size, size), None);
    }
}
