//! What is aimed at, and whether it is reached: computed from what was measured, never written by hand.

use super::cell::{Cell, Protection};
use super::sample::{Comparison, Metric, Run, Subject};
use super::statistics::Ratio;

/// Something to reach.
pub(super) struct Target {
    pub(super) what: &'static str,
    measure: Measure,
    bound: Bound,
}

/// What is looked at.
enum Measure {
    /// Ours to theirs, in each of these cells.
    Ratio {
        subject: Subject,
        protection: Protection,
        /// Names of loads.
        loads: &'static [&'static str],
        metric: Metric,
        /// The program compared with, if it is not the main one.
        other: Option<&'static str>,
    },
    /// Ours to theirs, wherever it was measured.
    RatioEverywhere { subject: Subject, metric: Metric },
    /// A figure by its name.
    Figure(&'static str, Unit),
}

#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Mebibytes,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// How far a target is reached.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// The target itself.
    pub(super) wanted: String,
    /// What was measured: of several cells the one that is worst off.
    pub(super) figure: String,
    /// Where that was, if there are several.
    pub(super) place: String,
    /// Nothing when it was not measured.
    pub(super) is_met: Option<bool>,
}

impl Target {
    pub(super) fn outcome(&self, run: &Run) -> Outcome {
        let wanted = self.wanted();
        let missing = Outcome {
            wanted: wanted.clone(),
            figure: String::new(),
            place: String::new(),
            is_met: None,
        };
        if let Measure::Figure(name, unit) = self.measure {
            return run.figures.get(name).map_or(missing, |value| Outcome {
                wanted,
                figure: unit.show(*value),
                place: String::new(),
                is_met: Some(self.bound.admits(*value)),
            });
        }
        let mut ratios: Vec<(Ratio, &Comparison)> = Vec::new();
        for comparison in self.comparisons(run) {
            ratios.extend(self.ratio(comparison).map(|ratio| (ratio, comparison)));
        }
        ratios.sort_by(|(a, _), (b, _)| self.bound.compare(a.median, b.median));
        let Some((worst, comparison)) = ratios.last() else {
            return missing;
        };
        Outcome {
            wanted,
            figure: show_ratio(worst),
            place: place(comparison, ratios.len()),
            is_met: Some(self.bound.admits(worst.median) && self.is_complete(run)),
        }
    }

    fn comparisons<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a Comparison> {
        run.comparisons
            .iter()
            .filter(move |comparison| match &self.measure {
                Measure::Ratio {
                    subject,
                    protection,
                    loads,
                    ..
                } => {
                    comparison.subject == *subject
                        && comparison.cell.place.protection == *protection
                        && loads.contains(&comparison.cell.load.to_string().as_str())
                }
                Measure::RatioEverywhere { subject, .. } => comparison.subject == *subject,
                Measure::Figure(..) => false,
            })
    }

    fn ratio(&self, comparison: &Comparison) -> Option<Ratio> {
        match &self.measure {
            Measure::Ratio {
                metric,
                other: Some(other),
                ..
            } => {
                let mut others = comparison.others.iter();
                comparison.ratio_to(others.find(|side| side.name == *other)?, *metric)
            }
            Measure::Ratio { metric, .. } | Measure::RatioEverywhere { metric, .. } => {
                comparison.ratio(*metric)
            }
            Measure::Figure(..) => None,
        }
    }

    /// Whether every cell that it names was measured.
    fn is_complete(&self, run: &Run) -> bool {
        let Measure::Ratio { loads, .. } = &self.measure else {
            return true;
        };
        let is_there = |load: &&str| {
            self.comparisons(run)
                .any(|comparison| comparison.cell.load.to_string() == *load)
        };
        loads.iter().all(is_there)
    }

    fn wanted(&self) -> String {
        let unit = match self.measure {
            Measure::Figure(_, unit) => Some(unit),
            _ => None,
        };
        let show = |value: f64| unit.map_or_else(|| format!("{value:.2}×"), |u| u.show(value));
        match self.bound {
            Bound::AtMost(value) => format!("≤ {}", show(value)),
            Bound::AtLeast(value) => format!("≥ {}", show(value)),
        }
    }

