//! Whether the monitor is alive: it is asked for signs of life, and given up when it gives none
//! (ceph: src/mon/MonClient.cc, `MonClient::tick`).
//!
//! Pure: the time, and when the monitor was heard last, are handed in.

use std::time::Duration;

use tokio::time::Instant;

/// The signs of life asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Vitals {
    /// When the first one was asked for that has not been given.
    open_since: Option<Instant>,
    /// When one was asked for last.
    asked: Option<Instant>,
    /// Whether it was asked for because somebody waits for something.
    is_urgent: bool,
}

/// How often to ask, and for how long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    pub(super) interval: Duration,
    /// There is none if the monitor is never to be given up.
    pub(super) limit: Option<Duration>,
}

/// What to do about the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing for now.
    Wait,
    /// Ask for a sign of life. The one before may have been given.
    Ask { has_answered: bool },
    /// Give it up.
    Dead,
}

impl Vitals {
    /// What is to be done now, having heard the monitor last at `heard`.
    pub(super) fn examine(&mut self, now: Instant, heard: Instant, rhythm: Rhythm) -> Verdict {
        // When something was heard is known to the millisecond, and what was heard in the one in which
        // a sign of life was asked for may have been it. If not, the next one will tell.
        if (self.open_since).is_some_and(|since| heard + RESOLUTION >= since) {
            self.open_since = None;
            self.is_urgent = false;
        }
        let silence = self
            .open_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if rhythm.limit.is_some_and(|limit| silence > limit) {
            return Verdict::Dead;
        }
        if self
            .asked
            .is_some_and(|asked| now < asked + rhythm.interval)
        {
            return Verdict::Wait;
        }
        let has_answered = self.open_since.is_none();
        self.asked(now);
        Verdict::Ask { has_answered }
    }

    /// A sign of life is asked for together with something that somebody waits for.
    pub(super) fn asked_urgently(&mut self, now: Instant) {
        self.asked(now);
        self.is_urgent = true;
    }

    /// Whether the last sign of life that was asked for urgently has not been given.
    pub(super) const fn are_urgent(&self) -> bool {
        self.is_urgent
    }

    fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
        self.open_since.get_or_insert(now);
    }

    /// When to [examine](Self::examine) the monitor next.
    pub(super) fn next(&self, now: Instant, rhythm: Rhythm) -> Instant {
        let ask = self.asked.map_or(now, |asked| asked + rhythm.interval);
        match self.open_since.zip(rhythm.limit) {
            Some((since, limit)) => ask.min(since + limit + RESOLUTION),
            None => ask,
        }
    }
}

const RESOLUTION: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RHYTHM: Rhythm = Rhythm {
        interval: Duration::from_secs(10),
        limit: Some(Duration::from_secs(30)),
    };

    /// Examines a monitor whenever that is due, until it is given up or an hour is over. `answers` says
    /// after how long it answers what it is asked at a time.
    fn lifetime(answers: impl Fn(Duration) -> Option<Duration>) -> (Option<Duration>, u32) {
        let start = Instant::now();
        let mut vitals = Vitals::default();
        let mut given: Vec<Instant> = Vec::new();
        let mut asked = 0;
        let mut now = start;
        while now < start + 3600 * SECOND {
            let heard = given.iter().filter(|at| **at <= now).max();
            let heard = heard.copied().unwrap_or(start);
            match vitals.examine(now, heard, RHYTHM) {
                Verdict::Wait => {}
                Verdict::Ask { .. } => {
                    asked += 1;
                    given.extend(answers(now - start).map(|after| now + after));
                }
                Verdict::Dead => return (Some(now - start), asked),
            }
            let next = vitals.next(now, RHYTHM);
            assert!(next > now, "examined without end");
            now = next;
        }
        (None, asked)
    }

    #[test]
    fn one_that_answers_is_asked_at_intervals_and_kept() {
        assert_eq!(lifetime(|_| Some(Duration::ZERO)), (None, 360));
        assert_eq!(lifetime(|_| Some(29 * SECOND)).0, None, "however late");
    }

    #[test]
    fn one_that_falls_silent_is_given_up_when_the_limit_is_over() {
        let (given_up, _) = lifetime(|at| (at < 100 * SECOND).then_some(SECOND));
        // It was asked at 100 s and did not answer that.
        assert_eq!(given_up, Some(130 * SECOND + RESOLUTION));
        assert_eq!(lifetime(|_| None).0, Some(40 * SECOND + RESOLUTION));
    }

    #[test]
    fn without_a_limit_none_is_given_up() {
        let heard = Instant::now();
        let now = heard + SECOND;
        let mut vitals = Vitals::default();
        let patient = Rhythm {
            limit: None,
            ..RHYTHM
        };
        let has_answered = true;
        assert_eq!(
            vitals.examine(now, heard, patient),
            Verdict::Ask { has_answered }
        );
        let has_answered = false;
        let later = now + 3600 * SECOND;
        assert_eq!(
            vitals.examine(later, heard, patient),
            Verdict::Ask { has_answered }
        );
        assert_eq!(vitals.examine(later, heard, RHYTHM), Verdict::Dead);
    }

    #[test]
    fn a_shorter_limit_counts_from_what_was_asked() {
        let start = Instant::now();
        let mut vitals = Vitals::default();
        assert_ne!(vitals.examine(start, start, RHYTHM), Verdict::Wait);
        // Answered; then it is asked for something.
        let now = start + 5 * SECOND;
        let heard = start + SECOND;
        assert_eq!(vitals.examine(now, heard, RHYTHM), Verdict::Wait);
        vitals.asked_urgently(now);
        let urgent = Rhythm {
            interval: SECOND,
            limit: Some(3 * SECOND),
        };
        assert_eq!(vitals.next(now, urgent), now + SECOND);
        let at_the_limit = now + 3 * SECOND;
        let has_answered = false;
        assert_eq!(
            vitals.examine(at_the_limit, heard, urgent),
            Verdict::Ask { has_answered }
        );
        let over = at_the_limit + RESOLUTION;
        assert_eq!(vitals.next(at_the_limit, urgent), over);
        let mut answered = vitals.clone();
        assert_eq!(vitals.examine(over, heard, urgent), Verdict::Dead);
        assert!(answered.are_urgent());
        assert_eq!(answered.examine(over, now, urgent), Verdict::Wait);
        assert!(!answered.are_urgent());
    }
}
