//! Which step follows which in the life of an image's lock: events in, actions out, and no I/O
//! (ceph: src/librbd/ManagedLock.h, the diagram of its states).
//!
//! ```text
//!             wanted            taken           opened
//!   Unlocked --------> Acquiring -----> Opening --------> Locked
//!      ^                |    ^                           |   ^  |
//!      |      owned by a|    |it may be free       watch |   |  | asked for by others,
//!      |   living client|    |again                 lost |   |  | or by the user
//!      |                v    |                           v   |  v
//!      |          Requesting -> Waiting       Suspended -> Verifying   Releasing
//!      |                                                      |not ours    |
//!      +------------------------------------------------------+------------+
//! ```
//!
//! What is done in a state is one [`Job`]; it is told to start when the state is entered, and its end
//! is an event. Only a pause and the question to an owner are given up when the state is left.

use std::time::Duration;

use smallvec::SmallVec;

use super::LockPolicy;
use crate::{Error, Locker};

/// Where the lock of an image is, as far as this client is concerned.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Not held, and nothing is done about it.
    Unlocked,
    /// Being taken.
    Acquiring,
    /// Its owner, who is alive, is being asked to give it up.
    Requesting(Locker),
    /// It is waited until its owner gives it up or, where none is named, until somebody who asked for
    /// it has taken it.
    Waiting(Option<Locker>),
    /// Held; what must be done before the first write is being done.
    Opening,
    /// Held, and writers are let in. So they are in no other state.
    Locked,
    /// Held when last heard of. The watch is lost, so that others may think that this client is dead.
    Suspended,
    /// The watch is back; whether the lock is still held is being looked up.
    Verifying,
    /// Not held any more, contrary to what was believed; what goes with it is being put away.
    Forgetting,
    /// Being given up.
    Releasing,
    /// The cluster serves this client no more.
    Blocklisted(Error),
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Somebody waits for the lock.
    Wanted,
    /// Nobody waits any more.
    Unwanted,
    /// The user wants it released.
    ReleaseWanted,
    /// Writers were let in, and so much maintenance that must not lose the lock.
    Admitted { pins: usize },
    /// One piece of maintenance is over.
    Unpinned,
    /// Another client asks for the lock.
    Requested,
    /// Another client says that it has taken the lock.
    PeerAcquired,
    /// Another client says that it has given up the lock.
    PeerReleased,
    /// Nothing is known of what others do, and perhaps they do not know that this client is alive.
    WatchLost,
    /// The watch is registered again, or there was more to hear than could be listened to.
    WatchRegained,
    /// The cluster serves this client no more.
    Blocklisted(Error),

    /// The pause is over.
    PauseOver,
    /// [`Job::Acquire`]: the lock is held.
    Taken,
    /// [`Job::Acquire`]: a living client has it.
    Owned(Locker),
    /// [`Job::Request`]: the owner is going to give it up.
    Accepted,
    /// [`Job::Request`]: the owner is not going to give it up.
    Refused,
    /// [`Job::Request`]: nobody says that the lock is theirs.
    Silent,
    /// [`Job::Request`]: somebody did not answer, perhaps the owner.
    TimedOut,
    /// [`Job::Open`]: writers may be let in.
    Opened,
    /// [`Job::Open`]: the image has no exclusive lock any more.
    Unneeded,
    /// [`Job::Verify`]: nobody has touched the lock.
    Ours,
    /// [`Job::Verify`]: somebody has broken it.
    NotOurs,
    /// The job of an attempt to have the lock failed.
    Failed(Error),
    /// [`Job::Forget`] has ended.
    Forgotten,
    /// [`Job::Release`] has ended, one way or another.
    Released,
}

