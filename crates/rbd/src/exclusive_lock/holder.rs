//! What is shared between those who want the lock, those who tell about it, and the driver: the state
//! machine with those who wait for it, behind one lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rados::WatchValidity;
use tokio::sync::{Notify, oneshot};

use super::machine::{Action, Event, Job, Machine, State};
use super::{LockPolicy, LockStatus};
use crate::in_flight::{InFlight, Submitted};
use crate::notification::ClientId;
use crate::{Error, Locker, Result};

/// The lock of one open image.
#[derive(Debug)]
pub(crate) struct ExclusiveLock {
    this: Weak<Self>,
    /// The image's name in errors.
    image: String,
    writes: InFlight,
    shared: Mutex<Shared>,
    /// Wakes the driver: there is a job.
    work: Notify,
}

#[derive(Debug)]
struct Shared {
    machine: Machine,
    /// What the driver is to do next.
    job: Option<Job>,
    /// Empty while writers are let in: whoever comes then need not wait.
    waiters: Vec<Waiter>,
    next_waiter: u64,
    releases: Vec<oneshot::Sender<()>>,
    /// As whom this client watches the header, if it does.
    client: Option<ClientId>,
    /// Whether others see that watch for certain.
    validity: Option<WatchValidity>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    wish: Wish,
    reply: oneshot::Sender<Result<Grant>>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To submit a write, under the lock.
    Submit,
    /// To do maintenance, for which a living owner would be asked instead.
    Maintain,
}

/// What somebody who waited gets.
#[derive(Debug)]
pub(super) enum Grant {
    Submit(Submitted),
    Maintain(Pin),
    /// A living client has the lock, and somebody who wants to do maintenance can ask it.
    Owned(Locker),
    /// The image has no exclusive lock any more.
    Unneeded,
}

/// Keeps the lock from being given up to others.
#[derive(Debug)]
pub(super) struct Pin {
    lock: Arc<ExclusiveLock>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.lock.handle(Event::Unpinned);
    }
}

/// How a request for the lock is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The lock is going to be given up.
    Accepted,
    Refused,
}

