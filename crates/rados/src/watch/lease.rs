//! When to do what so that a watch stays registered, and whether it can still be relied on. Knows
//! nothing of how it is done.
//!
//! ```text
//!                  confirmed                forgotten, or the OSD knows of no connection
//!   registered: Ping ---------> Ping          -----------------------------> Reconnect
//!   registered: Reconnect, confirmed          -----------------------------> Ping
//!   registered: the OSD has ended it, or has not confirmed it for too long --> lost
//!   lost:       Watch until that is confirmed -----------------------------> Ping
//! ```

use std::time::Duration;

use tokio::time::Instant;

use super::validity::WatchValidity;
use crate::op::WatchStep;
use crate::{Errno, Error};

/// The longest time between two signs of life (ceph: `objecter_tick_interval`).
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// One watch, as far as time is concerned.
#[derive(Debug)]
pub(super) struct Lease {
    /// How long the OSD keeps a watch of which it does not hear.
    timeout: Duration,
    /// Until when the OSD keeps it for certain: so long after the last thing was sent that has been
    /// confirmed.
    valid_until: Instant,
    /// The same for others, who may notice its end first. Has ended if the watch is lost.
    validity: WatchValidity,
    /// Counts registrations.
    generation: u32,
    /// What is done next, and when.
    next: WatchStep,
    due: Instant,
    /// What has been sent and not been answered, and when. One thing at a time: a second one would
    /// only wait behind the first.
    in_flight: Option<(WatchStep, Instant)>,
    /// The OSD may have forgotten what is in flight.
    is_stale: bool,
    is_lost: bool,
}

/// What the owner of the watch has to know.
#[derive(Debug)]
pub(super) enum Notice {
    Lost(Error),
    /// Lost, because nobody has confirmed the watch for as long as it may be silent.
    Expired,
    /// It has been registered again.
    Missed,
}

impl Lease {
    /// A watch whose registration was sent at `sent` and has been confirmed.
    pub(super) fn new(timeout: Duration, sent: Instant) -> Self {
        let mut lease = Self {
            timeout,
            valid_until: sent + timeout,
            validity: WatchValidity::new(sent, sent + timeout),
            generation: 0,
            next: WatchStep::Ping,
            due: sent,
            in_flight: None,
            is_stale: false,
            is_lost: false,
        };
        lease.due = sent + lease.interval();
        lease
    }

    /// What has to be sent now, with its generation. Whoever takes it tells how it
    /// [`ended`](Self::ended).
    pub(super) fn begin(&mut self, now: Instant) -> Option<(WatchStep, u32)> {
        if self.in_flight.is_some() || now < self.due {
            return None;
        }
        if self.next != WatchStep::Ping {
            self.generation = self.generation.wrapping_add(1);
            self.is_stale = false;
        }
        self.in_flight = Some((self.next, now));
        Some((self.next, self.generation))
    }

    /// When to call [`begin`](Self::begin) and [`expire`](Self::expire), unless something else happens
    /// before.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let due = self.in_flight.is_none().then_some(self.due);
        let expires = (!self.is_lost).then_some(self.valid_until);
        due.into_iter().chain(expires).min()
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Tells others whether the watch can be relied on.
    pub(super) const fn validity(&self) -> &WatchValidity {
        &self.validity
    }

    /// What was in flight has been answered, or will not be.
    pub(super) fn ended(&mut self, now: Instant, result: Result<(), Error>) -> Option<Notice> {
        let (step, sent) = self.in_flight.take()?;
        // What is confirmed too late is not confirmed.
        if let Some(notice) = self.expire(now) {
            return Some(notice);
        }
        match result {
            Ok(()) => self.confirmed(now, step, sent),
            Err(error) => self.failed(now, step, error),
        }
    }

