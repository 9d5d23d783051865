//! `cargo xtask bench`: orbd and what it replaces, under the same load in turns.

mod cell;
mod circumstances;
mod document;
mod fio;
mod ground;
mod nbd;
mod plan;
mod process;
mod sample;
mod server;
mod servers;
mod statistics;
mod system_calls;
mod targets;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use minicluster::{Release, packages};

use crate::interrupt::Interrupt;
use crate::workspace;
use cell::{Filter, Place, Store};
use ground::{Caching, Ground, IMAGE, IMAGE_BYTES};
use plan::Wanted;
use sample::{Comparison, Metric, Run, Subject};
use server::Program;
use servers::{Contender, Pace};

/// What to measure, and how long.
#[derive(Args)]
pub(crate) struct Task {
    /// Which cells, of sizes, loads and depths.
    #[arg(long, value_enum, default_value_t = Cells::Targets)]
    cells: Cells,
    /// Only these cells: SIZE:LOAD:DEPTH such as 4k:randread:32, each part of which can be left out or
    /// `*`; may be given several times. The document is left as it is.
    #[arg(long = "cell", value_name = "FILTER")]
    filters: Vec<Filter>,
    /// How often each program has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// How long a turn is, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Only with encrypted connections.
    #[arg(long)]
    secure: bool,
    /// What the OSD keeps its objects in; may be given several times.
    #[arg(long = "store", value_enum, default_values_t = [Store::Memstore])]
    stores: Vec<Store>,
    /// The release of Ceph, instead of this machine's own.
    #[arg(long, env = Release::VARIABLE)]
    release: Option<Release>,
    /// What to compare with.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Against::Server])]
    against: Vec<Against>,
    /// With caches of clients, too, or only without them.
    #[arg(long, value_enum, default_value_t = Caches::Off)]
    caches: Caches,
    /// Measure this orbd instead of building one.
    #[arg(long, value_name = "PATH")]
    orbd: Option<PathBuf>,
    /// Compare with another orbd and with nothing else. The document is left as it is.
    #[arg(long, value_name = "PATH")]
    compare: Option<PathBuf>,
    /// Check in every cell that what is written through our server is what is read.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    verify: bool,
    /// Measure nothing, and make the document of the samples in this file.
    #[arg(long, value_name = "SAMPLES")]
    render: Option<PathBuf>,
    /// Where the document is, and plots and samples in a directory beside it.
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cells {
    /// Those that targets are set for.
    Targets,
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    /// qemu-nbd with librbd.
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Caches {
    Off,
    On,
    Both,
}

/// Fails if anything could not be measured, or if data were not as written.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let docs = task
        .docs
        .clone()
        .unwrap_or_else(|| workspace::root().join("docs"));
    if let Some(samples) = &task.render {
        return render(&Run::load(samples)?, &docs);
    }
    let interrupt = Interrupt::catch()?;
    packages::ensure(packages::CLUSTER)?;
    packages::ensure(packages::BENCH)?;
    let orbd = match &task.orbd {
        Some(path) => path.clone(),
        None => workspace::build_orbd(true)?,
    };
    let bench = Bench {
        task,
        orbd,
        pace: Pace {
            turns: task.turns,
            time: Duration::try_from_secs_f64(task.seconds)?,
            verifies: task.verify,
            counts_system_calls: system_calls::is_possible(),
        },
        interrupt,
    };
    let mut run = Run {
        circumstances: circumstances::collect(task, &bench.orbd)?,
        ..Run::default()
    };
    if !bench.pace.counts_system_calls {
        let note = "System calls were not counted: there is no `perf` that may.";
        run.notes.push(note.into());
    }
    let (samples, is_for_document) = bench.samples(&docs);
    for place in bench.places() {
        bench.measure(place, &mut run, &samples)?;
    }
    println!("samples: {}", samples.display());
    if is_for_document {
        render(&run, &docs)?;
    }
    Ok(())
}

/// A run of the command.
struct Bench<'a> {
    task: &'a Task,
    orbd: PathBuf,
    pace: Pace,
    interrupt: Interrupt,
}

