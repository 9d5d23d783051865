//! New maps, and what they mean for the operations in flight
//! (ceph: src/osdc/Objecter.cc, `Objecter::handle_osd_map`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use denc::{Decode, Epoch, Tid};
use tokio::task::AbortHandle;

use super::op::Op;
use super::{Objecter, Pause, View};
use crate::msg::osd::OsdMapMessage;
use crate::osdmap::{Incremental, OsdMap, OsdMapError};

impl Objecter {
    /// Applies the maps of a message, one epoch after the other, and then sends what has to be sent
    /// because of any of them. Asks the monitors for those that are missing, or for a whole one if
    /// one is damaged or does not follow from ours.
    pub(crate) fn handle_maps(self: &Arc<Self>, message: &OsdMapMessage) {
        let mut repair = self.updating();
        let (chain, outcome) = chain(self.map(), message);
        if !chain.is_empty() {
            repair.end();
            self.install(chain);
        }
        match outcome {
            Ok(Complete::Yes) => {}
            Ok(Complete::Gap) => self.wishes.newer_osdmap(),
            Err(error) => {
                tracing::warn!(%error, "asking for a whole OSD map");
                repair.ask(self);
            }
        }
    }

    /// Makes the last of these maps the current one, and moves every operation for which any of them
    /// makes a difference.
    fn install(self: &Arc<Self>, chain: Vec<Arc<OsdMap>>) {
        let mut view = self.view_mut();
        let mut moving = BTreeMap::new();
        for map in chain {
            if map.blocklist().contains(&self.messenger.addr()) {
                view.blocklisted = true;
                self.is_blocklisted.send_replace(true);
            }
            let removed = map.new_removed_snaps();
            moving
                .values_mut()
                .for_each(|op: &mut Op| op.prune_snaps(removed));
            let mut waiting = self.waiting();
            waiting.values_mut().for_each(|op| op.prune_snaps(removed));
            drop(waiting);
            let before = view.set_map(Arc::clone(&map));
            self.lingering.new_map(before.as_deref(), &map);
            if let Some(before) = before {
                self.take_affected(&mut view, &before, &mut moving);
            }
        }
        moving.append(&mut self.waiting());
        let epoch = view.epoch();
        tracing::debug!(%epoch, moving = moving.len(), "new OSD map");
        self.route_all(&mut view, moving);
        if epoch < view.barrier {
            self.wishes.newer_osdmap();
        }
        drop(view);
        self.epoch.send_replace(epoch);
    }

    /// Takes the operations that have to be sent again from their sessions, and ends the sessions of
    /// OSDs that are down.
    fn take_affected(&self, view: &mut View, before: &OsdMap, taken: &mut BTreeMap<Tid, Op>) {
        let Some(map) = view.map().cloned() else {
            return;
        };
        let sessions: Vec<_> = view
            .sessions
            .iter()
            .map(|(osd, session)| (*osd, Arc::clone(session)))
            .collect();
        for (osd, session) in sessions {
            let Some(addrs) = map.osd_addrs(osd).filter(|_| map.osd_is_up(osd)) else {
                view.sessions.remove(&osd);
                taken.extend(session.end().into_iter().map(|mut op| {
                    op.prune_snaps(map.new_removed_snaps());
                    (op.tid, op)
                }));
                continue;
            };
            let moved = session.adopt_map(addrs, map.epoch(), |op| {
                op.prune_snaps(map.new_removed_snaps());
                let pause = view.pause(op);
                let is_unpaused = op.is_paused && pause.is_none();
                op.is_paused = pause.is_some();
                let fails = view.fails_when_full && matches!(pause, Some(Pause::Full(_)));
                view.blocklisted || is_unpaused || fails || view.must_resend(op, before)
            });
            taken.extend(moved.into_iter().map(|op| (op.tid, op)));
        }
    }
}

/// Whether a message's newest map could be had.
#[derive(Debug, PartialEq, Eq)]
enum Complete {
    /// Yes, or ours was newer already.
    Yes,
    /// The maps between ours and the message's are missing.
    Gap,
}

/// The maps after `current` that a message makes possible, and whether those are all it is about. Not
/// if one is damaged, or does not follow from the one before.
fn chain(
    mut current: Option<Arc<OsdMap>>,
    message: &OsdMapMessage,
) -> (Vec<Arc<OsdMap>>, Result<Complete, OsdMapError>) {
    let mut chain = Vec::new();
    loop {
        match next_map(current.as_deref(), message) {
            Ok(Some(next)) => {
                let next = Arc::new(next);
                chain.push(Arc::clone(&next));
                current = Some(next);
            }
            Ok(None) => {
                let epoch = current.map_or(Epoch(0), |map| map.epoch());
                let complete = if epoch < message.newest_in_it() {
                    Complete::Gap
                } else {
                    Complete::Yes
                };
                return (chain, Ok(complete));
            }
            Err(error) => return (chain, Err(error)),
        }
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
            let map = OsdMap::decode_all("OSD map", bytes)?;
            if map.epoch() != *epoch {
                return Err(OsdMapError::WrongFullMap {
                    expected: *epoch,
                    found: map.epoch(),
                });
            }
            Ok(Some(map))
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

/// Asks for whole maps when damaged ones have come: at once the first time, and more and more seldom
/// while it does not help, as it does not if it is we who cannot read them.
#[derive(Debug, Default)]
pub(super) struct Repair {
    asked: u32,
    /// Asks again.
    later: Option<AbortHandle>,
}

impl Repair {
    fn ask(&mut self, objecter: &Arc<Objecter>) {
        let wishes = Arc::clone(&objecter.wishes);
        if self.asked == 0 {
            wishes.whole_osdmap();
        } else if self.later.as_ref().is_none_or(AbortHandle::is_finished) {
            let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.asked - 1));
            let later = async move {
                tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
                wishes.whole_osdmap();
            };
            self.later = Some(tokio::spawn(later).abort_handle());
        } else {
            return;
        }
        self.asked = self.asked.saturating_add(1);
    }

    /// There is a map that is good, or no need for any.
    pub(super) fn end(&mut self) {
        self.asked = 0;
        if let Some(later) = self.later.take() {
            later.abort();
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
