//! Objects about which an OSD keeps something for this client in memory alone: that it watches, that
//! a notification of its is under way.
//!
//! The OSD forgets it when the placement group begins a new interval, and when the connection ends;
//! then it has to be told again (ceph: src/osdc/Objecter.cc, `Objecter::_scan_requests` and
//! `Objecter::_linger_ops_resend`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use denc::{EntityAddrVec, Epoch, OsdId, PoolId};
use slab::Slab;
use tokio::sync::watch;

use super::Objecter;
use super::op::Target;
use crate::osdmap::{MapFlags, OsdMap, PgId, Placement};

/// The objects of one client.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    table: Mutex<Slab<Entry>>,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    place: Place,
    forgotten: watch::Sender<()>,
}

/// What stays the same within an interval of a placement group, and as long as its primary is the
/// same process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    pg: Option<PgId>,
    placement: Placement,
    primary_addrs: Option<EntityAddrVec>,
    pool: Option<PoolPart>,
    flags: u32,
}

/// What of a pool makes a new interval.
#[derive(Debug, PartialEq, Eq)]
struct PoolPart {
    size: u8,
    min_size: u8,
    pg_num: u32,
    last_force_op_resend: Epoch,
}

impl Place {
    fn of(map: &OsdMap, target: &Target) -> Self {
        let pg = map.object_pg(&target.object, &target.locator);
        let placement = pg.map(|pg| map.placement(pg)).unwrap_or_default();
        let primary = placement.acting_primary;
        let interval_flags = MapFlags::SORTBITWISE | MapFlags::RECOVERY_DELETES;
        Self {
            pg,
            placement,
            primary_addrs: primary.and_then(|osd| map.osd_addrs(osd).cloned()),
            pool: map.pool(target.locator.pool).map(|pool| PoolPart {
                size: pool.size,
                min_size: pool.min_size,
                pg_num: pool.pg_num,
                last_force_op_resend: pool.last_force_op_resend,
            }),
            flags: map.flags().0 & interval_flags.0,
        }
    }
}

impl Lingering {
    /// Whether nothing is looked after.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// A new map takes the place of `before`.
    pub(super) fn new_map(&self, before: Option<&OsdMap>, map: &OsdMap) {
        // What went on in maps that were skipped is not known.
        let skipped = before.is_none_or(|before| before.epoch().next() != map.epoch());
        for (_, entry) in self.lock().iter_mut() {
            let place = Place::of(map, &entry.target);
            if skipped || place != entry.place {
                entry.place = place;
                entry.forgotten.send_replace(());
            }
        }
    }

    /// A connection to an OSD has ended.
    pub(super) fn disconnected(&self, osd: OsdId) {
        for (_, entry) in self.lock().iter() {
            if entry.place.placement.acting_primary == Some(osd) {
                entry.forgotten.send_replace(());
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned lock guards a consistent state.
    fn lock(&self) -> MutexGuard<'_, Slab<Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objecter {
    /// Looks after one object until the result is dropped.
    pub(crate) fn linger(self: &Arc<Self>, pool: PoolId, namespace: &str, object: &str) -> Linger {
        let target = Target::new(pool, namespace, object);
        let (sender, forgotten) = watch::channel(());
        // While the view is held, no new map can come in between.
        let view = self.view();
        let place = view.map().map(|map| Place::of(map, &target));
        let key = self.lingering.lock().insert(Entry {
            target,
            place: place.unwrap_or_default(),
            forgotten: sender,
        });
        drop(view);
        Linger {
            objecter: Arc::clone(self),
            key,
            forgotten,
        }
    }
}

/// Word of what the OSD of an object may have forgotten.
#[derive(Debug)]
pub(crate) struct Linger {
    objecter: Arc<Objecter>,
    key: usize,
    forgotten: watch::Receiver<()>,
}

impl Linger {
    /// The OSD is about to be told: what it has forgotten until now does not matter any more.
    pub(crate) fn telling(&mut self) {
        self.forgotten.mark_unchanged();
    }

    /// Waits until the OSD may have forgotten what it was told since the last
    /// [`telling`](Self::telling), or the last return of this.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn forgotten(&mut self) {
        if self.forgotten.changed().await.is_err() {
            // The table has the sender for as long as this exists.
            std::future::pending().await
        }
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        self.objecter.lingering.lock().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use denc::Decode;
    use futures_util::FutureExt;

    use super::*;
    use crate::config::Config;
    use crate::messenger::Messenger;
    use crate::osdmap::Incremental;

    /// The maps of a live cluster, each following from the one before.
    fn maps() -> Vec<OsdMap> {
        let blobs = |file: &str| -> Vec<bytes::Bytes> {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/osdmap/");
            let bytes = std::fs::read(format!("{dir}{file}")).unwrap();
            Vec::decode_all("blobs", &bytes).unwrap()
        };
        let first = blobs("pacific.fulls").remove(0);
        let mut maps = vec![OsdMap::decode_all("map", &first).unwrap()];
        for bytes in blobs("pacific.incrementals") {
            let incremental = Incremental::decode_all("incremental", &bytes).unwrap();
            let last = maps.last().unwrap();
            if incremental.epoch() > last.epoch() {
                let next = last.apply(&incremental).unwrap();
                maps.push(next);
            }
        }
        maps
    }

    fn objecter() -> Arc<Objecter> {
        let config = Config::builder()
            .without_file()
            .option("auth_client_required", "none")
            .load()
            .unwrap();
        let messenger = Arc::new(Messenger::from_config(&config).unwrap());
        Arc::new(Objecter::new(messenger, Arc::default()))
    }

    #[test]
    fn a_new_interval_and_skipped_maps_are_told_and_nothing_else() {
        let objecter = objecter();
        let maps = maps();
        let pool = maps.last().unwrap().pools().next().unwrap().0;
        let locator = Target::new(pool, "", "object").locator;
        let placement = |map: &OsdMap| Some(map.placement(map.object_pg("object", &locator)?));
        let mut linger = objecter.linger(pool, "", "object");
        let mut stayed = 0;
        let mut moved = 0;
        for (at, before) in maps.iter().enumerate() {
            for after in maps.iter().skip(at + 1).take(2) {
                objecter.lingering.new_map(None, before);
                linger.telling();
                objecter.lingering.new_map(Some(before), after);
                let told = linger.forgotten().now_or_never().is_some();
                if after.epoch() != before.epoch().next() {
                    assert!(told);
                } else if placement(before) != placement(after) {
                    assert!(told);
                    moved += 1;
                } else {
                    stayed += u32::from(!told);
                }
                assert!(linger.forgotten().now_or_never().is_none(), "told twice");
            }
        }
        assert!(stayed > 0 && moved > 0, "{stayed} {moved}");
    }

    #[test]
    fn the_primarys_connection_matters_and_others_do_not() {
        let objecter = objecter();
        let maps = maps();
        let map = maps.last().unwrap();
        let (pool, primary) = map
            .pools()
            .find_map(|(pool, _)| {
                let locator = Target::new(pool, "", "object").locator;
                let pg = map.object_pg("object", &locator)?;
                Some((pool, map.placement(pg).acting_primary?))
            })
            .unwrap();
        let mut linger = objecter.linger(pool, "", "object");
        objecter.lingering.new_map(None, map);
        linger.telling();
        objecter.lingering.disconnected(OsdId(primary.0 + 1));
        assert!(linger.forgotten().now_or_never().is_none());
        objecter.lingering.disconnected(primary);
        assert!(linger.forgotten().now_or_never().is_some());
        drop(linger);
        assert!(objecter.lingering.lock().is_empty());
    }
}
