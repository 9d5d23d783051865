//! What a proxy does to connections at the moment.

use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToDaemon,
    ToClient,
}

/// Nothing unless set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Rules {
    /// Every piece of data is held up so long.
    pub(in super::super) delay: Duration,
    /// A connection is passed on only after a time of its own, up to this: later ones overtake.
    pub(in super::super) accept_delay: Duration,
    /// Nothing passes, but nobody is told.
    pub(in super::super) stalls_to_daemon: bool,
    pub(in super::super) stalls_to_client: bool,
    /// After so many bytes, the connection that carries the last of them is cut, again and again.
    pub(in super::super) cut_every: Option<u64>,
    /// A connection is cut with a reset rather than with an orderly end.
    pub(in super::super) cuts_hard: bool,
    /// One bit of the last of so many bytes is flipped, again and again.
    pub(in super::super) flip_every: Option<u64>,
}

/// How often rules have struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Struck {
    pub(in super::super) cuts: u64,
    pub(in super::super) flips: u64,
}

impl AddAssign for Struck {
    fn add_assign(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.flips += other.flips;
    }
}

/// What to do with a piece of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Flip this bit of this byte.
    pub(super) flip: Option<(usize, u8)>,
    /// Pass on this many bytes, and then cut.
    pub(super) cut_after: Option<usize>,
}

#[derive(Debug, Default)]
struct Counters {
    since_cut: u64,
    since_flip: u64,
    struck: Struck,
    draws: u32,
}

/// The rules of one daemon's proxy, shared by all its connections.
#[derive(Debug, Default)]
pub(super) struct Control {
    rules: watch::Sender<Rules>,
    /// Counts the resets.
    resets: watch::Sender<u64>,
    counters: Mutex<Counters>,
}

impl Control {
    pub(super) fn set(&self, rules: Rules) {
        let mut counters = self.counters();
        counters.since_cut = 0;
        counters.since_flip = 0;
        drop(counters);
        self.rules.send_replace(rules);
    }

    pub(super) fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    pub(super) fn take_struck(&self) -> Struck {
        std::mem::take(&mut self.counters().struck)
    }

    /// Ends when there is a reset after this call.
    pub(super) fn next_reset(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut resets = self.resets.subscribe();
        async move {
            // The sender outlives every connection's task or takes the runtime along.
            let _ = resets.changed().await;
        }
    }

    pub(super) async fn wait_to_accept(&self) {
        let mut rules = self.rules.subscribe();
        let most = rules.borrow().accept_delay;
        if !most.is_zero() {
            let draws = {
                let mut counters = self.counters();
                counters.draws = counters.draws.wrapping_add(1);
                counters.draws
            };
            // The first of every three waits longest.
            let wait = most * (3 - draws % 3) / 3;
            let healed = rules.wait_for(|rules| rules.accept_delay.is_zero());
            let _ = tokio::time::timeout(wait, healed).await;
        }
    }

    /// Waits as long as data of this direction is to be held up.
    pub(super) async fn wait_to_pass(&self, direction: Direction) {
        let mut rules = self.rules.subscribe();
        let delay = rules.borrow().delay;
        if !delay.is_zero() {
            let healed = rules.wait_for(|rules| rules.delay.is_zero());
            let _ = tokio::time::timeout(delay, healed).await;
        }
        let passes = rules.wait_for(|rules| match direction {
            Direction::ToDaemon => !rules.stalls_to_daemon,
            Direction::ToClient => !rules.stalls_to_client,
        });
        let _ = passes.await;
    }

    pub(super) fn cuts_hard(&self) -> bool {
        self.rules.borrow().cuts_hard
    }

    /// Counts `len` bytes that are about to pass.
    pub(super) fn judge(&self, len: usize) -> Verdict {
        let (cut_every, flip_every) = {
            let rules = self.rules.borrow();
            (rules.cut_every, rules.flip_every)
        };
        let mut counters = self.counters();
        let mut verdict = Verdict::default();
        if let Some(at) = strikes(&mut counters.since_cut, len, cut_every) {
            verdict.cut_after = Some(at + 1);
            counters.struck.cuts += 1;
        }
        if let Some(at) = strikes(&mut counters.since_flip, len, flip_every) {
            let bit = u8::try_from(counters.struck.flips % 8).unwrap_or_default();
            verdict.flip = Some((at, bit));
            counters.struck.flips += 1;
        }
        verdict
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in the next `len` bytes something is that happens every so many bytes.
fn strikes(counter: &mut u64, len: usize, every: Option<u64>) -> Option<usize> {
    let every = every?;
    let before = *counter;
    *counter += len as u64;
    if *counter < every {
        return None;
    }
    *counter = 0;
    usize::try_from(every.saturating_sub(before + 1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_at_the_byte_it_is_told_to() {
        let control = Control::default();
        assert_eq!(control.judge(1000), Verdict::default());
        control.set(Rules {
            cut_every: Some(150),
            flip_every: Some(100),
            ..Rules::default()
        });
        assert_eq!(control.judge(99), Verdict::default());
        let flip = Verdict {
            flip: Some((0, 0)),
            cut_after: None,
        };
        assert_eq!(control.judge(1), flip);
        let cut = Verdict {
            flip: None,
            cut_after: Some(50),
        };
        assert_eq!(control.judge(80), cut);
        assert_eq!(control.judge(30).flip, Some((19, 1)));
        assert_eq!(control.take_struck(), Struck { cuts: 1, flips: 2 });
        assert_eq!(control.take_struck(), Struck::default());
    }
}
