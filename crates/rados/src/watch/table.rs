//! Who of this client waits for what an OSD has to say: watches and notifiers, by their cookies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::Notification;
use crate::msg::osd::{WatchEvent, WatchNotify};
use crate::objecter::Objecter;

/// Notifications that may wait to be handed to the handler. More are dropped, and count as missed.
const QUEUE: usize = 64;

/// All watches and notifications under way of a client.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    table: Mutex<HashMap<u64, Listener>>,
}

#[derive(Debug)]
enum Listener {
    Watch(Arc<Inbox>),
    Notifier(oneshot::Sender<Completion>),
}

/// What became of a notification of ours.
#[derive(Debug)]
pub(super) struct Completion {
    /// Zero or a negated errno; `-ETIMEDOUT` if not everybody has answered.
    pub(super) result: i32,
    /// Who has answered what, and who has not.
    pub(super) data: Bytes,
}

impl Watches {
    /// Hands on what an OSD said.
    pub(crate) fn dispatch(&self, event: WatchNotify, data: Bytes) {
        let mut table = self.lock();
        match (event.event, table.get(&event.cookie)) {
            (WatchEvent::Notify, Some(Listener::Watch(inbox))) => {
                inbox.notification(Notification {
                    id: event.notify_id,
                    payload: event.payload,
                    notifier: event.notifier,
                });
            }
            (WatchEvent::Disconnect, Some(Listener::Watch(inbox))) => inbox.disconnected(),
            (WatchEvent::NotifyComplete, Some(Listener::Notifier(_))) => {
                if let Some(Listener::Notifier(sender)) = table.remove(&event.cookie) {
                    let _ = sender.send(Completion {
                        result: event.result,
                        data,
                    });
                }
            }
            _ => {}
        }
    }

    /// Whether there is a watch of this number.
    pub(super) fn has_watch(&self, cookie: u64) -> bool {
        matches!(self.lock().get(&cookie), Some(Listener::Watch(_)))
    }

    /// Whether nobody waits for anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Nothing panics while the lock is held, so a poisoned lock guards a consistent state.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Listener>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the table, which is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    objecter: Arc<Objecter>,
    cookie: u64,
}

impl Listening {
    /// Takes the place `cookie` for a watch.
    pub(super) fn as_watch(objecter: &Arc<Objecter>, cookie: u64) -> (Self, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::default());
        let listener = Listener::Watch(Arc::clone(&inbox));
        (Self::new(objecter, cookie, listener), inbox)
    }

    /// Takes the place `cookie` for a notification.
    pub(super) fn as_notifier(
        objecter: &Arc<Objecter>,
        cookie: u64,
    ) -> (Self, oneshot::Receiver<Completion>) {
        let (sender, receiver) = oneshot::channel();
        let listener = Listener::Notifier(sender);
        (Self::new(objecter, cookie, listener), receiver)
    }

    fn new(objecter: &Arc<Objecter>, cookie: u64, listener: Listener) -> Self {
        objecter.watches.lock().insert(cookie, listener);
        Self {
            objecter: Arc::clone(objecter),
            cookie,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.objecter.watches.lock().remove(&self.cookie);
    }
}

/// What an OSD has said about a watch and has not been looked at.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    contents: Mutex<Contents>,
    filled: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    /// In the order in which they came.
    pub(super) notifications: Vec<Notification>,
    /// There were more.
    pub(super) overflowed: bool,
    /// The OSD has ended the watch.
    pub(super) disconnected: bool,
}

impl Inbox {
    fn notification(&self, notification: Notification) {
        let mut contents = self.lock();
        if contents.notifications.len() < QUEUE {
            contents.notifications.push(notification);
        } else {
            contents.overflowed = true;
        }
        self.filled.notify_one();
    }

    fn disconnected(&self) {
        self.lock().disconnected = true;
        self.filled.notify_one();
    }

    /// Waits for something, and takes it all.
    ///
    /// # Cancellation
    /// Safe: nothing is taken by a future that is dropped.
    pub(super) async fn take(&self) -> Contents {
        self.filled.notified().await;
        self.take_now()
    }

    /// Takes what there is.
    pub(super) fn take_now(&self) -> Contents {
        std::mem::take(&mut *self.lock())
    }

    /// As for the table.
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