    fn confirmed(&mut self, now: Instant, step: WatchStep, sent: Instant) -> Option<Notice> {
        let valid_until = self.valid_until.max(sent + self.timeout);
        if !self.is_lost && !self.validity.extend(valid_until) {
            // Somebody else has noticed the end in the meantime.
            return self.expire(now);
        }
        self.valid_until = valid_until;
        if self.is_stale || self.valid_until <= now {
            self.register_again(now);
            return None;
        }
        if std::mem::take(&mut self.is_lost) {
            self.validity.begin(valid_until);
        }
        self.plan(WatchStep::Ping, now.max(sent + self.interval()));
        (step != WatchStep::Ping).then_some(Notice::Missed)
    }

    fn failed(&mut self, now: Instant, step: WatchStep, error: Error) -> Option<Notice> {
        match &error {
            // Nobody has said anything about the watch.
            Error::OperationTimedOut { .. } => {
                self.register_again(now + self.interval());
                None
            }
            // It exists, but not on this connection.
            Error::Operation { errno, .. }
                if *errno == Errno::ETIMEDOUT && step == WatchStep::Ping =>
            {
                self.register_again(now);
                None
            }
            // It does not exist. If it cannot be made either, there is no hurry to try again.
            _ if step == WatchStep::Watch => {
                self.plan(WatchStep::Watch, now + self.interval());
                self.lose(error)
            }
            _ => {
                self.plan(WatchStep::Watch, now);
                self.lose(error)
            }
        }
    }

    /// The OSD may have forgotten the connection of the watch.
    pub(super) fn forgotten(&mut self, now: Instant) {
        self.give_up_ping();
        if self.in_flight.is_some() {
            self.is_stale = true;
        } else {
            self.register_again(now);
        }
    }

    /// The OSD has ended the watch.
    pub(super) fn disconnected(&mut self, now: Instant, error: Error) -> Option<Notice> {
        self.give_up_ping();
        self.is_stale = true;
        self.plan(WatchStep::Watch, now);
        self.lose(error)
    }

