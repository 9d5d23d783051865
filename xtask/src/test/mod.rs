//! `cargo xtask test`: everything that has to hold before a change goes in.

mod background;
mod cargo;
mod fuzz;
mod harness;
mod machine;
mod releases;
mod sources;

use std::time::{Duration, Instant};

use clap::Args;
use minicluster::{Release, packages};

use background::Background;
pub(crate) use harness::Counts;
use releases::Roots;

/// Which checks to make.
#[derive(Args)]
pub(crate) struct Task {
    /// Leaves out what needs a cluster.
    #[arg(long, conflicts_with_all = ["releases", "all_releases"])]
    quick: bool,
    /// Only the tests on clusters, all of them, and on this release of Ceph; may be given several
    /// times.
    #[arg(long = "release", value_name = "NAME")]
    releases: Vec<Release>,
    /// Only the tests on clusters, all of them, on every release that some Debian has.
    #[arg(long, conflicts_with = "releases")]
    all_releases: bool,
    /// Only the tests of devices, all of them, with the NBD driver of the distribution's kernel in a virtual machine.
    #[arg(long, conflicts_with_all = ["quick", "releases", "all_releases"])]
    machine: bool,
}

/// How a step went.
enum Outcome {
    Passed(Counts),
    Skipped(String),
    Failed(anyhow::Error),
}

/// A step that has been done.
struct Done {
    name: String,
    time: Duration,
    outcome: Outcome,
}

/// The steps that have been done, each shown as it was.
#[derive(Default)]
struct Steps(Vec<Done>);

impl Steps {
    fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<Outcome>) {
        println!("=== {name}");
        let start = Instant::now();
        let outcome = step().unwrap_or_else(Outcome::Failed);
        let done = Done {
            name: name.to_owned(),
            time: start.elapsed(),
            outcome,
        };
        println!("{}\n", done.line());
        if let Outcome::Failed(e) = &done.outcome {
            println!("{e:#}\n");
        }
        self.0.push(done);
    }
}

/// Does all steps, also after one has failed, and fails if any has.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    steps.run("packages", install);
    if task.machine {
        steps.run("devices in memory in a machine", || {
            machine::test(DEVICES_IN_MEMORY, false)
        });
        steps.run("devices on clusters in a machine", || {
            machine::test(DEVICES_ON_CLUSTERS, true)
        });
        return summarise(&steps.0);
    }
    let releases = if task.all_releases {
        &Release::ALL
    } else {
        task.releases.as_slice()
    };
    if !releases.is_empty() {
        for release in releases {
            steps.run(&format!("root of {release}"), || {
                release.ensure()?;
                Ok(passed())
            });
        }
        for release in releases {
            steps.run(&format!("tests on {release}"), || {
                cargo::test_on(*release, ALL_ON_CLUSTERS)
            });
        }
        return summarise(&steps.0);
    }

    // Made while everything else is compiled, as is what comes of faults.
    let torture = if task.quick {
        None
    } else {
        Background::torture()?
    };
    let mut roots = (!task.quick).then(Roots::start).transpose()?;
    steps.run("sources", || sources::check().map(|()| passed()));
    steps.run("format", || cargo::plain(&["fmt", "--all", "--check"]));
    steps.run("clippy", cargo::clippy);
    steps.run("documentation", cargo::documentation);
    steps.run("msgr2 without I/O", || {
        cargo::plain(&["check", "--package", "msgr2", "--no-default-features"])
    });
    steps.run("licences and bans", cargo::deny);
    steps.run("unit tests", || {
        cargo::test(&["--workspace", "--lib", "--bins"])
    });
    steps.run("documentation tests", || {
        cargo::test(&["--workspace", "--doc"])
    });
    if let Some(roots) = &mut roots {
        steps.run("torture", || Background::wait(torture, "this is not root"));
        let guard = Background::guard()?;
        let main = roots.main();
        steps.run(&format!("tests on {main}"), || {
            cargo::test_on(main, ALL_ON_CLUSTERS)
        });
        for (release, outcome) in roots {
            steps.run(&format!("smoke on {release}"), || match outcome {
                Ok(()) => cargo::test_on(release, SMOKE),
                Err(why) => Ok(Outcome::Skipped(why)),
            });
        }
        steps.run("hot path", || {
            Background::wait(guard, "what is expected is of x86-64")
        });
    }
    steps.run("fuzz targets", fuzz::run);
    summarise(&steps.0)
}

impl Done {
    fn line(&self) -> String {
        let verdict = match &self.outcome {
            Outcome::Passed(counts) if counts.total() > 0 => format!("ok, {counts}"),
            Outcome::Passed(_) => "ok".to_owned(),
            Outcome::Skipped(why) => format!("SKIPPED: {why}"),
            Outcome::Failed(_) => "FAILED".to_owned(),
        };
        format!(
            "{:>8.1} s  {:<20} {verdict}",
            self.time.as_secs_f64(),
            self.name
        )
    }
}

fn summarise(done: &[Done]) -> anyhow::Result<()> {
    println!("=== summary");
    let mut counts = Counts::default();
    for step in done {
        println!("{}", step.line());
        if let Outcome::Passed(step_counts) = &step.outcome {
            counts += *step_counts;
        }
    }
    let time: Duration = done.iter().map(|step| step.time).sum();
    println!("{:>8.1} s  {:<20} {counts}", time.as_secs_f64(), "all");
    let is_failed = |step: &&Done| matches!(step.outcome, Outcome::Failed(_));
    let failed: Vec<&str> = done
        .iter()
        .filter(is_failed)
        .map(|step| step.name.as_str())
        .collect();
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    let is_skipped = |step: &&Done| matches!(step.outcome, Outcome::Skipped(_));
    match done.iter().filter(is_skipped).count() {
        0 => println!("\nEverything holds."),
        count => println!("\nAll that was checked holds; {count} of the steps were skipped."),
    }
    Ok(())
}

fn install() -> anyhow::Result<Outcome> {
    for group in [packages::CLUSTER, packages::FILE_SYSTEMS, packages::TESTS] {
        packages::ensure(group)?;
    }
    Ok(passed())
}

fn passed() -> Outcome {
    Outcome::Passed(Counts::default())
}

/// Every integration test.
const ALL_ON_CLUSTERS: &[&[&str]] = &[&["--workspace", "--test", "*"], WITHIN_RADOS];
/// What needs a driver of the kernel, but no cluster.
const DEVICES_IN_MEMORY: &[&str] = &[
    "--test",
    "nbd_kernel",
    "--test",
    "daemon",
    "--test",
    "mount",
];
/// What needs both.
const DEVICES_ON_CLUSTERS: &[&str] = &["--test", "cli_unmap"];
/// The least that has to work on every release: the test programs of this name.
const SMOKE: &[&[&str]] = &[&["--workspace", "--test", "smoke"], WITHIN_RADOS];
/// What looks at connections closer than programs can: of the crate `rados`. Asked for alone it would
/// be compiled again, with the features that it alone needs of others.
const WITHIN_RADOS: &[&str] = &["--workspace", "--lib", "on_clusters::"];
