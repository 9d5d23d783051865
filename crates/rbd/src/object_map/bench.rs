//! A way in for benchmarks to what a write has to do with the map of an image's objects, which is private
//! (feature `bench`).

use super::bit_vector::{BitVector, ObjectState};
use super::tracker::{Progress, Purpose, Tracker};

/// A map in memory, with the claims on it.
#[derive(Debug)]
pub struct TrackedMap(Tracker);

impl TrackedMap {
    /// Of an image of which all of `objects` objects exist.
    pub fn full(objects: u64) -> Self {
        Self(Tracker::new(BitVector::new(objects, ObjectState::Exists)))
    }

    /// What a write to an object does before and after. Says whether it had to wait for the stored map
    /// between the two, which it need not if the object exists.
    pub fn write(&mut self, object_no: u64) -> bool {
        let claim = self.0.claim(Purpose::Write, object_no..object_no + 1);
        let has_to_wait = self.0.progress(claim) != Progress::Granted;
        self.0.release(claim);
        has_to_wait
    }
}

/// Two bits for every object.
#[derive(Debug)]
pub struct ObjectBits(BitVector);

impl ObjectBits {
    /// None of `objects` objects exists.
    pub fn empty(objects: u64) -> Self {
        Self(BitVector::new(objects, ObjectState::Nonexistent))
    }

    /// Marks an object as existing.
    pub fn set(&mut self, object_no: u64) {
        self.0.set(object_no, ObjectState::Exists);
    }

    /// Whether an object may exist.
    pub fn may_exist(&self, object_no: u64) -> bool {
        self.0.may_exist(object_no)
    }
}
