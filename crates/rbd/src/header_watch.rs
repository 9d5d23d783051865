//! This client's watch on an image's header: by it others see that the image is in use, and what they
//! have to say about the image comes through it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rados::{Errno, Notification, NotifyReply, Pool, Watch, WatchHandler};

use crate::cache::{ImageCache, WriteBack};
use crate::exclusive_lock::ExclusiveLock;
use crate::follow::Follower;
use crate::maintenance::{Asked, Requests};
use crate::notification::{ClientId, Message, Response};
use crate::{Error, Image, Result};

/// Hands on what is heard to those whom it concerns.
pub(crate) struct HeaderListener {
    pub(crate) follower: Arc<Follower>,
    pub(crate) lock: Arc<ExclusiveLock>,
    pub(crate) asked: Arc<Asked>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) cache: Arc<OnceLock<ImageCache>>,
}

impl HeaderListener {
    /// Answers when what is buffered has been written out: at once if nothing is.
    fn answer_when_written(&self, reply: NotifyReply, answer: Bytes) {
        let write_back = self.cache.get().and_then(ImageCache::write_back);
        if write_back.is_none_or(WriteBack::is_empty) {
            return reply.send(answer);
        }
        let cache = Arc::clone(&self.cache);
        tokio::spawn(async move {
            if let Some(write_back) = cache.get().and_then(ImageCache::write_back)
                && let Err(error) = write_back.settle_all().await
            {
                tracing::warn!(%error, "the header was changed under buffered writes");
            }
            reply.send(answer);
        });
    }
}

impl WatchHandler for HeaderListener {
    /// Whoever changes the header waits for the answers of all watchers. No operation submitted after
    /// this answer relies on the old header.
    ///
    /// The answer is empty, unless it is that of the holder of the lock, or somebody wants to be sure
    /// that nothing more needs to be written before a snapshot: nothing is held back here but by a
    /// cache.
    fn notified(&self, notification: Notification, reply: NotifyReply) {
        let response = match Message::from_payload(&notification.payload) {
            Ok(Message::HeaderUpdate) => {
                self.follower.announce();
                // What is buffered relies on the old header.
                return self.answer_when_written(reply, Bytes::new());
            }
            Ok(Message::Request(request)) => {
                if self.lock.is_held() {
                    return self.requests.receive(request, reply);
                }
                None
            }
            Ok(Message::Unknown { .. }) => self.lock.is_held().then_some(Response {
                result: -Errno::EOPNOTSUPP.0,
            }),
            Ok(Message::Quiesce(_)) => {
                let ready = Response { result: 0 };
                return self.answer_when_written(reply, ready.to_answer());
            }
            Ok(message) => {
                self.asked.hear(&message);
                self.lock.notified(&message)
            }
            // It may be anything.
            Err(error) => {
                tracing::debug!(%error, "odd notification");
                self.follower.announce();
                None
            }
        };
        if let Some(response) = response {
            reply.send(response.to_answer());
        }
    }

    fn lost(&self, _error: &rados::Error) {
        self.lock.watch_lost();
    }

    fn missed(&self) {
        self.follower.announce();
        self.lock.watch_regained();
        self.asked.miss();
    }
}

/// Watches a header. `image` is its name in errors.
pub(crate) async fn watch(
    pool: &Pool,
    header_object: &str,
    listener: HeaderListener,
    image: &str,
) -> Result<Watch> {
    let lock = Arc::clone(&listener.lock);
    let watch = pool.watch(header_object, Arc::new(listener)).await;
    let watch = watch.map_err(|error| {
        if error.errno() == Errno::ENOENT {
            Error::NoSuchImage {
                image: image.to_string(),
            }
        } else {
            error.into()
        }
    })?;
    let client = ClientId {
        gid: pool.cluster().global_id(),
        handle: watch.cookie(),
    };
    lock.set_client(client, watch.validity());
    Ok(watch)
}

impl Image {
    /// As whom this client watches the header, which it does from now on.
    ///
    /// For the lock's driver alone: two at a time would both begin to watch.
    pub(crate) async fn ensure_watch(&self) -> Result<ClientId> {
        let is_watching = self.watch_slot().is_some();
        if !is_watching {
            let (pool, header) = (self.pool(), self.header_object());
            let watch = watch(pool, header, self.listener(), self.full_name()).await?;
            *self.watch_slot() = Some(watch);
        }
        let client = self.lock().client();
        Ok(client.ok_or(rados::Error::ShutDown)?)
    }

    /// Gives up the lock, after all writes submitted so far, and ends the watch: others can go on with
    /// the image at once. An image that is dropped without this seems to be in use until the OSD has
    /// not heard of the watch for 30 seconds; and if it had the lock, the next client to write blocklists
    /// this one, with all that it does in the cluster.
    ///
    /// The image can still be used, as one opened without [`watch`](crate::OpenOptions::watch).
    ///
    /// # Errors
    /// If the watch cannot be ended; the OSD forgets it later. As [`flush`](Self::flush): the lock is
    /// kept then, and the watch.
    ///
    /// # Cancellation
    /// Dropping the future leaves it to others to break the lock and to the OSD to forget the watch.
    pub async fn close(&self) -> Result<()> {
        self.finish_writes().await?;
        // From here on nobody takes the lock in the name of this watch.
        self.lock().watch_lost();
        let released = self.within_limit(self.lock().release()).await;
        if released.is_err() {
            self.lock().watch_regained();
            return released;
        }
        let watch = self.watch_slot().take();
        let ended = match watch {
            Some(watch) => watch.end().await,
            None => Ok(()),
        };
        self.lock().forget_client();
        // The next one to take the lock begins to watch anew.
        self.lock().watch_regained();
        Ok(ended?)
    }
}
