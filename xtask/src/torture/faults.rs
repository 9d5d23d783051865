//! Bringing faults about, and undoing them.

use std::time::Duration;

use anyhow::Context;
use minicluster::{Cluster, Daemon};
use serde_json::Value;

use super::lane::{Lane, Stage};
use super::plan::{Fault, Harm, Target};
use super::proxy::{Proxies, Rules};

/// Everything that faults are done to.
pub(super) struct Nemesis<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) proxies: &'a Proxies,
    /// The pools with data, by their numbers in the plan.
    pub(super) pools: &'a [&'a str],
    /// PGs with exceptions of ours.
    pub(super) upmapped: Vec<String>,
}

impl<'a> Nemesis<'a> {
    pub(super) fn inject(&mut self, fault: Fault, lanes: &mut [Lane]) -> anyhow::Result<()> {
        let cluster = self.stage.cluster;
        match fault {
            Fault::Kill(daemon) => cluster.kill_daemon(daemon)?,
            Fault::Restart(daemon) => cluster.stop_daemon(daemon)?,
            Fault::Pause(daemon) => cluster.pause_daemon(daemon)?,
            Fault::LoseQuorum { survivor } => {
                for mon in self.others(survivor) {
                    cluster.pause_daemon(mon)?;
                }
            }
            Fault::KillUnnoticed { osd } => {
                self.ceph(&["osd", "set", "nodown"])?;
                cluster.kill_daemon(Daemon::Osd(osd))?;
            }
            Fault::Out { osd } => self.ceph(&["osd", "out", &osd.to_string()])?,
            Fault::Reweight { osd, percent } => self.weigh("reweight", osd, percent)?,
            Fault::Affinity { osd, percent } => self.weigh("primary-affinity", osd, percent)?,
            Fault::PgNum { pool, pgs } => {
                let pool = self.pool(pool)?;
                self.ceph(&["osd", "pool", "set", pool, "pg_num", &pgs.to_string()])?;
            }
            Fault::Upmap { pool, draw } => self.upmap(pool, draw)?,
            Fault::Quota { pool } => {
                let pool = self.pool(pool)?;
                self.ceph(&["osd", "pool", "set-quota", pool, "max_objects", "1"])?;
            }
            Fault::FullCluster => self.ceph(&["osd", "set-full-ratio", "0.001"])?,
            Fault::PauseCluster => self.ceph(&["osd", "set", "pause"])?,
            Fault::Network(harm, target) => {
                for daemon in self.daemons(target) {
                    self.proxies.set(daemon, rules(harm))?;
                    // Otherwise little is said to monitors, and there is nobody to accept.
                    let is_quiet = matches!(daemon, Daemon::Mon(_));
                    let meddles = matches!(harm, Harm::CutEvery { .. } | Harm::FlipEvery { .. });
                    if is_quiet && meddles || matches!(harm, Harm::AcceptLate { .. }) {
                        self.proxies.reset(daemon)?;
                    }
                }
            }
            Fault::Partition => self.stage.network.set_up(false)?,
            Fault::KillClient { lane } => self::lane(lanes, lane)?.kill()?,
            Fault::PauseClient { lane, .. } => self::lane(lanes, lane)?.pause(true)?,
        }
        Ok(())
    }

    pub(super) fn heal(&mut self, fault: Fault, lanes: &mut [Lane]) -> anyhow::Result<()> {
        let cluster = self.stage.cluster;
        match fault {
            Fault::Kill(daemon) | Fault::Restart(daemon) => cluster.start_daemon(daemon)?,
            Fault::Pause(daemon) => cluster.resume_daemon(daemon)?,
            Fault::LoseQuorum { survivor } => {
                for mon in self.others(survivor) {
                    cluster.resume_daemon(mon)?;
                }
            }
            Fault::KillUnnoticed { osd } => {
                self.ceph(&["osd", "unset", "nodown"])?;
                cluster.start_daemon(Daemon::Osd(osd))?;
            }
            Fault::Out { osd } => self.ceph(&["osd", "in", &osd.to_string()])?,
            Fault::Reweight { osd, .. } => self.weigh("reweight", osd, 100)?,
            Fault::Affinity { osd, .. } => self.weigh("primary-affinity", osd, 100)?,
            // The number of PGs stays; data moves on in its own time.
            Fault::PgNum { .. } => {}
            Fault::Upmap { .. } => {
                for pg in std::mem::take(&mut self.upmapped) {
                    self.ceph(&["osd", "rm-pg-upmap-items", &pg])?;
                }
            }
            Fault::Quota { pool } => {
                let pool = self.pool(pool)?;
                self.ceph(&["osd", "pool", "set-quota", pool, "max_objects", "0"])?;
            }
            Fault::FullCluster => self.ceph(&["osd", "set-full-ratio", "0.95"])?,
            Fault::PauseCluster => self.ceph(&["osd", "unset", "pause"])?,
            Fault::Network(harm, target) => {
                let resets = matches!(
                    harm,
                    Harm::Stall {
                        then_reset: true,
                        ..
                    }
                );
                for daemon in self.daemons(target) {
                    if resets {
                        self.proxies.reset(daemon)?;
                    }
                    self.proxies.set(daemon, Rules::default())?;
                }
            }
            Fault::Partition => self.stage.network.set_up(true)?,
            Fault::KillClient { lane } => {
                let lane = self::lane(lanes, lane)?;
                lane.shut_out(self.stage)?;
                lane.start(self.stage)?;
            }
            Fault::PauseClient { lane, .. } => self::lane(lanes, lane)?.pause(false)?,
        }
        Ok(())
    }

