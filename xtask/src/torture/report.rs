//! What came of it, in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::plan::{Fault, Round};
use super::proxy::Struck;
use super::round::Stall;
use super::spec::ClientKind;

/// How long something took, again and again.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    count: u32,
    longest: Duration,
    total: Duration,
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.longest = self.longest.max(time);
        self.total += time;
    }

    fn mean(&self) -> Duration {
        self.total.checked_div(self.count).unwrap_or_default()
    }
}

/// Of one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How often each kind of fault was there.
    faults: BTreeMap<&'static str, u32>,
    /// The longest stall of a round's clients of a kind, by the kind of fault.
    stalls: BTreeMap<(&'static str, ClientKind), Times>,
    lock_moves: Times,
    pub(super) fenced: u64,
    pub(super) hand_overs: u64,
    pub(super) struck: Struck,
    pub(super) operations: u64,
    pub(super) time: Duration,
}

impl Report {
    /// A stall after several faults counts for each of them; but where a client was killed, the next one
    /// waits until the cluster has forgotten the dead one, and that says nothing of other faults.
    pub(super) fn add(&mut self, round: &Round, stalls: &[Stall]) {
        let killed: Vec<usize> = round.faults.iter().filter_map(killed_group).collect();
        for fault in &round.faults {
            *self.faults.entry(fault.kind()).or_default() += 1;
            let group = killed_group(fault);
            let is_of_fault = |stall: &&Stall| match group {
                Some(group) => stall.group == group,
                None => !killed.contains(&stall.group),
            };
            for kind in ClientKind::value_variants().iter().copied() {
                let of_kind = stalls.iter().filter(|stall| stall.kind == kind);
                let longest = of_kind.filter(is_of_fault).map(|stall| stall.time).max();
                if let Some(longest) = longest {
                    let times = self.stalls.entry((fault.kind(), kind)).or_default();
                    times.add(longest);
                }
            }
        }
    }

    pub(super) fn add_lock_move(&mut self, took: Duration) {
        self.lock_moves.add(took);
    }

    /// The kinds of clients there were.
    fn clients(&self) -> Vec<ClientKind> {
        let mut kinds: Vec<ClientKind> = self.stalls.keys().map(|(_, kind)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.clients();
        write!(f, "{:<26} {:>5}", "fault", "times")?;
        for kind in &clients {
            let name = kind.name();
            write!(f, "  {:>15}  {:>9}", format!("{name}: longest"), "mean")?;
        }
        writeln!(f)?;
        let mut count = 0;
        for (kind, times) in &self.faults {
            count += times;
            write!(f, "{kind:<26} {times:>5}")?;
            for client in &clients {
                let stalls = self.stalls.get(&(*kind, *client));
                let stalls = stalls.copied().unwrap_or_default();
                let longest = seconds(stalls.longest);
                write!(f, "  {longest:>15}  {:>9}", seconds(stalls.mean()))?;
            }
            writeln!(f)?;
        }
        let Struck { cuts, flips } = self.struck;
        write!(
            f,
            "{:.1} minutes, {} operations, {count} faults ({cuts} connections cut, {flips} bits flipped)",
            self.time.as_secs_f64() / 60.0,
            self.operations
        )?;
        if self.hand_overs > 0 {
            write!(f, ", {} hand-overs of locks", self.hand_overs)?;
        }
        if self.lock_moves.count > 0 {
            write!(
                f,
                "\n{} locks taken from stopped clients, after {} at most and {} on average; \
                 {} of these shut out",
                self.lock_moves.count,
                seconds(self.lock_moves.longest),
                seconds(self.lock_moves.mean()),
                self.fenced
            )?;
        }
        Ok(())
    }
}

/// Whose clients a fault kills.
const fn killed_group(fault: &Fault) -> Option<usize> {
    match fault {
        Fault::KillClient { lane, .. } => Some(*lane),
        _ => None,
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_dead_clients_is_not_that_for_daemons() {
        let stall = |group, kind, seconds| Stall {
            group,
            kind,
            time: Duration::from_secs(seconds),
        };
        let (ours, theirs) = (ClientKind::Orbd, ClientKind::Librbd);
        let kill = Fault::KillClient { lane: 1, client: 0 };
        let round = Round {
            faults: vec![Fault::FullCluster, kill],
            lasts: Duration::from_secs(1),
        };
        let mut report = Report::default();
        report.add(
            &round,
            &[
                stall(0, ours, 2),
                stall(0, theirs, 3),
                stall(1, ours, 8),
                stall(1, theirs, 7),
            ],
        );
        let longest = |fault: Fault, kind| report.stalls[&(fault.kind(), kind)].longest.as_secs();
        assert_eq!(longest(Fault::FullCluster, ours), 2);
        assert_eq!(longest(Fault::FullCluster, theirs), 3);
        assert_eq!(longest(kill, ours), 8);
        assert_eq!(longest(kill, theirs), 7);
    }
}