    /// Whether it is about this load of this subject.
    pub(super) fn names(&self, asked: Subject, cell: Cell) -> bool {
        match &self.measure {
            Measure::Ratio {
                subject,
                protection,
                loads,
                ..
            } => {
                *subject == asked
                    && *protection == cell.place.protection
                    && loads.contains(&cell.load.to_string().as_str())
            }
            _ => false,
        }
    }
}

impl Bound {
    fn admits(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    /// The worse one is the greater.
    fn compare(self, a: f64, b: f64) -> std::cmp::Ordering {
        match self {
            Self::AtMost(_) => a.total_cmp(&b),
            Self::AtLeast(_) => b.total_cmp(&a),
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{:.1} ms", value * 1e3),
            Self::Mebibytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
        }
    }
}

/// The median and, in brackets, from the least to the greatest of all pairs of turns.
pub(super) fn show_ratio(ratio: &Ratio) -> String {
    let Ratio {
        median,
        least,
        greatest,
    } = ratio;
    format!("{median:.2}× ({least:.2}–{greatest:.2})")
}

fn place(comparison: &Comparison, count: usize) -> String {
    let cell = comparison.cell;
    let mut place = format!("{}, {}", cell.load, cell.place);
    if let Some(condition) = &comparison.condition {
        place = format!("{place}, {condition}");
    }
    if count > 1 {
        place = format!("{place}; worst of {count}");
    }
    place
}

const fn ratio(
    what: &'static str,
    subject: Subject,
    loads: &'static [&'static str],
    metric: Metric,
    bound: Bound,
) -> Target {
    let protection = Protection::Crc;
    let measure = Measure::Ratio {
        subject,
        protection,
        loads,
        metric,
        other: None,
    };
    Target {
        what,
        measure,
        bound,
    }
}

const fn secure(what: &'static str, subject: Subject, loads: &'static [&'static str]) -> Target {
    let measure = Measure::Ratio {
        subject,
        protection: Protection::Secure,
        loads,
        metric: Metric::Cpu,
        other: None,
    };
    let bound = Bound::AtMost(0.5);
    Target {
        what,
        measure,
        bound,
    }
}

/// What the library's processor time is to be, compared with that of fio, which has librbd in it.
const fn to_fio(
    what: &'static str,
    protection: Protection,
    loads: &'static [&'static str],
    bound: f64,
) -> Target {
    let measure = Measure::Ratio {
        subject: Subject::Library,
        protection,
        loads,
        metric: Metric::Cpu,
        other: Some(FIO),
    };
    Target {
        what,
        measure,
        bound: Bound::AtMost(bound),
    }
}

const fn everywhere(what: &'static str, subject: Subject, metric: Metric, bound: Bound) -> Target {
    let measure = Measure::RatioEverywhere { subject, metric };
    Target {
        what,
        measure,
        bound,
    }
}

const fn figure(what: &'static str, name: &'static str, unit: Unit, bound: f64) -> Target {
    Target {
        what,
        measure: Measure::Figure(name, unit),
        bound: Bound::AtMost(bound),
    }
}

const SMALL_DEEP: &[&str] = &["4k:randread:32", "4k:randwrite:32"];
const SMALL_ALONE: &[&str] = &["4k:randread:1", "4k:randwrite:1"];
const MIDDLE: &[&str] = &["64k:randread:32", "64k:randwrite:32"];
const LARGE: &[&str] = &["4m:read:32", "4m:write:32"];
const LOADED: &[&str] = &[
    "4k:randread:32",
    "4k:randwrite:32",
    "4m:read:32",
    "4m:write:32",
];
const MIB: f64 = 1_048_576.0;

/// What the library is compared with beside `rbd bench`.
pub(super) const FIO: &str = "fio, librbd";

/// The names of figures.
pub(super) const IDLE_RSS: &str = "idle RSS of orbd serve, bytes";
pub(super) const FIRST_BYTE: &str = "start of orbd serve to first byte, seconds";
pub(super) const BINARY: &str = "static release binary, bytes";

