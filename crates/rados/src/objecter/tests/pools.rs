//! Pools that no map has shown.

use std::collections::BTreeMap;

use denc::Epoch;
use futures_util::FutureExt;

use super::encode::Change;
use super::world::{NO_POOL, World, play, quiet};
use crate::{Error, Operation};

fn write() -> Operation {
    Operation::new().write(0, "x")
}

#[test]
fn a_pool_is_missing_only_if_the_newest_map_does_not_show_it() {
    play(async {
        let mut world = World::new().await;
        let early = world.submit(NO_POOL, write()).await;
        let asked = world.objecter.operations_without_pool().await;
        // What comes now has not been asked for.
        let late = world.submit(NO_POOL, write()).await;
        let newest = Epoch(world.epoch.0 + 2);
        world.objecter.newest_map_is(newest, &asked);
        assert!(world.wishes.take_osdmap(), "that map is asked for");
        world.change(&Change::default());
        quiet().await;
        assert!(!early.is_finished());
        world.change(&Change::default());
        let error = early.await.unwrap().unwrap_err();
        assert!(
            matches!(error, Error::PoolGone { pool: NO_POOL }),
            "{error}"
        );
        quiet().await;
        assert!(!late.is_finished(), "nobody has been asked");
        assert_eq!(world.objecter.operations_without_pool().await.len(), 1);
        world.say_which_map_is_newest();
        assert!(late.await.unwrap().is_err());
        assert!(
            world
                .objecter
                .operations_without_pool()
                .now_or_never()
                .is_none()
        );
        world.assert_idle();
    });
}

#[test]
fn a_pool_that_appears_is_used() {
    play(async {
        let mut world = World::new().await;
        let call = world.submit(NO_POOL, write()).await;
        let asked = world.objecter.operations_without_pool().await;
        world.objecter.newest_map_is(world.epoch.next(), &asked);
        let pool = world.pool(super::world::POOL);
        let placed = world.placed(&[(NO_POOL, &[0, 1])]);
        world.change(&Change {
            pools: BTreeMap::from([(NO_POOL, pool)]),
            ..placed
        });
        let mut conn = world.peers[0].accept().await;
        let request = conn.request().await.unwrap();
        assert_eq!(request.pool, NO_POOL);
        conn.answer(&request, 0);
        call.await.unwrap().unwrap();
        world.assert_idle();
    });
}
