//! What is drawn of a run.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::cell::{DEPTHS, Load, Order, Place, Work};
use super::chart::{Axis, Bar, Bars, Colour, Line, Lines, Scale};
use super::sample::{Comparison, Metric, Run, Side, Subject};
use super::statistics::to_f64;

/// A chart and the file that it is in.
pub(super) struct Plot {
    pub(super) file: String,
    pub(super) title: String,
    svg: String,
}

/// Writes all of them into a directory, in place of those that are there.
pub(super) fn write(run: &Run, dir: &Path) -> anyhow::Result<Vec<Plot>> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(&path)?;
        }
    }
    let plots = all(run);
    for plot in &plots {
        let path = dir.join(&plot.file);
        fs::write(&path, &plot.svg).with_context(|| path.display().to_string())?;
    }
    Ok(plots)
}

fn all(run: &Run) -> Vec<Plot> {
    let mut plots = Vec::new();
    for group in groups(run) {
        for io_bytes in group.sizes() {
            plots.extend(group.throughput(io_bytes));
        }
        for load in group.loads() {
            plots.extend(group.latency(load));
        }
        for io_bytes in group.sizes() {
            plots.extend(group.cpu(io_bytes));
        }
        plots.extend(group.division());
    }
    plots
}

/// Comparisons of the same on the same kind of cluster.
struct Group<'a> {
    subject: &'static str,
    place: Place,
    comparisons: Vec<&'a Comparison>,
}

fn groups(run: &Run) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (subject, name) in SUBJECTS {
        for comparison in run.comparisons.iter().filter(|it| it.subject == subject) {
            let place = comparison.cell.place;
            let known = groups
                .iter_mut()
                .find(|group| (group.subject, group.place) == (name, place));
            match known {
                Some(group) => group.comparisons.push(comparison),
                None => groups.push(Group {
                    subject: name,
                    place,
                    comparisons: vec![comparison],
                }),
            }
        }
    }
    groups
}

