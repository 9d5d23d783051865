//! New maps, and what they mean for the operations in flight.

use std::sync::{Arc, PoisonError};

use denc::{Decode, Epoch, OsdId};

use super::op::{InFlight, Op};
use super::{Destination, Objecter, View};
use crate::msg::osd::OsdMapMessage;
use crate::osdmap::{Incremental, OsdMap, OsdMapError};

/// What became of a message with maps.
#[derive(Debug)]
pub(crate) enum MapUpdate {
    /// The map is now the newest of the message, or was newer already.
    Current,
    /// The maps between ours and the message's are missing: the one after ours must be asked for.
    Gap,
    /// A map is damaged or does not follow from ours: a whole one must be asked for.
    Damaged(OsdMapError),
}

impl Objecter {
    /// Applies the maps of a message, one epoch after the other.
    pub(crate) fn handle_maps(self: &Arc<Self>, message: &OsdMapMessage) -> MapUpdate {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let current = self.map();
            let epoch = current.as_ref().map_or(Epoch(0), |map| map.epoch());
            match next_map(current.as_deref(), message) {
                Ok(Some(next)) => self.install(next),
                Ok(None) if epoch < message.newest_in_it() => return MapUpdate::Gap,
                Ok(None) => return MapUpdate::Current,
                Err(error) => return MapUpdate::Damaged(error),
            }
        }
    }

    /// Makes `map` the current one and moves every operation for which that makes a difference.
    fn install(self: &Arc<Self>, map: OsdMap) {
        let epoch = map.epoch();
        let blocklisted = map.blocklist().contains(&self.messenger.addr());
        let mut view = self.view_mut();
        view.blocklisted |= blocklisted;
        if view.blocklisted {
            self.is_blocklisted.send_replace(true);
        }
        let map = Arc::new(map);
        let before = view.set_map(Arc::clone(&map));
        self.lingering.new_map(before.as_deref(), &map);
        let mut moving = match before {
            Some(before) => self.take_affected(&mut view, &before),
            None => Vec::new(),
        };
        moving.extend(std::mem::take(&mut *self.waiting()).into_values());
        moving.sort_by_key(|op| op.tid);
        tracing::debug!(%epoch, moving = moving.len(), "new OSD map");
        for op in moving {
            self.route_with_new_session(&mut view, op);
        }
        drop(view);
        self.epoch.send_replace(epoch);
    }

    /// Takes the operations that have to be sent again from their sessions, and ends the sessions of
    /// OSDs that are down.
    fn take_affected(&self, view: &mut View, before: &OsdMap) -> Vec<Op> {
        let mut taken = Vec::new();
        let sessions: Vec<_> = view
            .sessions
            .iter()
            .map(|(osd, session)| (*osd, Arc::clone(session)))
            .collect();
        for (osd, session) in sessions {
            match view
                .map()
                .filter(|map| map.osd_is_up(osd))
                .and_then(|map| map.osd_addrs(osd))
            {
                Some(addrs) => session.moved_to(addrs),
                None => {
                    view.sessions.remove(&osd);
                    taken.extend(session.end());
                    continue;
                }
            }
            taken.extend(session.take_matching(|op| {
                view.blocklisted
                    || Self::goes_elsewhere(view, op, osd)
                    || view.must_resend(op, before)
            }));
        }
        taken
    }

    fn goes_elsewhere(view: &View, op: &InFlight, from: OsdId) -> bool {
        !matches!(
            view.destination(&op.target, &op.operation),
            Destination::Osd { osd, pg, .. } if osd == from && pg == op.pg
        )
    }
}

/// The map after `current` that a message makes possible, if it makes one possible.
fn next_map(
    current: Option<&OsdMap>,
    message: &OsdMapMessage,
) -> Result<Option<OsdMap>, OsdMapError> {
    if let Some(current) = current {
        let next = current.epoch().next();
        if let Some((_, bytes)) = message.incremental.iter().find(|(epoch, _)| *epoch == next) {
            return current
                .apply(&Incremental::decode_all("incremental OSD map", bytes)?)
                .map(Some);
        }
    }
    // A whole map is a way over a gap, the newest one the shortest.
    match message.full.last() {
        Some((epoch, bytes)) if current.is_none_or(|current| current.epoch() < *epoch) => {
            Ok(Some(OsdMap::decode_all("OSD map", bytes)?))
        }
        _ => Ok(None),
    }
}

impl OsdMapMessage {
    /// The newest epoch of which it has a map.
    fn newest_in_it(&self) -> Epoch {
        let last = |maps: &[(Epoch, bytes::Bytes)]| maps.last().map(|(epoch, _)| *epoch);
        last(&self.incremental)
            .max(last(&self.full))
            .unwrap_or_default()
    }
}
