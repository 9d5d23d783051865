//! Watching an object: being seen as its user, and being told what others have to say about it.
//!
//! The OSD ties a watch to the connection it was registered over, drops it when the watcher is silent
//! for too long, and knows nothing of it after a failover. So a task keeps it alive and registers it
//! again when the OSD says that it is gone (ceph: src/osdc/Objecter.h, `LingerOp`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use denc::GlobalId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::auth::random;
use crate::msg::osd::{WatchEvent, WatchNotify};
use crate::op::{Operation, WatchStep};
use crate::{Errno, Pool, Result};

/// How often a watch is kept alive. OSDs drop watchers after 30 seconds of silence by default.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Notifications that may wait to be handled. More are dropped, and count as missed.
const QUEUE: usize = 64;

/// What a watcher does with what it is told.
pub trait WatchHandler: Send + Sync + 'static {
    /// Somebody notifies the watchers of the object. What is returned is sent back as the answer.
    fn notified(&self, notification: Notification) -> Bytes;

    /// Notifications may have been missed: the watch was lost and has been registered again, or they
    /// came faster than they were handled.
    fn missed(&self);
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The content; its meaning is agreed between those who use the object.
    pub payload: Bytes,
    /// Who sent it.
    pub notifier: GlobalId,
}

/// A registered watch. Dropping it stops keeping it alive, after which the OSD forgets it within its
/// timeout; [`end`](Self::end) ends it at once.
#[derive(Debug)]
pub struct Watch {
    pool: Pool,
    object: String,
    cookie: u64,
    task: AbortHandle,
}

impl Pool {
    /// Watches an object, which must exist.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `EPERM` if the user may not write to the object.
    ///
    /// # Cancellation
    /// Dropping the future may leave a watch that the OSD forgets within its timeout.
    pub async fn watch(&self, object: &str, handler: Arc<dyn WatchHandler>) -> Result<Watch> {
        let cookie = new_cookie();
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.cluster()
            .objecter()
            .watches
            .lock()
            .insert(cookie, sender);
        let mut keeper = Keeper {
            pool: self.clone(),
            object: object.to_string(),
            cookie,
            generation: 0,
            handler,
            receiver,
        };
        keeper.register(WatchStep::Watch).await?;
        let task = tokio::spawn(keeper.run()).abort_handle();
        Ok(Watch {
            pool: self.clone(),
            object: object.to_string(),
            cookie,
            task,
        })
    }
}

impl Watch {
    /// The number by which the OSD and other clients tell this watch from others of this client.
    pub const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Ends the watch.
    ///
    /// # Errors
    /// As [`Pool::execute`]. The watch is no longer kept alive in any case.
    ///
    /// # Cancellation
    /// The OSD forgets the watch within its timeout.
    pub async fn end(self) -> Result<()> {
        self.task.abort();
        let operation = Operation::new().watch(WatchStep::Unwatch, self.cookie, 0);
        self.pool.execute(&self.object, operation).await.map(drop)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps one watch alive. Dropping it takes the watch out of the table.
struct Keeper {
    pool: Pool,
    object: String,
    cookie: u64,
    /// Counts registrations; pings must carry the current one.
    generation: u32,
    handler: Arc<dyn WatchHandler>,
    receiver: mpsc::Receiver<Event>,
}

impl Keeper {
    async fn run(mut self) {
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ping.tick() => {
                    let operation =
                        Operation::new().watch(WatchStep::Ping, self.cookie, self.generation);
                    if let Err(error) = self.pool.execute(&self.object, operation).await {
                        self.register_again(&error).await;
                    }
                }
                event = self.receiver.recv() => match event {
                    Some(Event::Notify { id, notification }) => {
                        self.answer(id, notification).await;
                    }
                    Some(Event::Disconnected) => {
                        self.register_again(&"the OSD has ended it").await;
                    }
                    Some(Event::Overflow) => self.handler.missed(),
                    None => return,
                }
            }
        }
    }

    async fn register(&mut self, step: WatchStep) -> Result<()> {
        let operation = Operation::new().watch(step, self.cookie, self.generation);
        self.pool.execute(&self.object, operation).await.map(drop)
    }

    async fn register_again(&mut self, reason: &(dyn std::fmt::Display + Sync)) {
        tracing::info!(object = self.object, %reason, "registering a lost watch again");
        self.generation += 1;
        match self.register(WatchStep::Reconnect).await {
            Ok(()) => self.handler.missed(),
            // The next ping fails as well, and it is tried again.
            Err(error) => tracing::warn!(object = self.object, %error, "cannot watch"),
        }
    }

    async fn answer(&self, id: u64, notification: Notification) {
        let answer = self.handler.notified(notification);
        let operation = Operation::new().notify_ack(id, self.cookie, &answer);
        match self.pool.execute(&self.object, operation).await {
            // Too late: the notifier has stopped waiting.
            Err(error) if error.errno() == Errno::ENOENT => {}
            Err(error) => tracing::debug!(object = self.object, %error, "cannot answer"),
            Ok(_) => {}
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.pool
            .cluster()
            .objecter()
            .watches
            .lock()
            .remove(&self.cookie);
    }
}

/// What an OSD has to say about a watch.
#[derive(Debug)]
enum Event {
    Notify {
        id: u64,
        notification: Notification,
    },
    Disconnected,
    /// There was more than fits the queue.
    Overflow,
}

/// All watches of a client, by cookie.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    table: Mutex<HashMap<u64, mpsc::Sender<Event>>>,
}

impl Watches {
    /// Hands on what an OSD said.
    pub(crate) fn dispatch(&self, event: WatchNotify) {
        let table = self.lock();
        let Some(sender) = table.get(&event.cookie) else {
            return;
        };
        let what = match event.event {
            WatchEvent::Notify => Event::Notify {
                id: event.notify_id,
                notification: Notification {
                    payload: event.payload,
                    notifier: event.notifier,
                },
            },
            WatchEvent::Disconnect => Event::Disconnected,
            WatchEvent::NotifyComplete | WatchEvent::Unknown(_) => return,
        };
        // One place is kept for saying that something did not fit.
        let full = sender.capacity() <= 1;
        let _ = sender.try_send(if full { Event::Overflow } else { what });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Event>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_cookie() -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    // Cookies are shown as decimal numbers, and zero means none.
    (u64::from_le_bytes(bytes) >> 1).max(1)
}
