//! Reads that do not go to the primary.

use std::collections::BTreeMap;

use super::encode::Change;
use super::world::{POOL, World, play};
use crate::config::ObjecterOptions;
use crate::op::request_flags;
use crate::osdmap::{CrushLocation, PoolType, Release};
use crate::{Errno, Operation, ReadPolicy};

fn read() -> Operation {
    Operation::new().read(0, 1)
}

fn with_policy(read_policy: ReadPolicy) -> ObjecterOptions {
    ObjecterOptions {
        read_policy,
        ..ObjecterOptions::default()
    }
}

/// Whether an operation that is for the second OSD of two, if any, goes to it.
async fn goes_to_replica(world: &World, operation: Operation) -> bool {
    world.choose_second_of_two();
    let call = world.submit(POOL, operation).await;
    let mut found = Vec::new();
    for peer in &world.peers[..2] {
        let Some((stream, from)) = peer.pending().await else {
            continue;
        };
        let mut conn = peer.let_in(stream, from).await.unwrap();
        for request in conn.requests().await {
            conn.answer(&request, 0);
            found.push((peer.osd.0, request.flags & request_flags::BALANCE_READS));
        }
        // The next one finds no connection.
        tokio::spawn(conn.serve(None));
    }
    call.await.unwrap().unwrap();
    let (osd, flags) = found.pop().unwrap();
    assert!(found.is_empty());
    assert_eq!(flags != 0, osd == 1, "the OSD is told");
    osd == 1
}

#[test]
fn only_what_reads_contents_goes_to_replicas() {
    let snapped = || read().at_snap(denc::SnapId(3));
    let cases: [(Operation, bool); 8] = [
        (read(), true),
        (snapped(), true),
        (Operation::new().sparse_read(0, 1).stat(), true),
        (read().read_from(ReadPolicy::Primary), false),
        (Operation::new().call("rbd", "get_size", &[]), false),
        (read().call("rbd", "get_size", &[]), false),
        (Operation::new().list_watchers(), false),
        (Operation::new().write(0, "x"), false),
    ];
    for (operation, expected) in cases {
        play(async {
            let world = World::new().await;
            world.objecter.set_options(with_policy(ReadPolicy::Balance));
            let text = format!("{operation:?}");
            assert_eq!(goes_to_replica(&world, operation).await, expected, "{text}");
            world.assert_idle();
        });
    }
    play(async {
        let world = World::new().await;
        assert!(
            !goes_to_replica(&world, read()).await,
            "without being told to"
        );
    });
}

#[test]
fn replicas_that_may_be_out_of_date_or_incomplete_are_not_asked() {
    for (release, kind, expected) in [
        (Release::OCTOPUS, PoolType::REPLICATED, true),
        (Release::NAUTILUS, PoolType::REPLICATED, false),
        (Release::OCTOPUS, PoolType::ERASURE, false),
    ] {
        play(async {
            let mut world = World::new().await;
            let mut pool = world.pool(POOL);
            pool.kind = kind;
            world.change(&Change {
                pools: BTreeMap::from([(POOL, pool)]),
                release: Some(release),
                ..Change::default()
            });
            let read = read().read_from(ReadPolicy::Balance);
            assert_eq!(
                goes_to_replica(&world, read).await,
                expected,
                "{release:?} {kind:?}"
            );
        });
    }
}

#[test]
fn late_answers_of_a_replica_are_not_taken_for_that_of_the_primary() {
    play(async {
        let world = World::new().await;
        world.choose_second_of_two();
        let call = world
            .submit(POOL, read().read_from(ReadPolicy::Balance))
            .await;
        let mut replica = world.peers[1].accept().await;
        let refused = replica.request().await.unwrap();
        replica.answer(&refused, -Errno::EAGAIN.0);
        let mut primary = world.peers[0].accept().await;
        let request = primary.request().await.unwrap();
        assert_eq!((request.tid, request.attempt), (refused.tid, 1));
        // An answer nobody asked for, and one to an attempt that this OSD never got.
        replica.answer(&refused, 0);
        primary.answer_attempt(&request, refused.attempt, 0);
        replica.requests().await;
        primary.requests().await;
        assert!(!call.is_finished());
        primary.answer(&request, 0);
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}

#[test]
fn balanced_reads_go_to_all_about_equally() {
    play(async {
        let world = World::new().await;
        let mut seen = [0; 2];
        let mut conns = Vec::new();
        for round in 0..400 {
            let call = world
                .submit(POOL, read().read_from(ReadPolicy::Balance))
                .await;
            if conns.len() < 2 {
                for osd in 0..2 {
                    if let Some((stream, from)) = world.peers[osd].pending().await {
                        let conn = world.peers[osd].let_in(stream, from).await.unwrap();
                        conns.push((osd, conn));
                    }
                }
            }
            let mut sent = 0;
            for (osd, conn) in &mut conns {
                for request in conn.requests().await {
                    conn.answer(&request, 0);
                    seen[*osd] += 1;
                    sent += 1;
                }
            }
            assert_eq!(sent, 1, "{round}");
            call.await.unwrap().unwrap();
        }
        assert!(seen.iter().all(|count| *count > 140), "{seen:?}");
        world.assert_idle();
    });
}

#[test]
fn a_read_goes_to_the_nearest() {
    // The map has all OSDs on one host, so none is nearer than the primary.
    for location in ["host=localhost root=default", "host=elsewhere", ""] {
        play(async {
            let world = World::new().await;
            world.objecter.set_options(ObjecterOptions {
                crush_location: CrushLocation::parse(location).unwrap(),
                ..with_policy(ReadPolicy::Localize)
            });
            assert!(!goes_to_replica(&world, read()).await, "{location}");
        });
    }
}
