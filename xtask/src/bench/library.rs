//! Programs that do a certain amount of I/O and end, run in turns: the libraries without a server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::Context;

use super::cell::{Cell, Load, Order, Work};
use super::fio::{self, READS_OF_MIX, Victim};
use super::ground::{Caching, Ground, IMAGE, IMAGE_BYTES, POOL};
use super::rusage::Usage;
use super::sample::{Comparison, Io, Side, Subject, Turn};
use super::servers::Pace;
use super::statistics::{to_f64, whole};
use super::{objects, process, server, system_calls};
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
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    /// As little as it can, to see what starting and ending costs.
    Least,
    /// So many I/Os; where only a time can be told, what is expected to be as much.
    Ios { count: u64, expected: Duration },
    /// The image's first so many bytes, once.
    First(u64),
}

/// A tool and what has been found out about it.
struct Contender {
    tool: Tool,
    amount: Amount,
    /// What starting and ending costs.
    least: Usage,
    side: Side,
}

/// The first two are compared; what the others do is noted as well. One alone is measured, and compared
/// with nothing.
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
    if pace.counts_system_calls {
        for contender in &mut contenders {
            interrupt.check()?;
            contender.side.system_calls = Some(bout.system_calls(contender)?);
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
            let (_, usage, _) = self.run(tool, Amount::Least)?;
            least.push(usage);
        }
        let least = Usage::median(&least);
        let amount = if self.is_read_ahead() {
            Amount::First(READ_AHEAD_BYTES)
        } else {
            let (io, usage, _) = self.run(tool, self.trial())?;
            enough(self.load, time, &io, &usage, &least)
        };
        Ok(Contender {
            tool: tool.clone(),
            amount,
            least,
            side: Side {
                name: name.to_owned(),
                ..Side::default()
            },
        })
    }

    /// Whether it is for what reads ahead: librbd does so at the beginning of an image only.
    fn is_read_ahead(self) -> bool {
        let Load {
            order, work, depth, ..
        } = self.load;
        self.caching == Caching::On && (order, work, depth) == (Order::Sequential, Work::Read, 1)
    }

    /// A first run, to see how fast it is.
    fn trial(self) -> Amount {
        let least = 4 * u64::from(self.load.depth);
        Amount::Ios {
            count: (TRIAL_BYTES / self.load.io_bytes).clamp(least, TRIAL_IOS.max(least)),
            expected: TRIAL,
        }
    }

    fn turn(self, contender: &Contender) -> anyhow::Result<Turn> {
        let (io, usage, rss_peak_bytes) = self.run(&contender.tool, contender.amount)?;
        let mut cost = usage.cost_beyond(&contender.least);
        cost.rss_peak_bytes = rss_peak_bytes;
        Ok(Turn { io, cost })
    }

    /// For each I/O, beyond those of starting and ending.
    fn system_calls(self, contender: &Contender) -> anyhow::Result<f64> {
        let report = self.ground.dir().join("perf");
        let count = |amount| {
            let command = self.command(&contender.tool, amount)?;
            let output = command::output(&mut system_calls::counting_of(&command, &report))?;
            let io = self.parse(&contender.tool, &output)?;
            Ok::<_, anyhow::Error>((to_f64(system_calls::counted(&report)?), to_f64(io.count)))
        };
        let (least, _) = count(Amount::Least)?;
        let (all, ios) = count(contender.amount)?;
        Ok((all - least).max(0.0) / ios.max(1.0))
    }

    /// What it did and took, and the most memory that it had.
    fn run(self, tool: &Tool, amount: Amount) -> anyhow::Result<(Io, Usage, Option<u64>)> {
        let mut command = self.command(tool, amount)?;
        let mut rss_peak_bytes = None;
        let before = Usage::of_children()?;
        let output = command::output_watched(&mut command, |pid, ended| {
            // The kernel forgets it when the program ends, and cannot be asked to tell before.
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                rss_peak_bytes = process::rss_peak_of_tree(pid).or(rss_peak_bytes);
            }
        })?;
        let usage = Usage::of_children()?.since(&before);
        Ok((self.parse(tool, &output)?, usage, rss_peak_bytes))
    }

    fn command(self, tool: &Tool, amount: Amount) -> anyhow::Result<Command> {
        let ground = self.ground;
        let mut command = match tool {
            Tool::Orbd(path) => Command::new(path),
            Tool::Rbd => ground.cluster.command("rbd"),
            Tool::FioLibrbd => Command::new("fio"),
            Tool::Objects(path) => {
                return Ok(objects::driving(path, ground, self.load, amount.time()));
            }
        };
        ground.set_environment(&mut command);
        if matches!(tool, Tool::FioLibrbd) {
            command.env("CEPH_CONF", ground.conf_with(self.caching)?);
            command.args(self.fio_options(amount));
        } else {
            command.args(arguments(self.load, self.caching, amount));
        }
        Ok(command)
    }

    fn fio_options(self, amount: Amount) -> Vec<String> {
        let victim = Victim::Librbd {
            pool: POOL,
            image: IMAGE,
        };
        match amount {
            Amount::Least => fio::once(victim, self.load, self.load.io_bytes),
            Amount::First(bytes) => fio::once(victim, self.load, bytes),
            Amount::Ios { expected, .. } => fio::timed(victim, self.load, IMAGE_BYTES, expected),
        }
    }

    fn parse(self, tool: &Tool, output: &str) -> anyhow::Result<Io> {
        match tool {
            Tool::Orbd(_) | Tool::Rbd => parse(output, self.load),
            Tool::FioLibrbd => fio::parse(output),
            Tool::Objects(_) => objects::parse(output),
        }
        .with_context(|| output.to_owned())
    }
}

