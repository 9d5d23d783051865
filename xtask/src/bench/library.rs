//! Programs that do a certain amount of I/O and end, run in turns: the libraries without a server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::cell::{Cell, Load, Order, Work};
use super::fio::{self, READS_OF_MIX, Victim};
use super::ground::{Caching, Ground, IMAGE, IMAGE_BYTES, POOL};
use super::rusage::Usage;
use super::sample::{Comparison, Io, Side, Subject, Turn};
use super::servers::Pace;
use super::statistics::{median, to_f64};
use super::{objects, server};
use crate::command;
use crate::interrupt::Interrupt;

/// A program that does I/O and ends.
#[derive(Clone, Debug)]
pub(super) enum Tool {
    /// `orbd bench`, of this orbd.
    Orbd(PathBuf),
    /// `rbd bench` of the cluster's release.
    Rbd,
    /// fio with librbd in it.
    FioLibrbd,
    /// The driver of a library for objects, at this path.
    Objects(PathBuf),
}

/// How much it does.
#[derive(Clone, Copy, Debug)]
enum Amount {
    /// As little as it can, to see what starting and ending costs.
    Least,
    /// So many I/Os; where only a time can be told, what is expected to be as much.
    Ios { count: u64, expected: Duration },
}

/// A tool and what has been found out about it.
struct Contender {
    tool: Tool,
    amount: Amount,
    /// What starting and ending costs.
    least: Usage,
    side: Side,
}

/// The first two are compared; what the others do is noted as well.
pub(super) fn compare(
    tools: &[(&str, Tool)],
    ground: &Ground,
    caching: Caching,
    load: Load,
    pace: Pace,
    interrupt: &Interrupt,
) -> anyhow::Result<Comparison> {
    let bout = Bout {
        ground,
        caching,
        load,
    };
    let mut contenders = Vec::new();
    for (name, tool) in tools {
        interrupt.check()?;
        contenders.push(bout.prepare(name, tool, pace.time)?);
    }
    for _ in 0..pace.turns {
        for contender in &mut contenders {
            interrupt.check()?;
            contender.side.turns.push(bout.turn(contender)?);
        }
    }
    let subject = match (tools, caching) {
        ([(_, Tool::Objects(_)), ..], _) => Subject::Objects,
        (_, Caching::Off) => Subject::Library,
        (_, Caching::On) => Subject::CachedLibrary,
    };
    let mut sides = contenders.into_iter().map(|contender| contender.side);
    Ok(Comparison {
        subject,
        cell: Cell {
            place: ground.place,
            load,
        },
        condition: None,
        ours: sides.next().unwrap_or_default(),
        theirs: sides.next().unwrap_or_default(),
        others: sides.collect(),
    })
}

/// What is the same for all of them.
#[derive(Clone, Copy)]
struct Bout<'a> {
    ground: &'a Ground,
    caching: Caching,
    load: Load,
}

impl Bout<'_> {
    /// Finds out what little costs, and how much is done in the time of a turn.
    fn prepare(self, name: &str, tool: &Tool, time: Duration) -> anyhow::Result<Contender> {
        let mut least = Vec::new();
        for _ in 0..LEAST_RUNS {
            least.push(self.run(tool, Amount::Least)?.1);
        }
        let depth = u64::from(self.load.depth);
        let trial = Amount::Ios {
            count: (TRIAL_BYTES / self.load.io_bytes).clamp(4 * depth, TRIAL_IOS.max(4 * depth)),
            expected: TRIAL,
        };
        let (io, _) = self.run(tool, trial)?;
        let wanted = Duration::from_secs_f64(io.iops().max(1.0)).as_nanos() * time.as_millis();
        let count = u64::try_from(wanted / NANOSECONDS_TIMES_MILLISECONDS)?;
        Ok(Contender {
            tool: tool.clone(),
            amount: Amount::Ios {
                count: count.max(4 * depth),
                expected: time,
            },
            least: Usage::median(&least),
            side: Side {
                name: name.to_owned(),
                ..Side::default()
            },
        })
    }

    fn turn(self, contender: &Contender) -> anyhow::Result<Turn> {
        let (io, usage) = self.run(&contender.tool, contender.amount)?;
        Ok(Turn {
            io,
            cost: usage.cost_beyond(&contender.least),
        })
    }

    fn run(self, tool: &Tool, amount: Amount) -> anyhow::Result<(Io, Usage)> {
        let before = Usage::of_children()?;
        let io = match tool {
            Tool::Orbd(path) => self.bench(Command::new(path), amount),
            Tool::Rbd => self.bench(self.ground.cluster.command("rbd"), amount),
            Tool::FioLibrbd => self.fio(amount),
            Tool::Objects(path) => objects::run(path, self.ground, self.load, amount.time()),
        }?;
        Ok((io, Usage::of_children()?.since(&before)))
    }

    fn bench(self, mut bench: Command, amount: Amount) -> anyhow::Result<Io> {
        self.ground.set_environment(&mut bench);
        bench.args(arguments(self.load, self.caching, amount));
        let output = command::output(&mut bench)?;
        let mut io = parse(&output, self.load.io_bytes).with_context(|| output.clone())?;
        // I/Os follow each other without a pause, so many at a time.
        io.derived_mean_ns = Some(1e9 * f64::from(self.load.depth) / io.iops());
        Ok(io)
    }

    fn fio(self, amount: Amount) -> anyhow::Result<Io> {
        let victim = Victim::Librbd {
            pool: POOL,
            image: IMAGE,
        };
        let time = amount.time();
        let options = if time.is_zero() {
            fio::single(victim, self.load)
        } else {
            fio::timed(victim, self.load, IMAGE_BYTES, time)
        };
        let conf = self.ground.conf_with(self.caching)?;
        fio::run(Command::new("fio"), &options, |fio| {
            self.ground.set_environment(fio);
            fio.env("CEPH_CONF", conf);
        })
    }
}

