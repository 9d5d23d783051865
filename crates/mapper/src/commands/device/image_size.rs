//! Following an image's size, which others may change at any time.

use std::time::Duration;

use rbd::Image;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// An image's size, kept up to date as long as this lives.
#[derive(Debug)]
pub(super) struct ImageSize {
    sizes: watch::Receiver<u64>,
    _task: AbortOnDropHandle<()>,
}

impl ImageSize {
    /// Begins to follow it. An image that is not open with a watch keeps its size.
    pub(super) fn follow(image: &Image) -> Self {
        let (sender, sizes) = watch::channel(image.size_bytes());
        let task = tokio::spawn(follow(image.clone(), image.changes(), sender));
        Self {
            sizes,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Where new sizes come out, in bytes.
    pub(super) const fn changes(&mut self) -> &mut watch::Receiver<u64> {
        &mut self.sizes
    }
}

async fn follow(image: Image, mut changes: watch::Receiver<()>, sizes: watch::Sender<u64>) {
    while changes.changed().await.is_ok() {
        // Read here rather than by the next request, because there may be none.
        while let Err(error) = image.refresh().await {
            tracing::warn!(%error, "cannot look what has changed");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        let size = image.size_bytes();
        sizes.send_if_modified(|last| std::mem::replace(last, size) != size);
    }
}

/// How long to wait before a header is read again that could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
