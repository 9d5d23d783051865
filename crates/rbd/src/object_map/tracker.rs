//! Which changes of a map are due, on the way, and done: a state machine without I/O.
//!
//! Whoever writes to objects, or removes them, says so before and after: that is a *claim*. A map
//! must say that an object may exist before the object does, and may only say that it does not when
//! nobody can still write to it. So claims go through these states:
//!
//! ```text
//! Waiting --> Updating --> Granted --> Finishing --> gone      a removal
//! Waiting --> Updating --> Granted ----------------> gone      a write
//! ```
//! A write waits for removals of the same objects before it, a removal for everything before it. What
//! needs no change of the map is granted at once. Changes of different objects are on the way
//! together, a few at a time; those of neighbours that have to wait become one.

use std::ops::Range;

use smallvec::SmallVec;

use super::bit_vector::{BitVector, ObjectState};

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The objects are written: they exist then.
    Write,
    /// The objects are removed.
    Remove,
    /// The map as a whole is replaced. No changes are on the way meanwhile.
    Replace,
}

/// Names a claim. Later ones are higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimId(u64);

/// Names a change that is on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UpdateId(u64);

/// A change of the map as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) id: UpdateId,
    pub(super) objects: Range<u64>,
    /// What they become.
    pub(super) state: ObjectState,
    /// What those are now that are to change; all, if not given.
    pub(super) expected: Option<ObjectState>,
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The stored map has been changed.
    Done,
    /// It may not have been, but is marked as invalid.
    Invalidated,
    /// Neither is certain: what depends on the change must not happen.
    Refused,
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is not its turn yet.
    Pending,
    /// It may go on.
    Granted,
    /// It must not go on.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Updating(UpdateId),
    Granted,
    /// The objects are gone; that is to be stored, or on the way to be.
    Finishing(Option<UpdateId>),
    Refused,
}

#[derive(Clone, Debug)]
struct Claim {
    id: ClaimId,
    purpose: Purpose,
    objects: Range<u64>,
    stage: Stage,
    /// Nobody waits for it any more; it goes when its change ends.
    abandoned: bool,
}

/// The map in memory and the claims on it.
#[derive(Debug)]
pub(super) struct Tracker {
    /// What is stored, or less certain. An object that does not exist here does not exist.
    map: BitVector,
    /// Oldest first. As many as there are operations under way, some hundreds at most.
    claims: Vec<Claim>,
    next_claim: u64,
    updates: SmallVec<[Update; MAX_UPDATES]>,
    next_update: u64,
}

impl Tracker {
    /// Nothing is under way on this map.
    pub(super) fn new(map: BitVector) -> Self {
        Self {
            map,
            claims: Vec::new(),
            next_claim: 0,
            updates: SmallVec::new(),
            next_update: 0,
        }
    }

    pub(super) const fn map(&self) -> &BitVector {
        &self.map
    }

    /// Whether an object may exist, as far as the map tells.
    pub(super) fn may_exist(&self, object_no: u64) -> bool {
        self.map.may_exist(object_no)
    }

    /// Whether nobody has a claim on an object.
    pub(super) fn is_settled(&self, object_no: u64) -> bool {
        let objects = object_no..object_no + 1;
        self.claims
            .iter()
            .all(|claim| !overlap(&claim.objects, &objects))
    }

    /// Whether there are no claims, not even abandoned ones.
    pub(super) fn is_idle(&self) -> bool {
        self.claims.is_empty()
    }

    /// Makes a claim. Ask [`progress`](Self::progress) how far it is, and
    /// [`poll_update`](Self::poll_update) what is to be sent.
    pub(super) fn claim(&mut self, purpose: Purpose, objects: Range<u64>) -> ClaimId {
        let id = ClaimId(self.next_claim);
        self.next_claim += 1;
        let mut claim = Claim {
            id,
            purpose,
            objects,
            stage: Stage::Waiting,
            abandoned: false,
        };
        if self.is_its_turn(&claim) && !self.needs_update(&claim) {
            claim.stage = Stage::Granted;
        }
        self.claims.push(claim);
        id
    }

    /// How far a claim is.
    pub(super) fn progress(&self, id: ClaimId) -> Progress {
        match self.find(id).map(|claim| claim.stage) {
            Some(Stage::Granted) | None => Progress::Granted,
            Some(Stage::Refused) => Progress::Refused,
            Some(Stage::Waiting | Stage::Updating(_) | Stage::Finishing(_)) => Progress::Pending,
        }
    }

    /// All objects of a removal are gone. The claim is gone, too, when that is stored.
    pub(super) fn finish(&mut self, id: ClaimId) {
        let Some(claim) = self.find(id) else {
            return;
        };
        if self.any(&claim.objects, |state| state == ObjectState::Pending) {
            self.set_stage(id, Stage::Finishing(None));
        } else {
            self.release(id);
        }
    }

