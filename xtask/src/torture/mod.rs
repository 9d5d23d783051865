//! `cargo xtask torture`: load that is checked, on a cluster that falls apart and comes back.

mod checker;
pub(crate) mod client;
mod faults;
mod finale;
mod journal;
mod lane;
mod model;
pub(crate) mod mutation;
mod network;
mod object_map;
mod plan;
mod proxy;
mod report;
mod round;
mod setup;
mod spec;
mod stamp;
mod worker;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use minicluster::{Release, packages};

use crate::interrupt::Interrupt;
use crate::workspace;
use checker::Checker;
use faults::Nemesis;
use lane::{Lane, Stage};
use network::Network;
use plan::{Fault, Plan, Round, Scene};
use proxy::Proxies;
use report::Report;
use spec::{ClientKind, LaneSpec, Pool};

/// How to torture, and whom.
#[derive(Args)]
pub(crate) struct Task {
    /// How long faults go on, in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// What all faults and operations follow from; chosen by chance unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// The release of Ceph.
    #[arg(long)]
    release: Option<Release>,
    /// Encrypt all connections; otherwise the clients of the pool `two` do.
    #[arg(long)]
    secure: bool,
    /// An image and its clients: POOL:FEATURES:CLIENT[+CLIENT], of the pools three, two and erasure,
    /// the features layering, lock and default, and the clients orbd, cached, librbd and ext4; may be
    /// given several times.
    #[arg(long = "lane", value_name = "LANE")]
    lanes: Vec<LaneSpec>,
    /// Who is tortured instead of those in the lanes.
    #[arg(long, value_enum)]
    client: Option<ClientKind>,
    /// Have every lane twice, once with our clients and once with librbd, under the same faults at the
    /// same moments.
    #[arg(long, conflicts_with = "client")]
    compare: bool,
    /// Leave out all faults but these, by their names in the report.
    #[arg(long = "fault", value_name = "KIND")]
    faults: Vec<String>,
    /// A line of the cluster's configuration; may be given several times.
    #[arg(long, value_name = "LINE")]
    conf: Vec<String>,
    /// The number of OSDs.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(3..10))]
    osds: u32,
    /// How many operations each client has under way.
    #[arg(long, default_value_t = 6)]
    jobs: u32,
    /// Break the library on purpose, as the patch of this name in xtask/torture-mutations does, or each
    /// of `all`, and fail unless that is noticed. Other options than the seed are in the patch.
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,
    /// Print so many rounds of the plan, and do nothing.
    #[arg(long, value_name = "ROUNDS")]
    plan: Option<usize>,
}

/// Fails if anything was found.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let seed = task.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    if let Some(name) = &task.mutation {
        return mutation::run(name, seed);
    }
    let mut lanes = lanes(task)?;
    let mut plan = plan(task, seed, &lanes)?;
    if let Some(rounds) = task.plan {
        for (number, round) in (1..).zip(plan.take(rounds)) {
            println!("{number:>4}: {round}");
        }
        return Ok(());
    }
    println!("seed {seed}");
    let interrupt = Interrupt::catch()?;
    packages::ensure(packages::CLUSTER)?;
    let is_there = |kind| lanes.iter().any(|lane| lane.spec.clients.contains(&kind));
    if is_there(ClientKind::Librbd) {
        packages::ensure(packages::QEMU_RBD)?;
    }
    if is_there(ClientKind::Ext4) {
        packages::ensure(packages::FILE_SYSTEMS)?;
    }
    let (dir, program) = make_dir(seed)?;

    let ip = setup::loopback(seed);
    let cluster = setup::start_cluster(task, ip)?;
    setup::make_pools(&cluster)?;
    let network = Network::new()?;
    let proxies = Proxies::start(&network, ip, &setup::ports(&cluster)?)?;
    let checker = {
        let lanes = lanes.iter().map(|lane| (lane.name(), lane.journal(&dir)));
        Checker::start(lanes.collect(), usize::try_from(BLOCKS)?)?
    };
    let stage = Stage {
        cluster: &cluster,
        network: &network,
        checker: &checker,
        dir,
        program,
        seed,
        blocks: BLOCKS,
        jobs: task.jobs,
    };
    let time = Duration::try_from_secs_f64(task.minutes * 60.0)?;
    let report = torture(time, &mut plan, &stage, &proxies, &mut lanes, &interrupt)?;
    println!("\n{report}");

    let violations = checker.violations();
    if violations.is_empty() {
        println!("no violations, seed {seed}");
        drop(lanes);
        fs::remove_dir_all(&stage.dir)?;
        return Ok(());
    }
    fs::write(stage.dir.join("violations"), violations.join("\n"))?;
    bail!(
        "{} violations with seed {seed}; they and the clients' journals are in {}",
        violations.len(),
        stage.dir.display()
    )
}

