//! Growing and shrinking images (ceph: src/librbd/operation/ResizeRequest.cc, TrimRequest.cc).

use std::ops::Range;
use std::sync::Arc;

use denc::SnapId;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rados::Operation;

use crate::discard::Zeroing;
use crate::error::InvalidOptions;
use crate::header::{self, Size};
use crate::notification::Maintenance;
use crate::progress::{Counter, OBJECTS_IN_FLIGHT};
use crate::write::WriteGuard;
use crate::{Error, Features, Image, Layout, Progress, Result, directory, object_map};

impl Image {
    /// Changes the size to `size_bytes`. What is cut off is gone: should the image grow again, zeros
    /// are there.
    ///
    /// If another client has the image's exclusive lock, it is asked to do it. Others who have the image
    /// open are told.
    ///
    /// # Errors
    /// [`Error::ShrinkRefused`] if it would become smaller and `allow_shrink` is not set;
    /// [`Error::InvalidOptions`] if it is too large; as
    /// [`check_writable`](Self::check_writable) and [`acquire_lock`](Self::acquire_lock);
    /// [`Error::OwnerFailed`] if the owner of the lock cannot do it; what the cluster fails with. When it could not be
    /// shrunk, it has its old size, and zeros where it was to be cut off as far as that went.
    ///
    /// # Cancellation
    /// Dropping the future in the midst of shrinking is like such a failure, but this image goes on
    /// with the new size until [`refresh`](Self::refresh). The owner of the lock goes on with it.
    pub async fn resize(
        &self,
        size_bytes: u64,
        allow_shrink: bool,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        self.check_writable()?;
        self.refresh().await?;
        self.check_size(size_bytes, allow_shrink)?;
        let wanted = Maintenance::Resize {
            size: size_bytes,
            allow_shrink,
        };
        self.maintain(&wanted, progress).await
    }

    /// Changes the size, for whoever has the lock.
    pub(crate) async fn change_size(
        &self,
        size_bytes: u64,
        allow_shrink: bool,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        let _turn = self.maintenance().lock().await;
        // The size may have been changed by others.
        self.refresh().await?;
        self.check_writable()?;
        self.check_size(size_bytes, allow_shrink)?;
        let from = self.info().size_bytes;
        let limit = self.limit_size(size_bytes.min(from));
        if size_bytes < from
            && let Err(error) = self.cut_off(size_bytes, from, progress).await
        {
            drop(limit);
            self.set_known_size(from);
            return Err(error);
        }
        if size_bytes > from {
            self.resize_object_map(size_bytes).await?;
        }
        // What is read from here on has the new size, and nothing that was read before comes later.
        let _reading = self.reading().lock().await;
        let operation = header::set_size(Operation::new(), size_bytes);
        if let Err(error) = self.pool().execute(self.header_object(), operation).await {
            // It may have been carried out all the same.
            let operation = header::get_size(Operation::new(), SnapId::HEAD);
            let now: Size = directory::call(self.pool(), self.header_object(), operation).await?;
            self.set_known_size(now.size);
            return Err(error.into());
        }
        self.set_known_size(size_bytes);
        if size_bytes < from {
            self.resize_object_map(size_bytes).await?;
        }
        Ok(())
    }

    fn check_size(&self, size_bytes: u64, allow_shrink: bool) -> Result<()> {
        let image = self.full_name().to_string();
        let from = self.info().size_bytes;
        if size_bytes > Layout::MAX_SIZE {
            let reason = InvalidOptions::TooLarge;
            return Err(Error::InvalidOptions { image, reason });
        }
        let objects = self.layout().object_count(size_bytes);
        if self.features().contains(Features::OBJECT_MAP) && objects > object_map::MAX_OBJECTS {
            let reason = InvalidOptions::TooManyObjects { objects };
            return Err(Error::InvalidOptions { image, reason });
        }
        if size_bytes < from && !allow_shrink {
            let to = size_bytes;
            return Err(Error::ShrinkRefused { image, from, to });
        }
        Ok(())
    }

    async fn resize_object_map(&self, size_bytes: u64) -> Result<()> {
        match self.object_map() {
            Some(map) => map.resize(self.layout().object_count(size_bytes)).await,
            None => Ok(()),
        }
    }

    /// Removes everything from `to` on, where nobody writes any more.
    async fn cut_off(
        &self,
        to: u64,
        from: u64,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        self.finish_writes().await?;
        trim(self, to, from, progress).await
    }
}