/// All of them.
pub(super) const TARGETS: &[Target] = {
    use Bound::{AtLeast, AtMost};
    use Metric::{Cpu, Iops, Mean, P99, Rss};
    use Protection::{Crc, Secure};
    use Subject::{CachedLibrary, CachedServer, Growth, Library, Server};
    &[
        ratio(
            "server: CPU per I/O, 4 KiB random, depth 32",
            Server,
            SMALL_DEEP,
            Cpu,
            AtMost(0.25),
        ),
        ratio(
            "server: CPU per I/O, 4 KiB random, depth 1",
            Server,
            SMALL_ALONE,
            Cpu,
            AtMost(0.35),
        ),
        ratio(
            "server: CPU per I/O, 64 KiB random, depth 32",
            Server,
            MIDDLE,
            Cpu,
            AtMost(0.35),
        ),
        ratio(
            "server: CPU per I/O, 4 MiB sequential, depth 32",
            Server,
            LARGE,
            Cpu,
            AtMost(0.5),
        ),
        secure("server: CPU per byte, 4 MiB, secure mode", Server, LARGE),
        ratio(
            "server: IOPS, 4 KiB random, depth 32",
            Server,
            SMALL_DEEP,
            Iops,
            AtLeast(1.25),
        ),
        everywhere("server: IOPS, every cell", Server, Iops, AtLeast(1.0)),
        ratio(
            "server: mean latency, 4 KiB random, depth 1",
            Server,
            SMALL_ALONE,
            Mean,
            AtMost(0.85),
        ),
        ratio(
            "server: p99 latency, 4 KiB random, depth 1",
            Server,
            SMALL_ALONE,
            P99,
            AtMost(0.85),
        ),
        ratio(
            "server: RSS peak under load, depth 32",
            Server,
            LOADED,
            Rss,
            AtMost(0.35),
        ),
        ratio(
            "cached server: sequential reads, read-ahead",
            CachedServer,
            &["4k:read:1"],
            Iops,
            AtLeast(1.25),
        ),
        ratio(
            "library: CPU per I/O, 4 KiB random, depth 32",
            Library,
            SMALL_DEEP,
            Cpu,
            AtMost(0.25),
        ),
        ratio(
            "library: CPU per I/O, 4 KiB random, depth 1",
            Library,
            SMALL_ALONE,
            Cpu,
            AtMost(0.35),
        ),
        ratio(
            "library: CPU per I/O, 64 KiB random, depth 32",
            Library,
            MIDDLE,
            Cpu,
            AtMost(0.35),
        ),
        ratio(
            "library: CPU per I/O, 4 MiB sequential, depth 32",
            Library,
            LARGE,
            Cpu,
            AtMost(0.5),
        ),
        secure("library: CPU per byte, 4 MiB, secure mode", Library, LARGE),
        to_fio(
            "library: CPU per I/O, 4 KiB random, depth 32, to fio",
            Crc,
            SMALL_DEEP,
            0.25,
        ),
        to_fio(
            "library: CPU per I/O, 4 KiB random, depth 1, to fio",
            Crc,
            SMALL_ALONE,
            0.35,
        ),
        to_fio(
            "library: CPU per I/O, 64 KiB random, depth 32, to fio",
            Crc,
            MIDDLE,
            0.35,
        ),
        to_fio(
            "library: CPU per I/O, 4 MiB sequential, depth 32, to fio",
            Crc,
            LARGE,
            0.5,
        ),
        to_fio(
            "library: CPU per byte, 4 MiB, secure mode, to fio",
            Secure,
            LARGE,
            0.5,
        ),
        ratio(
            "library: IOPS, 4 KiB random, depth 32",
            Library,
            SMALL_DEEP,
            Iops,
            AtLeast(1.25),
        ),
        everywhere("library: IOPS, every cell", Library, Iops, AtLeast(1.0)),
        ratio(
            "library: mean latency, 4 KiB random, depth 1",
            Library,
            SMALL_ALONE,
            Mean,
            AtMost(0.85),
        ),
        ratio(
            "cached library: 4 KiB writes, sequential and random",
            CachedLibrary,
            &["4k:write:32", "4k:randwrite:32"],
            Iops,
            AtLeast(1.25),
        ),
        ratio(
            "cached library: sequential reads, read-ahead",
            CachedLibrary,
            &["4k:read:1"],
            Iops,
            AtLeast(1.25),
        ),
        figure(
            "idle RSS of `orbd serve`",
            IDLE_RSS,
            Unit::Mebibytes,
            12.0 * MIB,
        ),
        figure(
            "start of `orbd serve` to first byte",
            FIRST_BYTE,
            Unit::Milliseconds,
            0.03,
        ),
        figure("static release binary", BINARY, Unit::Mebibytes, 12.0 * MIB),
        everywhere("CPU per I/O does not grow", Growth, Cpu, AtMost(1.15)),
    ]
};

