//! What else is done when the lock is taken, given up or lost.

use crate::{Image, Result};

/// The lock has just been taken and nobody has been let in yet. If this fails, the lock is given up
/// again and those who wait for it get the error.
pub(super) async fn acquired(_image: &Image) -> Result<()> {
    Ok(())
}

/// All writes are done, nobody is let in any more, and the lock is about to be given up, come what may.
pub(super) async fn releasing(_image: &Image) {}

/// All writes are done, nobody is let in any more, and somebody else has broken the lock and may hold
/// it by now.
pub(super) async fn lost(_image: &Image) {}