/// Everything from the images to the last comparison, or to the first violation.
fn torture(
    time: Duration,
    plan: &mut impl Iterator<Item = Round>,
    stage: &Stage<'_>,
    proxies: &Proxies,
    lanes: &mut [Lane],
    interrupt: &Interrupt,
) -> anyhow::Result<Report> {
    for lane in lanes.iter_mut() {
        lane.create(stage)?;
        lane.start_all(stage)?;
    }
    let checker = stage.checker;
    let mut nemesis = Nemesis::new(stage, proxies);
    let mut report = Report::default();
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < time && !checker.has_violations() {
        let round = plan.next().context("the plan is endless")?;
        number += 1;
        print!("{number:>4}: {round}");
        std::io::stdout().flush()?;
        let outcome = round::run(&round, stage, &mut nemesis, lanes, interrupt)?;
        let (held_up, stall) = (outcome.held_up, outcome.longest().as_secs_f64());
        println!(": {held_up} held up, then {stall:.2} s");
        report.add(&round, &outcome.stalls);
        report.struck += proxies.struck();
    }
    for lane in lanes {
        interrupt.check()?;
        // After a violation nothing is to be learnt from the end.
        if !checker.has_violations() {
            finale::check(lane, stage)?;
        }
        let (answered, hand_overs) = checker.totals(lane.number)?;
        report.operations += answered;
        report.hand_overs += hand_overs;
    }
    for took in &nemesis.lock_moves {
        report.add_lock_move(*took);
    }
    report.fenced = nemesis.fenced;
    report.time = start.elapsed();
    Ok(report)
}

fn lanes(task: &Task) -> anyhow::Result<Vec<Lane>> {
    let mut specs = task.lanes.clone();
    if specs.is_empty() {
        let words: &[&str] = if task.compare { &COMPARED } else { &LANES };
        let words = words.iter().map(|words| words.parse());
        specs = words.collect::<anyhow::Result<_>>()?;
    }
    let mut lanes = Vec::new();
    for (group, spec) in specs.into_iter().enumerate() {
        let kinds = match task.client {
            Some(kind) => vec![kind],
            None if task.compare => vec![ClientKind::Orbd, ClientKind::Librbd],
            None => Vec::new(),
        };
        // Both kinds of connections in every run.
        let is_secure = task.secure || spec.pool == Pool::Two;
        let mut specs: Vec<LaneSpec> = kinds.into_iter().map(|kind| spec.of(kind)).collect();
        if specs.is_empty() {
            specs.push(spec);
        }
        for spec in specs {
            lanes.push(Lane::new(lanes.len(), group, spec, is_secure));
        }
    }
    Ok(lanes)
}

/// The rounds that are wanted.
fn plan(
    task: &Task,
    seed: u64,
    lanes: &[Lane],
) -> anyhow::Result<impl Iterator<Item = Round> + use<>> {
    let scene = scene(task, lanes);
    let wanted = task.faults.clone();
    let mut all = Plan::new(seed, scene.clone()).take(PLAN_OF_ALL);
    let mut missing = wanted.clone();
    while let Some(round) = all.next()
        && !missing.is_empty()
    {
        missing.retain(|kind| round.faults.iter().all(|fault| fault.kind() != kind));
    }
    ensure!(missing.is_empty(), "there are no faults {missing:?}");
    Ok(Plan::new(seed, scene).filter(move |round| {
        let is_wanted = |fault: &Fault| wanted.iter().any(|kind| fault.kind() == kind);
        wanted.is_empty() || round.faults.iter().all(is_wanted)
    }))
}

fn scene(task: &Task, lanes: &[Lane]) -> Scene {
    let mut contended: Vec<usize> = lanes
        .iter()
        .filter(|lane| lane.is_shared())
        .map(|lane| lane.group)
        .collect();
    contended.dedup();
    Scene {
        osds: task.osds,
        mons: setup::MONS,
        pools: Pool::ALL.len(),
        lanes: lanes.last().map_or(0, |lane| lane.group + 1),
        contended,
        watch_timeout: setup::WATCH_TIMEOUT,
    }
}

/// An empty directory for this run, and in it this program: clients are to be of one build.
fn make_dir(seed: u64) -> anyhow::Result<(PathBuf, PathBuf)> {
    let dir = workspace::target_dir()
        .join("torture")
        .join(seed.to_string());
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let program = dir.join("client");
    fs::copy(std::env::current_exe()?, &program)?;
    Ok((dir, program))
}

/// The images that there are unless others are named.
const LANES: [&str; 5] = [
    "three:default:orbd+cached",
    "two:default:orbd+librbd",
    "erasure:default:cached",
    "three:layering:orbd",
    "two:default:ext4",
];
/// The same, where each is there twice: clients that do not get into each other's way.
const COMPARED: [&str; 3] = [
    "three:default:orbd",
    "two:default:orbd",
    "erasure:default:orbd",
];
/// In so many rounds all kinds of faults come up.
const PLAN_OF_ALL: usize = 200;
/// 32 objects of 1 MiB.
const BLOCKS: u64 = 32 << 8;