    /// Whether a claim is gone.
    pub(super) fn is_gone(&self, id: ClaimId) -> bool {
        self.find(id).is_none()
    }

    /// Gives up a claim: what it was for has been done, has failed, or is not waited for any more.
    pub(super) fn release(&mut self, id: ClaimId) {
        let Ok(at) = self.position(id) else {
            return;
        };
        if let Some(claim) = self.claims.get_mut(at)
            && let Stage::Updating(_) | Stage::Finishing(_) = claim.stage
        {
            claim.abandoned = true;
        } else {
            self.claims.remove(at);
        }
    }

    /// The next change that is to be sent, if one is. Claims that it is the turn of are granted.
    pub(super) fn poll_update(&mut self) -> Option<Update> {
        for at in 0..self.claims.len() {
            let claim = self.claims.get(at)?;
            let is_due = matches!(claim.stage, Stage::Waiting | Stage::Finishing(None));
            if !is_due || !self.is_its_turn(claim) {
                continue;
            }
            if claim.stage == Stage::Waiting && !self.needs_update(claim) {
                self.set_stage_at(at, Stage::Granted);
            } else if self.updates.len() < MAX_UPDATES {
                return Some(self.start(at));
            }
        }
        None
    }

    /// A change that was sent has ended.
    pub(super) fn updated(&mut self, id: UpdateId, outcome: Outcome) {
        let Some(at) = self.updates.iter().position(|update| update.id == id) else {
            return;
        };
        let update = self.updates.remove(at);
        match (outcome, update.state) {
            (Outcome::Done, _) => self.apply(&update),
            // Asking again would be in vain.
            (Outcome::Invalidated, ObjectState::Exists) => self.apply(&update),
            // It may have been stored all the same, and then would have to be changed back.
            (_, ObjectState::Pending) => self.apply(&update),
            (Outcome::Invalidated | Outcome::Refused, _) => {}
        }
        for claim in &mut self.claims {
            match claim.stage {
                Stage::Updating(of) if of == id => {
                    claim.stage = match outcome {
                        Outcome::Done | Outcome::Invalidated => Stage::Granted,
                        Outcome::Refused => Stage::Refused,
                    };
                }
                // Pending objects are as good as existing ones, so that this never fails.
                Stage::Finishing(Some(of)) if of == id => claim.abandoned = true,
                _ => {}
            }
        }
        self.claims.retain(|claim| {
            let busy = match claim.stage {
                Stage::Updating(_) | Stage::Finishing(None) => true,
                Stage::Finishing(Some(of)) => of != id,
                Stage::Waiting | Stage::Granted | Stage::Refused => false,
            };
            busy || !claim.abandoned
        });
    }

    /// Gives the map another number of objects; new ones are in `state`.
    pub(super) fn resize(&mut self, objects: u64, state: ObjectState) {
        self.map.resize(objects, state);
    }

    /// Forgets which objects exist, before they are looked at one after another. Those that somebody
    /// has a claim on count as existing.
    pub(super) fn forget(&mut self, objects: u64) {
        self.map = BitVector::new(objects, ObjectState::Nonexistent);
        for claim in &self.claims {
            if claim.purpose != Purpose::Replace && claim.stage != Stage::Waiting {
                self.map.fill(claim.objects.clone(), ObjectState::Exists);
            }
        }
    }

    /// Takes in what was found out about an object after [`forget`](Self::forget). Those that were
    /// written since are known better.
    pub(super) fn found(&mut self, object_no: u64, state: ObjectState) {
        if self.map.get(object_no) == Some(ObjectState::Nonexistent) {
            self.map.set(object_no, state);
        }
    }

    /// Whether nothing hinders a claim.
    fn is_its_turn(&self, claim: &Claim) -> bool {
        if claim.purpose == Purpose::Replace && !self.updates.is_empty() {
            return false;
        }
        if matches!(claim.stage, Stage::Finishing(None)) {
            // It has had its turn, but a younger claim may have been granted the whole map since.
            let mut others = self.claims.iter();
            return !others.any(|other| {
                other.purpose == Purpose::Replace
                    && (other.id < claim.id || other.stage == Stage::Granted)
            });
        }
        let mut older = self.claims.iter().take_while(|other| other.id < claim.id);
        !older.any(|other| self.hinders(other, claim))
    }

    fn hinders(&self, older: &Claim, claim: &Claim) -> bool {
        let changes_map = matches!(older.stage, Stage::Waiting | Stage::Updating(_))
            || matches!(older.stage, Stage::Finishing(_));
        match (older.purpose, claim.purpose) {
            (Purpose::Replace, Purpose::Replace) => true,
            (_, Purpose::Replace) => changes_map,
            (Purpose::Replace, _) => self.needs_update(claim),
            (Purpose::Write, Purpose::Write) => {
                changes_map && overlap(&older.objects, &claim.objects)
            }
            _ => overlap(&older.objects, &claim.objects),
        }
    }