/// What is to be done now.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Start this, in place of what is being done.
    Run(Job),
    /// Let in everybody who waits, and say so with [`Event::Admitted`].
    Admit,
    /// Tell those who wait that the owner does not give up the lock.
    TellRefused(Locker),
    /// Tell those who wait that it cannot be had.
    TellFailed(Error),
    /// Tell those who wait that there is no such lock any more.
    TellUnneeded,
    /// Tell those who would not wait for the owner who that is; [`Event::Unwanted`] if nobody is left.
    TellOwned(Locker),
    /// Tell those who wait for the release that it is over.
    TellReleased,
    /// Answer the request: the lock will be given up.
    Accept,
    /// Answer the request: it will not.
    Refuse,
}

/// Something that takes time.
#[derive(Clone, Debug)]
pub(super) enum Job {
    /// Take the lock, breaking that of a dead client.
    Acquire,
    /// Ask the owner for it.
    Request(Locker),
    /// Do nothing for a while.
    Pause(Duration),
    /// Do nothing.
    Rest,
    /// Do what must be done between taking the lock and the first write.
    Open,
    /// See whether the lock is still held.
    Verify,
    /// Wait for writes in flight and put away what goes with the lock.
    Forget,
    /// Wait for writes in flight, undo [`Job::Open`] if that was done, and give up the lock.
    Release { opened: bool },
}

pub(super) type Actions = SmallVec<[Action; 3]>;

/// What the watch on the header is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Others see this client.
    Seen,
    /// Perhaps they do not.
    Lost,
    /// They do again, but in between they may not have.
    Regained,
}

/// The state, and what must be remembered until the next state.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    policy: LockPolicy,
    state: State,
    watch: Watch,
    /// Somebody waits for the lock.
    wanted: bool,
    /// Another client has been promised the lock.
    requested: bool,
    /// The user wants it released.
    release_wanted: bool,
    /// Maintenance under way that must not lose the lock.
    pins: usize,
    /// While the lock was being taken, others said that it changed hands.
    changed: bool,
}

