//! What can happen to an operation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use denc::{Epoch, OsdId, UTime, Uuid};

use super::cells::Cell;
use super::encode::{Change, incremental, map_message, message};
use super::peer::Peer;
use super::world::{OTHER_POOL, POOL, World, pass};
use crate::Errno;
use crate::msg::kind;
use crate::msg::osd::{BackoffStep, OsdBackoff};
use crate::osdmap::{HObject, MapFlags, OsdState, PgId, PgPool, PoolFlags, ShardId, ShardedPgId};

impl Cell {
    /// Lets something happen. Gives false if it cannot.
    pub(super) async fn happens(&mut self, event: &str) -> bool {
        let answerable = self.conn.as_mut().zip(self.request.as_ref());
        match event {
            "answer" | "again" | "redirect" => {
                let Some((conn, request)) = answerable else {
                    return false;
                };
                match event {
                    "answer" => conn.answer(request, 0),
                    "again" => conn.answer(request, -Errno::EAGAIN.0),
                    _ => conn.redirect(request, OTHER_POOL),
                }
                self.request = None;
            }
            "older-answer" => return self.older_answer().await,
            "block" => return self.block().await,
            "unblock" => return self.unblock(),
            "lost" => return self.lost().await,
            "refused" => return self.refused().await,
            "accepted" => {
                if self.conn.is_some() || !self.has_session() {
                    return false;
                }
                pass(Duration::from_secs(8)).await;
            }
            "newest" => self.world.say_which_map_is_newest(),
            "cancelled" => self.call.abort(),
            "later" => pass(Duration::from_secs(1)).await,
            "shut-down" => self.world.objecter.shut_down(),
            map => self.map(map).await,
        }
        true
    }

    /// Whether the client has somebody to connect to.
    fn has_session(&self) -> bool {
        !self.world.objecter.view().sessions.is_empty()
    }

    /// The connection breaks, the operation is sent again, and the answer is to what was sent before.
    async fn older_answer(&mut self) -> bool {
        let Some(before) = self.request.take() else {
            return false;
        };
        self.lost().await;
        let mut conn = self.world.peers[self.at].accept().await;
        self.request = conn.requests().await.pop();
        conn.answer_attempt(&before, before.attempt, 0);
        self.conn = Some(conn);
        self.request.is_some()
    }

    async fn block(&mut self) -> bool {
        let Some(conn) = &mut self.conn else {
            return false;
        };
        match (&self.request, conn.backoffs.last()) {
            (Some(request), _) => conn.block(request.pg, request.epoch),
            (None, Some(backoff)) => conn.block(backoff.pg, backoff.epoch),
            (None, None) => return false,
        }
        // The client has heard of it.
        self.news = conn.requests().await.pop();
        self.news.is_none()
    }

    fn unblock(&mut self) -> bool {
        let Some(conn) = &mut self.conn else {
            return false;
        };
        if conn.backoffs.is_empty() {
            let unknown = OsdBackoff {
                pg: ShardedPgId {
                    pg: PgId {
                        pool: POOL,
                        seed: 0,
                    },
                    shard: ShardId::NONE,
                },
                epoch: self.world.epoch,
                step: BackoffStep::Unblock,
                id: 77,
                begin: HObject::MIN,
                end: HObject::MIN,
            };
            let _ = conn.link.send(message(kind::OSD_BACKOFF, &unknown));
        }
        conn.unblock();
        true
    }

    async fn lost(&mut self) -> bool {
        let Some(conn) = self.conn.take() else {
            if !self.has_session() {
                return false;
            }
            let listener = self.world.peers[self.at].listener.as_ref().unwrap();
            drop(listener.accept().await.unwrap());
            pass(Duration::from_millis(300)).await;
            return true;
        };
        conn.link.close().await;
        self.request = None;
        // Attempts do not follow each other any faster.
        pass(Duration::from_millis(300)).await;
        true
    }

    async fn refused(&mut self) -> bool {
        if self.conn.is_none() && !self.has_session() {
            return false;
        }
        self.world.peers[self.at].refuse();
        if let Some(conn) = self.conn.take() {
            conn.link.close().await;
        }
        pass(Duration::from_secs(20)).await;
        self.world.peers[self.at].listen().await;
        self.request = None;
        // No pause is longer.
        for _ in 0..150 {
            self.arrived = self.world.peers[self.at].pending().await;
            if self.arrived.is_some() {
                break;
            }
            pass(Duration::from_millis(100)).await;
        }
        true
    }