impl Bench<'_> {
    fn wanted(&self) -> Wanted {
        match self.task.cells {
            _ if !self.task.filters.is_empty() => Wanted::Filters(self.task.filters.clone()),
            Cells::Targets => Wanted::Targets,
            Cells::All => Wanted::All,
        }
    }

    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for store in &self.task.stores {
            for protection in plan::protections(&self.wanted(), self.task.secure) {
                places.push(Place {
                    store: *store,
                    protection: *protection,
                });
            }
        }
        places
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for against in &self.task.against {
            let [uncached, cached] = match against {
                Against::Server => [Subject::Server, Subject::CachedServer],
            };
            if self.task.caches != Caches::On {
                subjects.push(uncached);
            }
            if self.task.caches != Caches::Off {
                subjects.push(cached);
            }
        }
        subjects
    }

    /// Where the samples go, and whether a document is made of them.
    fn samples(&self, docs: &Path) -> (PathBuf, bool) {
        let name = match self.task.release {
            Some(release) => format!("samples-{release}.json"),
            None => "samples.json".into(),
        };
        if self.task.filters.is_empty() && self.task.compare.is_none() {
            (docs.join("performance").join(name), true)
        } else {
            (workspace::target_dir().join("bench").join(name), false)
        }
    }

    /// All that is wanted on one cluster. What there is of it is kept after each comparison.
    fn measure(&self, place: Place, run: &mut Run, samples: &Path) -> anyhow::Result<()> {
        let loads = plan::loads(&self.wanted(), &self.subjects(), place);
        if loads.is_empty() {
            return Ok(());
        }
        let ground = Ground::start(place, self.task.release)?;
        ground.make_image(IMAGE, IMAGE_BYTES, IMAGE_BYTES)?;
        println!("{place}");
        for (subject, load) in loads {
            let contenders = self.contenders();
            let (pace, interrupt) = (self.pace, &self.interrupt);
            let caching = match subject {
                Subject::CachedServer | Subject::CachedLibrary => Caching::On,
                _ => Caching::Off,
            };
            let comparison = servers::compare(&contenders, &ground, caching, load, pace, interrupt)
                .with_context(|| format!("{load} on {place}"))?;
            println!("{}", line(&comparison));
            run.comparisons.push(comparison);
            run.save(samples)?;
        }
        Ok(())
    }

    fn contenders(&self) -> [Contender; 2] {
        let ours = Contender::new("orbd", Program::Orbd(self.orbd.clone()));
        let theirs = match &self.task.compare {
            Some(path) => Contender::new("the other orbd", Program::Orbd(path.clone())),
            None => Contender::new("qemu-nbd", Program::Qemu),
        };
        [ours, theirs]
    }
}

/// A comparison in one line.
fn line(comparison: &Comparison) -> String {
    let mut line = format!("{:<18}", comparison.cell.load.to_string());
    for (metric, name) in [
        (Metric::Iops, "IOPS"),
        (Metric::Cpu, "CPU"),
        (Metric::Mean, "mean"),
        (Metric::P99, "p99"),
        (Metric::Rss, "RSS"),
    ] {
        if let Some(ratio) = comparison.ratio(metric) {
            line.push_str(&format!("  {name} {}", targets::show_ratio(&ratio)));
        }
    }
    for side in [&comparison.ours, &comparison.theirs] {
        let of = |metric| side.median(metric).unwrap_or_default();
        line.push_str(&format!(
            "\n    {:<14} {:>9.0} IOPS  {:>9.1} µs CPU per I/O ({:.0} % kernel)  {:>9.0} µs mean  {:>9.0} µs p99",
            side.name,
            of(Metric::Iops),
            of(Metric::Cpu) / 1e3,
            side.kernel_share().unwrap_or_default() * 100.0,
            of(Metric::Mean) / 1e3,
            of(Metric::P99) / 1e3,
        ));
    }
    line
}

/// Writes the document.
fn render(run: &Run, docs: &Path) -> anyhow::Result<()> {
    let path = docs.join("performance.md");
    document::update(&path, &document::measured(run, &[]))?;
    println!("document: {}", path.display());
    Ok(())
}
