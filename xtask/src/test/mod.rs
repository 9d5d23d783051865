//! `cargo xtask test`: everything that has to hold before a change goes in.

mod cargo;
mod fuzz;
mod sources;

use std::time::{Duration, Instant};

use clap::Args;
use minicluster::packages;

pub(crate) use cargo::Counts;

/// Which checks to make.
#[derive(Args)]
pub(crate) struct Task {
    /// Leaves out what needs a cluster.
    #[arg(long)]
    quick: bool,
}

/// How a step went.
enum Outcome {
    Passed(Counts),
    Skipped(String),
    Failed(anyhow::Error),
}

/// A step that has been done.
struct Done {
    name: &'static str,
    time: Duration,
    outcome: Outcome,
}

type Step = (&'static str, fn() -> anyhow::Result<Outcome>);

/// Does all steps, also after one has failed, and fails if any has.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let mut steps: Vec<Step> = vec![
        ("packages", install),
        ("sources", || sources::check().map(|()| passed())),
        ("format", || cargo::plain(&["fmt", "--all", "--check"])),
        ("clippy", cargo::clippy),
        ("documentation", cargo::documentation),
        ("msgr2 without I/O", || {
            cargo::plain(&["check", "--package", "msgr2", "--no-default-features"])
        }),
        ("licences and bans", cargo::deny),
        ("unit tests", || {
            cargo::test(&["--workspace", "--lib", "--bins"])
        }),
        ("documentation tests", || {
            cargo::test(&["--workspace", "--doc"])
        }),
    ];
    if !task.quick {
        steps.push(("tests on clusters", || {
            cargo::test(&["--workspace", "--test", "*"])
        }));
    }
    steps.push(("fuzz targets", fuzz::run));

    let mut done = Vec::new();
    for (name, step) in steps {
        println!("=== {name}");
        let start = Instant::now();
        let outcome = step().unwrap_or_else(Outcome::Failed);
        let step = Done {
            name,
            time: start.elapsed(),
            outcome,
        };
        println!("{}\n", step.line());
        if let Outcome::Failed(e) = &step.outcome {
            println!("{e:#}\n");
        }
        done.push(step);
    }
    summarise(&done)
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
        .map(|step| step.name)
        .collect();
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    println!("\nEverything holds.");
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
