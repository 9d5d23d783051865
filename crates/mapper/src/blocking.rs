//! Work that waits for the kernel.

use std::io;

use crate::error::{Error, Result};

/// Runs something that may wait for the kernel, which may be waiting for us, where it keeps nobody from working.
pub(crate) async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::System {
            action,
            source: io::Error::other(error),
        }),
    }
}
