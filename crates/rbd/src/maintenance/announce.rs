//! Telling others that the header has changed (ceph: src/librbd/ImageState.h,
//! `notify_update`; Operations.cc, `C_NotifyUpdate`).

use rados::Errno;

use super::NOTIFY_TIMEOUT;
use crate::Image;
use crate::notification::Message;

impl Image {
    /// Tells whoever watches the header that it has changed, this client included, and waits until they
    /// have heard it: nothing that they submit after that relies on the old header.
    ///
    /// The change has been made, so that it is no failure if somebody cannot be told. Those who are dead
    /// or hang are waited for only so long.
    ///
    /// # Cancellation
    /// Dropping the future may leave some without the news until something else makes them look.
    pub(crate) async fn announce_header_update(&self) {
        let payload = Message::HeaderUpdate.to_payload();
        let told = self
            .pool()
            .notify(self.header_object(), payload, NOTIFY_TIMEOUT);
        let image = self.full_name();
        match told.await {
            Ok(answers) if !answers.timed_out.is_empty() => {
                let silent = answers.timed_out.len();
                tracing::warn!(
                    image,
                    silent,
                    "not everybody heard of the new header in time"
                );
            }
            Ok(_) => {}
            Err(error) if error.errno() == Errno::ENOENT => {}
            Err(error) => tracing::warn!(image, %error, "cannot announce the new header"),
        }
    }
}