/// Removes all data from `to` up to the end at `from`, and objects that hold nothing else.
///
/// What lies behind the end in the last objects, where there should be nothing, goes too.
pub(crate) async fn trim(
    image: &Image,
    to: u64,
    from: u64,
    progress: impl FnMut(Progress) + Send,
) -> Result<()> {
    let layout = *image.layout();
    let guard = image.begin_maintenance();
    let mut counter = Counter::new(trim_steps(&layout, to, from), progress);
    let cuts: Vec<_> = cuts(&layout, to, from).collect();
    let cut = stream::iter(cuts)
        .map(|(object_no, keep)| {
            let zeroing = match keep {
                0 => Zeroing::Remove(Operation::new().delete().full_try()),
                keep => Zeroing::Change(Operation::new().truncate(keep).full_try()),
            };
            image.clear_object(&guard, object_no, zeroing)
        })
        .buffer_unordered(OBJECTS_IN_FLIGHT);
    let counter_ref = &mut counter;
    cut.try_for_each(|()| {
        counter_ref.step();
        std::future::ready(Ok(()))
    })
    .await?;
    let whole = first_whole(&layout, to)..layout.object_count(from);
    if !whole.is_empty() {
        remove_objects(image, &guard, whole, &mut counter).await?;
    }
    Ok(())
}

/// Removes objects, as far as they exist.
async fn remove_objects(
    image: &Image,
    guard: &WriteGuard,
    objects: Range<u64>,
    counter: &mut Counter<impl FnMut(Progress) + Send>,
) -> Result<()> {
    let map = guard.object_map.as_ref();
    let claim = match map {
        Some(map) => Some(Arc::new(map.claim_removal(objects.clone()).await?)),
        None => None,
    };
    let object_guard = claim
        .as_ref()
        .map_or_else(|| guard.unmapped(), |claim| guard.removing(claim));
    let object_guard = &object_guard;
    let removed = stream::iter(objects)
        .map(async |object_no| {
            if map.is_some_and(|map| !map.may_exist(object_no)) {
                return Ok(());
            }
            let operation = object_guard.include(Operation::new().delete().full_try());
            image.zero(object_no, operation).await
        })
        .buffer_unordered(OBJECTS_IN_FLIGHT);
    removed
        .try_for_each(|()| {
            counter.step();
            std::future::ready(Ok(()))
        })
        .await?;
    if let Some(claim) = claim {
        claim.finish().await;
    }
    Ok(())
}

/// The first object of the first set that holds nothing before `to`.
const fn first_whole(layout: &Layout, to: u64) -> u64 {
    to.div_ceil(layout.set_size())
        .saturating_mul(layout.stripe_count())
}

/// Objects of the set in which `to` lies that hold something behind it, and how many of their bytes
/// are before it.
fn cuts(layout: &Layout, to: u64, from: u64) -> impl Iterator<Item = (u64, u64)> + Send + use<> {
    let set_end = to.next_multiple_of(layout.set_size()).min(from);
    layout
        .ranges(to, set_end.saturating_sub(to))
        .map(|range| (range.object_no, range.offset))
}

fn trim_steps(layout: &Layout, to: u64, from: u64) -> u64 {
    let cuts = cuts(layout, to, from).count() as u64;
    let whole = layout
        .object_count(from)
        .saturating_sub(first_whole(layout, to));
    cuts + whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// After a cut, an object holds exactly the bytes of the image before the cut.
        #[test]
        fn a_cut_keeps_what_is_before_it(
            unit in 0u32..5,
            stripe_count in 1u64..5,
            to in 0u64..40_000,
            more in 1u64..40_000,
        ) {
            let layout = Layout::new(12, 1 << (8 + unit), stripe_count).unwrap();
            let from = to + more;
            let held = |end: u64| {
                let mut sizes = std::collections::BTreeMap::new();
                for range in layout.ranges(0, end) {
                    let size: &mut u64 = sizes.entry(range.object_no).or_default();
                    *size = (*size).max(range.offset + range.len);
                }
                sizes
            };
            let mut objects = held(from);
            let mut steps = 0;
            for (object_no, keep) in cuts(&layout, to, from) {
                prop_assert!(object_no < first_whole(&layout, to));
                if keep == 0 {
                    objects.remove(&object_no);
                } else {
                    objects.insert(object_no, keep);
                }
                steps += 1;
            }
            for object_no in first_whole(&layout, to)..layout.object_count(from) {
                objects.remove(&object_no);
                steps += 1;
            }
            prop_assert_eq!(objects, held(to));
            prop_assert_eq!(steps, trim_steps(&layout, to, from));
        }
    }
}
