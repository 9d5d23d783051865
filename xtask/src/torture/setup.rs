//! What there has to be before anything can go wrong: a cluster, its pools, and addresses that proxies
//! can stand in for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use minicluster::{Cluster, Daemon, Mode, Store};

use super::Task;

/// A cluster at this address.
pub(super) fn start_cluster(task: &Task, ip: IpAddr) -> anyhow::Result<Cluster> {
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
    for line in &task.conf {
        builder = builder.conf(line);
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

/// The pools that images have their data in.
pub(super) fn make_pools(cluster: &Cluster) -> anyhow::Result<()> {
    let ceph = |line: &str| cluster.ceph(&line.split(' ').collect::<Vec<_>>());
    for (pool, size, min_size) in [("three", "3", "2"), ("two", "2", "1")] {
        cluster.create_pool(pool, 8)?;
        ceph(&format!("osd pool set {pool} size {size}"))?;
        ceph(&format!("osd pool set {pool} min_size {min_size}"))?;
    }
    ceph("osd erasure-code-profile set torture k=2 m=1 crush-failure-domain=osd")?;
    ceph("osd pool create erasure 8 8 erasure torture")?;
    ceph("osd pool set erasure allow_ec_overwrites true")?;
    ceph("osd pool application enable erasure rbd")?;
    ceph("osd set-require-min-compat-client luminous")?;
    cluster.rados(&["-p", "erasure", "ls"])?;
    Ok(())
}

/// Where each daemon may listen.
pub(super) fn ports(cluster: &Cluster) -> anyhow::Result<Vec<(Daemon, Vec<u16>)>> {
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
pub(super) fn loopback(seed: u64) -> IpAddr {
    let mut rng = fastrand::Rng::with_seed(seed ^ u64::from(std::process::id()) << 20);
    IpAddr::V4(Ipv4Addr::new(
        127,
        rng.u8(1..250),
        rng.u8(..),
        rng.u8(1..250),
    ))
}

pub(super) const MONS: u8 = 3;
/// How long an OSD keeps the watch of a client that says nothing.
pub(super) const WATCH_TIMEOUT: Duration = Duration::from_secs(10);
