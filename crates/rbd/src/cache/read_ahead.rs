//! Reading ahead of those who read an image from front to back.
//!
//! What has been read ahead must not be older than what its reader may know of otherwise. Writes of this
//! client make it forgotten. Others can only write
//!
//! - when this client does not have the lock, where the image has one. So where it may be written by
//!   this client, it is read ahead under the lock only, and forgotten with it;
//! - at any time, where the image has no lock or is open for reading only. Then what was asked for more
//!   than a second ago is not used. Whoever shares an image in that way should open it without a cache;
//! - never, to a snapshot.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::detector::Detector;
use super::options::ReadAheadOptions;
use super::windows::{Found, Windows};
use crate::{Features, Image, ReadData, Result};

/// What has been read ahead of an image.
#[derive(Debug)]
pub(super) struct ReadAhead {
    state: Mutex<State>,
    /// Something that was asked for has come, or will not.
    arrived: Notify,
    /// What times are counted from.
    epoch: Instant,
}

#[derive(Debug)]
struct State {
    detector: Detector,
    windows: Windows,
}

impl ReadAhead {
    /// None if nothing is ever to be read ahead.
    pub(super) fn new(image: &Image, options: &ReadAheadOptions) -> Option<Self> {
        let layout = image.layout();
        let (object_size, set_size) = (layout.object_size(), layout.set_size());
        (options.max_bytes > 0).then(|| Self {
            state: Mutex::new(State {
                detector: Detector::new(options.clone(), object_size, set_size),
                windows: Windows::default(),
            }),
            arrived: Notify::new(),
            epoch: Instant::now(),
        })
    }

    /// Takes note of a read, and gives what has been read ahead for it: none if it must be read.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind but what it asked for.
    pub(super) async fn read(&self, image: &Image, offset: u64, len: u64) -> Option<ReadData> {
        let age = greatest_age(image)?;
        self.look_ahead(image, offset, len);
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            // Registers before looking, so that nothing comes unseen in between.
            arrived.as_mut().enable();
            let since = self.epoch.elapsed().saturating_sub(age);
            let found = self.lock().windows.find(offset, offset + len, since);
            match found {
                Found::Data(data) => return Some(data),
                Found::Nothing => return None,
                Found::Pending => arrived.await,
            }
        }
    }

    /// Asks for what comes next, if that is known.
    fn look_ahead(&self, image: &Image, offset: u64, len: u64) {
        let now = self.epoch.elapsed();
        let (id, range) = {
            let mut state = self.lock();
            let Some(range) = state.detector.read(offset, len, image.size_bytes()) else {
                return;
            };
            (state.windows.ask(range.start, range.end, now), range)
        };
        let image = image.without_tasks();
        tokio::spawn(async move {
            let data = read_again(&image, range.start, range.end - range.start).await;
            if let Some(ahead) = image.cache().and_then(|cache| cache.read_ahead.as_ref()) {
                ahead.lock().windows.came(id, data.ok());
                ahead.arrived.notify_waiters();
            }
        });
    }

    /// The bytes of a range may be others now.
    pub(super) fn forget(&self, offset: u64, len: u64) {
        self.lock()
            .windows
            .forget(offset, offset.saturating_add(len));
        self.arrived.notify_waiters();
    }

    /// All bytes may be others now.
    pub(super) fn forget_all(&self) {
        self.lock().windows.forget_all();
        self.arrived.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads for somebody who will come.
async fn read_again(image: &Image, offset: u64, len: u64) -> Result<ReadData> {
    // The image may have become smaller.
    image.check_bounds(offset, len, image.size_bytes())?;
    image.read_range(offset, len).await
}

/// How old what was read ahead may be, if it may be used at all.
fn greatest_age(image: &Image) -> Option<Duration> {
    if image.snap().is_some() || image.lock().is_held() {
        return Some(Duration::MAX);
    }
    let has_lock = image.features().contains(Features::EXCLUSIVE_LOCK);
    (image.is_read_only() || !has_lock).then_some(UNLOCKED_AGE)
}

/// How old what was read ahead may be where others may write.
const UNLOCKED_AGE: Duration = Duration::from_secs(1);
