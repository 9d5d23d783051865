//! Watching an object: being seen as its user, and being told what others have to say about it; and
//! telling it.
//!
//! The OSD ties a watch to the connection it was registered over, drops it when the watcher is silent
//! for too long, and knows nothing of the connection after a failover. So a task of each watch's own,
//! the [`Keeper`], keeps it alive and registers it again (ceph: src/osdc/Objecter.h, `LingerOp`;
//! src/osd/Watch.h).

mod keeper;
mod lease;
mod notify;
mod reply;
mod table;
mod validity;

use std::sync::Arc;

use bytes::Bytes;
use denc::GlobalId;
use tokio::task::JoinHandle;

use self::keeper::Keeper;
pub use self::notify::{NotifyAnswer, NotifyAnswers, WatcherId};
pub use self::reply::NotifyReply;
pub(crate) use self::table::Watches;
pub use self::validity::WatchValidity;
use crate::auth::random;
use crate::op::{Operation, WatchStep};
use crate::{Cluster, Error, Pool, Result};

/// What a watcher does with what it is told.
///
/// All of it is called by one task, one call at a time, and must not block: while it does, the watch
/// is not kept alive.
pub trait WatchHandler: Send + Sync + 'static {
    /// Somebody notifies the watchers of the object. The answer goes back through `reply`, at once or
    /// later; the notifier waits for it, but not for ever.
    ///
    /// The same notification may come again, with the same id, when the OSD has failed over.
    fn notified(&self, notification: Notification, reply: NotifyReply);

    /// The watch is lost, or may be: the OSD says so, or it has not confirmed it for longer than the
    /// watch may be silent, or this client is blocklisted. From here on notifications may be missed
    /// and others may take this client for gone. Called once per loss.
    ///
    /// An OSD may end the watch of a blocklisted client before that knows why:
    /// [`Cluster::wait_blocklisted`](crate::Cluster::wait_blocklisted) tells for certain.
    ///
    /// Unless the client is blocklisted or shut down, the watch is registered again, which
    /// [`missed`](Self::missed) tells.
    fn lost(&self, error: &Error);

    /// Notifications may have been missed, and the watch works: it has been registered again, or they
    /// came faster than they were handled.
    fn missed(&self);
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The number that the OSD gave it.
    pub id: u64,
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
    validity: WatchValidity,
    task: JoinHandle<()>,
}

impl Pool {
    /// Watches an object, which must exist.
    ///
    /// The OSD ends the watch when it has not heard of it for `osd_client_watch_timeout`, 30 seconds
    /// unless configured otherwise for this client.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `EPERM` if the user may not write to the object.
    ///
    /// # Cancellation
    /// Dropping the future may leave a watch that the OSD forgets within its timeout.
    pub async fn watch(&self, object: &str, handler: Arc<dyn WatchHandler>) -> Result<Watch> {
        let cookie = new_cookie();
        let keeper = Keeper::register(self, object, cookie, handler).await?;
        Ok(Watch {
            pool: self.clone(),
            object: object.to_string(),
            cookie,
            validity: keeper.validity(),
            task: tokio::spawn(keeper.run()),
        })
    }
}

impl Cluster {
    /// Whether this client instance has a watch of this number, be it lost at the moment: whether what
    /// other clients would take for the sign of life of somebody who watches is one.
    pub fn has_watch(&self, cookie: u64) -> bool {
        self.objecter().watches.has_watch(cookie)
    }
}

impl Watch {
    /// The number by which the OSD and other clients tell this watch from others of this client. It
    /// stays the same when the watch is registered again.
    pub const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Whether the watch is lost at the moment: see [`WatchHandler::lost`].
    pub fn is_lost(&self) -> bool {
        !self.validity.is_valid()
    }

    /// Tells, also after the watch has been dropped, whether it can be relied on.
    pub fn validity(&self) -> WatchValidity {
        self.validity.clone()
    }

    /// Ends the watch. Notifications that have not been answered are not any more.
    ///
    /// # Errors
    /// As [`Pool::execute`]. The watch is no longer kept alive in any case.
    ///
    /// # Cancellation
    /// The OSD forgets the watch within its timeout.
    pub async fn end(mut self) -> Result<()> {
        // What it has sent until now is carried out before, and nothing comes after.
        self.task.abort();
        let _ = (&mut self.task).await;
        let operation = Operation::new().watch(WatchStep::Unwatch, self.cookie, 0, 0);
        self.pool.execute(&self.object, operation).await.map(drop)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A number under which OSDs address a watch or a notification of this client.
fn new_cookie() -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    // Cookies are shown as decimal numbers, and zero means none.
    (u64::from_le_bytes(bytes) >> 1).max(1)
}
