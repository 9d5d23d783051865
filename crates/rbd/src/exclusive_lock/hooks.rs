//! What else is done when the lock is taken, given up or lost.

use crate::{Features, Image, Result};

/// The lock has just been taken and nobody has been let in yet. If this fails, the lock is given up
/// again and those who wait for it get the error.
pub(super) async fn acquired(image: &Image) -> Result<()> {
    let info = image.info();
    if info.features.contains(Features::OBJECT_MAP) {
        image.open_object_map(&info).await?;
    }
    Ok(())
}

/// All writes are done, nobody is let in any more, and the lock is about to be given up, come what may.
pub(super) async fn releasing(image: &Image) {
    if let Some(cache) = image.cache() {
        cache.forget_read_ahead();
    }
    image.close_object_map().await;
}

/// All writes are done, nobody is let in any more, and somebody else has broken the lock and may hold
/// it by now.
pub(super) async fn lost(image: &Image) {
    if let Some(cache) = image.cache() {
        cache.forget_read_ahead();
    }
    image.object_map_slot().take();
}
