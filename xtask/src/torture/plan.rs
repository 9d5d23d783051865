//! What is done to cluster, network and clients, and for how long: all of it follows from the seed.

use std::fmt;
use std::time::Duration;

use minicluster::Daemon;

/// Something that goes wrong, or changes, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`, and a new start.
    Kill(Daemon),
    /// Ended and started again in good order.
    Restart(Daemon),
    /// `SIGSTOP` and `SIGCONT`.
    Pause(Daemon),
    /// Two of three monitors stopped.
    LoseQuorum {
        survivor: u8,
    },
    /// An OSD killed that the monitors may not take for dead.
    KillUnnoticed {
        osd: u32,
    },
    Out {
        osd: u32,
    },
    Reweight {
        osd: u32,
        percent: u32,
    },
    Affinity {
        osd: u32,
        percent: u32,
    },
    /// PGs split or merged; stays.
    PgNum {
        pool: usize,
        pgs: u32,
    },
    /// PGs of a pool moved by exceptions in the map.
    Upmap {
        pool: usize,
        draw: u64,
    },
    /// A quota that has been exceeded already.
    Quota {
        pool: usize,
    },
    /// A limit that the OSDs have reached already.
    FullCluster,
    PauseCluster,
    Network(Harm, Target),
    /// The whole network of the clients cut off.
    Partition,
    /// Clients and lanes are counted round and round.
    KillClient {
        lane: usize,
        client: usize,
    },
    /// Shorter or longer than watches live.
    PauseClient {
        lane: usize,
        client: usize,
        is_long: bool,
    },
    /// The one that has the lock stopped, longer than its watch lives, while others want the lock.
    StopOwner {
        lane: usize,
    },
}

/// What the proxies do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    CutEvery {
        bytes: u64,
        is_hard: bool,
    },
    FlipEvery {
        bytes: u64,
    },
    Delay {
        milliseconds: u64,
    },
    AcceptLate {
        milliseconds: u64,
    },
    /// Nothing passes and nobody is told; in the end it goes on, or is reset.
    Stall {
        to_daemon: bool,
        to_client: bool,
        then_reset: bool,
    },
}

/// Whose connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    One(Daemon),
    Osds,
    Mons,
    All,
}

/// Faults that are there at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) faults: Vec<Fault>,
    pub(super) lasts: Duration,
}

/// What there is to do something to.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) osds: u32,
    pub(super) mons: u8,
    pub(super) pools: usize,
    pub(super) lanes: usize,
    /// The lanes where several clients hand a lock to and fro.
    pub(super) contended: Vec<usize>,
    /// How long an OSD keeps the watch of a client that says nothing.
    pub(super) watch_timeout: Duration,
}

/// An endless plan.
pub(super) struct Plan {
    rng: fastrand::Rng,
    scene: Scene,
    /// Kinds that have not had their turn, so that every run has some of most.
    deck: Vec<usize>,
}

impl Plan {
    pub(super) fn new(seed: u64, scene: Scene) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            scene,
            deck: Vec::new(),
        }
    }

    fn fault(&mut self) -> Fault {
        let kind = loop {
            if let Some(kind) = self.deck.pop() {
                break kind;
            }
            self.deck = (0..KINDS).collect();
            if self.scene.contended.is_empty() {
                self.deck.retain(|kind| *kind != OWNER_STOPS);
            }
            self.rng.shuffle(&mut self.deck);
        };
        let Self { rng, scene, .. } = self;
        let osd = rng.u32(..scene.osds);
        let mon = rng.u8(..scene.mons);
        let pool = rng.usize(..scene.pools);
        let lane = rng.usize(..scene.lanes);
        let client = rng.usize(..MOST_CLIENTS);
        let target = match rng.u32(..6) {
            0 => Target::One(Daemon::Mon(mon)),
            1 => Target::Mons,
            2 => Target::Osds,
            3 => Target::All,
            _ => Target::One(Daemon::Osd(osd)),
        };
        match kind {
            0 | 1 => Fault::Kill(Daemon::Osd(osd)),
            2 => Fault::Kill(Daemon::Mon(mon)),
            3 => Fault::Restart(Daemon::Osd(osd)),
            4 => Fault::Pause(Daemon::Osd(osd)),
            5 => Fault::Pause(Daemon::Mon(mon)),
            6 => Fault::LoseQuorum { survivor: mon },
            7 => Fault::KillUnnoticed { osd },
            8 => Fault::Out { osd },
            9 => Fault::Reweight {
                osd,
                percent: rng.u32(20..80),
            },
            10 => Fault::Affinity {
                osd,
                percent: rng.u32(0..3) * 25,
            },
            11 | 12 => Fault::PgNum {
                pool,
                pgs: rng.choice([4, 6, 12, 16, 24]).unwrap_or(8),
            },
            13 | 14 => Fault::Upmap {
                pool,
                draw: rng.u64(..),
            },
            15 => Fault::Quota { pool },
            16 => Fault::FullCluster,
            17 => Fault::PauseCluster,
            18 | 19 => {
                // Little goes to and from monitors.
                let most = match target {
                    Target::Mons | Target::One(Daemon::Mon(_)) => 14,
                    _ => 20,
                };
                let harm = Harm::CutEvery {
                    bytes: 1 << rng.u32(6..most),
                    is_hard: rng.bool(),
                };
                Fault::Network(harm, target)
            }
            20 | 21 => {
                let harm = Harm::FlipEvery {
                    bytes: 1 << rng.u32(10..20),
                };
                Fault::Network(harm, target)
            }
            22 => {
                let harm = Harm::Delay {
                    milliseconds: rng.u64(20..400),
                };
                Fault::Network(harm, target)
            }
            23 => {
                let harm = Harm::AcceptLate {
                    milliseconds: rng.u64(300..3000),
                };
                Fault::Network(harm, target)
            }
            24 | 25 => {
                let (to_daemon, to_client) = rng
                    .choice([(true, true), (true, false), (false, true)])
                    .unwrap_or_default();
                let harm = Harm::Stall {
                    to_daemon,
                    to_client,
                    then_reset: rng.bool(),
                };
                Fault::Network(harm, target)
            }
            26 => Fault::Partition,
            27 | CLIENT_DIES_STALLED => Fault::KillClient { lane, client },
            OWNER_STOPS => Fault::StopOwner {
                lane: rng.choice(scene.contended.iter().copied()).unwrap_or(lane),
            },
            _ => Fault::PauseClient {
                lane,
                client,
                is_long: kind == 30,
            },
        }
    }
}