#[cfg(test)]
mod tests {
    use super::super::cell::{Load, Place, Store};
    use super::super::sample::{Cost, Io, Side, Turn};
    use super::*;

    fn side(cpu: &[f64]) -> Side {
        let turn = |cpu_ns: &f64| Turn {
            io: Io {
                count: 1,
                bytes: 4096,
                seconds: 1.0,
                ..Io::default()
            },
            cost: Cost {
                cpu_ns: *cpu_ns,
                ..Cost::default()
            },
        };
        Side {
            turns: cpu.iter().map(turn).collect(),
            ..Side::default()
        }
    }

    fn run(cells: &[(&str, f64)]) -> Run {
        let comparison = |(load, cpu): &(&str, f64)| Comparison {
            subject: Subject::Server,
            cell: Cell {
                place: Place {
                    store: Store::Memstore,
                    protection: Protection::Crc,
                },
                load: Load::of(load),
            },
            condition: None,
            ours: side(&[*cpu, *cpu * 1.1, *cpu * 0.9]),
            theirs: side(&[1.0, 1.0, 1.0]),
            others: Vec::new(),
        };
        Run {
            comparisons: cells.iter().map(comparison).collect(),
            ..Run::default()
        }
    }

    #[test]
    fn the_worst_cell_decides() {
        let target = &TARGETS[0];
        let outcome = target.outcome(&run(&[("4k:randread:32", 0.1), ("4k:randwrite:32", 0.4)]));
        assert_eq!(outcome.is_met, Some(false));
        assert_eq!(outcome.figure, "0.40× (0.36–0.44)");
        assert_eq!(outcome.wanted, "≤ 0.25×");
        assert_eq!(outcome.place, "4k:randwrite:32, memstore, crc; worst of 2");
        let outcome = target.outcome(&run(&[("4k:randread:32", 0.1), ("4k:randwrite:32", 0.2)]));
        assert_eq!(outcome.is_met, Some(true));
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let target = &TARGETS[0];
        assert_eq!(target.outcome(&Run::default()).is_met, None);
        let half = run(&[("4k:randread:32", 0.1)]);
        assert_eq!(target.outcome(&half).is_met, Some(false));
        assert_eq!(target.outcome(&run(&[("4k:read:32", 0.1)])).is_met, None);
    }

    #[test]
    fn programs_beside_are_looked_up_by_their_names() {
        let target = TARGETS
            .iter()
            .find(|it| it.what == "library: CPU per I/O, 4 KiB random, depth 1, to fio");
        let mut run = run(&[("4k:randread:1", 1.0), ("4k:randwrite:1", 1.0)]);
        let mut outcome = |name: &str, cpu| {
            for comparison in &mut run.comparisons {
                comparison.subject = Subject::Library;
                comparison.others = vec![Side {
                    name: name.to_owned(),
                    ..side(&[cpu; 3])
                }];
            }
            target.unwrap().outcome(&run).is_met
        };
        assert_eq!(outcome(FIO, 4.0), Some(true));
        assert_eq!(outcome(FIO, 2.0), Some(false));
        assert_eq!(outcome("another", 4.0), None);
    }

    #[test]
    fn figures_are_held_against_their_bounds() {
        let target = TARGETS.iter().find(|it| it.what.contains("first byte"));
        let outcome = |seconds| {
            let run = Run {
                figures: [(FIRST_BYTE.to_owned(), seconds)].into(),
                ..Run::default()
            };
            target.unwrap().outcome(&run)
        };
        assert_eq!(outcome(0.03).is_met, Some(true));
        assert_eq!(outcome(0.031).is_met, Some(false));
        assert_eq!(outcome(0.031).figure, "31.0 ms");
        assert_eq!(outcome(0.031).wanted, "≤ 30.0 ms");
    }
}
