//! An objecter, its OSDs, and the map that the test makes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use crush::CrushMap;
use denc::{Decode, Epoch, OsdId, PoolId, Uuid};
use futures_util::FutureExt;
use tokio::task::{JoinHandle, JoinSet};

use super::super::{Objecter, Target};
use super::encode::{Change, full, incremental, map_message};
use super::peer::Peer;
use crate::config::{Config, InFlightLimits, SizeBytes};
use crate::messenger::Messenger;
use crate::mon::Wishes;
use crate::msg::osd::OsdMapMessage;
use crate::osdmap::{MapFlags, ObjectLocator, OsdMap, PgId, PgPool, PoolFlags, Release};
use crate::{Operation, Result};

/// The pool that operations are on, and the one where they may be redirected to.
pub(super) const POOL: PoolId = PoolId(1);
pub(super) const OTHER_POOL: PoolId = PoolId(2);
/// A pool that there is not.
pub(super) const NO_POOL: PoolId = PoolId(9);

/// The object that operations are on. It stays where it is when the first group is split.
pub(super) const OBJECT: &str = "object";

/// How many operations may be in flight, and what they may carry in KiB.
const LIMITS: (usize, usize) = (8, 64);

/// Everything of a test.
pub(super) struct World {
    pub(super) objecter: Arc<Objecter>,
    pub(super) wishes: Arc<Wishes>,
    pub(super) peers: Vec<Peer>,
    pub(super) epoch: Epoch,
    /// The map as the monitors have it.
    pub(super) map: Option<OsdMap>,
    whole: Bytes,
}

