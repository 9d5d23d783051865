//! How the lock of an image is dealt with that becomes a device.

use std::time::Duration;

use rados::Errno;
use rbd::{Cache, Features, Image, LockPolicy, OpenOptions};

use crate::args::lock::LockOptions;
use crate::exit::{Failure, Outcome};

impl LockOptions {
    /// How to open the image.
    pub(super) fn open_options(&self, is_read_only: bool, is_snapshot: bool) -> OpenOptions {
        OpenOptions {
            read_only: is_read_only,
            watch: !is_read_only && !is_snapshot,
            lock_policy: if self.exclusive {
                LockPolicy::Exclusive
            } else {
                LockPolicy::Cooperative
            },
            lock_on_read: self.lock_on_read,
            lock_timeout: self.timeout(),
            cache: Cache::Configured,
            ..OpenOptions::default()
        }
    }

    /// How long to wait for the lock; none for ever.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let seconds = self.lock_timeout.filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Takes the lock if it is to be kept from the beginning. An image that is only read has no need for it.
    ///
    /// # Errors
    /// As the kernel's own client: `EINVAL` if the image has no lock to take, `EROFS` if somebody else keeps it.
    pub(super) async fn settle(&self, image: &Image, what: &str) -> Outcome {
        if image.is_read_only() || !(self.exclusive || self.lock_on_read) {
            return Ok(());
        }
        if !image.features().contains(Features::EXCLUSIVE_LOCK) {
            let message = format!("{what}: exclusive-lock feature is not enabled");
            let name = image.full_name();
            return Err(Failure::plain(Errno::EINVAL, message)
                .hint(format_args!("orbd feature enable {name} exclusive-lock")));
        }
        if self.exclusive {
            let taken = image.acquire_lock().await;
            return taken.map_err(|error| Failure::rbd(what, &error));
        }
        Ok(())
    }
}