impl Group<'_> {
    fn plot(&self, kind: &str, of: &str, what: &str, draw: impl FnOnce(String) -> String) -> Plot {
        let title = format!("{what}, {} ({})", self.subject, self.place);
        let words = [kind, self.subject, of, &self.place.to_string()].join("-");
        let file = words.replace([':', ' ', ','], "-").replace("--", "-");
        Plot {
            file: format!("{file}.svg"),
            svg: draw(title.clone()),
            title,
        }
    }

    fn sizes(&self) -> Vec<u64> {
        let sizes = self.comparisons.iter().map(|it| it.cell.load.io_bytes);
        sorted(sizes.collect())
    }

    /// Those that a distribution is drawn of.
    fn loads(&self) -> Vec<Load> {
        let loads = self.comparisons.iter().map(|it| it.cell.load);
        let drawn = |load: &Load| load.order == Order::Random && load.work == Work::Read;
        sorted(loads.filter(drawn).collect())
    }

    /// IOPS over depth, of reads and writes: sequential ones if they are large and random ones if not.
    fn throughput(&self, io_bytes: u64) -> Option<Plot> {
        let order = if io_bytes < LARGE {
            Order::Random
        } else {
            Order::Sequential
        };
        let mut lines = Vec::new();
        for work in [Work::Read, Work::Write] {
            let mut of_work: Vec<&Comparison> = self.comparisons.clone();
            of_work.retain(|it| {
                let load = it.cell.load;
                (load.io_bytes, load.order, load.work) == (io_bytes, order, work)
            });
            of_work.sort_by_key(|it| it.cell.load.depth);
            for pick in PICKS {
                lines.extend(line(&of_work, work, pick));
            }
        }
        if lines.iter().all(|line: &Line| line.points.len() < 2) {
            return None;
        }
        let points = || lines.iter().flat_map(|line| &line.points);
        let greatest = points().map(|(_, iops)| *iops).fold(0.0, f64::max);
        let mut depths: Vec<u32> = DEPTHS.into();
        let is_there = |depth: &u32| points().any(|(x, _)| *x == f64::from(*depth));
        depths.retain(is_there);
        let size = size(io_bytes);
        let what = format!("throughput, {size}");
        Some(self.plot("throughput", &size, &what, |title| {
            Lines {
                title,
                x: Axis {
                    label: "I/Os under way".into(),
                    scale: Scale::Logarithmic,
                    marks: depths.into_iter().map(f64::from).collect(),
                },
                y: Axis::from_zero("I/Os per second".into(), greatest),
                lines,
            }
            .svg()
        }))
    }

    /// How many of a hundred took longer than a time, of reads and of the writes like them.
    fn latency(&self, reads: Load) -> Option<Plot> {
        let mut lines = Vec::new();
        for work in [Work::Read, Work::Write] {
            let load = Load { work, ..reads };
            let with_load = self.comparisons.iter().filter(|it| it.cell.load == load);
            for comparison in with_load {
                for pick in PICKS {
                    let (side, colour) = pick(comparison);
                    let points = slower(side);
                    if !points.is_empty() {
                        lines.push(named_line(side, work, colour, points));
                    }
                }
            }
        }
        let times = || lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
        let least = times().reduce(f64::min)?;
        let greatest = times().reduce(f64::max)?;
        let of = format!("{} at depth {}", size(reads.io_bytes), reads.depth);
        let what = format!("latency, {of}");
        let file = format!("{}-{}", size(reads.io_bytes), reads.depth);
        Some(self.plot("latency", &file, &what, |title| {
            Lines {
                title,
                x: Axis::decades("µs".into(), least, greatest),
                y: Axis::decades("% of I/Os that took longer".into(), SLOWEST, 100.0),
                lines,
            }
            .svg()
        }))
    }

    /// Processor time of each I/O of a size.
    fn cpu(&self, io_bytes: u64) -> Option<Plot> {
        let of_size = self
            .comparisons
            .iter()
            .filter(|it| it.cell.load.io_bytes == io_bytes);
        let bars = of_size.flat_map(|it| bars(it, |_| Some(1e3))).collect();
        let size = size(io_bytes);
        self.bars("cpu", &size, &format!("CPU per I/O, {size}"), "µs", bars)
    }

    /// Processor time to theirs, in the kernel and outside.
    fn division(&self) -> Option<Plot> {
        let all = self.comparisons.iter();
        let of_theirs = |it: &Comparison| it.theirs.median(Metric::Cpu).map(|cpu| cpu / 100.0);
        let bars = all.flat_map(|it| bars(it, of_theirs)).collect();
        let what = "CPU, user and kernel";
        self.bars("cpu-split", "all", what, "% of theirs", bars)
    }

    fn bars(&self, kind: &str, of: &str, what: &str, label: &str, bars: Vec<Bar>) -> Option<Plot> {
        if bars.is_empty() {
            return None;
        }
        Some(self.plot(kind, of, what, |title| {
            Bars {
                title,
                label: label.into(),
                parts: ["user", "kernel"],
                bars,
            }
            .svg()
        }))
    }
}

/// One of the two sides.
type Pick = fn(&Comparison) -> (&Side, Colour);

const PICKS: [Pick; 2] = [
    |comparison| (&comparison.ours, Colour::Ours),
    |comparison| (&comparison.theirs, Colour::Theirs),
];

fn line(comparisons: &[&Comparison], work: Work, pick: Pick) -> Option<Line> {
    let (side, colour) = pick(comparisons.first()?);
    let points = comparisons.iter().filter_map(|comparison| {
        let iops = pick(comparison).0.median(Metric::Iops)?;
        Some((f64::from(comparison.cell.load.depth), iops))
    });
    let points: Vec<_> = points.collect();
    (!points.is_empty()).then(|| named_line(side, work, colour, points))
}

fn named_line(side: &Side, work: Work, colour: Colour, points: Vec<(f64, f64)>) -> Line {
    let is_write = work == Work::Write;
    let work = if is_write { "writes" } else { "reads" };
    Line {
        name: format!("{}, {work}", side.name),
        colour,
        is_dashed: is_write,
        points,
    }
}

/// Microseconds, and how many of a hundred I/Os took longer.
fn slower(side: &Side) -> Vec<(f64, f64)> {
    let histogram = side.histogram();
    let total = to_f64(histogram.values().sum());
    let mut left = total;
    let mut points = Vec::new();
    for (nanoseconds, count) in histogram.iter().filter(|(_, count)| **count > 0) {
        left -= to_f64(*count);
        let percent = 100.0 * left / total;
        points.push((to_f64(*nanoseconds) / 1e3, percent.max(SLOWEST)));
        if percent <= SLOWEST {
            break;
        }
    }
    points
}