impl Amount {
    fn time(self) -> Duration {
        match self {
            Self::Least => Duration::ZERO,
            Self::Ios { expected, .. } => expected,
        }
    }
}

/// Those of `rbd bench`, which are those of `orbd bench`.
fn arguments(load: Load, caching: Caching, amount: Amount) -> Vec<String> {
    let (count, threads) = match amount {
        Amount::Least => (1, 1),
        Amount::Ios { count, .. } => (count, load.depth),
    };
    let io_type = match load.work {
        Work::Read => "read",
        Work::Write => "write",
        Work::Mix => "readwrite",
    };
    let pattern = match load.order {
        Order::Sequential => "seq",
        Order::Random => "rand",
    };
    let mut arguments = vec!["bench".to_owned(), format!("{POOL}/{IMAGE}")];
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("--io-type", io_type.into());
    option("--io-size", load.io_bytes.to_string());
    option("--io-threads", threads.to_string());
    option("--io-total", (count * load.io_bytes).to_string());
    option("--io-pattern", pattern.into());
    if load.work == Work::Mix {
        option("--rw-mix-read", READS_OF_MIX.to_string());
    }
    option("--rbd-cache", server::is_on(caching).into());
    arguments
}

/// Reads the line of totals: `elapsed: 0   ops: 10240   ops/sec: 39443.8   bytes/sec: 154 MiB/s`.
fn parse(output: &str, io_bytes: u64) -> anyhow::Result<Io> {
    let mut lines = output.lines();
    let line = lines.find(|line| line.starts_with("elapsed:"));
    let line = line.context("no totals")?;
    let value = |name: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != name);
        words.nth(1).with_context(|| format!("no {name}"))
    };
    let count: u64 = value("ops:")?.parse()?;
    let rate: f64 = value("ops/sec:")?.parse()?;
    Ok(Io {
        count,
        bytes: count * io_bytes,
        seconds: to_f64(count) / rate.max(f64::MIN_POSITIVE),
        ..Io::default()
    })
}

impl Usage {
    /// Of several runs, each counter by itself.
    fn median(of: &[Self]) -> Self {
        let middle = |value: fn(&Self) -> f64| median(of.iter().map(value)).unwrap_or_default();
        Self {
            user_ns: middle(|usage| usage.user_ns),
            kernel_ns: middle(|usage| usage.kernel_ns),
            voluntary: middle(|usage| usage.voluntary),
            involuntary: middle(|usage| usage.involuntary),
        }
    }
}

/// The drivers' executables, ours and theirs.
pub(super) fn object_tools(dir: &Path) -> [(&'static str, Tool); 2] {
    [
        ("our crate", Tool::Objects(dir.join("ours"))),
        ("published crate", Tool::Objects(dir.join("theirs"))),
    ]
}

const LEAST_RUNS: u32 = 3;
/// A first run, to see how much a turn is: so many bytes, but not more I/Os than this.
const TRIAL_BYTES: u64 = 64 << 20;
const TRIAL_IOS: u64 = 2000;
const TRIAL: Duration = Duration::from_millis(500);
const NANOSECONDS_TIMES_MILLISECONDS: u128 = 1_000_000_000 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_both_commands_are_read() {
        let orbd = "bench  type read io_size 4096 io_threads 32 bytes 41943040 pattern random\n  SEC       OPS   OPS/SEC   BYTES/SEC\nelapsed: 0   ops: 10240   ops/sec: 39443.8   bytes/sec: 154 MiB/s\n";
        let io = parse(orbd, 4096).unwrap();
        assert_eq!((io.count, io.bytes), (10240, 41_943_040));
        assert!((io.iops() - 39443.8).abs() < 0.01);
        let mix = "elapsed: 1   ops: 10240   ops/sec: 7573.96   bytes/sec: 30 MiB/s\nread_ops: 5054   read_ops/sec: 3738.17   read_bytes/sec: 15 MiB/s\n";
        assert!((parse(mix, 4096).unwrap().seconds - 1.352).abs() < 0.001);
        assert!(parse("rbd: error\n", 4096).is_err());
    }

    #[test]
    fn both_commands_are_asked_for_the_same() {
        let amount = Amount::Ios {
            count: 100,
            expected: TRIAL,
        };
        let line = arguments(Load::of("4k:randrw:32"), Caching::Off, amount).join(" ");
        assert_eq!(
            line,
            "bench rbd/bench --io-type readwrite --io-size 4096 --io-threads 32 --io-total 409600 \
             --io-pattern rand --rw-mix-read 70 --rbd-cache false"
        );
    }
}
