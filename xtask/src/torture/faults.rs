//! Bringing faults about, and undoing them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use minicluster::Daemon;
use serde_json::Value;

use super::lane::{self, Dead, Lane, Stage};
use super::plan::{Fault, Harm, Target};
use super::proxy::{Proxies, Rules};
use super::spec::Pool;

/// A stopped client.
struct Stopped {
    lane: usize,
    /// Its place in the lane.
    client: usize,
    /// Whether it had the lock when nothing that it had sent was on the way any more.
    is_owner: bool,
}

/// Everything that faults are done to.
pub(super) struct Nemesis<'a> {
    stage: &'a Stage<'a>,
    proxies: &'a Proxies,
    /// PGs with exceptions of ours.
    upmapped: Vec<String>,
    /// Killed clients, with the numbers of their lanes and places.
    dead: Vec<(usize, usize, Dead)>,
    stopped: Vec<Stopped>,
    /// How long it took others to get the locks of stopped clients.
    pub(super) lock_moves: Vec<Duration>,
    /// How many stopped clients were shut out.
    pub(super) fenced: u64,
}

impl<'a> Nemesis<'a> {
    pub(super) fn new(stage: &'a Stage<'a>, proxies: &'a Proxies) -> Self {
        Self {
            stage,
            proxies,
            upmapped: Vec::new(),
            dead: Vec::new(),
            stopped: Vec::new(),
            lock_moves: Vec::new(),
            fenced: 0,
        }
    }

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
                let pool = pool_name(pool)?;
                self.ceph(&["osd", "pool", "set", pool, "pg_num", &pgs.to_string()])?;
            }
            Fault::Upmap { pool, draw } => self.upmap(pool, draw)?,
            Fault::Quota { pool } => {
                let pool = pool_name(pool)?;
                self.ceph(&["osd", "pool", "set-quota", pool, "max_objects", "1"])?;
                self.wait_for_quota(pool, true)?;
            }
            Fault::FullCluster => {
                self.limit(["0.00001"; 3])?;
                self.wait_for_full(true)?;
            }
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
            Fault::KillClient {
                lane: group,
                client,
            } => {
                for lane in of_group(lanes, group) {
                    let (client, _) = lane.client(client)?;
                    let dead = lane.kill(client, self.stage)?;
                    self.dead.push((lane.number, client, dead));
                }
            }
            Fault::PauseClient {
                lane: group,
                client,
                ..
            } => {
                for lane in of_group(lanes, group) {
                    let (client, worker) = lane.client(client)?;
                    worker.pause(true)?;
                    self.stopped.push(Stopped {
                        lane: lane.number,
                        client,
                        is_owner: false,
                    });
                }
            }
            Fault::StopOwner { lane: group } => {
                for lane in of_group(lanes, group) {
                    self.stop_owner(lane)?;
                }
            }
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
                let pool = pool_name(pool)?;
                self.ceph(&["osd", "pool", "set-quota", pool, "max_objects", "0"])?;
                self.wait_for_quota(pool, false)?;
            }
            Fault::FullCluster => {
                self.limit(["0.85", "0.90", "0.95"])?;
                self.wait_for_full(false)?;
            }
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
            Fault::KillClient { .. } => {
                for (lane, client, dead) in std::mem::take(&mut self.dead) {
                    let lane = lanes.get_mut(lane).context("no such lane")?;
                    lane.shut_out(&dead, self.stage)?;
                    lane.start(client, self.stage)?;
                }
            }
            Fault::PauseClient { .. } | Fault::StopOwner { .. } => {
                for stopped in std::mem::take(&mut self.stopped) {
                    let lane = lanes.get(stopped.lane).context("no such lane")?;
                    if matches!(fault, Fault::StopOwner { .. }) {
                        self.wait_for_move(lane)?;
                    }
                    self.resume(lane, &stopped)?;
                }
            }
        }
        Ok(())
    }

    /// Lets a client go on, after everybody knows whether it is shut out.
    fn resume(&mut self, lane: &Lane, stopped: &Stopped) -> anyhow::Result<()> {
        let (_, worker) = lane.client(stopped.client)?;
        let checker = self.stage.checker;
        if lane.is_shared() {
            if lane::is_blocklisted(self.stage.cluster, &worker.address)? {
                self.wait_for_maps()?;
                checker.fence(lane.number, worker.generation)?;
                self.fenced += 1;
            } else if stopped.is_owner {
                let what = "a client has the lock of another one that is not shut out";
                checker.complain(lane.number, what)?;
            }
        }
        worker.pause(false)
    }

    fn stop_owner(&mut self, lane: &Lane) -> anyhow::Result<()> {
        let deadline = Instant::now() + OWNER_LIMIT;
        let (client, worker) = loop {
            match lane.owner(self.stage)? {
                Some(owner) => break owner,
                // The lock is on its way from one to the other.
                None if Instant::now() < deadline => thread::sleep(POLL),
                None => bail!("nobody has the lock of {}", lane.name()),
            }
        };
        worker.pause(true)?;
        let checker = self.stage.checker;
        checker.expect_move(lane.number, worker.generation)?;
        // It may have been about to give the lock up.
        thread::sleep(ON_THE_WAY);
        let owner = lane.owner(self.stage)?;
        self.stopped.push(Stopped {
            lane: lane.number,
            client,
            is_owner: owner.is_some_and(|(owner, _)| owner == client),
        });
        Ok(())
    }

    /// Waits until others have the lock of a stopped client.
    fn wait_for_move(&mut self, lane: &Lane) -> anyhow::Result<()> {
        let deadline = Instant::now() + MOVE_LIMIT;
        let checker = self.stage.checker;
        while Instant::now() < deadline {
            if let Some(took) = checker.moved(lane.number)? {
                self.lock_moves.push(took);
                return Ok(());
            }
            thread::sleep(POLL);
        }
        let what = format!("{MOVE_LIMIT:?} later nobody else had the lock of a stopped client");
        checker.complain(lane.number, what)
    }

    /// Waits until every OSD has the map as it is now, and knows who is shut out.
    fn wait_for_maps(&self) -> anyhow::Result<()> {
        let Stage { cluster, .. } = self.stage;
        let number = |map: &Value, name| map.get(name).and_then(Value::as_u64);
        let epoch = number(&cluster.ceph_json(&["osd", "dump"])?, "epoch");
        let deadline = Instant::now() + MAPS_LIMIT;
        for osd in self.daemons(Target::Osds) {
            loop {
                let status = cluster.ceph_json(&["daemon", &osd.to_string(), "status"])?;
                if number(&status, "newest_map") >= epoch {
                    break;
                }
                if Instant::now() > deadline {
                    bail!("{osd} does not get the map {epoch:?}");
                }
                thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// Sets the shares of their space at which OSDs are nearly full, too full to be filled, and full. The
    /// greatest of them so far counts.
    fn limit(&self, ratios: [&str; 3]) -> anyhow::Result<()> {
        let kinds = ["nearfull", "backfillfull", "full"];
        for (kind, ratio) in kinds.into_iter().zip(ratios) {
            self.ceph(&["osd", &format!("set-{kind}-ratio"), ratio])?;
        }
        Ok(())
    }

    /// Waits until the map says that there is no space, or does not say so any more: first it has to be
    /// reported to the monitors.
    fn wait_for_full(&self, is_full: bool) -> anyhow::Result<()> {
        self.wait_for_flags(|_, flags| flags.contains(&"full") == is_full)
    }

    fn wait_for_quota(&self, pool: &str, is_full: bool) -> anyhow::Result<()> {
        self.wait_for_flags(|name, flags| name != pool || flags.contains(&"full_quota") == is_full)
    }

    /// Waits until all pools have the flags that are wanted.
    fn wait_for_flags(&self, are_wanted: impl Fn(&str, &[&str]) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + MAPS_LIMIT;
        loop {
            let map = self.stage.cluster.ceph_json(&["osd", "dump"])?;
            let pools = map.get("pools").and_then(Value::as_array);
            let pools: Vec<(&str, &str)> = pools
                .into_iter()
                .flatten()
                .filter_map(|pool| {
                    let text = |name| pool.get(name).and_then(Value::as_str);
                    Some((text("pool_name")?, text("flags_names")?))
                })
                .filter(|(name, _)| Pool::ALL.iter().any(|pool| pool.name() == *name))
                .collect();
            let is_so = pools.iter().all(|(name, flags)| {
                let flags: Vec<&str> = flags.split(',').collect();
                are_wanted(name, &flags)
            });
            if is_so {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the pools' flags are not as wanted after {MAPS_LIMIT:?}: {pools:?}");
            }
            thread::sleep(POLL);
        }
    }

    /// Moves the PGs of some objects from one of their OSDs to one that they do not have.
    fn upmap(&mut self, pool: usize, draw: u64) -> anyhow::Result<()> {
        let pool = pool_name(pool)?;
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
}

fn pool_name(number: usize) -> anyhow::Result<&'static str> {
    let pool = Pool::ALL.get(number).context("no such pool")?;
    Ok(pool.name())
}

/// In which order faults are undone: without monitors nothing else can be.
pub(super) fn turn(fault: &Fault) -> u32 {
    match fault {
        Fault::LoseQuorum { .. } | Fault::Kill(Daemon::Mon(_)) | Fault::Pause(Daemon::Mon(_)) => 0,
        Fault::Network(..) | Fault::Partition => 1,
        Fault::KillClient { .. } | Fault::PauseClient { .. } | Fault::StopOwner { .. } => 3,
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

fn of_group(lanes: &mut [Lane], group: usize) -> impl Iterator<Item = &mut Lane> {
    lanes.iter_mut().filter(move |lane| lane.group == group)
}

/// Objects whose PGs an upmap moves.
const UPMAPS: u32 = 3;
/// Locks change hands that fast.
const OWNER_LIMIT: Duration = Duration::from_secs(20);
/// Longer than anything takes to a daemon that works.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// How long after a client was let lie for longer than watches live, others may take to get its lock.
const MOVE_LIMIT: Duration = Duration::from_secs(60);
const MAPS_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
