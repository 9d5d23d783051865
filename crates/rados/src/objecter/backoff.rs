//! Ranges of objects for which an OSD does not want operations at the moment
//! (ceph: doc/dev/osd_internals/backoff.rst).

use std::collections::HashMap;

use denc::SnapId;

use super::op::InFlight;
use crate::msg::osd::OsdBackoff;
use crate::osdmap::{HObject, ShardedPgId};

/// The backoffs of one session. They end with its connection.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    ranges: HashMap<(ShardedPgId, u64), Range>,
}

/// A range of objects in the order of [`HObject`].
#[derive(Debug)]
pub(super) struct Range {
    begin: HObject,
    /// Exclusive, unless it equals `begin`: then the range is that one object.
    end: HObject,
}

impl Range {
    pub(super) fn contains(&self, op: &InFlight) -> bool {
        let locator = &op.target.locator;
        let object = HObject {
            key: locator.key.clone(),
            name: op.target.object.clone(),
            snap: SnapId::HEAD,
            hash: op.aim.hash,
            max: false,
            namespace: locator.namespace.clone(),
            pool: op.aim.pg.pg.pool,
        };
        object == self.begin || object > self.begin && object < self.end
    }
}

impl Backoffs {
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    pub(super) fn block(&mut self, backoff: OsdBackoff) {
        let range = Range {
            begin: backoff.begin,
            end: backoff.end,
        };
        self.ranges.insert((backoff.pg, backoff.id), range);
    }

    pub(super) fn unblock(&mut self, pg: ShardedPgId, id: u64) -> Option<Range> {
        self.ranges.remove(&(pg, id))
    }

    pub(super) fn holds_back(&self, op: &InFlight) -> bool {
        // Nearly always empty, and then nothing is computed.
        !self.ranges.is_empty()
            && self
                .ranges
                .iter()
                .any(|((pg, _), range)| *pg == op.aim.pg && range.contains(op))
    }
}