/// As much as takes the time of a turn, or more where starting and ending would be too large a part.
fn enough(load: Load, time: Duration, trial: &Io, usage: &Usage, least: &Usage) -> Amount {
    let cpu_ns_per_io = usage.cost_beyond(least).cpu_ns / to_f64(trial.count.max(1));
    let of_time = trial.iops() * time.as_secs_f64();
    let of_start = (least.user_ns + least.kernel_ns) / START_SHARE / cpu_ns_per_io.max(1.0);
    let count = of_start
        .min(of_time * MOST_TURNS)
        .max(of_time)
        .max(4.0 * f64::from(load.depth))
        .ceil();
    Amount::Ios {
        count: whole(count),
        expected: Duration::from_secs_f64(count / trial.iops().max(1.0)),
    }
}

impl Amount {
    /// Where only a time can be told.
    fn time(self) -> Duration {
        match self {
            Self::Least => Duration::ZERO,
            Self::First(_) => TRIAL,
            Self::Ios { expected, .. } => expected,
        }
    }
}

/// Those of `rbd bench`, which are those of `orbd bench`.
fn arguments(load: Load, caching: Caching, amount: Amount) -> Vec<String> {
    let (total, threads) = match amount {
        Amount::Least => (load.io_bytes, 1),
        Amount::First(bytes) => (bytes, load.depth),
        Amount::Ios { count, .. } => (count * load.io_bytes, load.depth),
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
    option("--io-total", total.to_string());
    option("--io-pattern", pattern.into());
    if load.work == Work::Mix {
        option("--rw-mix-read", READS_OF_MIX.to_string());
    }
    option("--rbd-cache", server::is_on(caching).into());
    arguments
}

/// Reads the line of totals: `elapsed: 0   ops: 10240   ops/sec: 39443.8   bytes/sec: 154 MiB/s`.
fn parse(output: &str, load: Load) -> anyhow::Result<Io> {
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
        bytes: count * load.io_bytes,
        seconds: to_f64(count) / rate.max(f64::MIN_POSITIVE),
        // I/Os follow each other without a pause, so many at a time.
        derived_mean_ns: Some(1e9 * f64::from(load.depth) / rate.max(f64::MIN_POSITIVE)),
        latency: None,
    })
}

/// The drivers in this directory, ours and, if it can be measured, theirs.
pub(super) fn object_tools(dir: &Path, has_theirs: bool) -> Vec<(&'static str, Tool)> {
    let mut tools = vec![("our crate", Tool::Objects(dir.join(objects::OURS)))];
    if has_theirs {
        tools.push(("published crate", Tool::Objects(dir.join(objects::THEIRS))));
    }
    tools
}

