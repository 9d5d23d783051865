//! An image in a cluster as a device.

use buffers::BufferPool;
use bytes::Bytes;
use rbd::{Image, Zeroes};
use rustix::io::Errno;

use super::{
    BlockDevice, BlockExtent, DeviceError, Limits, MAX_PAYLOAD_BYTES, ReadData, Result, ZeroMode,
};

/// An open image, or a snapshot of one, as a device.
#[derive(Clone, Debug)]
pub struct ImageDevice {
    image: Image,
    is_read_only: bool,
}

impl ImageDevice {
    /// The image as a device that can be written, unless the image is open for reading only.
    ///
    /// # Errors
    /// As [`Image::check_writable`] for an image that is open for writing but must not be written.
    pub fn new(image: Image) -> rbd::Result<Self> {
        let is_read_only = image.is_read_only();
        if !is_read_only {
            image.check_writable()?;
        }
        Ok(Self {
            image,
            is_read_only,
        })
    }

    /// The image.
    pub const fn image(&self) -> &Image {
        &self.image
    }
}

impl BlockDevice for ImageDevice {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn limits(&self) -> Limits {
        let layout = self.image.layout();
        limits(
            layout.object_size(),
            layout.stripe_unit(),
            layout.stripe_count(),
        )
    }

    /// Those that replies from OSDs are read into, so that no more are kept than are needed for both.
    fn buffers(&self) -> BufferPool {
        self.image.pool().cluster().buffers().clone()
    }

    async fn read(&self, offset: u64, len: u64) -> Result<ReadData> {
        let read = self.image.read(offset, len).await.map_err(failed)?;
        let mut data = ReadData::new();
        for segment in read.segments {
            match segment {
                rbd::Segment::Data(bytes) => data.push_data(bytes),
                rbd::Segment::Zero(len) => data.push_hole(len),
            }
        }
        Ok(data)
    }

    async fn write(&self, offset: u64, data: Bytes, is_fua: bool) -> Result<()> {
        let written = if is_fua {
            self.image.write_fua(offset, data).await
        } else {
            self.image.write(offset, data).await
        };
        written.map_err(failed)
    }

    async fn flush(&self) -> Result<()> {
        self.image.flush().await.map_err(failed)
    }

    fn buffered_bytes(&self) -> u64 {
        self.image.buffered_bytes()
    }

    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.image.discard(offset, len).await.map_err(failed)
    }

    /// Either way the zeros are made by the OSDs, and do not cross the network.
    async fn write_zeroes(&self, offset: u64, len: u64, mode: ZeroMode) -> Result<()> {
        let zeroes = if mode.may_unmap {
            Zeroes::Deallocate
        } else {
            Zeroes::Allocate
        };
        self.image
            .write_zeroes(offset, len, zeroes)
            .await
            .map_err(failed)
    }

    async fn block_status(&self, offset: u64, len: u64) -> Result<Vec<BlockExtent>> {
        let extents = self.image.extents(offset, len).await.map_err(failed)?;
        Ok(extents
            .into_iter()
            .filter(|extent| extent.len > 0)
            .map(|extent| BlockExtent {
                len_bytes: extent.len,
                is_hole: !extent.allocated,
                is_zero: !extent.allocated,
            })
            .collect())
    }
}

/// The sizes that suit a layout.
fn limits(object_size: u64, stripe_unit: u64, stripe_count: u64) -> Limits {
    let fitting = |size: u64| {
        u32::try_from(size)
            .ok()
            .filter(|size| size.is_power_of_two())
    };
    let object = fitting(object_size).unwrap_or(MAX_PAYLOAD_BYTES);
    Limits {
        minimum_bytes: 1,
        preferred_bytes: fitting(stripe_unit)
            .filter(|unit| (LEAST_PREFERRED..=MOST_PREFERRED).contains(unit))
            .unwrap_or(LEAST_PREFERRED),
        maximum_bytes: MAX_PAYLOAD_BYTES,
        discard_granularity_bytes: object.min(DISCARD_GRANULE),
        optimal_bytes: fitting(stripe_unit.saturating_mul(stripe_count))
            .map_or(object, |stripe| stripe.max(object)),
    }
}

fn failed(error: rbd::Error) -> DeviceError {
    DeviceError::from_source(Errno::from_raw_os_error(error.errno().0), error)
}

/// A page, and the usual block of a file system.
const LEAST_PREFERRED: u32 = 4 << 10;
/// The largest block that file systems take.
const MOST_PREFERRED: u32 = 64 << 10;
/// Discards are cut to whole granules of this size: see [`Image::discard`].
const DISCARD_GRANULE: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Ledger;

    #[test]
    fn limits_are_powers_of_two_whatever_the_layout() {
        for (object_size, stripe_unit, stripe_count) in [
            (4 << 20, 4 << 20, 1),
            (4 << 20, 64 << 10, 5),
            (4 << 20, 64 << 10, 16),
            (32 << 20, 12 << 10, 3),
            (4 << 10, 4 << 10, 1),
            (4 << 20, 512, 8),
            (4 << 20, 1 << 20, u64::MAX),
        ] {
            let limits = limits(object_size, stripe_unit, stripe_count);
            for size in [
                limits.minimum_bytes,
                limits.preferred_bytes,
                limits.maximum_bytes,
                limits.discard_granularity_bytes,
                limits.optimal_bytes,
            ] {
                assert!(size.is_power_of_two(), "{limits:?}");
            }
            assert!(limits.preferred_bytes >= 512);
            assert!(limits.maximum_bytes >= limits.preferred_bytes);
            assert!(u64::from(limits.optimal_bytes) >= object_size.min(1 << 20));
        }
        assert_eq!(limits(4 << 20, 64 << 10, 5).preferred_bytes, 64 << 10);
        assert_eq!(limits(4 << 20, 64 << 10, 128).optimal_bytes, 8 << 20);
    }

    fn size_of_future<F: Future>(_: impl FnOnce(&'static Ledger<ImageDevice>) -> F) -> usize {
        size_of::<F>()
    }

    /// They are moved for every request: what is seldom needed must be boxed.
    #[test]
    fn futures_of_requests_are_small() {
        let read = size_of_future(|device| device.read(0, 1));
        assert!(read <= 2048, "{read}");
        let write = size_of_future(|device| device.write(0, Bytes::new(), false));
        assert!(write <= 3072, "{write}");
    }
}