/// Both sides, in a unit of so many nanoseconds for each I/O.
fn bars(comparison: &Comparison, unit: impl Fn(&Comparison) -> Option<f64>) -> Vec<Bar> {
    let Some(unit) = unit(comparison).filter(|unit| *unit > 0.0) else {
        return Vec::new();
    };
    let sides = PICKS.iter().map(|pick| pick(comparison));
    sides
        .filter_map(|(side, colour)| {
            let cpu = side.median(Metric::Cpu)? / unit;
            let kernel = cpu * side.kernel_share()?;
            Some(Bar {
                name: format!("{} {}", comparison.cell.load, side.name),
                colour,
                parts: [cpu - kernel, kernel],
            })
        })
        .collect()
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

const SUBJECTS: [(Subject, &str); 5] = [
    (Subject::Server, "servers"),
    (Subject::CachedServer, "servers with caches"),
    (Subject::Library, "libraries"),
    (Subject::CachedLibrary, "libraries with caches"),
    (Subject::Objects, "objects"),
];
const LARGE: u64 = 1 << 20;
/// Of a hundred I/Os; what is slower than all but this is not drawn.
const SLOWEST: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::super::cell::{Cell, Protection, Store};
    use super::super::sample::{Cost, Io, Latency, Turn};
    use super::*;

    fn side(name: &str, cpu_ns: f64) -> Side {
        let latency = Latency {
            histogram: [(1000, 90), (2000, 9), (5000, 1)].into(),
            ..Latency::default()
        };
        let turn = Turn {
            io: Io {
                count: 100,
                seconds: 0.01,
                latency: Some(latency),
                ..Io::default()
            },
            cost: Cost {
                cpu_ns,
                kernel_share: 0.25,
                ..Cost::default()
            },
        };
        Side {
            name: name.into(),
            turns: vec![turn],
            ..Side::default()
        }
    }

    fn run(loads: &[&str]) -> Run {
        let comparison = |load: &&str| Comparison {
            subject: Subject::Server,
            cell: Cell {
                place: Place {
                    store: Store::Memstore,
                    protection: Protection::Crc,
                },
                load: Load::of(load),
            },
            condition: None,
            ours: side("orbd", 1e6),
            theirs: side("qemu-nbd", 4e6),
            others: Vec::new(),
        };
        Run {
            comparisons: loads.iter().map(comparison).collect(),
            ..Run::default()
        }
    }

    #[test]
    fn there_is_a_plot_of_each_kind_where_there_is_something_to_draw() {
        let files = |loads: &[&str]| -> Vec<String> {
            all(&run(loads)).into_iter().map(|plot| plot.file).collect()
        };
        assert_eq!(
            files(&["4k:randread:1", "4k:randread:32"]),
            [
                "throughput-servers-4-KiB-memstore-crc.svg",
                "latency-servers-4-KiB-1-memstore-crc.svg",
                "latency-servers-4-KiB-32-memstore-crc.svg",
                "cpu-servers-4-KiB-memstore-crc.svg",
                "cpu-split-servers-all-memstore-crc.svg"
            ]
        );
        assert_eq!(files(&["4m:write:32"]).len(), 2);
        assert!(files(&[]).is_empty());
    }

    #[test]
    fn distributions_fall_from_all_to_none() {
        assert_eq!(
            slower(&side("x", 1.0)),
            [(1.0, 10.0), (2.0, 1.0), (5.0, SLOWEST)]
        );
        assert!(slower(&Side::default()).is_empty());
    }

    #[test]
    fn bars_are_divided_and_to_scale() {
        let run = run(&["4k:randread:1"]);
        let bars = bars(&run.comparisons[0], |_| Some(1e3));
        assert_eq!(bars[0].name, "4k:randread:1 orbd");
        assert_eq!(bars[0].parts, [7.5, 2.5]);
        assert_eq!(bars[1].parts, [30.0, 10.0]);
    }
}