impl ExclusiveLock {
    /// The lock of an image whose writes are counted by `writes`.
    pub(crate) fn new(image: &str, policy: LockPolicy, writes: InFlight) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            image: image.to_string(),
            writes,
            shared: Mutex::new(Shared {
                machine: Machine::new(policy),
                job: None,
                waiters: Vec::new(),
                next_waiter: 0,
                releases: Vec::new(),
                client: None,
                validity: None,
            }),
            work: Notify::new(),
        })
    }

    /// Counts a write that is about to be submitted, if the lock is held. Releasing the lock waits for
    /// its end.
    pub(crate) fn try_submit(&self) -> Option<Submitted> {
        let shared = self.lock();
        // Under the same lock that closes the door: a release counts this write or it is not let in.
        shared.is_open().then(|| self.writes.submit())
    }

    /// Keeps it from being given up, if it is held.
    pub(super) fn try_pin(&self) -> Option<Pin> {
        let lock = self.this.upgrade()?;
        let shared = self.lock();
        if !shared.is_open() {
            return None;
        }
        self.process(shared, Event::Admitted { pins: 1 });
        Some(Pin { lock })
    }

    /// Whether it is held for sure.
    pub(crate) fn is_held(&self) -> bool {
        self.lock().is_open()
    }

    /// Whether it has been held and perhaps is no more: nothing is to be written before that is known.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let shared = self.lock();
        match shared.machine.state() {
            State::Suspended | State::Verifying | State::Forgetting => true,
            State::Locked => !shared.is_watched(),
            _ => false,
        }
    }

    /// Waits until the lock is held or cannot be had.
    ///
    /// Cancel-safe: whoever gives up does not wait any more.
    pub(super) async fn wait(&self, wish: Wish) -> Result<Grant> {
        let (reply, granted) = oneshot::channel();
        let _waiting = {
            let mut shared = self.lock();
            if wish == Wish::Maintain
                && let Some(owner) = shared.machine.owner()
            {
                return Ok(Grant::Owned(owner.clone()));
            }
            let id = shared.next_waiter;
            shared.next_waiter += 1;
            shared.waiters.push(Waiter { id, wish, reply });
            self.process(shared, Event::Wanted);
            Waiting { lock: self, id }
        };
        granted
            .await
            .unwrap_or_else(|_| Err(rados::Error::ShutDown.into()))
    }

    /// Gives up the lock once the writes submitted under it are done. Writers who come later take it
    /// again. Done at once if it is not held.
    ///
    /// Cancel-safe: it goes on without anybody waiting for it.
    pub(crate) async fn release(&self) {
        let (ended, end) = oneshot::channel();
        {
            let mut shared = self.lock();
            shared.releases.push(ended);
            self.process(shared, Event::ReleaseWanted);
        }
        // The sender only goes together with the lock.
        let _ = end.await;
    }

    /// Takes in what happened.
    pub(super) fn handle(&self, event: Event) -> Option<Answer> {
        self.process(self.lock(), event)
    }

    fn process(&self, mut shared: MutexGuard<'_, Shared>, event: Event) -> Option<Answer> {
        let mut answer = None;
        // What nobody took takes the lock when it is dropped.
        let mut untaken = Vec::new();
        let mut events = VecDeque::from([event]);
        if !shared.is_watched() {
            // The one who keeps the watch has not had the time to say so.
            events.push_front(Event::WatchLost);
        }
        while let Some(event) = events.pop_front() {
            tracing::trace!(image = self.image, ?event, "lock");
            for action in shared.machine.handle(event) {
                match action {
                    Action::Run(job) => {
                        shared.job = Some(job);
                        self.work.notify_one();
                    }
                    Action::Admit => {
                        let pins = self.admit(&mut shared, &mut untaken);
                        events.push_back(Event::Admitted { pins });
                    }
                    Action::TellRefused(owner) => {
                        let error = Error::LockRefused {
                            image: self.image.clone(),
                            owner: owner.to_string(),
                        };
                        shared.tell_all(|| Err(error.clone()));
                    }
                    Action::TellFailed(error) => shared.tell_all(|| Err(error.clone())),
                    Action::TellUnneeded => shared.tell_all(|| Ok(Grant::Unneeded)),
                    Action::TellOwned(owner) => {
                        shared.tell_owned(&owner);
                        if shared.waiters.is_empty() {
                            events.push_back(Event::Unwanted);
                        }
                    }
                    Action::TellReleased => {
                        for ended in shared.releases.drain(..) {
                            let _ = ended.send(());
                        }
                    }
                    Action::Accept => answer = Some(Answer::Accepted),
                    Action::Refuse => answer = Some(Answer::Refused),
                }
            }
        }
        drop(shared);
        drop(untaken);
        answer
    }

    /// Lets in all who wait, and gives the number of those that do maintenance.
    fn admit(&self, shared: &mut Shared, untaken: &mut Vec<Result<Grant>>) -> usize {
        let mut pins = 0;
        for waiter in shared.waiters.drain(..) {
            let grant = match (waiter.wish, self.this.upgrade()) {
                (Wish::Maintain, Some(lock)) => {
                    pins += 1;
                    Grant::Maintain(Pin { lock })
                }
                _ => Grant::Submit(self.writes.submit()),
            };
            untaken.extend(waiter.reply.send(Ok(grant)).err());
        }
        pins
    }

    /// What it is waited for, or that it is held, as people want to know it.
    pub(crate) fn status(&self) -> LockStatus {
        match self.lock().machine.state() {
            State::Unlocked | State::Forgetting => LockStatus::Unlocked,
            State::Acquiring | State::Opening => LockStatus::Acquiring,
            State::Requesting(owner) => LockStatus::Waiting(Some(owner.clone())),
            State::Waiting(owner) => LockStatus::Waiting(owner.clone()),
            State::Locked => LockStatus::Owned,
            State::Suspended | State::Verifying => LockStatus::Suspended,
            State::Releasing => LockStatus::Releasing,
            State::Blocklisted(Error::Rados(rados::Error::Blocklisted { .. })) => {
                LockStatus::Blocklisted
            }
            State::Blocklisted(_) => LockStatus::Unlocked,
        }
    }

    /// The living client that was last found to have the lock, while it is waited for.
    pub(crate) fn owner(&self) -> Option<Locker> {
        self.lock().machine.owner().cloned()
    }

    /// As whom this client watches the header.
    pub(crate) fn client(&self) -> Option<ClientId> {
        self.lock().client
    }

    /// This client watches the header from now on, and others see that as long as it is valid.
    pub(crate) fn set_client(&self, client: ClientId, validity: WatchValidity) {
        let mut shared = self.lock();
        shared.client = Some(client);
        shared.validity = Some(validity);
    }

    /// This client does not watch any more. A lock that it takes all the same while the watch ends is
    /// taken for lost.
    pub(crate) fn forget_client(&self) {
        let mut shared = self.lock();
        shared.client = None;
        shared.validity = None;
    }

    /// The next job. For the driver alone.
    ///
    /// Cancel-safe.
    pub(super) async fn next_job(&self) -> Job {
        loop {
            if let Some(job) = self.lock().job.take() {
                return job;
            }
            self.work.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether writers may be let in.
    fn is_open(&self) -> bool {
        self.machine.is_open() && self.is_watched()
    }

    /// Whether nobody can take this client for dead, if it watches at all.
    fn is_watched(&self) -> bool {
        self.validity.as_ref().is_none_or(WatchValidity::is_valid)
    }

    fn tell_all(&mut self, grant: impl Fn() -> Result<Grant>) {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.reply.send(grant());
        }
    }

    /// Tells those who would ask the owner to do something in their place.
    fn tell_owned(&mut self, owner: &Locker) {
        let (told, waiting) = self
            .waiters
            .drain(..)
            .partition(|waiter| waiter.wish == Wish::Maintain);
        self.waiters = waiting;
        let told: Vec<Waiter> = told;
        for waiter in told {
            let _ = waiter.reply.send(Ok(Grant::Owned(owner.clone())));
        }
    }
}