impl World {
    /// Three OSDs that are reached, and no map.
    pub(super) async fn without_map() -> Self {
        let config = Config::builder()
            .without_file()
            .option("auth_client_required", "none")
            .load()
            .unwrap();
        let messenger = Arc::new(Messenger::from_config(&config).unwrap());
        let wishes = Arc::new(Wishes::default());
        let objecter = Arc::new(Objecter::new(messenger, Arc::clone(&wishes)));
        let (operations, kibibytes) = LIMITS;
        objecter.set_limits(InFlightLimits {
            operations: operations as u64,
            bytes: SizeBytes(1024 * kibibytes as u64),
        });
        let mut peers = Vec::new();
        for osd in 0..3 {
            peers.push(Peer::start(OsdId(osd)).await);
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/osdmap/three.osdmap");
        Self {
            objecter,
            wishes,
            peers,
            epoch: Epoch(0),
            map: None,
            whole: std::fs::read(file).unwrap().into(),
        }
    }

    /// Two pools of one placement group each: osd.0 is the primary of that of [`POOL`], osd.1 of
    /// that of [`OTHER_POOL`], osd.2 is not in use.
    pub(super) async fn new() -> Self {
        let mut world = Self::without_map().await;
        world.first_maps();
        world
    }

    /// The first map comes, and then a second one.
    pub(super) fn first_maps(&mut self) {
        let map = OsdMap::decode_all("map", &self.whole).unwrap();
        self.epoch = map.epoch();
        let message = map_message(map.fsid(), &[], &[(map.epoch(), self.whole.clone())]);
        self.map = Some(map);
        self.tell(&message);
        let mut change = self.placed(&[(POOL, &[0, 1]), (OTHER_POOL, &[1, 0])]);
        let mut pool = self.pool(POOL);
        (pool.pg_num, pool.pgp_num) = (1, 1);
        (pool.pg_num_target, pool.pg_num_pending) = (1, 1);
        (pool.size, pool.min_size) = (2, 1);
        let pools = [POOL, OTHER_POOL].map(|id| (id, pool.clone()));
        change.pools = BTreeMap::from(pools);
        change.up = self
            .peers
            .iter()
            .map(|peer| (peer.osd, peer.addrs()))
            .collect();
        change.release = Some(Release::OCTOPUS);
        self.change(&change);
    }

    pub(super) fn fsid(&self) -> Uuid {
        self.map.as_ref().unwrap().fsid()
    }

    /// A pool as it is in the monitors' map.
    pub(super) fn pool(&self, id: PoolId) -> PgPool {
        let map = self.map.as_ref().unwrap();
        PgPool::clone(map.pool(id).unwrap())
    }

    /// The groups with the number 0 of these pools are on these OSDs.
    pub(super) fn placed(&self, pools: &[(PoolId, &[i32])]) -> Change {
        let placed = pools.iter().map(|(pool, osds)| {
            let pg = PgId {
                pool: *pool,
                seed: 0,
            };
            (pg, osds.iter().copied().map(OsdId).collect())
        });
        Change {
            pg_temp: placed.collect(),
            ..Change::default()
        }
    }

    /// The incremental that makes the next map of the monitors'.
    pub(super) fn next_incremental(&mut self, change: &Change) -> (Epoch, Bytes) {
        self.epoch = self.epoch.next();
        let bytes = incremental(self.fsid(), self.epoch, change);
        let decoded = crate::osdmap::Incremental::decode_all("incremental", &bytes).unwrap();
        let next = self.map.as_ref().unwrap().apply(&decoded).unwrap();
        self.map = Some(next);
        (self.epoch, bytes)
    }

    /// The next map comes.
    pub(super) fn change(&mut self, change: &Change) {
        let next = self.next_incremental(change);
        self.tell(&map_message(self.fsid(), &[next], &[]));
    }

    /// A message with maps comes.
    pub(super) fn tell(&self, front: &Bytes) {
        let message = OsdMapMessage::parse(front).unwrap();
        self.objecter.handle_maps(&message);
    }

    /// The map of the monitors as a whole.
    pub(super) fn whole_map(&self) -> (Epoch, Bytes) {
        (self.epoch, full(self.map.as_ref().unwrap(), &self.crush()))
    }

    /// The bytes of the CRUSH map in the first map.
    fn crush(&self) -> Bytes {
        let magic = [0, 0, 1, 0];
        let is_map = |at: &usize| {
            let len = self
                .whole
                .get(at - 4..*at)
                .and_then(|len| len.first_chunk());
            let len = usize::try_from(u32::from_le_bytes(*len.unwrap())).unwrap();
            let bytes = self.whole.get(*at..at.saturating_add(len));
            bytes.is_some_and(|bytes| CrushMap::decode_all("CRUSH", bytes).is_ok())
        };
        let windows = self.whole.windows(4).enumerate().skip(4);
        let mut found = windows.filter(|(_, word)| *word == magic).map(|(at, _)| at);
        let at = found.find(is_map).unwrap();
        let len = u32::from_le_bytes(*self.whole[at - 4..at].first_chunk().unwrap());
        self.whole.slice(at..at + usize::try_from(len).unwrap())
    }

    /// Submits an operation, and lets it be sent.
    pub(super) async fn submit(&self, pool: PoolId, operation: Operation) -> Call {
        let objecter = Arc::clone(&self.objecter);
        let target = Target::new(pool, "", OBJECT);
        let call = tokio::spawn(async move { objecter.execute_on(target, operation).await });
        quiet().await;
        call
    }

    /// Makes the next operation one that goes to the second of two, if its reads are balanced.
    pub(super) fn choose_second_of_two(&self) {
        let locator = ObjectLocator::new(POOL);
        let hash = self.map.as_ref().unwrap().object_hash(OBJECT, &locator);
        let is_second = |tid: &u32| crush::hash32_2(*tid, hash.unwrap()) % 2 == 1;
        let tid = (1..).find(is_second).unwrap();
        self.objecter.next_tid.store(tid.into(), Ordering::Relaxed);
    }

    /// Everything is as it should be, and all OSDs serve, until it is so.
    pub(super) async fn heal(&mut self, is_so: impl Fn(&Self) -> bool) {
        if self.map.is_none() {
            self.first_maps();
        }
        // Maps that were said to exist and have not come are left out.
        self.map = self.objecter.map().map(|map| OsdMap::clone(&map));
        self.epoch = self.map.as_ref().unwrap().epoch();
        let mut good = self.placed(&[(POOL, &[0, 1]), (OTHER_POOL, &[1, 0])]);
        good.flags = Some(MapFlags(0));
        for pool in [POOL, OTHER_POOL] {
            if self.map.as_ref().unwrap().pool(pool).is_none() {
                continue;
            }
            let mut well = self.pool(pool);
            let bad = PoolFlags::FULL | PoolFlags::FULL_QUOTA | PoolFlags::EIO;
            well.flags = well.flags.without(bad);
            good.pools.insert(pool, well);
        }
        let mut servers = JoinSet::new();
        for mut peer in std::mem::take(&mut self.peers) {
            peer.listen().await;
            good.up.insert(peer.osd, peer.addrs());
            servers.spawn(serve(peer));
        }
        self.change(&good);
        for _ in 0..600 {
            if is_so(self) {
                return;
            }
            self.say_which_map_is_newest();
            pass(Duration::from_millis(100)).await;
        }
        panic!("it is lost");
    }

    /// Answers the question that operations on unknown pools make, if it is asked.
    pub(super) fn say_which_map_is_newest(&self) {
        let asking = self.objecter.operations_without_pool();
        let operations = asking.now_or_never().unwrap_or_default();
        self.objecter.newest_map_is(self.epoch, &operations);
    }

    /// Whether there are no operations.
    pub(super) fn is_idle(&self) -> bool {
        self.operations() == 0
    }

    /// How many operations there are.
    pub(super) fn operations(&self) -> usize {
        let view = self.objecter.view();
        let sessions = view.sessions.values();
        let in_sessions: usize = sessions.map(|session| session.operations()).sum();
        in_sessions + self.objecter.waiting().len()
    }

    /// Nothing is left of operations.
    pub(super) fn assert_idle(&self) {
        assert_eq!(self.operations(), 0, "operations are left");
        assert_eq!(self.objecter.limits().available(), LIMITS, "limits");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.objecter.shut_down();
    }
}

/// An operation under way.
pub(super) type Call = JoinHandle<Result<(i32, crate::Reply)>>;

async fn serve(peer: Peer) {
    let mut conns = JoinSet::new();
    loop {
        let (stream, from) = peer.listener.as_ref().unwrap().accept().await.unwrap();
        // One that has been given up meanwhile is no loss.
        if let Ok(conn) = peer.let_in(stream, from).await {
            conns.spawn(conn.serve(None));
        }
    }
}

/// Runs a test, in which time passes only when it says so. Sockets are looked at before each step, so
/// that nothing is missed by counting steps.
pub(super) fn play<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        // The runtime does not skip time while a thread is busy.
        let still = tokio::task::spawn_blocking(move || ended.recv_timeout(PATIENCE));
        tokio::select! {
            biased;
            outcome = test => {
                drop(end);
                outcome
            }
            _ = still => panic!("something is waited for that does not come"),
        }
    })
}

/// Long enough to be over only if something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets everything be done that can be done now.
pub(super) async fn quiet() {
    for _ in 0..QUIET {
        tokio::task::yield_now().await;
    }
}

/// After so many steps everything has been done that could be.
pub(super) const QUIET: usize = 48;

/// Time passes, in steps, after each of which everything is done that can be.
pub(super) async fn pass(time: Duration) {
    let step = Duration::from_millis(100);
    let mut left = time;
    while !left.is_zero() {
        let now = step.min(left);
        left -= now;
        tokio::time::advance(now).await;
        quiet().await;
    }
}
