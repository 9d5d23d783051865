//! What one request costs, and when that is too much.

use std::fmt;
use std::path::Path;

use super::callgrind::Profile;
use super::dhat;
use super::kind::Kind;
use super::valgrind::{Tool, watch};

/// What one request costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Instructions in user space.
    pub(crate) instructions: f64,
    /// How often memory is allocated or moved to a larger place.
    pub(crate) allocations: f64,
    /// Bytes that are allocated.
    pub(crate) allocated: f64,
    /// Bytes that are copied in user space, by `memcpy` and the like.
    pub(crate) copied: f64,
}

impl Cost {
    /// The names of the figures, as [`figures`](Self::figures) gives them.
    pub(crate) const NAMES: [&str; 4] = ["instructions", "allocations", "allocated", "copied"];
    pub(crate) const HEADINGS: &str =
        "per request       instructions  allocations  bytes allocated  bytes copied";

    pub(crate) const fn figures(&self) -> [f64; 4] {
        [
            self.instructions,
            self.allocations,
            self.allocated,
            self.copied,
        ]
    }

    pub(crate) const fn from_figures(
        [instructions, allocations, allocated, copied]: [f64; 4],
    ) -> Self {
        Self {
            instructions,
            allocations,
            allocated,
            copied,
        }
    }

    /// Counts what requests of this kind cost `orbd`.
    pub(crate) fn measure(kind: &Kind, orbd: &Path) -> anyhow::Result<Self> {
        let run = |tool, times| watch(tool, orbd, &kind.script(times));
        let [once, twice] = [1, 2].map(|times| Profile::parse(&run(Tool::Instructions, times)?));
        let each = |once: u64, twice: u64| (twice as f64 - once as f64) / f64::from(kind.count);
        let instructions = each(once?.instructions, twice?.instructions);
        let sums = |tool| -> anyhow::Result<_> {
            let [once, twice] = [1, 2].map(|times| dhat::parse(&run(tool, times)?));
            Ok((dhat::total(&once?), dhat::total(&twice?)))
        };
        let (once, twice) = sums(Tool::Allocations)?;
        let allocations = each(once.times, twice.times);
        let allocated = each(once.bytes, twice.bytes);
        let (once, twice) = sums(Tool::Copies)?;
        Ok(Self {
            instructions,
            allocations,
            allocated,
            copied: each(once.bytes, twice.bytes),
        })
    }

    /// What is different in `now` by more than it may be.
    pub(crate) fn changes(&self, now: &Self) -> Vec<Change> {
        let limits = [
            0.05 * self.instructions,
            0.5,
            64.0 + 0.05 * self.allocated,
            64.0 + 0.05 * self.copied,
        ];
        let figures = self.figures().into_iter().zip(now.figures());
        let named = Self::NAMES.into_iter().zip(figures).zip(limits);
        let changes = named.map(|((name, (was, now)), limit)| {
            let is_one = (now - was).abs() > limit;
            is_one.then_some(Change {
                name,
                was,
                now,
                is_gain: now > was,
            })
        });
        changes.flatten().collect()
    }

    /// What is wrong if payload is copied between the sockets.
    pub(crate) fn copies_payload(&self, kind: &Kind) -> Option<String> {
        let payload = f64::from(kind.len);
        // What is copied for every request, whatever its length, is much less than this.
        let is_told_apart = payload >= 1024.0 * 1024.0;
        (is_told_apart && self.copied > payload / 8.0).then(|| {
            format!(
                "{}: {:.0} bytes are copied for {payload} bytes of payload",
                kind.name, self.copied
            )
        })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [instructions, allocations, allocated, copied] = self.figures();
        write!(
            f,
            "{instructions:>14.0} {allocations:>12.2} {allocated:>16.0} {copied:>13.0}"
        )
    }
}

/// A figure that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    name: &'static str,
    was: f64,
    now: f64,
    /// Whether it is more.
    pub(crate) is_gain: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, was, now, .. } = self;
        write!(f, "{name} {was:.1} -> {now:.1}")?;
        if *was > 0.0 {
            write!(f, " ({:+.1} %)", (now / was - 1.0) * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAS: Cost = Cost::from_figures([20_000.0, 7.0, 1000.0, 500.0]);

    fn changed(figures: [f64; 4]) -> Vec<(&'static str, bool)> {
        let changes = WAS.changes(&Cost::from_figures(figures));
        changes.iter().map(|it| (it.name, it.is_gain)).collect()
    }

    #[test]
    fn small_differences_are_none() {
        assert_eq!(changed([20_999.0, 7.4, 1113.0, 588.0]), []);
        assert_eq!(changed([19_001.0, 6.6, 887.0, 412.0]), []);
    }

    #[test]
    fn each_figure_has_its_limit() {
        assert_eq!(
            changed([21_001.0, 7.0, 1000.0, 500.0]),
            [("instructions", true)]
        );
        assert_eq!(
            changed([20_000.0, 7.6, 1000.0, 500.0]),
            [("allocations", true)]
        );
        assert_eq!(
            changed([20_000.0, 7.0, 1115.0, 500.0]),
            [("allocated", true)]
        );
        assert_eq!(changed([20_000.0, 7.0, 1000.0, 590.0]), [("copied", true)]);
        assert_eq!(
            changed([18_999.0, 7.0, 1000.0, 500.0]),
            [("instructions", false)]
        );
    }

    #[test]
    fn copies_of_payload_are_noticed() {
        let kind = "read-4m".parse().unwrap();
        let copying = |copied| Cost { copied, ..WAS };
        assert_eq!(copying(100_000.0).copies_payload(&kind), None);
        assert!(copying(4_194_304.0).copies_payload(&kind).is_some());
    }
}
