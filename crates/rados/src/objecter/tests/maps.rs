//! Maps that are missing, damaged, or many.

use std::sync::Arc;
use std::time::Duration;

use denc::{Epoch, SnapId};

use super::encode::{Change, map_message};
use super::world::{OTHER_POOL, POOL, World, pass, play, quiet};
use crate::{Operation, SnapContext};

fn write() -> Operation {
    Operation::new().write(0, "x")
}

#[test]
fn maps_that_come_together_are_applied_before_anything_is_sent() {
    play(async {
        let mut world = World::new().await;
        let call = world.submit(POOL, write()).await;
        let mut conn = world.peers[0].accept().await;
        conn.request().await.unwrap();
        // By turns on osd.1 and osd.2, and in the end on osd.2.
        let mut maps = Vec::new();
        for round in 0..10 {
            let osds = if round % 2 == 0 { [1, 0] } else { [2, 0] };
            let change = world.placed(&[(POOL, &osds)]);
            maps.push(world.next_incremental(&change));
        }
        world.tell(&map_message(world.fsid(), &maps, &[]));
        quiet().await;
        assert!(world.peers[1].pending().await.is_none(), "sent in between");
        let mut conn = world.peers[2].accept().await;
        let request = conn.request().await.unwrap();
        assert_eq!((request.attempt, request.epoch), (1, world.epoch));
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}

#[test]
fn a_gap_is_closed_by_what_is_missing_or_by_a_whole_map() {
    play(async {
        let mut world = World::new().await;
        let have = world.epoch;
        let missing = world.next_incremental(&Change::default());
        let next = world.next_incremental(&Change::default());
        world.tell(&map_message(world.fsid(), &[next], &[]));
        assert!(world.wishes.take_osdmap(), "what is missing is asked for");
        assert_eq!(world.objecter.view().epoch(), have);
        // What was missing and what had come already.
        let next = world.next_incremental(&Change::default());
        let have = world.epoch;
        world.tell(&map_message(
            world.fsid(),
            std::slice::from_ref(&missing),
            &[],
        ));
        assert_eq!(world.objecter.view().epoch(), missing.0);
        world.tell(&map_message(world.fsid(), &[next], &[world.whole_map()]));
        assert_eq!(world.objecter.view().epoch(), have);
        assert!(!world.wishes.take_osdmap());
        // Old news are no news.
        world.tell(&map_message(world.fsid(), &[missing], &[]));
        assert_eq!(world.objecter.view().epoch(), have);
        assert!(!world.wishes.take_osdmap() && !world.wishes.take_whole_osdmap());
    });
}

#[test]
fn damaged_maps_are_not_used_and_whole_ones_asked_for_more_and_more_seldom() {
    play(async {
        let mut world = World::new().await;
        let have = world.epoch;
        let (epoch, bytes) = world.next_incremental(&Change::default());
        let mut damaged = bytes.to_vec();
        damaged[30] ^= 1;
        let (_, whole) = world.whole_map();
        let mut half = whole.to_vec();
        half.truncate(half.len() / 2);
        let damaged = map_message(world.fsid(), &[(epoch, damaged.into())], &[]);
        let half = map_message(world.fsid(), &[], &[(epoch, half.into())]);
        let renamed = map_message(world.fsid(), &[], &[(Epoch(epoch.0 + 9), whole.clone())]);
        world.tell(&damaged);
        assert!(world.wishes.take_whole_osdmap(), "at once the first time");
        for (message, seconds) in [(&half, 1), (&renamed, 2), (&half, 4), (&damaged, 8)] {
            world.tell(message);
            // Saying it twice makes no difference.
            world.tell(message);
            pass(Duration::from_secs(seconds) - Duration::from_millis(100)).await;
            assert!(!world.wishes.take_whole_osdmap(), "before {seconds} s");
            pass(Duration::from_millis(200)).await;
            assert!(world.wishes.take_whole_osdmap(), "not after {seconds} s");
            assert_eq!(world.objecter.view().epoch(), have);
        }
        world.tell(&map_message(world.fsid(), &[], &[(epoch, whole)]));
        assert_eq!(world.objecter.view().epoch(), epoch);
        // After a good one it is as the first time.
        let (epoch, bytes) = world.next_incremental(&Change::default());
        let cut = bytes.slice(..bytes.len() - 1);
        world.tell(&map_message(world.fsid(), &[(epoch, cut)], &[]));
        assert!(world.wishes.take_whole_osdmap());
    });
}

#[test]
fn maps_up_to_a_damaged_one_count() {
    play(async {
        let mut world = World::new().await;
        let good = world.next_incremental(&Change::default());
        let (epoch, bytes) = world.next_incremental(&Change::default());
        let cut = (epoch, bytes.slice(..bytes.len() - 1));
        world.tell(&map_message(world.fsid(), &[good.clone(), cut], &[]));
        assert_eq!(world.objecter.view().epoch(), good.0);
        assert!(world.wishes.take_whole_osdmap());
    });
}

#[test]
fn nothing_is_sent_before_the_barrier() {
    play(async {
        let mut world = World::new().await;
        let barrier = Epoch(world.epoch.0 + 2);
        world.objecter.set_epoch_barrier(barrier);
        assert!(world.wishes.take_osdmap(), "the map is asked for");
        let call = world.submit(POOL, write()).await;
        let mut conn = world.peers[0].accept().await;
        assert_eq!(conn.requests().await, []);
        world.change(&Change::default());
        assert!(world.wishes.take_osdmap());
        assert_eq!(conn.requests().await, []);
        // One that is lower changes nothing.
        world.objecter.set_epoch_barrier(Epoch(1));
        world.change(&Change::default());
        let request = conn.request().await.unwrap();
        assert_eq!(request.epoch, barrier);
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}

#[test]
fn waiting_writes_do_not_preserve_snapshots_that_are_removed() {
    play(async {
        let mut world = World::new().await;
        let context = SnapContext {
            seq: SnapId(9),
            snaps: [9, 7, 5, 3].map(SnapId).to_vec(),
        };
        let operation = write().with_snap_context(Arc::new(context));
        let removing = |pool, first, count| Change {
            removed_snaps: [(pool, vec![(SnapId(first), count)])].into(),
            ..Change::default()
        };
        let call = world.submit(POOL, operation).await;
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        assert_eq!(request.snaps, [9, 7, 5, 3].map(SnapId));
        world.change(&removing(POOL, 6, 2));
        world.change(&removing(OTHER_POOL, 3, 1));
        conn.link.close().await;
        pass(Duration::from_secs(1)).await;
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        assert_eq!(request.snaps, [9, 5, 3].map(SnapId));
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}