    /// A new map.
    async fn map(&mut self, event: &str) {
        let world = &mut self.world;
        if world.map.is_none() {
            match event {
                "skipped" => world.first_maps(),
                // A difference to a map that there is not.
                _ => {
                    let map = incremental(Uuid([0; 16]), Epoch(2), &Change::default());
                    let fsid = Uuid([0; 16]);
                    world.tell(&map_message(fsid, &[(Epoch(2), map)], &[]));
                }
            }
            return;
        }
        let change = match event {
            "same" => Change::default(),
            "up" => Change {
                up: world
                    .peers
                    .iter()
                    .map(|peer| (peer.osd, peer.addrs()))
                    .collect(),
                ..Change::default()
            },
            "moved" => world.placed(&[(POOL, &[1, 0])]),
            "replicas" => world.placed(&[(POOL, &[0, 2])]),
            "down" => Change {
                states: world.toggled_if_up(OsdId(0)),
                ..Change::default()
            },
            "address" => {
                world.peers[0] = Peer::start(OsdId(0)).await;
                Change {
                    up: BTreeMap::from([(OsdId(0), world.peers[0].addrs())]),
                    ..Change::default()
                }
            }
            "split" => with_pool(world, |pool| {
                (pool.pg_num, pool.pgp_num) = (2, 2);
                (pool.pg_num_target, pool.pg_num_pending) = (2, 2);
            }),
            "forced" => {
                let next = world.epoch.next();
                with_pool(world, |pool| pool.last_force_op_resend = next)
            }
            "there-and-back" => return world.there_and_back(),
            "pause" => flags(MapFlags::PAUSEWR | MapFlags::PAUSERD),
            "unpause" => flags(MapFlags(0)),
            "full" => with_pool(world, fill),
            "cluster-full" => flags(MapFlags::FULL),
            "room" => with_pool(world, empty),
            "full-and-room" => {
                let full = with_pool(world, fill);
                let room = with_pool(world, empty);
                return world.change_twice(&full, &room);
            }
            "tier" => with_pool(world, |pool| {
                pool.read_tier = Some(OTHER_POOL);
                pool.write_tier = Some(OTHER_POOL);
            }),
            "eio" => with_pool(world, |pool| pool.flags = pool.flags | PoolFlags::EIO),
            "skipped" => {
                let _ = world.next_incremental(&Change::default());
                let _ = world.next_incremental(&Change::default());
                let whole = world.whole_map();
                return world.tell(&map_message(world.fsid(), &[], &[whole]));
            }
            "gap" => {
                let _ = world.next_incremental(&Change::default());
                world.change(&world.placed(&[(POOL, &[1, 0])]));
                assert!(
                    world.wishes.take_osdmap(),
                    "the missing map is not asked for"
                );
                return;
            }
            "damaged" => {
                let (epoch, bytes) = world.next_incremental(&Change::default());
                let mut bytes = bytes.to_vec();
                bytes[40] ^= 1;
                world.tell(&map_message(world.fsid(), &[(epoch, bytes.into())], &[]));
                assert!(
                    world.wishes.take_whole_osdmap(),
                    "no whole map is asked for"
                );
                assert!(world.objecter.map().unwrap().epoch() < epoch);
                return;
            }
            "deleted" => Change {
                old_pools: BTreeSet::from([POOL]),
                ..Change::default()
            },
            "blocklisted" => {
                let addr = world.objecter.messenger.addr();
                Change {
                    blocklist: BTreeMap::from([(addr, UTime::default())]),
                    ..Change::default()
                }
            }
            other => panic!("{other}"),
        };
        world.change(&change);
    }
}

fn fill(pool: &mut PgPool) {
    pool.flags = pool.flags | PoolFlags::FULL;
}

fn empty(pool: &mut PgPool) {
    pool.flags = pool.flags.without(PoolFlags::FULL | PoolFlags::FULL_QUOTA);
}

pub(super) fn flags(flags: MapFlags) -> Change {
    Change {
        flags: Some(flags),
        ..Change::default()
    }
}

/// The pool that operations are on, changed.
pub(super) fn with_pool(world: &World, change: impl FnOnce(&mut PgPool)) -> Change {
    let mut pool = world.pool(POOL);
    change(&mut pool);
    Change {
        pools: BTreeMap::from([(POOL, pool)]),
        ..Change::default()
    }
}

impl World {
    /// The bit that takes an OSD down, if it is up.
    fn toggled_if_up(&self, osd: OsdId) -> BTreeMap<OsdId, u32> {
        let is_up = self.map.as_ref().unwrap().osd_is_up(osd);
        let down = is_up.then_some((osd, OsdState::UP.0));
        down.into_iter().collect()
    }

    /// Two maps in one message.
    fn change_twice(&mut self, first: &Change, second: &Change) {
        let first = self.next_incremental(first);
        let second = self.next_incremental(second);
        self.tell(&map_message(self.fsid(), &[first, second], &[]));
    }

    /// The primary is another one, and then the same again, in one message.
    fn there_and_back(&mut self) {
        let there = self.placed(&[(POOL, &[1, 0])]);
        let back = self.placed(&[(POOL, &[0, 1])]);
        self.change_twice(&there, &back);
    }
}
