//! `cargo xtask bench`: orbd and what it replaces, under the same load in turns.

mod cell;
mod chart;
mod circumstances;
mod document;
mod figures;
mod fio;
mod ground;
mod growth;
mod library;
mod nbd;
mod objects;
mod plan;
mod plots;
mod process;
mod rusage;
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
use cell::{Cell, Filter, Load, Place, Store};
use ground::{Caching, Ground, IMAGE, IMAGE_BYTES};
use library::Tool;
use plan::Wanted;
use sample::{Comparison, Metric, Run, Subject};
use server::{Program, Server};
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
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Against::Server, Against::Library, Against::Rados]
    )]
    against: Vec<Against>,
    /// Have clients cache, or have each cell without and with. Otherwise they cache only in cells that
    /// such a target is set for.
    #[arg(long, value_enum)]
    caches: Option<Caches>,
    /// Measure this orbd instead of building one.
    #[arg(long, value_name = "PATH")]
    orbd: Option<PathBuf>,
    /// Compare with another orbd and with nothing else. The document is left as it is.
    #[arg(long, value_name = "PATH")]
    compare: Option<PathBuf>,
    /// Check in every cell that what is written through our server is what is read.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    verify: bool,
    /// Go on with the samples of a run that was ended, of the same programs at the same pace.
    #[arg(long)]
    resume: bool,
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
    /// qemu-nbd with librbd, by `orbd serve`.
    Server,
    /// rbd bench, by `orbd bench`.
    Library,
    /// The published crate `rados`, by our crate of that name.
    Rados,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Caches {
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
        None => workspace::build_orbd(workspace::Profile::Release)?,
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
    if task.resume && samples.exists() {
        run = run.resume(Run::load(&samples)?)?;
    }
    bench.announce(&run);
    for place in bench.places() {
        bench.measure(place, &mut run, &samples)?;
    }
    if is_for_document {
        run.figures.extend(figures::of_static_binary()?);
        run.save(&samples)?;
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

    /// What is compared, and in which cells.
    fn loads(&self, place: Place) -> Vec<(Subject, Load)> {
        let wanted = self.wanted();
        let mut loads = Vec::new();
        for against in self.against() {
            let (uncached, cached) = match against {
                Against::Server => (Subject::Server, Some(Subject::CachedServer)),
                Against::Library => (Subject::Library, Some(Subject::CachedLibrary)),
                Against::Rados => (Subject::Objects, None),
            };
            if self.task.caches != Some(Caches::On) {
                loads.extend(plan::loads(&wanted, uncached, place));
            }
            if let Some(cached) = cached {
                match (self.task.caches, &wanted) {
                    (Some(_), _) => loads.extend(plan::loads(&wanted, cached, place)),
                    (None, Wanted::Filters(_)) => {}
                    (None, _) => loads.extend(plan::loads(&Wanted::Targets, cached, place)),
                }
            }
        }
        loads
    }

    /// What is not measured yet on such a cluster.
    fn missing(&self, place: Place, run: &Run) -> Vec<(Subject, Load)> {
        let mut loads = self.loads(place);
        loads.retain(|(subject, load)| {
            let cell = Cell { place, load: *load };
            !run.has(*subject, cell)
        });
        loads
    }

    /// Says what is to be measured and how long that takes.
    fn announce(&self, run: &Run) {
        let missing = self.places().into_iter().map(|it| self.missing(it, run));
        let missing: Vec<_> = missing.flatten().collect();
        let times = missing
            .iter()
            .map(|(subject, _)| self.pace.expected(*subject));
        let minutes = times.sum::<Duration>().as_secs().div_ceil(60);
        println!("{} comparisons, about {minutes} min", missing.len());
    }

    fn against(&self) -> &[Against] {
        match self.task.compare {
            // It has no driver for objects.
            Some(_) => &[Against::Server, Against::Library],
            None => &self.task.against,
        }
    }

    fn is_for_document(&self) -> bool {
        self.task.filters.is_empty() && self.task.compare.is_none()
    }

    /// Where the samples go, and whether a document is made of them.
    fn samples(&self, docs: &Path) -> (PathBuf, bool) {
        let name = match self.task.release {
            Some(release) => format!("samples-{release}.json"),
            None => "samples.json".into(),
        };
        if self.is_for_document() {
            (docs.join(PLOTS).join(name), true)
        } else {
            (workspace::target_dir().join("bench").join(name), false)
        }
    }

    /// All that is wanted on one cluster. What there is of it is kept after each comparison.
    fn measure(&self, place: Place, run: &mut Run, samples: &Path) -> anyhow::Result<()> {
        let loads = self.missing(place, run);
        let measures_growth = self.measures_growth(place) && !run.has_growth();
        if loads.is_empty() && !measures_growth {
            return Ok(());
        }
        let ground = Ground::start(place, self.task.release)?;
        ground.make_image(IMAGE, IMAGE_BYTES, IMAGE_BYTES)?;
        println!("{place}");
        let keep = |run: &mut Run, comparison: Comparison| {
            println!("{}", line(&comparison));
            run.comparisons.push(comparison);
            run.save(samples)
        };
        let drivers = self.drivers(&loads, &ground, run)?;
        for (subject, load) in loads {
            let comparison = self
                .compare(subject, load, &ground, &drivers)
                .with_context(|| format!("{load} on {place}"))?;
            keep(run, comparison)?;
        }
        if measures_growth {
            run.comparisons.retain(|it| it.subject != Subject::Growth);
            let (orbd, interrupt) = (&self.orbd, &self.interrupt);
            let figures = figures::of_starts(orbd, &ground, interrupt)?;
            run.figures.extend(figures);
            growth::measure(orbd, &ground, self.pace, interrupt, |it| keep(run, it))?;
        }
        Ok(())
    }

    /// Once is enough, and only where everything is measured.
    fn measures_growth(&self, place: Place) -> bool {
        let first = self.places().first().copied();
        let is_asked = self.against().contains(&Against::Server);
        first == Some(place) && is_asked && self.is_for_document()
    }

    /// The drivers for objects, as far as they are wanted. The published crate is left out where it does
    /// not get through, with a note of what it says, and is not tried again.
    fn drivers(
        &self,
        loads: &[(Subject, Load)],
        ground: &Ground,
        run: &mut Run,
    ) -> anyhow::Result<Vec<(&'static str, Tool)>> {
        if loads
            .iter()
            .all(|(subject, _)| *subject != Subject::Objects)
        {
            return Ok(Vec::new());
        }
        let dir = objects::build()?;
        if run.notes.iter().any(|note| note.starts_with(PUBLISHED)) {
            return Ok(library::object_tools(&dir, false));
        }
        let tried = objects::try_published(&dir, ground);
        if let Err(error) = &tried {
            let said = format!("{error:#}");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            let note = format!(
                "{PUBLISHED} on {}: `{}`",
                ground.place,
                said.replace('`', "'")
            );
            println!("{note}");
            run.notes.push(note);
        }
        Ok(library::object_tools(&dir, tried.is_ok()))
    }

    fn compare(
        &self,
        subject: Subject,
        load: Load,
        ground: &Ground,
        drivers: &[(&'static str, Tool)],
    ) -> anyhow::Result<Comparison> {
        let caching = match subject {
            Subject::CachedServer | Subject::CachedLibrary => Caching::On,
            _ => Caching::Off,
        };
        let (pace, interrupt) = (self.pace, &self.interrupt);
        match subject {
            Subject::Server | Subject::CachedServer | Subject::Growth => {
                let [ours, theirs] = self.servers().map(|(name, program)| {
                    Ok::<_, anyhow::Error>(Contender {
                        name: name.into(),
                        server: Server::start(&program, ground, IMAGE, caching)?,
                        load,
                    })
                });
                servers::compare([ours?, theirs?], ground, caching, pace, interrupt)
            }
            Subject::Library | Subject::CachedLibrary => {
                library::compare(&self.libraries(), ground, caching, load, pace, interrupt)
            }
            Subject::Objects => library::compare(drivers, ground, caching, load, pace, interrupt),
        }
    }

    fn servers(&self) -> [(&'static str, Program); 2] {
        let ours = ("orbd", Program::Orbd(self.orbd.clone()));
        match &self.task.compare {
            Some(path) => [ours, (OTHER, Program::Orbd(path.clone()))],
            None => [ours, ("qemu-nbd", Program::Qemu)],
        }
    }

    fn libraries(&self) -> Vec<(&'static str, Tool)> {
        let ours = ("orbd bench", Tool::Orbd(self.orbd.clone()));
        match &self.task.compare {
            Some(path) => vec![ours, (OTHER, Tool::Orbd(path.clone()))],
            // The last has quantiles, which the others do not tell.
            None => vec![
                ours,
                ("rbd bench", Tool::Rbd),
                (targets::FIO, Tool::FioLibrbd),
            ],
        }
    }
}

/// A comparison in one line.
fn line(comparison: &Comparison) -> String {
    let mut line = format!(
        "{:?} {:<18}",
        comparison.subject,
        comparison.cell.load.to_string()
    );
    if let Some(condition) = &comparison.condition {
        line.push_str(condition);
    }
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
    let both = [&comparison.ours, &comparison.theirs];
    let sides = both.into_iter().chain(&comparison.others);
    for side in sides.filter(|side| !side.turns.is_empty()) {
        let of = |metric, scale| side.median(metric).unwrap_or_default() / scale;
        line.push_str(&format!(
            "\n    {:<14} {:>9.0} IOPS  {:>9.1} µs CPU per I/O ({:.0} % kernel)  {:>9.0} µs mean",
            side.name,
            of(Metric::Iops, 1.0),
            of(Metric::Cpu, 1e3),
            side.kernel_share().unwrap_or_default() * 100.0,
            of(Metric::Mean, 1e3),
        ));
        if let Some(p99) = side.median(Metric::P99) {
            line.push_str(&format!("  {:>9.0} µs p99", p99 / 1e3));
        }
    }
    line
}

/// Draws the plots and writes the document.
fn render(run: &Run, docs: &Path) -> anyhow::Result<()> {
    let path = docs.join("performance.md");
    let plots = plots::write(run, &docs.join(PLOTS))?;
    let plots: Vec<_> = plots
        .into_iter()
        .map(|plot| (format!("{PLOTS}/{}", plot.file), plot.title))
        .collect();
    document::update(&path, &document::measured(run, &plots))?;
    println!("document: {}", path.display());
    Ok(())
}

/// The note about the published crate begins with this.
const PUBLISHED: &str = "The published crate `rados` could not be measured";
/// The directory of plots and samples, beside the document.
const PLOTS: &str = "performance";
const OTHER: &str = "the other orbd";
