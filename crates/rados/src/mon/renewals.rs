//! When tickets may be asked for: as soon as some are due, but not without end if the monitors give
//! none, or none that last.

use std::time::Duration;

use tokio::time::Instant;

/// What keeps requests for tickets apart.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    not_before: Option<Instant>,
    /// What is kept between the next two.
    pause: Duration,
}

impl Renewals {
    /// When tickets may be asked for that are due at `due`.
    pub(super) fn next(&self, due: Instant) -> Instant {
        self.not_before.map_or(due, |earliest| due.max(earliest))
    }

    /// Tickets are asked for.
    pub(super) fn asked(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause);
        // A ticket for the monitors and those for services may be due one right after the other.
        self.pause = (self.pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    }

    /// All tickets are good for a while.
    pub(super) const fn settled(&mut self) {
        self.pause = Duration::ZERO;
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_always_due_is_asked_for_ever_more_seldom() {
        let start = Instant::now();
        let mut renewals = Renewals::default();
        let mut now = start;
        let mut times = Vec::new();
        for _ in 0..8 {
            now = renewals.next(start).max(now);
            times.push((now - start).as_secs());
            renewals.asked(now);
        }
        assert_eq!(times, [0, 0, 1, 3, 7, 15, 25, 35]);
        renewals.settled();
        let due = now + Duration::from_secs(1000);
        assert_eq!(renewals.next(due), due);
        renewals.asked(due);
        assert_eq!(renewals.next(due), due, "another one at once");
    }
}
