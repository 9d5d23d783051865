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
    match tokio::time::timeout(CLOSE_LIMIT, image.close()).await {
        Ok(closed) => closed.map_err(|error| Failure::rbd("cannot close the image", &error)),
        Err(_) => {
            tracing::warn!("the cluster does not answer; others see the image in use for a while");
            Ok(())
        }
    }
}

/// How long a cluster may take to hear that an image is not used any more.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
