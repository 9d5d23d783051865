//! Two NBD servers of one image, loaded in turns.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::cell::{Cell, Load, Work};
use super::fio::{self, Victim};
use super::ground::{Caching, Ground, IMAGE_BYTES};
use super::process::{self, Reading};
use super::sample::{Comparison, Side, Subject, Turn};
use super::server::Server;
use super::statistics::to_f64;
use super::system_calls;
use crate::interrupt::Interrupt;

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) turns: u32,
    /// How long each turn is.
    pub(super) time: Duration,
    pub(super) verifies: bool,
    pub(super) counts_system_calls: bool,
}

impl Pace {
    /// About how long a comparison takes.
    pub(super) fn expected(self, subject: Subject) -> Duration {
        let (programs, other) = match subject {
            Subject::Server | Subject::CachedServer | Subject::Growth => (2, OTHER_OF_SERVERS),
            Subject::Library | Subject::CachedLibrary => (3, OTHER_OF_TOOLS),
            Subject::Objects => (2, OTHER_OF_TOOLS),
        };
        (self.time + BESIDE_TURN) * self.turns * programs + other
    }
}

/// One of two that take turns: a server that runs, and the load it gets.
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) server: Server,
    pub(super) load: Load,
}

/// Both are up all the time, and one at a time has work.
pub(super) fn compare(
    contenders: [Contender; 2],
    ground: &Ground,
    caching: Caching,
    pace: Pace,
    interrupt: &Interrupt,
) -> anyhow::Result<Comparison> {
    let [ours, _] = &contenders;
    let load = ours.load;
    if pace.verifies {
        verify(&ours.server, load)?;
    }
    let mut sides = contenders.each_ref().map(|contender| Side {
        name: contender.name.clone(),
        ..Side::default()
    });
    for _ in 0..pace.turns {
        for (contender, side) in contenders.iter().zip(&mut sides) {
            interrupt.check()?;
            side.turns.push(turn(contender, caching, pace.time)?);
        }
    }
    if pace.counts_system_calls {
        for (contender, side) in contenders.iter().zip(&mut sides) {
            interrupt.check()?;
            side.system_calls = Some(system_calls(contender, ground, caching, pace.time)?);
        }
    }
    for contender in contenders {
        contender.server.stop()?;
    }
    let [ours, theirs] = sides;
    Ok(Comparison {
        subject: match caching {
            Caching::Off => Subject::Server,
            Caching::On => Subject::CachedServer,
        },
        cell: Cell {
            place: ground.place,
            load,
        },
        condition: None,
        ours,
        theirs,
        others: Vec::new(),
    })
}

/// What is written through our server must be what is read.
fn verify(server: &Server, load: Load) -> anyhow::Result<()> {
    let span = (load.io_bytes * VERIFIED_IOS).clamp(VERIFIED_LEAST, VERIFIED_MOST);
    let options = fio::verifying(Victim::Nbd(server.socket()), load, span);
    fio::run(Command::new("fio"), &options, |_| {}).context("data were not as written")?;
    Ok(())
}

fn turn(contender: &Contender, caching: Caching, time: Duration) -> anyhow::Result<Turn> {
    let Contender { server, load, .. } = contender;
    warm_up(server, *load, caching)?;
    let pid = server.pid();
    process::reset_rss_peak(pid)?;
    let before = Reading::of(pid)?;
    let mut options = fio::timed(Victim::Nbd(server.socket()), *load, IMAGE_BYTES, time);
    if caching == Caching::On {
        // What is held back costs something as well.
        options.push("--end_fsync=1".into());
    }
    let io = fio::run(Command::new("fio"), &options, |_| {})?;
    let mut cost = Reading::of(pid)?.since(&before);
    cost.rss_peak_bytes = Some(process::rss_peak_bytes(pid)?);
    Ok(Turn { io, cost })
}

/// A little of the load before it is measured. It writes, too, so that the image's lock is with who is
/// measured, and flushes where there is a cache: before that, caches do not hold writes back.
fn warm_up(server: &Server, load: Load, caching: Caching) -> anyhow::Result<()> {
    let mixed = Load {
        work: Work::Mix,
        ..load
    };
    let victim = Victim::Nbd(server.socket());
    let mut options = fio::timed(victim, mixed, IMAGE_BYTES, WARM_UP);
    if caching == Caching::On {
        options.push("--fsync=16".into());
    }
    fio::run(Command::new("fio"), &options, |_| {}).context("warming up")?;
    Ok(())
}

fn system_calls(
    contender: &Contender,
    ground: &Ground,
    caching: Caching,
    time: Duration,
) -> anyhow::Result<f64> {
    let Contender { server, load, .. } = contender;
    warm_up(server, *load, caching)?;
    let report = ground.dir().join("perf");
    let time = time.min(COUNTED);
    let options = fio::timed(Victim::Nbd(server.socket()), *load, IMAGE_BYTES, time);
    let fio = system_calls::counting(server.pid(), &report);
    let io = fio::run(fio, &options, |_| {})?;
    Ok(to_f64(system_calls::counted(&report)?) / to_f64(io.count.max(1)))
}

/// What a turn takes beside its load, and a comparison beside its turns.
const BESIDE_TURN: Duration = Duration::from_secs(1);
const OTHER_OF_SERVERS: Duration = Duration::from_secs(15);
const OTHER_OF_TOOLS: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_millis(500);
/// How long system calls are counted at most.
const COUNTED: Duration = Duration::from_secs(1);
/// So many I/Os are verified, as far as that is within the bounds below.
const VERIFIED_IOS: u64 = 4096;
const VERIFIED_LEAST: u64 = 16 << 20;
const VERIFIED_MOST: u64 = 256 << 20;
