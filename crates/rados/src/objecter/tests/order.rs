//! Many operations: in the order in which they were submitted, and not too many at a time.

use std::time::Duration;

use denc::Tid;

use super::encode::{Change, Request};
use super::world::{OTHER_POOL, POOL, World, pass, play, quiet};
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
fn redirected_writes_keep_their_numbers_and_their_order() {
    play(async {
        let mut world = World::new().await;
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(world.submit(POOL, write()).await);
        }
        let mut tier = world.peers[0].accept().await;
        // The tier may have passed on what it got first, and says nothing of that.
        assert_eq!(tier.requests().await.len(), 3);
        tier.link.close().await;
        pass(Duration::from_secs(1)).await;
        let mut tier = world.peers[0].accept().await;
        let sent = tier.requests().await;
        for request in &sent {
            tier.redirect(request, OTHER_POOL);
        }
        let mut base = world.peers[1].accept().await;
        let mut redirected = base.requests().await;
        let numbered = |attempt: i32| (1..4).map(move |tid| (Tid(tid), attempt));
        let seen = |requests: &[Request]| -> Vec<_> {
            let seen = requests.iter();
            seen.map(|request| (request.tid, request.attempt)).collect()
        };
        assert_eq!(seen(&sent), numbered(1).collect::<Vec<_>>());
        assert_eq!(seen(&redirected), numbered(2).collect::<Vec<_>>());
        // What the tier still has to say is of no interest.
        for request in &sent {
            tier.answer(request, 0);
        }
        tier.requests().await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        // Neither is it when the same OSD has the pool to which they were redirected.
        world.change(&world.placed(&[(OTHER_POOL, &[0, 1])]));
        redirected = tier.requests().await;
        assert_eq!(seen(&redirected), numbered(3).collect::<Vec<_>>());
        for request in &sent {
            tier.answer(request, 0);
        }
        tier.requests().await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        for request in &redirected {
            tier.answer(request, 0);
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
