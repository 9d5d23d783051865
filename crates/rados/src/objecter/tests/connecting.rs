//! When connections are made, and when they are given up.

use std::time::Duration;

use denc::OsdId;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::encode::Change;
use super::peer::Peer;
use super::world::{OBJECT, POOL, World, pass, play, quiet};
use crate::Operation;

const SECOND: Duration = Duration::from_secs(1);

fn write() -> Operation {
    Operation::new().write(0, "x")
}

/// Has the client try to connect `count` times, in vain. Gives how many tenths of a second after the
/// one before each attempt came.
async fn tries(peer: &Peer, count: usize) -> Vec<u128> {
    let mut found = Vec::new();
    let mut last = Instant::now();
    while found.len() < count {
        if let Some((stream, _)) = peer.pending().await {
            drop(stream);
            found.push(last.elapsed().as_millis().div_ceil(100));
            last = Instant::now();
            quiet().await;
        } else {
            pass(Duration::from_millis(100)).await;
        }
        assert!(last.elapsed() < 60 * SECOND, "after {found:?}");
    }
    found
}

#[test]
fn attempts_follow_each_other_more_and_more_slowly() {
    play(async {
        let mut world = World::new().await;
        let call = world.submit(POOL, write()).await;
        let found = tries(&world.peers[0], 10).await;
        assert_eq!(found, [0, 2, 4, 8, 16, 32, 64, 128, 150, 150]);
        // Other operations are no reason to be faster.
        let another = world.submit(POOL, write()).await;
        assert!(world.peers[0].pending().await.is_none());
        assert_eq!(tries(&world.peers[0], 1).await, [150]);
        // A new map is one.
        world.change(&Change::default());
        assert_eq!(tries(&world.peers[0], 2).await, [0, 150]);
        // Being let in begins it all anew.
        pass(15 * SECOND).await;
        let mut conn = world.peers[0].accept().await;
        assert_eq!(conn.requests().await.len(), 2);
        conn.link.close().await;
        assert_eq!(tries(&world.peers[0], 4).await, [2, 2, 4, 8]);
        drop((call, another));
    });
}

#[test]
fn an_attempt_that_takes_long_needs_no_pause() {
    play(async {
        let world = World::new().await;
        let call = world.submit(POOL, write()).await;
        // Accepted, and then nothing.
        let (first, _) = world.peers[0].pending().await.unwrap();
        pass(Duration::from_millis(9900)).await;
        assert!(world.peers[0].pending().await.is_none());
        pass(Duration::from_millis(200)).await;
        let (stream, from) = world.peers[0].pending().await.unwrap();
        let mut conn = world.peers[0].let_in(stream, from).await.unwrap();
        let request = conn.request().await.unwrap();
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        drop(first);
        world.assert_idle();
    });
}

#[test]
fn an_osd_that_moves_is_connected_to_at_once_wherever_it_was_looked_for() {
    play(async {
        let mut world = World::new().await;
        let call = world.submit(POOL, write()).await;
        // Nobody is left at the old place to say anything.
        let (stream, _) = world.peers[0].pending().await.unwrap();
        let new = Peer::start(OsdId(0)).await;
        let old = std::mem::replace(&mut world.peers[0], new);
        world.change(&Change {
            up: [(OsdId(0), world.peers[0].addrs())].into(),
            ..Change::default()
        });
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        drop((stream, old));
        world.assert_idle();
    });
}

#[test]
fn a_silent_osd_is_asked_for_signs_of_life_and_connected_to_again() {
    play(async {
        let world = World::new().await;
        let mut linger = world.objecter.linger(POOL, "", OBJECT);
        linger.telling();
        let call = world.submit(POOL, write()).await;
        let mut frozen = world.peers[0].accept_and_freeze().await;
        quiet().await;
        assert!(frozen.read() > 0, "the operation");
        pass(9 * SECOND).await;
        assert_eq!(frozen.read(), 0);
        pass(6 * SECOND).await;
        assert!(frozen.read() > 0, "no sign of life is asked for");
        pass(14 * SECOND).await;
        assert!(world.peers[0].pending().await.is_none(), "too early");
        pass(6 * SECOND).await;
        let (stream, from) = world.peers[0].pending().await.unwrap();
        let mut conn = world.peers[0].let_in(stream, from).await.unwrap();
        let request = conn.request().await.unwrap();
        assert_eq!(request.attempt, 1);
        // What the OSD kept for the first connection is gone with it.
        assert!(linger.forgotten().now_or_never().is_some());
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}

#[test]
fn a_silent_osd_is_listened_to_until_there_is_another_connection() {
    play(async {
        let world = World::new().await;
        let call = world.submit(POOL, write()).await;
        let mut frozen = world.peers[0].accept_and_freeze().await;
        pass(36 * SECOND).await;
        // As a process that has been stopped: connected to, but not serving.
        let second = world.peers[0].pending().await;
        assert!(second.is_some());
        frozen.answer().await;
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}

#[test]
fn an_osd_that_is_only_slow_is_left_alone() {
    play(async {
        let world = World::new().await;
        let call = world.submit(POOL, write()).await;
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        // Its messenger answers for it.
        pass(300 * SECOND).await;
        assert!(world.peers[0].pending().await.is_none());
        assert_eq!(conn.requests().await, []);
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        // One that owes nothing may be silent.
        pass(300 * SECOND).await;
        assert!(world.peers[0].pending().await.is_none());
        assert!(!conn.link.is_closed());
        world.assert_idle();
    });
}
