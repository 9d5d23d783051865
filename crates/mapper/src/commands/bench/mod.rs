//! `orbd bench`: how fast an image is, measured and printed as upstream does.

mod load;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rbd::{Cache, OpenOptions};
use tokio::task::JoinSet;

use crate::args::transfer::{Bench, IoType, Pattern};
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::output::print_text;
use crate::session::Session;
use crate::size::Bytes;
use load::Load;
use table::{Summary, Window};

/// What to measure.
#[derive(Clone, Debug)]
struct Plan {
    location: Location,
    io_type: IoType,
    pattern: Pattern,
    io_bytes: u64,
    threads: u32,
    total_bytes: u64,
    read_percent: u64,
}

/// Measures.
pub(crate) async fn run(args: Bench, session: &Session) -> Outcome {
    let plan = Plan::resolve(args)?;
    let options = OpenOptions {
        read_only: plan.io_type == IoType::Read,
        watch: plan.io_type != IoType::Read,
        cache: Cache::Configured,
        ..OpenOptions::default()
    };
    let image = session.open(&plan.location, options).await?;
    if plan.io_type != IoType::Read {
        image
            .check_writable()
            .map_err(|error| Failure::rbd("bench failed", &error))?;
        // Writes are buffered for those only who flush.
        image
            .flush()
            .await
            .map_err(|error| Failure::rbd("bench failed", &error))?;
    }
    let size = image.size_bytes();
    if plan.io_bytes > size {
        return Err(Failure::invalid(format_args!(
            "io-size {} larger than image size {}",
            Bytes(plan.io_bytes),
            Bytes(size)
        )));
    }
    print_text(&plan.heading())?;
    let load = Arc::new(Load::new(image, &plan));
    let started = Instant::now();
    measure(&load, &plan, started).await?;
    load.close()
        .await
        .map_err(|error| Failure::rbd("bench failed: flushing", &error))?;
    print_text(&Summary::new(&load.counts(), started.elapsed()).render(plan.io_type))
}

/// Runs the load to its end and prints a line for each second.
async fn measure(load: &Arc<Load>, plan: &Plan, started: Instant) -> Outcome {
    let mut workers = JoinSet::new();
    for thread in 0..plan.threads {
        let load = Arc::clone(load);
        workers.spawn(async move { load.work(thread).await });
    }
    let mut window = Window::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(Failure::rbd("bench failed", &error)),
                Some(Err(error)) => {
                    return Err(Failure::plain(rados::Errno::EIO, format_args!("bench failed: {error}")));
                }
            },
            _ = ticks.tick() => print_text(&window.line(&load.counts(), started.elapsed()))?,
        }
    }
}

impl Plan {
    fn resolve(args: Bench) -> Outcome<Self> {
        let io_type = args
            .io_type
            .ok_or_else(|| Failure::invalid("--io-type must be specified."))?;
        let mut positionals = Positionals::new(args.specs);
        let wanted = if io_type == IoType::Read {
            Wanted::IMAGE_OR_SNAP
        } else {
            Wanted::IMAGE
        };
        let location = locate(args.image, None, &mut positionals, wanted)?;
        let plan = Self {
            location,
            io_type,
            pattern: args.io_pattern.unwrap_or(Pattern::Seq),
            io_bytes: args.io_size.unwrap_or(4 << 10),
            threads: args.io_threads.unwrap_or(16),
            total_bytes: args.io_total.unwrap_or(1 << 30),
            read_percent: args.rw_mix_read.unwrap_or(50),
        };
        if plan.io_bytes == 0 {
            return Err(Failure::invalid("--io-size should be greater than zero."));
        }
        if plan.io_bytes > MAX_IO_BYTES {
            return Err(Failure::invalid("--io-size should be less than 4G"));
        }
        if plan.threads == 0 {
            return Err(Failure::invalid(
                "--io-threads should be greater than zero.",
            ));
        }
        if plan.read_percent > 100 {
            return Err(Failure::invalid(
                "--rw-mix-read should not be larger than 100.",
            ));
        }
        Ok(plan)
    }

    /// What is measured, and the headings of the table.
    fn heading(&self) -> String {
        let io_type = match self.io_type {
            IoType::Read => String::from("read"),
            IoType::Write => String::from("write"),
            IoType::Readwrite => format!(
                "readwrite read:write={}:{}",
                self.read_percent,
                100 - self.read_percent
            ),
        };
        let pattern = match self.pattern {
            Pattern::Rand => "random",
            Pattern::Seq => "sequential",
            Pattern::FullSeq => "full sequential",
        };
        format!(
            "bench  type {io_type} io_size {} io_threads {} bytes {} pattern {pattern}\n\
             {:>5}{:>10}{:>10}{:>12}\n",
            self.io_bytes, self.threads, self.total_bytes, "SEC", "OPS", "OPS/SEC", "BYTES/SEC"
        )
    }
}

/// A single I/O is held in memory.
const MAX_IO_BYTES: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, Request, parse};
    use crate::recording::Recording;

    fn planned(args: &[String]) -> Outcome<Plan> {
        match parse(args.iter().map(Into::into))? {
            Request::Run(invocation) => match invocation.command {
                Command::Bench(args) => Plan::resolve(args),
                other => panic!("{other:?}"),
            },
            Request::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn headings_and_refusals_are_those_of_rbd() {
        let (mut headings, mut refusals) = (0, 0);
        for case in Recording::load("bench") {
            match planned(&case.args) {
                Ok(plan) if case.code == 0 => {
                    assert!(case.stdout.starts_with(&plan.heading()), "{:?}", case.args);
                    headings += 1;
                }
                // The image's size is not known here, nor whether there is an image.
                Ok(_) => assert!(
                    case.stderr.contains("io-size") || case.code == 2,
                    "{:?}",
                    case.args
                ),
                Err(failure) => {
                    assert_eq!(failure.status(), case.code, "{:?}", case.args);
                    refusals += 1;
                }
            }
        }
        assert!(headings > 8 && refusals > 8);
    }
}