    /// Sees whether the watch has not been confirmed for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Notice> {
        if self.is_lost || self.validity.is_valid_at(now) {
            return None;
        }
        self.give_up_ping();
        self.plan(WatchStep::Watch, now);
        self.is_lost = true;
        Some(Notice::Expired)
    }

    /// What a ping has to say does not matter any more, and may never be said: what comes next does not
    /// wait for it.
    fn give_up_ping(&mut self) {
        self.in_flight = self.in_flight.filter(|(step, _)| *step != WatchStep::Ping);
    }

    fn lose(&mut self, error: Error) -> Option<Notice> {
        self.validity.end();
        let was_lost = std::mem::replace(&mut self.is_lost, true);
        (!was_lost).then_some(Notice::Lost(error))
    }

    fn register_again(&mut self, at: Instant) {
        let step = if self.is_lost {
            WatchStep::Watch
        } else {
            WatchStep::Reconnect
        };
        self.plan(step, at);
    }

    const fn plan(&mut self, step: WatchStep, at: Instant) {
        self.next = step;
        self.due = at;
    }

    fn interval(&self) -> Duration {
        PING_INTERVAL.min(self.timeout / 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A lease and the seconds since its registration.
    struct Bench {
        lease: Lease,
        start: Instant,
        second: u64,
    }

    impl Bench {
        fn new() -> Self {
            let start = Instant::now();
            Self {
                lease: Lease::new(TIMEOUT, start),
                start,
                second: 0,
            }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.second)
        }

        fn at(&mut self, second: u64) -> &mut Self {
            assert!(second >= self.second);
            self.second = second;
            self
        }

        fn begin(&mut self) -> Option<(WatchStep, u32)> {
            self.lease.begin(self.now())
        }

        fn begins(&mut self, step: WatchStep, generation: u32) -> &mut Self {
            assert_eq!(self.begin(), Some((step, generation)), "{}", self.second);
            assert_eq!(self.begin(), None);
            self
        }

        /// Gives L for lost, E for expired, M for missed, - for nothing.
        fn ended(&mut self, result: Result<(), Errno>) -> char {
            let result = result.map_err(operation_error);
            letter(self.lease.ended(self.now(), result))
        }

        fn wakes_at(&self) -> u64 {
            let at = self.lease.wakes_at().unwrap();
            (at - self.start).as_secs()
        }
    }

    fn operation_error(errno: Errno) -> Error {
        Error::Operation {
            pool: "p".to_string(),
            object: "o".to_string(),
            errno,
        }
    }

    fn letter(notice: Option<Notice>) -> char {
        match notice {
            Some(Notice::Lost(_)) => 'L',
            Some(Notice::Expired) => 'E',
            Some(Notice::Missed) => 'M',
            None => '-',
        }
    }

    use WatchStep::{Ping, Reconnect, Watch};

    #[test]
    fn a_quiet_watch_is_pinged_every_five_seconds() {
        let mut bench = Bench::new();
        for second in [5, 10, 15] {
            assert_eq!(bench.wakes_at(), second);
            assert_eq!(bench.begin(), None);
            assert_eq!(bench.at(second).begins(Ping, 0).ended(Ok(())), '-');
        }
        let mut short = Lease::new(Duration::from_secs(6), bench.start);
        assert!(short.begin(bench.start + Duration::from_secs(2)).is_some());
    }

    #[test]
    fn silence_counts_from_the_sending_of_what_was_confirmed() {
        let mut bench = Bench::new();
        bench.at(5).begins(Ping, 0);
        assert_eq!(bench.at(9).ended(Ok(())), '-');
        bench.at(10).begins(Ping, 0);
        // Until 30 seconds after the second 5.
        assert_eq!(bench.wakes_at(), 35);
        let now = bench.at(34).now();
        assert_eq!(letter(bench.lease.expire(now)), '-');
        assert!(!bench.lease.is_lost());
        let now = bench.at(35).now();
        assert_eq!(letter(bench.lease.expire(now)), 'E');
        assert!(bench.lease.is_lost());
        assert_eq!(letter(bench.lease.expire(now)), '-', "told once");
        // The ping that was never answered is not waited for.
        bench.at(60).begins(Watch, 1);
        assert_eq!(bench.at(61).ended(Ok(())), 'M');
        assert!(!bench.lease.is_lost());
        assert_eq!(bench.at(65).begins(Ping, 1).wakes_at(), 90);
    }

    #[test]
    fn what_is_confirmed_too_late_is_lost_first() {
        for step in [Ping, Reconnect] {
            let mut bench = Bench::new();
            if step == Reconnect {
                bench.lease.forgotten(bench.now());
            }
            bench.at(5).begin().unwrap();
            // As after the process was stopped.
            assert_eq!(bench.at(40).ended(Ok(())), 'E');
            bench.begin().unwrap();
            assert_eq!(bench.ended(Ok(())), 'M');
        }
    }

    #[test]
    fn what_somebody_else_found_to_be_lost_is_lost() {
        for step in [Ping, Reconnect] {
            let mut bench = Bench::new();
            let validity = bench.lease.validity().clone();
            if step == Reconnect {
                bench.lease.forgotten(bench.now());
            }
            bench.at(5).begin().unwrap();
            let (before, after) = (bench.at(29).now(), bench.at(30).now());
            assert!(!validity.is_valid_at(after));
            // What is confirmed then, by a clock that has been looked at before, comes too late.
            assert_eq!(letter(bench.lease.ended(before, Ok(()))), 'E');
            assert!(bench.lease.is_lost() && !validity.is_valid_at(before));
            bench.begin().unwrap();
            assert_eq!(bench.ended(Ok(())), 'M');
            assert!(validity.is_valid_at(after));
        }
    }

    #[test]
    fn others_are_told_of_a_loss_at_once() {
        let mut bench = Bench::new();
        let validity = bench.lease.validity().clone();
        let now = bench.at(1).now();
        bench
            .lease
            .disconnected(now, operation_error(Errno::ENOTCONN));
        assert!(!validity.is_valid_at(now));
        bench.begins(Watch, 1);
        // Lost again before that is confirmed.
        let now = bench.at(2).now();
        bench
            .lease
            .disconnected(now, operation_error(Errno::ENOTCONN));
        assert_eq!(bench.ended(Ok(())), '-');
        assert!(!validity.is_valid_at(now));
        bench.begins(Watch, 2);
        assert_eq!(bench.ended(Ok(())), 'M');
        assert!(validity.is_valid_at(now));
    }

    #[test]
    fn a_forgotten_connection_is_no_loss() {
        let mut bench = Bench::new();
        let now = bench.at(1).now();
        bench.lease.forgotten(now);
        assert_eq!(bench.begins(Reconnect, 1).ended(Ok(())), 'M');
        // Forgotten again while it is under way.
        let now = bench.at(2).now();
        bench.lease.forgotten(now);
        bench.begins(Reconnect, 2).lease.forgotten(now);
        assert_eq!(bench.ended(Ok(())), '-');
        assert_eq!(bench.begins(Reconnect, 3).ended(Ok(())), 'M');
        // The OSD says so.
        bench.at(7).begins(Ping, 3);
        assert_eq!(bench.ended(Err(Errno::ETIMEDOUT)), '-');
        assert_eq!(bench.begins(Reconnect, 4).ended(Ok(())), 'M');
        // A ping under way then is not waited for.
        let now = bench.at(12).now();
        bench.begins(Ping, 4).lease.forgotten(now);
        assert_eq!(bench.begins(Reconnect, 5).ended(Ok(())), 'M');
        assert!(!bench.lease.is_lost());
    }

    #[test]
    fn a_watch_that_the_osd_does_not_have_is_lost_and_made_again() {
        let mut bench = Bench::new();
        bench.lease.forgotten(bench.now());
        bench.begins(Reconnect, 1);
        assert_eq!(bench.ended(Err(Errno::ENOTCONN)), 'L');
        assert_eq!(bench.begins(Watch, 2).ended(Ok(())), 'M');
        // The object is gone for a while.
        bench.at(5).begins(Ping, 2);
        assert_eq!(bench.ended(Err(Errno::ENOENT)), 'L');
        assert_eq!(bench.begins(Watch, 3).ended(Err(Errno::ENOENT)), '-');
        assert_eq!((bench.begin(), bench.wakes_at()), (None, 10));
        assert_eq!(bench.at(10).begins(Watch, 4).ended(Ok(())), 'M');
    }

    #[test]
    fn an_end_by_the_osd_is_told_once() {
        let mut bench = Bench::new();
        bench.at(5).begins(Ping, 0);
        let now = bench.now();
        let error = || operation_error(Errno::ENOTCONN);
        assert_eq!(letter(bench.lease.disconnected(now, error())), 'L');
        assert_eq!(letter(bench.lease.disconnected(now, error())), '-');
        assert_eq!(bench.begins(Watch, 1).ended(Ok(())), 'M');
        assert_eq!(letter(bench.lease.disconnected(now, error())), 'L');
    }

    #[test]
    fn an_operation_that_is_given_up_says_nothing() {
        let mut bench = Bench::new();
        bench.at(5).begins(Ping, 0);
        let given_up = Error::OperationTimedOut {
            pool: "p".to_string(),
            object: "o".to_string(),
            osd: None,
            limit: Duration::from_secs(2),
        };
        let now = bench.at(7).now();
        assert_eq!(letter(bench.lease.ended(now, Err(given_up))), '-');
        assert!(!bench.lease.is_lost());
        assert_eq!(bench.at(12).begins(Reconnect, 1).wakes_at(), 30);
    }
}
