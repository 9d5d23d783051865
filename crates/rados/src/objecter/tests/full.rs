//! Full pools and clusters: waiting for room, or not.

use std::collections::BTreeMap;

use super::encode::{Change, Request};
use super::world::{POOL, World, play, quiet};
use crate::config::ObjecterOptions;
use crate::op::WatchStep;
use crate::osdmap::{MapFlags, PoolFlags};
use crate::{Errno, Operation, Result};

fn pool_flags(world: &World, flags: PoolFlags) -> Change {
    let mut pool = world.pool(POOL);
    pool.flags = flags;
    Change {
        pools: BTreeMap::from([(POOL, pool)]),
        ..Change::default()
    }
}

fn errno(outcome: Result<(i32, crate::Reply)>) -> Errno {
    Errno::check(outcome.unwrap().0).unwrap_err()
}

fn write() -> Operation {
    Operation::new().write(0, vec![7; 3000])
}

fn failing() -> ObjecterOptions {
    ObjecterOptions {
        abort_on_full: true,
        ..ObjecterOptions::default()
    }
}

#[test]
fn writes_fail_when_there_is_no_room_if_that_is_wanted() {
    play(async {
        let cases = [
            (PoolFlags::FULL, MapFlags(0), Errno::ENOSPC),
            (
                PoolFlags::FULL | PoolFlags::FULL_QUOTA,
                MapFlags(0),
                Errno::EDQUOT,
            ),
            (PoolFlags(0), MapFlags::FULL, Errno::ENOSPC),
        ];
        for (pool, flags, expected) in cases {
            let mut world = World::new().await;
            world.objecter.set_options(failing());
            // One that is under way, and one that comes later.
            let sent = world.submit(POOL, write()).await;
            let mut conn = world.peers[0].accept().await;
            conn.request().await.unwrap();
            let full = Change {
                flags: Some(flags),
                ..pool_flags(&world, pool)
            };
            world.change(&full);
            assert_eq!(errno(sent.await.unwrap()), expected);
            let late = world.submit(POOL, write()).await;
            assert_eq!(errno(late.await.unwrap()), expected);
            assert_eq!(conn.requests().await, []);
            world.assert_idle();
        }
    });
}

#[test]
fn those_that_wait_fail_when_it_becomes_wanted() {
    play(async {
        let mut world = World::new().await;
        world.change(&pool_flags(&world, PoolFlags::FULL));
        let waiting = world.submit(POOL, write()).await;
        assert!(!waiting.is_finished());
        world.objecter.set_options(failing());
        assert_eq!(errno(waiting.await.unwrap()), Errno::ENOSPC);
        world.assert_idle();
    });
}

#[test]
fn pauses_that_somebody_has_ordered_are_waited_for_all_the_same() {
    play(async {
        let mut world = World::new().await;
        world.objecter.set_options(failing());
        world.change(&Change {
            flags: Some(MapFlags::PAUSEWR),
            ..Change::default()
        });
        let mut waiting = world.submit(POOL, write()).await;
        quiet().await;
        assert!(!waiting.is_finished());
        world.heal(|_| waiting.is_finished()).await;
        (&mut waiting).await.unwrap().unwrap();
        world.assert_idle();
    });
}

#[test]
fn what_frees_space_and_what_reads_is_sent_to_full_pools() {
    play(async {
        let mut world = World::new().await;
        let full = PoolFlags::FULL | PoolFlags::FULL_QUOTA;
        world.change(&pool_flags(&world, full));
        let remove = world
            .submit(POOL, Operation::new().delete().full_try())
            .await;
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        // The OSD has the last word.
        conn.answer(&request, -Errno::EDQUOT.0);
        assert_eq!(errno(remove.await.unwrap()), Errno::EDQUOT);
        let read = world.submit(POOL, Operation::new().read(0, 1)).await;
        let request = conn.request().await.unwrap();
        conn.answer(&request, 0);
        read.await.unwrap().unwrap();
        world.assert_idle();
    });
}

/// The OSD drops what it gets after it has the map that was sent before, if it is one that it keeps in
/// order with writes, although nobody waits for room with these.
#[test]
fn what_does_not_wait_for_room_is_sent_again_when_there_is_none() {
    play(async {
        let full = |world: &World| pool_flags(world, PoolFlags::FULL);
        let cluster_full = |_: &World| Change {
            flags: Some(MapFlags::FULL),
            ..Change::default()
        };
        let changes: [&dyn Fn(&World) -> Change; 2] = [&full, &cluster_full];
        for change in changes {
            let mut world = World::new().await;
            let ping = Operation::new().watch(WatchStep::Ping, 7, 0, 30);
            let ping = world.submit(POOL, ping).await;
            let mut conn = world.peers[0].accept().await;
            let first = conn.request().await.unwrap();
            let delete = Operation::new().delete().full_try();
            let delete = world.submit(POOL, delete).await;
            let second = conn.request().await.unwrap();
            let read = world.submit(POOL, Operation::new().read(0, 1)).await;
            let third = conn.request().await.unwrap();
            let change = change(&world);
            world.change(&change);
            let again = conn.requests().await;
            let of = |request: &Request| (request.tid, request.attempt + 1);
            let expected = [of(&first), of(&second)];
            let found: Vec<_> = again.iter().map(|r| (r.tid, r.attempt)).collect();
            assert_eq!(found, expected);
            // What goes on about a pool that was full already changes nothing.
            world.change(&change);
            assert_eq!(conn.requests().await, []);
            for request in again.iter().chain([&third]) {
                conn.answer(request, 0);
            }
            for outcome in [ping, delete, read] {
                outcome.await.unwrap().unwrap();
            }
            world.assert_idle();
        }
    });
}
