//! What came of it, in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::plan::Round;
use super::proxy::Struck;

/// The faults of one kind.
#[derive(Debug, Default)]
struct Faults {
    count: u64,
    longest: Duration,
    total: Duration,
}

/// Of one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    faults: BTreeMap<&'static str, Faults>,
    pub(super) struck: Struck,
    pub(super) operations: u64,
    pub(super) time: Duration,
}

impl Report {
    /// After the faults had ended, what had waited then was answered after `stall`.
    ///
    /// A stall after several faults counts for each of them.
    pub(super) fn add(&mut self, round: &Round, stall: Duration) {
        for fault in &round.faults {
            let faults = self.faults.entry(fault.kind()).or_default();
            faults.count += 1;
            faults.longest = faults.longest.max(stall);
            faults.total += stall;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<26} {:>5}  {:>13}  {:>10}",
            "fault", "times", "longest stall", "mean"
        )?;
        let mut times = 0;
        for (kind, faults) in &self.faults {
            times += faults.count;
            let mean =
                faults.total.as_secs_f64() / u32::try_from(faults.count).map_or(1.0, f64::from);
            writeln!(
                f,
                "{kind:<26} {:>5}  {:>11.2} s  {mean:>8.2} s",
                faults.count,
                faults.longest.as_secs_f64()
            )?;
        }
        let Struck { cuts, flips } = self.struck;
        write!(
            f,
            "{:.1} minutes, {} operations, {times} faults ({cuts} connections cut, {flips} bits flipped)",
            self.time.as_secs_f64() / 60.0,
            self.operations
        )
    }
}
