//! `cargo xtask torture`: load that is checked, on a cluster that falls apart and comes back.

mod checker;
pub(crate) mod client;
mod faults;
mod finale;
mod journal;
mod lane;
mod model;
mod network;
mod plan;
mod proxy;
mod report;
mod stamp;

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use minicluster::{Cluster, Daemon, Mode, Release, Store, packages};

use crate::interrupt::Interrupt;
use crate::workspace;
use checker::Checker;
use faults::Nemesis;
use lane::{Lane, Stage};
use network::Network;
use plan::{Plan, Round, Scene};
use proxy::Proxies;
use report::Report;

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
    /// Encrypt all connections; otherwise one client of three does.
    #[arg(long)]
    secure: bool,
    /// Who is tortured.
    #[arg(long, value_enum, default_value_t = ClientKind::Orbd)]
    client: ClientKind,
    /// The number of OSDs.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(3..10))]
    osds: u32,
    /// How many operations each client has under way.
    #[arg(long, default_value_t = 6)]
    jobs: u32,
    /// Print so many rounds of the plan, and do nothing.
    #[arg(long, value_name = "ROUNDS")]
    plan: Option<usize>,
}

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClientKind {
    /// Our library.
    Orbd,
    /// Upstream's, behind qemu-nbd.
    Librbd,
}

/// Fails if anything was found.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let seed = task.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let scene = Scene {
        osds: task.osds,
        mons: MONS,
        pools: DATA_POOLS.len(),
        lanes: DATA_POOLS.len(),
        watch_timeout: WATCH_TIMEOUT,
    };
    let mut plan = Plan::new(seed, scene);
    if let Some(rounds) = task.plan {
        for (number, round) in (1..).zip(plan.take(rounds)) {
            println!("{number:>4}: {round}");
        }
        return Ok(());
    }
    println!("seed {seed}");
    let interrupt = Interrupt::catch()?;
    packages::ensure(packages::CLUSTER)?;
    if task.client == ClientKind::Librbd {
        packages::ensure(packages::QEMU_RBD)?;
    }

    let dir = workspace::target_dir()
        .join("torture")
        .join(seed.to_string());
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let program = dir.join("client");
    fs::copy(std::env::current_exe()?, &program)?;

    let ip = loopback(seed);
    let cluster = start_cluster(task, ip)?;
    faults::make_pools(&cluster)?;
    let network = Network::new()?;
    let proxies = Proxies::start(&network, ip, &ports(&cluster)?)?;

    let mut lanes = make_images(task, &cluster)?;
    let names: Vec<String> = lanes.iter().map(Lane::spec).collect();
    let checker = Checker::start(&names, usize::try_from(BLOCKS)?);
    let stage = Stage {
        cluster: &cluster,
        network: &network,
        checker: &checker,
        dir: dir.clone(),
        program,
        kind: task.client,
        seed,
        blocks: BLOCKS,
        jobs: task.jobs,
    };
    for lane in &mut lanes {
        lane.start(&stage)?;
    }

    let mut nemesis = Nemesis {
        stage: &stage,
        proxies: &proxies,
        pools: &DATA_POOLS,
        upmapped: Vec::new(),
    };
    let mut report = Report::default();
    let start = Instant::now();
    let end = start + Duration::try_from_secs_f64(task.minutes * 60.0)?;
    let mut number = 0;
    while Instant::now() < end && !checker.has_violations() {
        let round = plan.next().context("the plan is endless")?;
        number += 1;
        print!("{number:>4}: {round}");
        std::io::stdout().flush()?;
        let stall = torment(&round, &mut nemesis, &mut lanes, &interrupt)?;
        println!(": {:.2} s", stall.as_secs_f64());
        report.add(&round, stall);
        report.struck += proxies.struck();
    }
    for lane in &mut lanes {
        interrupt.check()?;
        // After a violation nothing is to be learnt from the end.
        if !checker.has_violations() {
            finale::check(lane, &stage)?;
        }
        report.operations += checker.answered(lane.number)?;
    }
    report.time = start.elapsed();
    println!("\n{report}");

    let violations = checker.violations();
    if violations.is_empty() {
        println!("no violations, seed {seed}");
        drop(lanes);
        fs::remove_dir_all(&dir)?;
        return Ok(());
    }
    fs::write(dir.join("violations"), violations.join("\n"))?;
    bail!(
        "{} violations with seed {seed}; they and the clients' journals are in {}",
        violations.len(),
        dir.display()
    )
}

