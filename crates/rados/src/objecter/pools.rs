//! Operations on pools that the map does not show: it may be old, or there may be no such pool
//! (ceph: src/osdc/Objecter.cc, `Objecter::_check_op_pool_dne`).

use std::collections::BTreeMap;
use std::sync::Arc;

use denc::{Epoch, Tid};

use super::Objecter;
use super::op::PoolKnown;

impl Objecter {
    /// Waits until there are operations on pools that no map has shown yet, and of which it has not
    /// been [said](Self::newest_map_is) which map would.
    ///
    /// # Cancellation
    /// Safe.
    pub(crate) async fn operations_without_pool(&self) -> Vec<Tid> {
        loop {
            let found = self.without_pool();
            if !found.is_empty() {
                return found;
            }
            self.pool_missing.notified().await;
        }
    }

    fn without_pool(&self) -> Vec<Tid> {
        let view = self.view();
        // Without a map everything waits, and none is missing anything in particular.
        if view.map().is_none() {
            return Vec::new();
        }
        let waiting = self.waiting();
        let unknown = waiting.values().filter(|op| op.pool == PoolKnown::NotYet);
        unknown.map(|op| op.tid).collect()
    }

    /// The map of epoch `newest` was the newest after `operations` had been submitted. If it does not
    /// show their pools, there are none.
    pub(crate) fn newest_map_is(self: &Arc<Self>, newest: Epoch, operations: &[Tid]) {
        let mut view = self.view_mut();
        let mut decided = BTreeMap::new();
        {
            let mut waiting = self.waiting();
            for tid in operations {
                let Some(op) = waiting.get_mut(tid) else {
                    continue;
                };
                if op.pool == PoolKnown::NotYet {
                    op.pool = PoolKnown::NotIfMissingIn(newest);
                }
                if view.epoch() >= newest {
                    decided.extend(waiting.remove_entry(tid));
                }
            }
        }
        if view.epoch() < newest {
            self.wishes.newer_osdmap();
        }
        self.route_all(&mut view, decided);
    }
}
