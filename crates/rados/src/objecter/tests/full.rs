//! Full pools and clusters: waiting for room, or not.

use std::collections::BTreeMap;

use super::encode::Change;
use super::world::{POOL, World, play, quiet};
use crate::config::ObjecterOptions;
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