/// One round. Returns how long after its end what had waited then was answered.
fn torment(
    round: &Round,
    nemesis: &mut Nemesis<'_>,
    lanes: &mut [Lane],
    interrupt: &Interrupt,
) -> anyhow::Result<Duration> {
    for fault in &round.faults {
        nemesis.inject(*fault, lanes)?;
        // The second is to meet what the first has done.
        thread::sleep(BETWEEN);
    }
    let healing = Instant::now() + round.lasts;
    while Instant::now() < healing {
        interrupt.check()?;
        thread::sleep(POLL);
    }
    let mut faults = round.faults.clone();
    faults.sort_by_key(faults::turn);
    for fault in faults {
        nemesis.heal(fault, lanes)?;
    }
    let healed = Instant::now();

    let Stage { checker, .. } = nemesis.stage;
    let mut waiting = Vec::new();
    for lane in lanes.iter() {
        let ids = checker.waiting(lane.number)?.into_iter().map(|(id, _)| id);
        let answered = checker.answered(lane.number)?;
        waiting.push((lane.number, ids.collect::<Vec<_>>(), answered));
    }
    loop {
        interrupt.check()?;
        for lane in lanes.iter_mut() {
            if let Some(status) = lane.ended()? {
                let what = format!("the client ended: {status}\n{}", lane.log(nemesis.stage));
                checker.complain(lane.number, what)?;
                return Ok(healed.elapsed());
            }
        }
        let mut still = Vec::new();
        for (lane, ids, answered) in waiting {
            // What waits is answered, and the next is too.
            let is_over = checker.are_answered(lane, &ids)? && checker.answered(lane)? > answered;
            if !is_over {
                still.push((lane, ids, answered));
            }
        }
        waiting = still;
        if waiting.is_empty() {
            return Ok(healed.elapsed());
        }
        if healed.elapsed() > STALL_LIMIT {
            for (lane, ..) in &waiting {
                let what = checker.describe_waiting(*lane)?;
                let what =
                    format!("{STALL_LIMIT:?} after the end of {round}, there still wait: {what}");
                checker.complain(*lane, what)?;
            }
            return Ok(healed.elapsed());
        }
        thread::sleep(POLL);
    }
}

fn start_cluster(task: &Task, ip: IpAddr) -> anyhow::Result<Cluster> {
    let mut builder = Cluster::builder()
        .mons(usize::from(MONS))
        .osds(usize::try_from(task.osds)?)
        .store(Store::Bluestore)
        .ip(ip)
        .fast_failure_detection(true)
        // What is taken for dead wrongly, again and again, is not to give up.
        .conf("osd_max_markdown_count = 100000")
        .conf("mon_osd_adjust_heartbeat_grace = false")
        // Clients are told to hold operations back, and to go on, whenever PGs come together anew;
        // otherwise that is seldom.
        .conf("osd_backoff_on_peering = true")
        .conf(format!(
            "osd_client_watch_timeout = {}",
            WATCH_TIMEOUT.as_secs()
        ))
        .mode(if task.secure {
            Mode::Secure
        } else {
            Mode::Default
        });
    if let Some(release) = task.release {
        builder = builder.release(release);
    }
    // Every daemon has ports of its own, so that a proxy knows whose connections it has.
    for osd in 0..task.osds {
        let ports = osd_ports(osd);
        let (first, last) = (ports.start, ports.end - 1);
        builder = builder.conf(format!(
            "[osd.{osd}]\nms_bind_port_min = {first}\nms_bind_port_max = {last}"
        ));
    }
    Ok(builder.start()?)
}

fn make_images(task: &Task, cluster: &Cluster) -> anyhow::Result<Vec<Lane>> {
    let size = format!("{}M", (BLOCKS * stamp::BLOCK as u64) >> 20);
    let mut lanes = Vec::new();
    for (number, pool) in DATA_POOLS.into_iter().enumerate() {
        let image = format!("torture{number}");
        let header_pool = if pool == "erasure" { "three" } else { pool };
        let spec = format!("{header_pool}/{image}");
        let mut args = vec!["create", "--size", &size, "--object-size", "1M"];
        args.extend(["--image-feature", "layering"]);
        if header_pool != pool {
            args.extend(["--data-pool", pool]);
        }
        args.push(&spec);
        cluster.rbd(&args)?;
        // Both kinds of connections in every run.
        let mode = if task.secure || pool == "two" {
            "secure"
        } else {
            "crc"
        };
        let options = [("ms_client_mode", mode), ("ms_mon_client_mode", mode)];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        lanes.push(Lane::new(number, header_pool, &image, options.into()));
    }
    Ok(lanes)
}

/// Where each daemon may listen.
fn ports(cluster: &Cluster) -> anyhow::Result<Vec<(Daemon, Vec<u16>)>> {
    let mut all: Vec<(Daemon, Vec<u16>)> = Vec::new();
    // One group in brackets for each monitor.
    let host = cluster.mon_host();
    let groups = host.split('[').skip(1);
    for (number, group) in (0..).zip(groups) {
        let addresses = group.trim_end_matches([',', ']']).split(',');
        let ports = addresses.map(|address| {
            let (_, address) = address
                .split_once(':')
                .context("an address without protocol")?;
            Ok(address.parse::<SocketAddr>()?.port())
        });
        all.push((Daemon::Mon(number), ports.collect::<anyhow::Result<_>>()?));
    }
    ensure!(all.len() == usize::from(MONS), "the monitors are at {host}");
    for daemon in cluster.daemons() {
        if let Daemon::Osd(osd) = daemon {
            all.push((daemon, osd_ports(osd).collect()));
        }
    }
    Ok(all)
}

fn osd_ports(osd: u32) -> std::ops::Range<u16> {
    // There are less than ten.
    let first = 7000 + 64 * u16::try_from(osd).unwrap_or_default();
    first..first + 64
}

/// An address that other runs on this machine do not have, most likely.
fn loopback(seed: u64) -> IpAddr {
    let mut rng = fastrand::Rng::with_seed(seed ^ u64::from(std::process::id()) << 20);
    IpAddr::V4(Ipv4Addr::new(
        127,
        rng.u8(1..250),
        rng.u8(..),
        rng.u8(1..250),
    ))
}

/// The pools with data: three replicas, two, and two pieces with a third of parity. The last has its
/// images' headers in the first.
const DATA_POOLS: [&str; 3] = ["three", "two", "erasure"];
const MONS: u8 = 3;
/// 32 objects of 1 MiB.
const BLOCKS: u64 = 32 << 8;
const WATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Nothing may hang so long after everything is well again.
const STALL_LIMIT: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(10);
