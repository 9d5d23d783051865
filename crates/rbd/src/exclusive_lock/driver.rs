//! Does what the state machine says, and tells it how that went.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denc::{EntityName, GlobalId};
use futures_util::FutureExt;
use rados::{Errno, Operation};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::acquire::{Attempt, acquire};
use super::hooks;
use super::machine::{Event, Job};
use crate::notification::{ClientId, Message, Response};
use crate::{Features, Image, Locker, Result, directory, lock};

/// The task that has, gives up and looks after the lock of an open image. It ends with the image or
/// when the cluster serves this client no more.
pub(super) struct Driver {
    image: Image,
    /// Announcements whose answers are still waited for. They go out in order, but one watcher who
    /// does not answer must not hold up the next step.
    announcements: JoinSet<()>,
}

impl Driver {
    pub(super) fn new(image: Image) -> Self {
        Self {
            image,
            announcements: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let cluster = self.image.pool().cluster().clone();
        let ended = tokio::select! {
            () = self.work() => return,
            error = cluster.wait_blocklisted() => error,
        };
        tracing::warn!(image = self.image.full_name(), error = %ended, "no lock any more");
        let ended = ended.into();
        if let Some(cache) = self.image.cache() {
            cache.lose(&ended);
        }
        self.image.lock().handle(Event::Blocklisted(ended));
    }

    async fn work(&mut self) {
        let lock = Arc::clone(self.image.lock());
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => lock.next_job().await,
            };
            let event = match job {
                // These are given up when there is something better to do.
                Job::Pause(_) | Job::Request(_) => tokio::select! {
                    biased;
                    job = lock.next_job() => {
                        next = Some(job);
                        continue;
                    }
                    event = self.carry_out(job) => event,
                },
                job => self.carry_out(job).await,
            };
            if let Some(event) = event {
                tracing::debug!(image = self.image.full_name(), ?event, "lock");
                lock.handle(event);
                if let Some(write_back) = self.image.write_back() {
                    // It may know now whether the lock is held.
                    write_back.wake();
                }
            }
        }
    }

    async fn carry_out(&mut self, job: Job) -> Option<Event> {
        Some(match job {
            Job::Rest => return None,
            Job::Pause(duration) => {
                sleep(duration).await;
                Event::PauseOver
            }
            Job::Acquire => match self.acquire().await {
                Ok(Attempt::Taken) => Event::Taken,
                Ok(Attempt::Owned(owner)) => Event::Owned(owner),
                Err(error) => Event::Failed(error),
            },
            Job::Request(owner) => self.request(&owner).await,
            Job::Open => match self.open().await {
                Ok(event) => event,
                Err(error) => Event::Failed(error),
            },
            Job::Verify => match self.is_ours().await {
                Ok(true) => Event::Ours,
                Ok(false) => Event::NotOurs,
                Err(error) => Event::Failed(error),
            },
            Job::Forget => {
                tracing::warn!(image = self.image.full_name(), "the lock has been broken");
                // What has not been sent never will be.
                if let Some(cache) = self.image.cache() {
                    cache.lose(&self.image.lock_lost());
                }
                // They cannot be called back; if whoever broke the lock blocklisted this client, they
                // fail.
                self.image.writes().flush().await;
                hooks::lost(&self.image).await;
                Event::Forgotten
            }
            Job::Release { opened } => {
                self.image.drain_writes().await;
                if opened {
                    hooks::releasing(&self.image).await;
                }
                self.unlock().await;
                Event::Released
            }
        })
    }

    /// Takes the lock in the name of the watch by which others see that this client is alive.
    async fn acquire(&self) -> Result<Attempt> {
        let client = self.image.ensure_watch().await?;
        acquire(&self.image, client).await
    }

    async fn request(&mut self, owner: &Locker) -> Event {
        let Some(client) = self.image.lock().client() else {
            return Event::Silent;
        };
        tracing::debug!(image = self.image.full_name(), %owner, "asking for the lock");
        let message = Message::RequestLock {
            client,
            force: false,
        };
        let (pool, header) = (self.image.pool(), self.image.header_object());
        let answers = match pool
            .notify(header, message.to_payload(), NOTIFY_TIMEOUT)
            .await
        {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(image = self.image.full_name(), %error, "cannot ask for the lock");
                return Event::Silent;
            }
        };
        let payloads = answers.answers.iter().map(|answer| &answer.payload);
        match owners_answer(payloads) {
            Some(0) => Event::Accepted,
            Some(result) if Errno::check(result) == Err(Errno::EROFS) => Event::Refused,
            Some(result) => {
                tracing::warn!(image = self.image.full_name(), result, "odd answer");
                Event::Silent
            }
            // A client that died a moment ago is still seen to watch.
            None if !answers.timed_out.is_empty() => Event::TimedOut,
            None => {
                self.remind(owner).await;
                Event::Silent
            }
        }
    }

    /// Says in its place that the owner has the lock. It is alive, but does not say that the lock is its
    /// own: librbd gives nothing up, for ever, once it has heard late that another client had taken the
    /// lock and released it before (librbd: `ImageWatcher::handle_payload` of the three messages,
    /// `m_owner_client_id`).
    async fn remind(&mut self, owner: &Locker) {
        let Some(handle) = owner.watch_cookie() else {
            return;
        };
        tracing::debug!(image = self.image.full_name(), %owner, "reminding the owner");
        let gid = GlobalId(owner.name.num.cast_unsigned());
        self.announce(&Message::AcquiredLock(ClientId { gid, handle }))
            .await;
    }

    /// The lock is held. Writers must know what the last owner has changed.
    async fn open(&mut self) -> Result<Event> {
        self.image.reload_under_lock().await?;
        if !self.image.features().contains(Features::EXCLUSIVE_LOCK) {
            return Ok(Event::Unneeded);
        }
        hooks::acquired(&self.image).await?;
        if let Some(client) = self.image.lock().client() {
            self.announce(&Message::AcquiredLock(client)).await;
        }
        Ok(Event::Opened)
    }

    /// Whether the lock is still held, as the cluster has it.
    async fn is_ours(&self) -> Result<bool> {
        let Some(client) = self.image.lock().client() else {
            return Ok(false);
        };
        let info: Result<lock::LockInfo> = directory::call(
            self.image.pool(),
            self.image.header_object(),
            lock::get_info(Operation::new()),
        )
        .await;
        match info {
            Ok(info) => {
                let name = EntityName::client(client.gid);
                let cookie = lock::automatic_cookie(client.handle);
                let mut lockers = info.lockers.iter();
                Ok(lockers.any(|locker| locker.name == name && locker.cookie == cookie))
            }
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives up the lock and says so. There is nothing to be done about it if that fails: then the lock
    /// stays, and is taken again as what it is or broken by others.
    async fn unlock(&mut self) {
        let Some(client) = self.image.lock().client() else {
            return;
        };
        // That the lock was taken must not be told, or told again, when it is true no more.
        self.announcements.abort_all();
        let cookie = lock::automatic_cookie(client.handle);
        let operation = lock::unlock(Operation::new(), &cookie);
        let (pool, header) = (self.image.pool(), self.image.header_object());
        match pool.execute(header, operation).await {
            Ok(_) => self.announce(&Message::ReleasedLock(client)).await,
            // Somebody has broken it, or the image is gone.
            Err(error) if error.errno() == Errno::ENOENT => {}
            Err(error) => {
                tracing::warn!(image = self.image.full_name(), %error, "cannot release the lock");
            }
        }
    }

    /// Sends an announcement without waiting for the answers. It is ahead of whatever is done to the
    /// header later.
    async fn announce(&mut self, message: &Message) {
        while self.announcements.try_join_next().is_some() {}
        if self.announcements.len() >= MAX_ANNOUNCEMENTS {
            self.announcements.join_next().await;
        }
        let image = self.image.clone();
        let payload = message.to_payload();
        let mut sending = Box::pin(async move {
            let pool = image.pool();
            let sent = pool.notify(image.header_object(), payload, NOTIFY_TIMEOUT);
            if let Err(error) = sent.await {
                tracing::debug!(image = image.full_name(), %error, "cannot announce");
            }
        });
        // Sends it.
        if sending.as_mut().now_or_never().is_none() {
            self.announcements.spawn(sending);
        }
    }
}

/// What the owner says; all others answer with nothing.
fn owners_answer<'a>(mut answers: impl Iterator<Item = &'a Bytes>) -> Option<i32> {
    answers.find_map(|answer| Some(Response::from_answer(answer).ok()??.result))
}

/// How long watchers have to answer (librbd: `Notifier::NOTIFY_TIMEOUT`, rbd.c: `RBD_NOTIFY_TIMEOUT`).
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Announcements whose answers are waited for at the same time.
const MAX_ANNOUNCEMENTS: usize = 16;
