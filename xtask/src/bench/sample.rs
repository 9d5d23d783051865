//! Everything that was measured, as it is kept in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::circumstances::DATE;
use super::growth::GROWTH_CASES;
use super::statistics::{Ratio, median, to_f64};

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Run {
    /// What it was measured with and on, by name.
    pub(super) circumstances: BTreeMap<String, String>,
    pub(super) comparisons: Vec<Comparison>,
    /// Single figures, by name.
    #[serde(default)]
    pub(super) figures: BTreeMap<String, f64>,
    /// What could not be measured, and why.
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

/// Two programs under the same load, turn by turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Comparison {
    pub(super) subject: Subject,
    pub(super) cell: Cell,
    /// What is special about it, if anything.
    #[serde(default)]
    pub(super) condition: Option<String>,
    pub(super) ours: Side,
    pub(super) theirs: Side,
    /// Others that had the same load, for what they tell more than those two.
    #[serde(default)]
    pub(super) others: Vec<Side>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Subject {
    /// NBD servers without caches.
    Server,
    /// NBD servers with their caches.
    CachedServer,
    /// The libraries, by the two `bench` commands, without caches.
    Library,
    /// The libraries, by the two `bench` commands, with their caches.
    CachedLibrary,
    /// The libraries for objects.
    Objects,
    /// One NBD server in a base case and in one that may not cost more.
    Growth,
}

/// One of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) turns: Vec<Turn>,
    /// System calls for each I/O, from a run of their own.
    #[serde(default)]
    pub(super) system_calls: Option<f64>,
}

/// What one turn took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) io: Io,
    pub(super) cost: Cost,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Io {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    #[serde(default)]
    pub(super) latency: Option<Latency>,
    /// From the rate, where latencies themselves are not told.
    #[serde(default)]
    pub(super) derived_mean_ns: Option<f64>,
}

/// How long I/Os took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) mean_ns: f64,
    pub(super) p50_ns: f64,
    pub(super) p99_ns: f64,
    pub(super) p999_ns: f64,
    /// How many took about so many nanoseconds.
    pub(super) histogram: BTreeMap<u64, u64>,
}

/// What it cost the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    /// Processor time.
    pub(super) cpu_ns: f64,
    /// The part of it that was spent in the kernel, from 0 to 1.
    pub(super) kernel_share: f64,
    /// The most memory it had.
    #[serde(default)]
    pub(super) rss_peak_bytes: Option<u64>,
    /// How often it waited for something, and how often it was made to.
    pub(super) voluntary_switches: f64,
    pub(super) involuntary_switches: f64,
}

/// What is looked at in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Iops,
    /// Processor time for each I/O, in nanoseconds.
    Cpu,
    Mean,
    P50,
    P99,
    P999,
    Rss,
    Switches,
}

impl Metric {
    /// Nothing where it was not measured.
    pub(super) fn of(self, turn: &Turn) -> Option<f64> {
        let count = to_f64(turn.io.count.max(1));
        let latency = turn.io.latency.as_ref();
        match self {
            Self::Iops => Some(turn.io.iops()),
            Self::Cpu => Some(turn.cost.cpu_ns / count),
            Self::Mean => latency
                .map(|latency| latency.mean_ns)
                .or(turn.io.derived_mean_ns),
            Self::P50 => latency.map(|latency| latency.p50_ns),
            Self::P99 => latency.map(|latency| latency.p99_ns),
            Self::P999 => latency.map(|latency| latency.p999_ns),
            Self::Rss => turn.cost.rss_peak_bytes.map(to_f64),
            Self::Switches => {
                let all = turn.cost.voluntary_switches + turn.cost.involuntary_switches;
                Some(all / count)
            }
        }
    }
}

impl Io {
    pub(super) fn iops(&self) -> f64 {
        to_f64(self.count) / self.seconds.max(f64::MIN_POSITIVE)
    }
}

