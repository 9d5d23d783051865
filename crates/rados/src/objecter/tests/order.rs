//! Many operations: in the order in which they were submitted, and not too many at a time.

use std::time::Duration;

use super::encode::Change;
use super::world::{POOL, World, pass, play, quiet};
use crate::osdmap::MapFlags;
use crate::{Error, Operation};

fn write() -> Operation {
    Operation::new().write(0, vec![7; 8 << 10])
}

#[test]
fn operations_keep_their_order_through_everything() {
    play(async {
        let mut world = World::new().await;
        let mut calls = Vec::new();
        for _ in 0..8 {
            calls.push(world.submit(POOL, write()).await);
        }
        let expected: Vec<u64> = (1..9).collect();
        let mut last = Vec::new();
        let mut conn = world.peers[0].accept().await;
        let events = ["", "lost", "moved", "back", "paused", "lost"];
        for (attempt, event) in (0..).zip(events) {
            match event {
                "lost" => {
                    conn.link.close().await;
                    pass(Duration::from_secs(1)).await;
                    conn = world.peers[0].accept().await;
                }
                "moved" => {
                    world.change(&world.placed(&[(POOL, &[1, 0])]));
                    conn = world.peers[1].accept().await;
                }
                "back" => {
                    world.change(&world.placed(&[(POOL, &[0, 1])]));
                    pass(Duration::from_secs(1)).await;
                    conn = world.peers[0].accept().await;
                }
                "paused" => {
                    for flags in [MapFlags::PAUSEWR, MapFlags(0)] {
                        world.change(&Change {
                            flags: Some(flags),
                            ..Change::default()
                        });
                    }
                }
                _ => {}
            }
            let sent = conn.requests().await;
            let tids: Vec<u64> = sent.iter().map(|request| request.tid.0).collect();
            assert_eq!(tids, expected, "{event}");
            assert!(
                sent.iter().all(|request| request.attempt == attempt),
                "{event}"
            );
            last = sent;
        }
        for request in &last {
            conn.answer(request, 0);
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        world.assert_idle();
    });
}

#[test]
fn no_more_is_in_flight_than_may_be_whatever_becomes_of_it() {
    play(async {
        let world = World::new().await;
        let mut calls = Vec::new();
        for _ in 0..12 {
            calls.push(world.submit(POOL, write()).await);
        }
        let mut conn = world.peers[0].accept().await;
        let first = conn.requests().await;
        // 8 operations, and 64 KiB.
        assert_eq!(first.len(), 8);
        // One is answered, and one that waits for its turn is not wanted any more.
        conn.answer(&first[0], 0);
        calls.pop().unwrap().abort();
        quiet().await;
        assert_eq!(conn.requests().await.len(), 1);
        assert_eq!(world.operations(), 8);
        let objecter = &world.objecter;
        assert_eq!(objecter.limits().available(), (0, 0));
        objecter.shut_down();
        for (number, call) in calls.into_iter().enumerate() {
            let outcome = call.await.unwrap();
            if number == 0 {
                outcome.unwrap();
            } else {
                assert!(matches!(outcome, Err(Error::ShutDown)), "{number}");
            }
        }
        world.assert_idle();
    });
}

#[test]
fn an_operation_that_is_too_large_goes_alone() {
    play(async {
        let world = World::new().await;
        let large = world
            .submit(POOL, Operation::new().write(0, vec![7; 1 << 20]))
            .await;
        let small = world.submit(POOL, write()).await;
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        assert_eq!(conn.requests().await, []);
        conn.answer(&request, 0);
        large.await.unwrap().unwrap();
        let request = conn.request().await.unwrap();
        conn.answer(&request, 0);
        small.await.unwrap().unwrap();
        world.assert_idle();
    });
}
