//! Closing an image when what was made of it is gone.

use std::time::Duration;

use mapper::device::Tally;
use rados::Errno;
use rbd::Image;

use crate::exit::{Failure, Outcome};

/// Closes an image, so that others see at once that it is not used any more, or leaves that to the cluster if it does not
/// answer.
///
/// # Errors
/// If something was lost, or the cluster refuses.
pub(super) async fn close_image(image: &Image, dropped: &Tally) -> Outcome {
    if !dropped.is_empty() {
        // What was sent may still be carried out, so nobody is told that the image is free. The cluster finds out by itself.
        return Err(Failure::plain(
            Errno::EIO,
            format_args!(
                "{}: given up without an answer: {dropped}",
                image.full_name()
            ),
        ));
    }
    let limit = if image.buffered_bytes() == 0 {
        CLOSE_LIMIT
    } else {
        WRITE_LIMIT
    };
    match tokio::time::timeout(limit, image.close()).await {
        Ok(closed) => closed.map_err(|error| Failure::rbd("cannot close the image", &error)),
        Err(_) if image.buffered_bytes() > 0 => Err(Failure::plain(
            Errno::ETIMEDOUT,
            format_args!(
                "{}: {} buffered bytes were not written: the cluster does not answer",
                image.full_name(),
                image.buffered_bytes()
            ),
        )),
        Err(_) => {
            tracing::warn!("the cluster does not answer; others see the image in use for a while");
            Ok(())
        }
    }
}

/// How long a cluster may take to hear that an image is not used any more.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to write what is buffered before that.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