impl Machine {
    pub(super) const fn new(policy: LockPolicy) -> Self {
        Self {
            policy,
            state: State::Unlocked,
            watch: Watch::Seen,
            wanted: false,
            requested: false,
            release_wanted: false,
            pins: 0,
            changed: false,
        }
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Whether writers may be let in.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Locked)
    }

    /// The living client that has the lock, if one is known.
    pub(super) const fn owner(&self) -> Option<&Locker> {
        match &self.state {
            State::Requesting(owner) | State::Waiting(Some(owner)) => Some(owner),
            _ => None,
        }
    }

    /// Takes in what happened. What does not concern a state changes nothing.
    pub(super) fn handle(&mut self, event: Event) -> Actions {
        let mut actions = Actions::new();
        match event {
            Event::Wanted => self.handle_wanted(&mut actions),
            Event::Unwanted => {
                self.wanted = false;
                if matches!(self.state, State::Requesting(_) | State::Waiting(_)) {
                    self.state = State::Unlocked;
                    actions.push(Action::Run(Job::Rest));
                }
            }
            Event::ReleaseWanted => self.handle_release_wanted(&mut actions),
            Event::Admitted { pins } => {
                self.pins += pins;
                self.give_up_if_asked(&mut actions);
            }
            Event::Unpinned => {
                self.pins = self.pins.saturating_sub(1);
                self.give_up_if_asked(&mut actions);
            }
            Event::Requested => self.handle_requested(&mut actions),
            Event::PeerAcquired => self.handle_peer(true, &mut actions),
            Event::PeerReleased => self.handle_peer(false, &mut actions),
            Event::WatchLost => {
                self.watch = Watch::Lost;
                if self.is_open() {
                    self.state = State::Suspended;
                }
            }
            Event::WatchRegained => self.handle_watch_regained(&mut actions),
            Event::Blocklisted(error) => self.handle_blocklisted(error, &mut actions),
            outcome => self.handle_outcome(outcome, &mut actions),
        }
        actions
    }

    fn handle_wanted(&mut self, actions: &mut Actions) {
        self.wanted = true;
        match &self.state {
            State::Unlocked => self.acquire(actions),
            State::Locked => self.settle(actions),
            State::Blocklisted(error) => {
                self.wanted = false;
                actions.push(Action::TellFailed(error.clone()));
            }
            _ => {}
        }
    }

    fn handle_release_wanted(&mut self, actions: &mut Actions) {
        match self.state {
            State::Unlocked | State::Requesting(_) | State::Waiting(_) | State::Blocklisted(_) => {
                actions.push(Action::TellReleased)
            }
            _ => {
                self.release_wanted = true;
                self.give_up_if_asked(actions);
            }
        }
    }

    /// A request that is not answered, because the lock is not held, is made again by whoever makes
    /// it.
    fn handle_requested(&mut self, actions: &mut Actions) {
        match self.state {
            State::Releasing => actions.push(Action::Accept),
            State::Opening | State::Locked | State::Suspended | State::Verifying => {
                match self.policy {
                    LockPolicy::Exclusive => actions.push(Action::Refuse),
                    LockPolicy::Cooperative => {
                        self.requested = true;
                        actions.push(Action::Accept);
                        self.give_up_if_asked(actions);
                    }
                }
            }
            _ => {}
        }
    }

    fn handle_peer(&mut self, has_taken_it: bool, actions: &mut Actions) {
        match self.state {
            State::Acquiring => self.changed = true,
            State::Requesting(_) | State::Waiting(_) => self.acquire(actions),
            // Two clients cannot both be right. An old announcement may have been slow, though.
            State::Opening | State::Suspended | State::Verifying | State::Locked
                if has_taken_it =>
            {
                if self.watch == Watch::Seen {
                    self.watch = Watch::Regained;
                }
                if self.is_open() {
                    self.settle(actions);
                }
            }
            _ => {}
        }
    }

    fn handle_watch_regained(&mut self, actions: &mut Actions) {
        self.watch = Watch::Regained;
        match self.state {
            State::Unlocked if self.wanted => self.acquire(actions),
            State::Acquiring => self.changed = true,
            // Others may have said that the lock is free.
            State::Requesting(_) | State::Waiting(_) => self.acquire(actions),
            State::Locked | State::Suspended => self.settle(actions),
            _ => {}
        }
    }

    fn handle_blocklisted(&mut self, error: Error, actions: &mut Actions) {
        if matches!(self.state, State::Blocklisted(_)) {
            return;
        }
        self.state = State::Blocklisted(error.clone());
        self.wanted = false;
        actions.push(Action::TellFailed(error));
        actions.push(Action::TellReleased);
    }

    /// Takes in how a job ended, if it is that of the state.
    fn handle_outcome(&mut self, outcome: Event, actions: &mut Actions) {
        match (&self.state, outcome) {
            (State::Waiting(_), Event::PauseOver) => self.acquire(actions),
            (State::Suspended, Event::PauseOver) if self.watch == Watch::Regained => {
                self.settle(actions);
            }
            (State::Acquiring, Event::Taken) => {
                self.state = State::Opening;
                actions.push(Action::Run(Job::Open));
            }
            (State::Acquiring, Event::Owned(_)) if !self.wanted => {
                self.end_release(actions);
                self.state = State::Unlocked;
            }
            (State::Acquiring, Event::Owned(_)) if self.changed => self.acquire(actions),
            (State::Acquiring, Event::Owned(owner)) => {
                self.end_release(actions);
                actions.push(Action::TellOwned(owner.clone()));
                actions.push(Action::Run(Job::Request(owner.clone())));
                self.state = State::Requesting(owner);
            }
            (State::Acquiring, Event::Failed(error)) => {
                self.fail(error, actions);
                self.end_release(actions);
                self.state = State::Unlocked;
            }
            (State::Requesting(owner), Event::Accepted) => {
                self.pause(Some(owner.clone()), ACCEPTED_RETRY, actions);
            }
            (State::Requesting(owner), Event::Silent) => {
                self.pause(Some(owner.clone()), RETRY, actions);
            }
            (State::Requesting(_), Event::TimedOut) => self.acquire(actions),
            (State::Requesting(owner), Event::Refused) => {
                actions.push(Action::TellRefused(owner.clone()));
                self.wanted = false;
                self.state = State::Unlocked;
            }
            (State::Opening, Event::Opened) => self.settle(actions),
            (State::Opening, Event::Unneeded) => {
                actions.push(Action::TellUnneeded);
                self.wanted = false;
                self.release(false, actions);
            }
            (State::Opening, Event::Failed(error)) => {
                self.fail(error, actions);
                self.release(false, actions);
            }
            (State::Verifying, Event::Ours) => self.settle(actions),
            (State::Verifying, Event::NotOurs) => {
                self.state = State::Forgetting;
                actions.push(Action::Run(Job::Forget));
            }
            (State::Verifying, Event::Failed(error)) => {
                self.fail(error, actions);
                self.state = State::Suspended;
                if self.watch == Watch::Seen {
                    self.watch = Watch::Regained;
                }
                actions.push(Action::Run(Job::Pause(RETRY)));
                self.give_up_if_asked(actions);
            }
            (State::Forgetting, Event::Forgotten) => {
                self.requested = false;
                self.end_release(actions);
                self.rest(actions);
            }
            (State::Releasing, Event::Released) => {
                let promised = std::mem::take(&mut self.requested);
                self.end_release(actions);
                if promised && self.wanted {
                    self.pause(None, RETRY, actions);
                } else {
                    self.rest(actions);
                }
            }
            _ => {}
        }
    }

    /// The lock is held as far as is known: goes on with it, unless it must be looked up first.
    fn settle(&mut self, actions: &mut Actions) {
        match self.watch {
            Watch::Lost => {
                self.state = State::Suspended;
                self.give_up_if_asked(actions);
            }
            Watch::Regained => {
                self.watch = Watch::Seen;
                self.state = State::Verifying;
                actions.push(Action::Run(Job::Verify));
            }
            Watch::Seen => {
                self.state = State::Locked;
                self.wanted = false;
                actions.push(Action::Admit);
            }
        }
    }

    /// Whoever has been let in before may finish; they all may also begin before the lock is given
    /// up, so that every turn brings somebody forward.
    fn give_up_if_asked(&mut self, actions: &mut Actions) {
        let held = matches!(self.state, State::Locked | State::Suspended);
        if held && self.pins == 0 && (self.requested || self.release_wanted) {
            self.release(true, actions);
        }
    }

    fn release(&mut self, opened: bool, actions: &mut Actions) {
        self.state = State::Releasing;
        actions.push(Action::Run(Job::Release { opened }));
    }

    /// Takes the lock, which is not held, for those who wait. Without a watch whoever comes next would
    /// take this client for dead: then only when the watch is back.
    fn acquire(&mut self, actions: &mut Actions) {
        if self.watch == Watch::Lost {
            self.state = State::Unlocked;
            return;
        }
        self.watch = Watch::Seen;
        self.changed = false;
        self.state = State::Acquiring;
        actions.push(Action::Run(Job::Acquire));
    }

    /// The lock is not held.
    fn rest(&mut self, actions: &mut Actions) {
        if self.wanted {
            self.acquire(actions);
        } else {
            self.state = State::Unlocked;
        }
    }

    fn pause(&mut self, owner: Option<Locker>, duration: Duration, actions: &mut Actions) {
        self.state = State::Waiting(owner);
        actions.push(Action::Run(Job::Pause(duration)));
    }

    fn fail(&mut self, error: Error, actions: &mut Actions) {
        self.wanted = false;
        actions.push(Action::TellFailed(error));
    }

    fn end_release(&mut self, actions: &mut Actions) {
        if std::mem::take(&mut self.release_wanted) {
            actions.push(Action::TellReleased);
        }
    }
}

/// After how long it is tried again where nothing happened, and how long somebody who asked for the
/// lock has to take it (librbd: `RETRY_DELAY_SECONDS`, rbd.c: `RBD_RETRY_DELAY`).
const RETRY: Duration = Duration::from_secs(1);
/// After how long an owner who was going to give up the lock is asked again (librbd:
/// `client_notify_timeout`, rbd.c: twice `RBD_NOTIFY_TIMEOUT`).
const ACCEPTED_RETRY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