impl Plan {
    /// Whether the next kind is to be a client's death on a network that has stalled.
    fn stalls_before_death(&mut self) -> bool {
        let is_death = self.deck.last() == Some(&CLIENT_DIES_STALLED);
        if is_death {
            self.deck.pop();
        }
        is_death
    }
}

impl Iterator for Plan {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let count = if self.rng.u32(..4) == 0 { 2 } else { 1 };
        let mut faults: Vec<Fault> = Vec::new();
        // In half of the cases a client dies with much on the way.
        if self.stalls_before_death() {
            let lane = self.rng.usize(..self.scene.lanes);
            let client = self.rng.usize(..MOST_CLIENTS);
            let harm = Harm::Stall {
                to_daemon: self.rng.bool(),
                to_client: true,
                then_reset: self.rng.bool(),
            };
            faults.push(Fault::Network(harm, Target::Osds));
            faults.push(Fault::KillClient { lane, client });
        }
        while faults.len() < count {
            let fault = self.fault();
            if faults.iter().all(|other| fault.goes_with(*other)) {
                faults.push(fault);
            }
        }
        let mut lasts = Duration::from_millis(self.rng.u64(500..6000));
        for fault in &faults {
            lasts = match fault {
                Fault::PauseClient { is_long: true, .. } | Fault::StopOwner { .. } => {
                    self.scene.watch_timeout + WATCH_MARGIN
                }
                _ => lasts,
            };
        }
        Some(Round { faults, lasts })
    }
}

impl Fault {
    /// By which faults of a kind are counted together.
    pub(super) fn kind(self) -> &'static str {
        let is_mon = |daemon| matches!(daemon, Daemon::Mon(_));
        match self {
            Self::Kill(daemon) if is_mon(daemon) => "monitor killed",
            Self::Kill(_) => "OSD killed",
            Self::Restart(_) => "OSD restarted",
            Self::Pause(daemon) if is_mon(daemon) => "monitor stopped",
            Self::Pause(_) => "OSD stopped",
            Self::LoseQuorum { .. } => "quorum lost",
            Self::KillUnnoticed { .. } => "OSD killed, unnoticed",
            Self::Out { .. } => "OSD out",
            Self::Reweight { .. } => "OSD reweighted",
            Self::Affinity { .. } => "primary affinity",
            Self::PgNum { .. } => "PGs split or merged",
            Self::Upmap { .. } => "upmap",
            Self::Quota { .. } => "pool quota",
            Self::FullCluster => "cluster full",
            Self::PauseCluster => "cluster paused",
            Self::Network(Harm::CutEvery { .. }, _) => "connections cut",
            Self::Network(Harm::FlipEvery { .. }, _) => "bits flipped",
            Self::Network(Harm::Delay { .. }, _) => "delays",
            Self::Network(Harm::AcceptLate { .. }, _) => "late accepts",
            Self::Network(Harm::Stall { .. }, _) => "half-open stall",
            Self::Partition => "partition",
            Self::KillClient { .. } => "client killed",
            Self::PauseClient { is_long: false, .. } => "client stopped",
            Self::PauseClient { is_long: true, .. } => "client stopped, watch lost",
            Self::StopOwner { .. } => "lock owner stopped",
        }
    }

    /// Whether both can be there at once and each be undone for itself.
    fn goes_with(self, other: Self) -> bool {
        let is_network = |fault| matches!(fault, Self::Network(..) | Self::Partition);
        let client = |fault| {
            matches!(
                fault,
                Self::KillClient { .. } | Self::PauseClient { .. } | Self::StopOwner { .. }
            )
        };
        // What becomes of an owner is not to be the work of anything but its having been stopped.
        let is_owner = |fault| matches!(fault, Self::StopOwner { .. });
        if is_owner(self) || is_owner(other) {
            return (if is_owner(self) { other } else { self }).moves_data();
        }
        // Commands to the cluster need monitors, and daemons that are started are waited for.
        let is_monitors = |fault| {
            matches!(
                fault,
                Self::LoseQuorum { .. } | Self::Kill(Daemon::Mon(_)) | Self::Pause(Daemon::Mon(_))
            )
        };
        let is_harmless_to_commands = |fault| is_network(fault) || client(fault);
        if is_monitors(self) || is_monitors(other) {
            return is_harmless_to_commands(if is_monitors(self) { other } else { self });
        }
        let is_daemon = |fault| {
            matches!(
                fault,
                Self::Kill(_) | Self::Restart(_) | Self::Pause(_) | Self::KillUnnoticed { .. }
            )
        };
        // The map has one flag for both.
        let is_fullness = |fault| matches!(fault, Self::Quota { .. } | Self::FullCluster);
        !(is_daemon(self) && is_daemon(other)
            || is_fullness(self) && is_fullness(other)
            || is_network(self) && is_network(other)
            || client(self) && client(other)
            || self.kind() == other.kind())
    }
}