const LEAST_RUNS: u32 = 3;
/// A first run, to see how much a turn is: so many bytes, but not more I/Os than this.
const TRIAL_BYTES: u64 = 64 << 20;
const TRIAL_IOS: u64 = 2000;
const TRIAL: Duration = Duration::from_millis(500);
/// How large a part of a run's processor time starting and ending should be at most, and how many turns'
/// time is spent for that.
const START_SHARE: f64 = 0.05;
const MOST_TURNS: f64 = 4.0;
/// librbd ceases to read ahead when 50 MiB have been read.
const READ_AHEAD_BYTES: u64 = 32 << 20;
/// How often the memory of a program is looked at.
const LOOK: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::super::sample::Metric;
    use super::*;

    #[test]
    fn totals_of_both_commands_are_read() {
        let orbd = "bench  type read io_size 4096 io_threads 32 bytes 41943040 pattern random\n  SEC       OPS   OPS/SEC   BYTES/SEC\nelapsed: 0   ops: 10240   ops/sec: 40960   bytes/sec: 160 MiB/s\n";
        let load = Load::of("4k:randread:32");
        let io = parse(orbd, load).unwrap();
        assert_eq!((io.count, io.bytes), (10240, 41_943_040));
        assert_eq!((io.iops(), io.seconds), (40960.0, 0.25));
        assert_eq!(io.derived_mean_ns, Some(781_250.0));
        let mix = "elapsed: 1   ops: 10240   ops/sec: 7573.96   bytes/sec: 30 MiB/s\nread_ops: 5054   read_ops/sec: 3738.17   read_bytes/sec: 15 MiB/s\n";
        assert!((parse(mix, load).unwrap().seconds - 1.352).abs() < 0.001);
        assert!(parse("rbd: error\n", load).is_err());
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
        let ahead = Amount::First(READ_AHEAD_BYTES);
        let line = arguments(Load::of("4k:read:1"), Caching::On, ahead).join(" ");
        assert_eq!(
            line,
            "bench rbd/bench --io-type read --io-size 4096 --io-threads 1 --io-total 33554432 \
             --io-pattern seq --rbd-cache true"
        );
    }

    /// What so many I/Os take a program that starts and ends for 60 ms, give or take, and needs 10 µs for
    /// each.
    fn usage(ios: u64, extra_ns: f64) -> Usage {
        Usage {
            user_ns: 40e6 + 6e3 * to_f64(ios) + extra_ns,
            kernel_ns: 20e6 + 4e3 * to_f64(ios),
            voluntary: 50.0 + to_f64(ios),
            involuntary: 0.0,
        }
    }

    #[test]
    fn what_is_left_is_the_cost_of_the_ios() {
        // One of the least runs was disturbed.
        let least = Usage::median(&[usage(0, 0.0), usage(0, 9e6), usage(0, 0.0)]);
        let io = Io {
            count: 20_000,
            seconds: 1.0,
            ..Io::default()
        };
        let turn = Turn {
            cost: usage(io.count, 0.0).cost_beyond(&least),
            io,
        };
        assert_eq!(Metric::Cpu.of(&turn), Some(10_000.0));
        assert_eq!(turn.cost.kernel_share, 0.4);
        assert_eq!(Metric::Switches.of(&turn), Some(1.0));
    }

    #[test]
    fn starting_is_a_small_part_of_a_run() {
        let trial = Io {
            count: 2000,
            seconds: 0.1,
            ..Io::default()
        };
        let amount = |load, seconds| {
            let time = Duration::from_secs_f64(seconds);
            match enough(
                Load::of(load),
                time,
                &trial,
                &usage(2000, 0.0),
                &usage(0, 0.0),
            ) {
                Amount::Ios { count, expected } => (count, expected.as_secs_f64()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(amount("4k:randread:32", 10.0), (200_000, 10.0));
        // 60 ms are a twentieth of what 120000 I/Os take.
        assert_eq!(amount("4k:randread:32", 5.0), (120_000, 6.0));
        assert_eq!(amount("4k:randread:32", 1.0), (80_000, 4.0));
        assert_eq!(amount("4k:randread:128", 0.001), (512, 0.0256));
    }
}