    /// Moves the PGs of some objects from one of their OSDs to one that they do not have.
    fn upmap(&mut self, pool: usize, draw: u64) -> anyhow::Result<()> {
        let pool = self.pool(pool)?;
        let osds: Vec<u64> = self
            .stage
            .cluster
            .daemons()
            .into_iter()
            .filter_map(|daemon| match daemon {
                Daemon::Osd(osd) => Some(u64::from(osd)),
                Daemon::Mon(_) | Daemon::Mgr => None,
            })
            .collect();
        for object in 0..UPMAPS {
            let name = format!("{draw}.{object}");
            let place = self.stage.cluster.ceph_json(&["osd", "map", pool, &name])?;
            let pg = place
                .get("pgid")
                .and_then(Value::as_str)
                .context("no pgid")?;
            let up: Vec<u64> = place
                .get("up")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .collect();
            let from = up.get(usize::try_from(draw % up.len().max(1) as u64)?);
            let to = osds.iter().find(|osd| !up.contains(osd));
            // Where an OSD is out, there may be none to choose.
            if let (Some(from), Some(to)) = (from, to)
                && !self.upmapped.iter().any(|done| done == pg)
            {
                let (from, to) = (from.to_string(), to.to_string());
                self.ceph(&["osd", "pg-upmap-items", pg, &from, &to])?;
                self.upmapped.push(pg.to_owned());
            }
        }
        Ok(())
    }

    fn weigh(&self, command: &str, osd: u32, percent: u32) -> anyhow::Result<()> {
        let osd = osd.to_string();
        let weight = format!("{}.{:02}", percent / 100, percent % 100);
        self.ceph(&["osd", command, &osd, &weight])
    }

    fn others(&self, survivor: u8) -> Vec<Daemon> {
        let mut mons = self.daemons(Target::Mons);
        mons.retain(|mon| *mon != Daemon::Mon(survivor));
        mons.truncate(2);
        mons
    }

    fn daemons(&self, target: Target) -> Vec<Daemon> {
        let mut all = self.stage.cluster.daemons();
        all.retain(|daemon| match target {
            Target::One(one) => *daemon == one,
            Target::Osds => matches!(daemon, Daemon::Osd(_)),
            Target::Mons => matches!(daemon, Daemon::Mon(_)),
            Target::All => *daemon != Daemon::Mgr,
        });
        all
    }

    fn ceph(&self, args: &[&str]) -> anyhow::Result<()> {
        Ok(self.stage.cluster.ceph(args).map(drop)?)
    }

    fn pool(&self, pool: usize) -> anyhow::Result<&'a str> {
        self.pools.get(pool).copied().context("no such pool")
    }
}

/// In which order faults are undone: without monitors nothing else can be.
pub(super) fn turn(fault: &Fault) -> u32 {
    match fault {
        Fault::LoseQuorum { .. } | Fault::Kill(Daemon::Mon(_)) | Fault::Pause(Daemon::Mon(_)) => 0,
        Fault::Network(..) | Fault::Partition => 1,
        Fault::KillClient { .. } | Fault::PauseClient { .. } => 3,
        _ => 2,
    }
}

fn rules(harm: Harm) -> Rules {
    let rules = Rules::default();
    match harm {
        Harm::CutEvery { bytes, is_hard } => Rules {
            cut_every: Some(bytes),
            cuts_hard: is_hard,
            ..rules
        },
        Harm::FlipEvery { bytes } => Rules {
            flip_every: Some(bytes),
            ..rules
        },
        Harm::Delay { milliseconds } => Rules {
            delay: Duration::from_millis(milliseconds),
            ..rules
        },
        Harm::AcceptLate { milliseconds } => Rules {
            accept_delay: Duration::from_millis(milliseconds),
            ..rules
        },
        Harm::Stall {
            to_daemon,
            to_client,
            ..
        } => Rules {
            stalls_to_daemon: to_daemon,
            stalls_to_client: to_client,
            ..rules
        },
    }
}

fn lane(lanes: &mut [Lane], number: usize) -> anyhow::Result<&mut Lane> {
    lanes.get_mut(number).context("no such lane")
}

/// The pools, and an image with data in each.
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

/// Objects whose PGs an upmap moves.
const UPMAPS: u32 = 3;