    fn needs_update(&self, claim: &Claim) -> bool {
        match claim.purpose {
            Purpose::Write => self.any(&claim.objects, |state| state != ObjectState::Exists),
            Purpose::Remove => self.any(&claim.objects, ObjectState::exists),
            Purpose::Replace => false,
        }
    }

    /// Whether some of the objects, as far as they are in the map, are in such a state.
    fn any(&self, objects: &Range<u64>, holds: impl Fn(ObjectState) -> bool) -> bool {
        let end = objects.end.min(self.map.len());
        (objects.start..end).any(|object_no| self.map.get(object_no).is_some_and(&holds))
    }

    /// Starts the change that the claim at this place needs. Younger claims on neighbouring objects
    /// that need the same are taken along.
    fn start(&mut self, at: usize) -> Update {
        let mut members: SmallVec<[usize; 8]> = SmallVec::from_slice(&[at]);
        let (mut objects, state, expected) = match self.claims.get(at) {
            None => (0..0, ObjectState::Exists, None),
            Some(claim) => {
                let (state, expected) = match (claim.purpose, claim.stage) {
                    (Purpose::Remove, Stage::Waiting) => {
                        (ObjectState::Pending, Some(ObjectState::Exists))
                    }
                    (Purpose::Remove, _) => (ObjectState::Nonexistent, Some(ObjectState::Pending)),
                    _ => (ObjectState::Exists, None),
                };
                (claim.objects.clone(), state, expected)
            }
        };
        for next in at + 1..self.claims.len() {
            if self.can_join(&members, &objects, next)
                && let Some(claim) = self.claims.get(next)
            {
                objects.start = objects.start.min(claim.objects.start);
                objects.end = objects.end.max(claim.objects.end);
                members.push(next);
            }
        }
        let update = Update {
            id: UpdateId(self.next_update),
            objects: objects.start..objects.end.min(self.map.len()),
            state,
            expected,
        };
        self.next_update += 1;
        self.updates.push(update.clone());
        for member in members {
            if let Some(claim) = self.claims.get_mut(member) {
                claim.stage = match claim.stage {
                    Stage::Finishing(_) => Stage::Finishing(Some(update.id)),
                    _ => Stage::Updating(update.id),
                };
            }
        }
        update
    }

    /// Whether a claim needs the same change as these, which are on `objects`, and nothing else hinders
    /// it.
    fn can_join(&self, members: &[usize], objects: &Range<u64>, next: usize) -> bool {
        let first = members.first().and_then(|first| self.claims.get(*first));
        let (Some(first), Some(claim)) = (first, self.claims.get(next)) else {
            return false;
        };
        let touches = claim.objects.start <= objects.end && objects.start <= claim.objects.end;
        let alike = claim.purpose == first.purpose && claim.stage == first.stage;
        if !touches || !alike {
            return false;
        }
        match claim.purpose {
            // When these are granted, they do not hinder it.
            Purpose::Write => {
                let older = self.claims.iter().enumerate().take(next);
                let mut others = older.filter(|(at, _)| !members.contains(at));
                others.all(|(_, other)| !self.hinders(other, claim))
            }
            Purpose::Remove => self.is_its_turn(claim),
            Purpose::Replace => false,
        }
    }

    /// Does in memory what the object class does to the stored map.
    fn apply(&mut self, update: &Update) {
        let Some(expected) = update.expected else {
            self.map.fill(update.objects.clone(), update.state);
            return;
        };
        for object_no in update.objects.clone() {
            let matches = self.map.get(object_no).is_some_and(|state| {
                state == expected || (expected == ObjectState::Exists && state.exists())
            });
            if matches {
                self.map.set(object_no, update.state);
            }
        }
    }

    fn position(&self, id: ClaimId) -> Result<usize, usize> {
        self.claims.binary_search_by_key(&id, |claim| claim.id)
    }

    fn find(&self, id: ClaimId) -> Option<&Claim> {
        self.claims.get(self.position(id).ok()?)
    }

    fn set_stage(&mut self, id: ClaimId, stage: Stage) {
        if let Ok(at) = self.position(id) {
            self.set_stage_at(at, stage);
        }
    }

    fn set_stage_at(&mut self, at: usize, stage: Stage) {
        if let Some(claim) = self.claims.get_mut(at) {
            claim.stage = stage;
        }
    }
}

const fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Changes on the way at the same time. OSDs carry out those of one map one after the other; more
/// would only keep neighbours from being put together.
const MAX_UPDATES: usize = 4;

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