/// Takes a waiter out of the list when it gives up.
struct Waiting<'a> {
    lock: &'a ExclusiveLock,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut shared = self.lock.lock();
        let before = shared.waiters.len();
        shared.waiters.retain(|waiter| waiter.id != self.id);
        if shared.waiters.len() < before && shared.waiters.is_empty() {
            self.lock.process(shared, Event::Unwanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lock() -> (Arc<ExclusiveLock>, InFlight) {
        let writes = InFlight::default();
        let lock = ExclusiveLock::new("pool/image", LockPolicy::Cooperative, writes.clone());
        (lock, writes)
    }

    /// What a driver is told to do now, as text.
    fn job(lock: &ExclusiveLock) -> String {
        let job = lock.next_job().now_or_never();
        job.map_or_else(String::new, |job| format!("{job:?}"))
    }

    /// Takes the lock, as a driver would.
    fn take(lock: &ExclusiveLock) {
        assert_eq!(job(lock), "Acquire");
        lock.handle(Event::Taken);
        assert_eq!(job(lock), "Open");
        lock.handle(Event::Opened);
    }

    fn owner() -> Locker {
        Locker {
            name: denc::EntityName::client(denc::GlobalId(7)),
            cookie: "auto 1".to_string(),
            addr: denc::EntityAddr::default(),
            description: String::new(),
        }
    }

    #[test]
    fn whoever_waits_has_a_turn_before_the_lock_goes() {
        let (lock, writes) = lock();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(lock.wait(Wish::Submit))).collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        assert_eq!(job(&lock), "Acquire");
        lock.handle(Event::Taken);
        assert_eq!(job(&lock), "Open");
        // Somebody asks before anybody was let in.
        assert_eq!(lock.handle(Event::Requested), Some(Answer::Accepted));
        lock.handle(Event::Opened);
        assert_eq!(job(&lock), "Release { opened: true }");
        assert!(lock.try_submit().is_none());
        let mut flush = Box::pin(writes.flush());
        for wait in &mut waiting {
            assert!((&mut flush).now_or_never().is_none());
            let granted = wait.now_or_never().unwrap();
            assert!(matches!(granted, Ok(Grant::Submit(_))), "{granted:?}");
        }
        assert!((&mut flush).now_or_never().is_some());
    }

    #[test]
    fn who_gives_up_waiting_is_forgotten() {
        let (lock, writes) = lock();
        let mut patient = Box::pin(lock.wait(Wish::Submit));
        let mut impatient = Box::pin(lock.wait(Wish::Submit));
        assert!((&mut patient).now_or_never().is_none());
        assert!((&mut impatient).now_or_never().is_none());
        assert_eq!(job(&lock), "Acquire");
        lock.handle(Event::Owned(owner()));
        assert!(job(&lock).starts_with("Request"));
        drop(impatient);
        assert_eq!(job(&lock), "");
        drop(patient);
        assert_eq!(job(&lock), "Rest");
        assert_eq!(lock.status(), LockStatus::Unlocked);

        // Let in, but not there any more to notice.
        let mut late = Box::pin(lock.wait(Wish::Submit));
        assert!((&mut late).now_or_never().is_none());
        take(&lock);
        drop(late);
        assert!(writes.flush().now_or_never().is_some());
        assert_eq!(lock.status(), LockStatus::Owned);
    }

    #[test]
    fn maintenance_keeps_the_lock_until_it_is_over() {
        let (lock, _) = lock();
        let mut first = Box::pin(lock.wait(Wish::Maintain));
        let mut second = Box::pin(lock.wait(Wish::Maintain));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        take(&lock);
        let first = first.now_or_never().unwrap();
        assert!(matches!(first, Ok(Grant::Maintain(_))), "{first:?}");
        let mut release = Box::pin(lock.release());
        assert!((&mut release).now_or_never().is_none());
        drop(first);
        assert_eq!(job(&lock), "");
        // Nobody is there to take it.
        drop(second);
        assert_eq!(job(&lock), "Release { opened: true }");
        lock.handle(Event::Released);
        assert!((&mut release).now_or_never().is_some());
    }

    #[test]
    fn maintenance_is_left_to_a_living_owner() {
        let (lock, _) = lock();
        let mut maintain = Box::pin(lock.wait(Wish::Maintain));
        let mut submit = Box::pin(lock.wait(Wish::Submit));
        assert!((&mut maintain).now_or_never().is_none());
        assert!((&mut submit).now_or_never().is_none());
        assert_eq!(job(&lock), "Acquire");
        lock.handle(Event::Owned(owner()));
        let owned = maintain.now_or_never().unwrap();
        assert!(matches!(owned, Ok(Grant::Owned(_))), "{owned:?}");
        assert!((&mut submit).now_or_never().is_none());
        // As long as an owner is known, nobody has to look.
        let owned = lock.wait(Wish::Maintain).now_or_never();
        assert!(matches!(owned, Some(Ok(Grant::Owned(_)))), "{owned:?}");
        drop(submit);

        // Nobody else waits: the owner is not asked for the lock.
        let mut maintain = Box::pin(lock.wait(Wish::Maintain));
        assert!((&mut maintain).now_or_never().is_none());
        assert_eq!(job(&lock), "Acquire");
        lock.handle(Event::Owned(owner()));
        assert!(maintain.now_or_never().is_some());
        assert_eq!(job(&lock), "Rest");
    }

    #[test]
    fn those_who_wait_are_told_why_it_fails() {
        let (lock, _) = lock();
        let refused = {
            let mut wait = Box::pin(lock.wait(Wish::Submit));
            assert!((&mut wait).now_or_never().is_none());
            lock.handle(Event::Owned(owner()));
            lock.handle(Event::Refused);
            wait.now_or_never().unwrap().unwrap_err()
        };
        assert!(matches!(&refused, Error::LockRefused { owner, .. } if owner.contains("client.7")));
        let fenced = || Error::from(rados::Error::ShutDown);
        lock.handle(Event::Blocklisted(fenced()));
        let error = lock.wait(Wish::Submit).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.errno(), fenced().errno());
        assert!(lock.release().now_or_never().is_some());
    }

    #[test]
    fn only_a_lock_that_is_held_can_be_kept() {
        let (lock, _) = lock();
        assert!(lock.try_pin().is_none());
        let mut wait = Box::pin(lock.wait(Wish::Submit));
        assert!((&mut wait).now_or_never().is_none());
        take(&lock);
        drop(wait);
        let pin = lock.try_pin().unwrap();
        assert_eq!(lock.handle(Event::Requested), Some(Answer::Accepted));
        assert_eq!(job(&lock), "");
        drop(pin);
        assert_eq!(job(&lock), "Release { opened: true }");
        assert!(lock.try_pin().is_none());
    }
}