impl Side {
    /// Over all turns.
    pub(super) fn median(&self, metric: Metric) -> Option<f64> {
        median(self.turns.iter().filter_map(|turn| metric.of(turn)))
    }

    /// Of the processor time, over all turns, from 0 to 1.
    pub(super) fn kernel_share(&self) -> Option<f64> {
        median(self.turns.iter().map(|turn| turn.cost.kernel_share))
    }

    /// Of all turns together.
    pub(super) fn histogram(&self) -> BTreeMap<u64, u64> {
        let mut all = BTreeMap::new();
        let latencies = self
            .turns
            .iter()
            .filter_map(|turn| turn.io.latency.as_ref());
        for (value, count) in latencies.flat_map(|latency| &latency.histogram) {
            *all.entry(*value).or_default() += count;
        }
        all
    }
}

impl Comparison {
    /// Of ours to theirs.
    pub(super) fn ratio(&self, metric: Metric) -> Option<Ratio> {
        self.ratio_to(&self.theirs, metric)
    }

    /// Of ours to one of those that it was compared with.
    pub(super) fn ratio_to(&self, side: &Side, metric: Metric) -> Option<Ratio> {
        let pairs = self.ours.turns.iter().zip(&side.turns);
        Ratio::of_pairs(
            pairs.filter_map(|(ours, theirs)| Some((metric.of(ours)?, metric.of(theirs)?))),
        )
    }
}

impl Run {
    /// This run with what an earlier one has measured.
    ///
    /// # Errors
    ///
    /// When that one was of something else.
    pub(super) fn resume(self, earlier: Self) -> anyhow::Result<Self> {
        for (name, value) in self.circumstances.iter().filter(|(name, _)| *name != DATE) {
            let then = earlier.circumstances.get(name);
            ensure!(
                then == Some(value),
                "{name} is `{value}`, and was `{}`",
                then.map_or("", String::as_str)
            );
        }
        Ok(earlier)
    }

    /// Whether it has this comparison.
    pub(super) fn has(&self, subject: Subject, cell: Cell) -> bool {
        let mut comparisons = self.comparisons.iter();
        comparisons.any(|it| (it.subject, it.cell) == (subject, cell))
    }

    /// Whether it has all comparisons of cost that must not grow.
    pub(super) fn has_growth(&self) -> bool {
        let of_growth = |it: &&Comparison| it.subject == Subject::Growth;
        self.comparisons.iter().filter(of_growth).count() >= GROWTH_CASES
    }

    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::{Load, Place, Protection, Store};
    use super::*;

    fn run(circumstances: &[(&str, &str)], loads: &[&str]) -> Run {
        let comparison = |load: &&str| Comparison {
            subject: Subject::Server,
            cell: cell(load),
            condition: None,
            ours: Side::default(),
            theirs: Side::default(),
            others: Vec::new(),
        };
        let named = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Run {
            circumstances: circumstances.iter().map(named).collect(),
            comparisons: loads.iter().map(comparison).collect(),
            ..Run::default()
        }
    }

    fn cell(load: &str) -> Cell {
        Cell {
            place: Place {
                store: Store::Memstore,
                protection: Protection::Crc,
            },
            load: Load::of(load),
        }
    }

    #[test]
    fn runs_go_on_where_they_ended_on_another_day_but_with_nothing_else() {
        let earlier = run(&[(DATE, "1"), ("orbd", "a")], &["4k:read:1"]);
        let now = |orbd| run(&[(DATE, "2"), ("orbd", orbd)], &[]);
        let resumed = now("a").resume(earlier.clone()).unwrap();
        assert!(resumed.has(Subject::Server, cell("4k:read:1")));
        assert!(!resumed.has(Subject::Server, cell("4k:read:4")));
        assert!(!resumed.has(Subject::Library, cell("4k:read:1")));
        assert!(!resumed.has_growth());
        let error = now("b").resume(earlier).unwrap_err();
        assert_eq!(error.to_string(), "orbd is `b`, and was `a`");
    }
}
