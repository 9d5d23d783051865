//! The cache of an open image: buffered writes, and what has been read ahead (ceph: src/librbd/cache/,
//! src/osdc/ObjectCacher.h; the options have the names that they have there).
//!
//! A write is done for whoever submitted it when it is buffered. What that means:
//!
//! - Reads of the same open image see it. Nobody else does before it has been written out: when it is
//!   older than [`max_dirty_age`](CacheOptions::max_dirty_age), when there is too much of it, and before
//!   a [`flush`](Image::flush) ends.
//! - It holds what any write under way holds. The image's lock is not given up, no maintenance begins,
//!   and nobody who has changed the header is answered, before it has been written out.
//! - If it cannot be written out, it stays buffered, and the flush that waits for it fails. It is tried
//!   again by every later flush, and every second. Once there is no room for more, writes fail as well.
//! - It is lost when the cluster shuts this client out, when somebody has broken the lock, when the
//!   pool is gone, when another client is waiting for the lock and it cannot be written out even after
//!   three attempts, and with the process. All but the last is told by every flush and every write that
//!   follows, until the image is opened anew: [`Error::WritesLost`].
//! - An image that is dropped without being closed is written out in the background, as far as that
//!   succeeds and its runtime lives.
//!
//! Order: bytes of later writes win; of those that overlap, only one is on its way at a time. Discards,
//! writes of zeros and writes that are too large for the buffer wait until what is buffered of their
//! range has been written out. Snapshots that others make of an image without a lock, and object maps,
//! change what a write relies on: what relies on different ones is not buffered together.

mod buffer;
mod detector;
mod options;
mod read_ahead;
mod state;
mod windows;
mod write_back;
mod write_out;

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::options::{Cache, CacheOptions, CachePolicy, ReadAheadOptions};
use self::read_ahead::ReadAhead;
pub(crate) use self::write_back::WriteBack;
use crate::layout::ObjectExtent;
use crate::write::Admission;
use crate::{Error, Image, ReadData, Result};

/// What is cached of an image.
#[derive(Debug)]
pub(crate) struct ImageCache {
    write_back: Option<WriteBack>,
    read_ahead: Option<ReadAhead>,
}

/// A write to an image that has a cache.
pub(crate) struct CachedWrite<'a> {
    /// Where in the image, in bytes.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) len: u64,
    pub(crate) data: &'a [Bytes],
    /// Whether it is to be on the OSDs when it is done.
    pub(crate) is_fua: bool,
}

/// A range whose bytes are about to change other than by buffered writes. When it is dropped, what has
/// been read ahead of them is forgotten.
#[must_use]
pub(crate) struct Change<'a> {
    cache: &'a ImageCache,
    offset: u64,
    len: u64,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let Some(ahead) = &self.cache.read_ahead {
            ahead.forget(self.offset, self.len);
        }
    }
}

impl ImageCache {
    /// The cache of an image that is opened with `cache`, if it has one.
    ///
    /// # Errors
    /// If an option of the configuration is not of its type.
    pub(crate) fn new(image: &Image, cache: &Cache) -> Result<Option<Self>> {
        let Some(options) = cache.options(image)? else {
            return Ok(None);
        };
        let write_back = if image.is_read_only() {
            None
        } else {
            WriteBack::new(image, &options)
        };
        let read_ahead = ReadAhead::new(image, &options.read_ahead);
        Ok(Some(Self {
            write_back,
            read_ahead,
        }))
    }

    pub(crate) const fn write_back(&self) -> Option<&WriteBack> {
        self.write_back.as_ref()
    }

    /// Buffers a write, or carries it out if it cannot be buffered.
    ///
    /// # Errors
    /// As [`Image::write`]; if data has been lost.
    ///
    /// # Cancellation
    /// As [`Image::write`].
    pub(crate) async fn write(
        &self,
        image: &Image,
        admission: Admission,
        write: CachedWrite<'_>,
    ) -> Result<()> {
        let CachedWrite {
            offset,
            len,
            data,
            is_fua,
        } = write;
        if len == 0 {
            return Ok(());
        }
        let _change = self.change(offset, len);
        let Some(write_back) = &self.write_back else {
            return image.write_at(admission, offset, len, data).await;
        };
        if write_back.takes(len)? {
            let extents: SmallVec<[ObjectExtent; 1]> =
                image.layout().extents(offset, len).collect();
            return write_back
                .write(image, admission, &extents, data, is_fua)
                .await;
        }
        write_back.settle(image, offset, len).await?;
        image.write_at(admission, offset, len, data).await
    }

    /// Begins to change a range other than by buffered writes: waits until what is buffered of it is on
    /// the OSDs.
    ///
    /// # Errors
    /// As [`Image::flush`].
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting.
    pub(crate) async fn begin_change(
        &self,
        image: &Image,
        offset: u64,
        len: u64,
    ) -> Result<Change<'_>> {
        self.settle(image, offset, len).await?;
        Ok(self.change(offset, len))
    }

    /// Waits until what is buffered of a range is on the OSDs.
    ///
    /// # Errors
    /// As [`Image::flush`].
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting.
    pub(crate) async fn settle(&self, image: &Image, offset: u64, len: u64) -> Result<()> {
        match &self.write_back {
            Some(write_back) => write_back.settle(image, offset, len).await,
            None => Ok(()),
        }
    }

    const fn change(&self, offset: u64, len: u64) -> Change<'_> {
        Change {
            cache: self,
            offset,
            len,
        }
    }

    /// Reads from what has been read ahead, or the objects.
    ///
    /// # Errors
    /// As [`Image::read`].
    ///
    /// # Cancellation
    /// As [`Image::read`].
    pub(crate) async fn read(&self, image: &Image, offset: u64, len: u64) -> Result<ReadData> {
        if let Some(ahead) = &self.read_ahead
            && let Some(data) = ahead.read(image, offset, len).await
        {
            return Ok(data);
        }
        image.read_range(offset, len).await
    }

    /// Others may have changed the image.
    pub(crate) fn forget_read_ahead(&self) {
        if let Some(ahead) = &self.read_ahead {
            ahead.forget_all();
        }
    }

    /// The lock is gone, or the cluster: what is buffered must not be written any more.
    pub(crate) fn lose(&self, why: &Error) {
        self.forget_read_ahead();
        if let Some(write_back) = &self.write_back {
            write_back.lose(why);
        }
    }
}