impl Fault {
    /// Whether PGs get other OSDs, and nothing else happens.
    fn moves_data(self) -> bool {
        matches!(
            self,
            Self::Out { .. }
                | Self::Reweight { .. }
                | Self::Affinity { .. }
                | Self::PgNum { .. }
                | Self::Upmap { .. }
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Kill(daemon) | Self::Restart(daemon) | Self::Pause(daemon) => {
                write!(f, ": {daemon}")
            }
            Self::LoseQuorum { survivor } => write!(f, " to {}", Daemon::Mon(*survivor)),
            Self::KillUnnoticed { osd } | Self::Out { osd } => write!(f, ": osd.{osd}"),
            Self::Reweight { osd, percent } | Self::Affinity { osd, percent } => {
                write!(f, ": osd.{osd} {percent} %")
            }
            Self::PgNum { pool, pgs } => write!(f, ": pool {pool} to {pgs}"),
            Self::Upmap { pool, .. } | Self::Quota { pool } => write!(f, ": pool {pool}"),
            Self::Network(harm, target) => write!(f, ": {harm:?} of {target:?}"),
            Self::KillClient { lane, client } | Self::PauseClient { lane, client, .. } => {
                write!(f, ": client {lane}.{client}")
            }
            Self::StopOwner { lane } => write!(f, ": lane {lane}"),
            Self::FullCluster | Self::PauseCluster | Self::Partition => Ok(()),
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        write!(
            f,
            "{:.1} s of {}",
            self.lasts.as_secs_f64(),
            faults.join(" + ")
        )
    }
}

const KINDS: usize = 32;
const CLIENT_DIES_STALLED: usize = 28;
const OWNER_STOPS: usize = 31;
/// Any number that is a multiple of how many clients an image can have.
const MOST_CLIENTS: usize = 6;
const WATCH_MARGIN: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        Scene {
            osds: 4,
            mons: 3,
            pools: 3,
            lanes: 3,
            contended: vec![1, 2],
            watch_timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_seed_always_gives_the_same_plan() {
        let plan = |seed| Plan::new(seed, scene()).take(200).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_of_fault_comes_up() {
        let mut kinds: Vec<&str> = Plan::new(1, scene())
            .take(100)
            .flat_map(|round| round.faults)
            .map(Fault::kind)
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 25, "{kinds:?}");
    }

    #[test]
    fn owners_are_stopped_where_others_want_their_lock() {
        let lanes = |scene| {
            let faults = Plan::new(3, scene).take(400).flat_map(|round| round.faults);
            let lanes = faults.filter_map(|fault| match fault {
                Fault::StopOwner { lane } => Some(lane),
                _ => None,
            });
            let mut lanes: Vec<usize> = lanes.collect();
            lanes.sort_unstable();
            lanes.dedup();
            lanes
        };
        assert_eq!(lanes(scene()), [1, 2]);
        let alone = Scene {
            contended: Vec::new(),
            ..scene()
        };
        assert!(lanes(alone).is_empty());
    }

    #[test]
    fn nothing_that_needs_monitors_meets_their_absence() {
        for round in Plan::new(2, scene()).take(2000) {
            let Some(lost) = round.faults.iter().position(|f| f.kind() == "quorum lost") else {
                continue;
            };
            let others = round
                .faults
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != lost);
            for (_, other) in others {
                assert!(
                    matches!(
                        other,
                        Fault::Network(..)
                            | Fault::Partition
                            | Fault::KillClient { .. }
                            | Fault::PauseClient { .. }
                    ),
                    "{round}"
                );
            }
        }
    }
}
