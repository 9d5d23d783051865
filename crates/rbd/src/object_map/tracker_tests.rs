//! The tracker under every order of events, with a stored map and objects that are simulated.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const OBJECTS: u64 = 6;
const STATES: [ObjectState; 4] = [
    ObjectState::Nonexistent,
    ObjectState::Exists,
    ObjectState::Pending,
    ObjectState::ExistsClean,
];

/// What a client does with an object, in the order in which it was submitted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum DataOperation {
    Write(ClaimId),
    Delete(ClaimId),
}

/// What somebody who made a claim knows.
#[derive(Clone, Debug)]
struct Client {
    id: ClaimId,
    purpose: Purpose,
    objects: Range<u64>,
    submitted: bool,
    finishing: bool,
    /// Objects whose operation has been carried out.
    done: u64,
}

struct World {
    tracker: Tracker,
    stored: BitVector,
    /// Whether the stored map is marked as invalid.
    invalid: bool,
    exists: Vec<bool>,
    /// Operations that wait at each object.
    queues: Vec<VecDeque<DataOperation>>,
    clients: Vec<Client>,
    /// Changes that were sent; `true` once they have been carried out.
    sent: Vec<(Update, bool)>,
    replacing: Option<ClaimId>,
}

fn indices(objects: &Range<u64>) -> Range<usize> {
    usize::try_from(objects.start).unwrap()..usize::try_from(objects.end).unwrap()
}

impl World {
    fn new(states: &[ObjectState]) -> Self {
        let mut map = BitVector::new(states.len() as u64, ObjectState::Nonexistent);
        for (object_no, state) in (0..).zip(states) {
            map.set(object_no, *state);
        }
        Self {
            tracker: Tracker::new(map.clone()),
            stored: map,
            invalid: false,
            exists: states.iter().map(|state| state.exists()).collect(),
            queues: vec![VecDeque::new(); states.len()],
            clients: Vec::new(),
            sent: Vec::new(),
            replacing: None,
        }
    }

    /// One event, chosen by two numbers.
    fn step(&mut self, event: u8, choice: usize) {
        let client = choice % self.clients.len().max(1);
        match event {
            0..4 => {
                let start = (choice / 2) as u64 % OBJECTS;
                let end = (start + 1 + (choice / 32) as u64 % 3).min(OBJECTS);
                let purpose = if choice.is_multiple_of(2) {
                    Purpose::Write
                } else {
                    Purpose::Remove
                };
                self.claim(purpose, start..end);
            }
            4..7 => self.submit(client),
            7..10 => self.carry_out_data(choice % self.queues.len()),
            10..13 => self.carry_out_update(choice),
            13..16 => self.answer_update(choice, Outcome::Done),
            16 => self.end(client),
            17 => self.abandon(client),
            18 if choice.is_multiple_of(3) => self.answer_update(choice, Outcome::Invalidated),
            18 => self.answer_update(choice, Outcome::Refused),
            _ => self.replace(),
        }
        self.send();
        self.check();
    }

    fn send(&mut self) {
        while let Some(update) = self.tracker.poll_update() {
            assert!(self.sent.len() < MAX_UPDATES);
            for (other, _) in &self.sent {
                assert!(!overlap(&other.objects, &update.objects), "out of order");
            }
            let replacing = self.replacing.map(|id| self.tracker.progress(id));
            assert_ne!(replacing, Some(Progress::Granted), "{update:?}");
            self.sent.push((update, false));
        }
    }

    fn claim(&mut self, purpose: Purpose, objects: Range<u64>) {
        let id = self.tracker.claim(purpose, objects.clone());
        self.clients.push(Client {
            id,
            purpose,
            objects,
            submitted: false,
            finishing: false,
            done: 0,
        });
    }

    fn submit(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        match self.tracker.progress(client.id) {
            Progress::Pending => {}
            Progress::Refused => {
                self.tracker.release(client.id);
                self.clients.remove(at);
            }
            Progress::Granted if client.submitted => {}
            Progress::Granted => {
                client.submitted = true;
                for queue in &mut self.queues[indices(&client.objects)] {
                    queue.push_back(match client.purpose {
                        Purpose::Remove => DataOperation::Delete(client.id),
                        _ => DataOperation::Write(client.id),
                    });
                }
            }
        }
    }

    fn carry_out_data(&mut self, object: usize) {
        let Some(operation) = self.queues[object].pop_front() else {
            return;
        };
        let id = match operation {
            DataOperation::Write(id) => {
                self.exists[object] = true;
                let stored = self.stored.get(object as u64);
                // Who gave up waiting may have been followed by a removal.
                let given_up = self.clients.iter().all(|client| client.id != id)
                    && stored == Some(ObjectState::Pending);
                if !self.invalid && !given_up {
                    assert_eq!(stored, Some(ObjectState::Exists), "written unmarked");
                }
                id
            }
            DataOperation::Delete(id) => {
                self.exists[object] = false;
                id
            }
        };
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.done += 1;
        }
    }

    fn carry_out_update(&mut self, choice: usize) {
        let at = choice % self.sent.len().max(1);
        let Some((update, carried_out)) = self.sent.get_mut(at) else {
            return;
        };
        if std::mem::replace(carried_out, true) {
            return;
        }
        for object_no in update.objects.clone() {
            let state = self.stored.get(object_no).unwrap();
            let matches = update.expected.is_none_or(|expected| {
                expected == state || (expected == ObjectState::Exists && state.exists())
            });
            if matches {
                self.stored.set(object_no, update.state);
            }
        }
    }

    fn answer_update(&mut self, choice: usize, outcome: Outcome) {
        let at = choice % self.sent.len().max(1);
        match self.sent.get(at) {
            Some((_, true)) => {}
            Some((_, false)) if outcome != Outcome::Done => {}
            _ => return,
        }
        let (update, _) = self.sent.remove(at);
        self.invalid |= outcome == Outcome::Invalidated;
        self.tracker.updated(update.id, outcome);
    }

    /// Ends what has been carried out.
    fn end(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        let count = client.objects.end - client.objects.start;
        if client.done < count {
            return;
        }
        if client.purpose == Purpose::Write {
            self.tracker.release(client.id);
            self.clients.remove(at);
        } else if !client.finishing {
            client.finishing = true;
            self.tracker.finish(client.id);
        } else if self.tracker.is_gone(client.id) {
            self.clients.remove(at);
        }
    }

    /// Drops a claim at any time; what was submitted goes on.
    fn abandon(&mut self, at: usize) {
        if at < self.clients.len() {
            let client = self.clients.remove(at);
            self.tracker.release(client.id);
        }
    }

    /// Claims the whole map, or stores it if that is granted.
    fn replace(&mut self) {
        match self.replacing {
            None => self.replacing = Some(self.tracker.claim(Purpose::Replace, 0..0)),
            Some(id) if self.tracker.progress(id) == Progress::Granted => {
                assert!(self.sent.is_empty());
                self.stored = self.tracker.map().clone();
                self.tracker.release(id);
                self.replacing = None;
            }
            Some(_) => {}
        }
    }

    fn check(&self) {
        for (object_no, exists) in (0..).zip(&self.exists) {
            if *exists {
                assert!(self.tracker.may_exist(object_no), "hidden from readers");
                let stored = self.stored.get(object_no).unwrap();
                assert!(self.invalid || stored != ObjectState::Nonexistent, "lost");
            }
        }
    }

    /// Lets everything come to its end: nothing may be stuck.
    fn finish_all(&mut self) {
        for round in 0..1000 {
            for at in (0..self.clients.len()).rev() {
                self.submit(at);
                self.send();
            }
            for object in 0..self.queues.len() {
                while !self.queues[object].is_empty() {
                    self.carry_out_data(object);
                }
            }
            while !self.sent.is_empty() {
                self.carry_out_update(0);
                self.answer_update(0, Outcome::Done);
                self.send();
            }
            for at in (0..self.clients.len()).rev() {
                self.end(at);
                self.send();
            }
            if self.replacing.is_some() {
                self.replace();
                self.send();
            }
            self.check();
            if self.clients.is_empty() && self.replacing.is_none() && self.tracker.is_idle() {
                return;
            }
            assert!(round < 900, "stuck: {:?}", self.tracker);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_exists_is_never_said_not_to(
        states in vec(prop::sample::select(&STATES[..]), 6),
        events in vec((0u8..20, any::<u16>()), 0..120),
    ) {
        let mut world = World::new(&states);
        let failing = events.iter().any(|(event, _)| *event == 18);
        for (event, choice) in events {
            world.step(event, choice.into());
        }
        world.finish_all();
        if !failing {
            prop_assert_eq!(world.tracker.map(), &world.stored);
        }
    }
}

fn tracker(state: ObjectState) -> Tracker {
    Tracker::new(BitVector::new(OBJECTS, state))
}

fn done(tracker: &mut Tracker, update: &Update) {
    tracker.updated(update.id, Outcome::Done);
    assert_eq!(tracker.poll_update(), None);
}

#[test]
fn a_write_to_what_exists_needs_nothing() {
    let mut tracker = tracker(ObjectState::Exists);
    let write = tracker.claim(Purpose::Write, 1..3);
    assert_eq!(tracker.progress(write), Progress::Granted);
    assert_eq!(tracker.poll_update(), None);
    tracker.release(write);
    assert!(tracker.is_idle());
}

#[test]
fn a_write_to_a_clean_object_marks_it() {
    let mut tracker = tracker(ObjectState::ExistsClean);
    let write = tracker.claim(Purpose::Write, 2..3);
    assert_eq!(tracker.progress(write), Progress::Pending);
    let update = tracker.poll_update().unwrap();
    assert_eq!((update.state, update.expected), (ObjectState::Exists, None));
    assert_eq!(update.objects, 2..3);
    done(&mut tracker, &update);
    assert_eq!(tracker.progress(write), Progress::Granted);
    assert_eq!(tracker.map().get(2), Some(ObjectState::Exists));
    assert_eq!(tracker.map().get(3), Some(ObjectState::ExistsClean));
}

#[test]
fn writes_to_the_same_object_share_its_change() {
    let mut tracker = tracker(ObjectState::Nonexistent);
    let first = tracker.claim(Purpose::Write, 0..1);
    let update = tracker.poll_update().unwrap();
    let second = tracker.claim(Purpose::Write, 0..1);
    assert_eq!(tracker.poll_update(), None);
    assert_eq!(tracker.progress(second), Progress::Pending);
    done(&mut tracker, &update);
    assert_eq!(tracker.progress(first), Progress::Granted);
    assert_eq!(tracker.progress(second), Progress::Granted);
}

#[test]
fn neighbours_that_wait_become_one_change() {
    let mut tracker = Tracker::new(BitVector::new(100, ObjectState::Nonexistent));
    let mut updates = Vec::new();
    for object in 0..MAX_UPDATES as u64 {
        tracker.claim(Purpose::Write, object * 10..object * 10 + 1);
        updates.push(tracker.poll_update().unwrap());
    }
    for object in [50, 70, 51, 52, 49] {
        tracker.claim(Purpose::Write, object..object + 1);
        assert_eq!(tracker.poll_update(), None);
    }
    tracker.updated(updates[0].id, Outcome::Done);
    assert_eq!(tracker.poll_update().unwrap().objects, 49..53);
    tracker.updated(updates[1].id, Outcome::Done);
    assert_eq!(tracker.poll_update().unwrap().objects, 70..71);
}

#[test]
fn neighbours_are_removed_together_but_nothing_twice() {
    let mut tracker = Tracker::new(BitVector::new(100, ObjectState::Exists));
    let mut claims = Vec::new();
    let mut updates = Vec::new();
    for object in 0..MAX_UPDATES as u64 {
        tracker.claim(Purpose::Remove, object * 10..object * 10 + 1);
        updates.push(tracker.poll_update().unwrap());
    }
    for objects in [50..52, 52..53, 51..52, 49..50] {
        claims.push(tracker.claim(Purpose::Remove, objects));
    }
    assert_eq!(tracker.poll_update(), None);
    tracker.updated(updates[0].id, Outcome::Done);
    let update = tracker.poll_update().unwrap();
    assert_eq!(update.objects, 49..53);
    done(&mut tracker, &update);
    let progress = claims.iter().map(|claim| tracker.progress(*claim));
    let again = Progress::Pending;
    assert_eq!(
        progress.collect::<Vec<_>>(),
        [
            Progress::Granted,
            Progress::Granted,
            again,
            Progress::Granted
        ]
    );
    tracker.finish(claims[1]);
    tracker.finish(claims[0]);
    let update = tracker.poll_update().unwrap();
    assert_eq!(
        (update.objects.clone(), update.state),
        (50..53, ObjectState::Nonexistent)
    );
    done(&mut tracker, &update);
    // It is gone already.
    assert_eq!(tracker.progress(claims[2]), Progress::Granted);
}

#[test]
fn a_removal_is_pending_until_all_is_gone() {
    let mut tracker = tracker(ObjectState::Nonexistent);
    tracker.resize(OBJECTS + 2, ObjectState::ExistsClean);
    let remove = tracker.claim(Purpose::Remove, 0..OBJECTS + 2);
    let update = tracker.poll_update().unwrap();
    let expected = Some(ObjectState::Exists);
    assert_eq!(
        (update.state, update.expected),
        (ObjectState::Pending, expected)
    );
    done(&mut tracker, &update);
    assert_eq!(tracker.map().get(0), Some(ObjectState::Nonexistent));
    assert_eq!(tracker.map().get(OBJECTS), Some(ObjectState::Pending));
    assert!(tracker.may_exist(OBJECTS));
    let write = tracker.claim(Purpose::Write, OBJECTS..OBJECTS + 1);
    assert_eq!(tracker.poll_update(), None);
    tracker.finish(remove);
    let update = tracker.poll_update().unwrap();
    let expected = Some(ObjectState::Pending);
    assert_eq!(
        (update.state, update.expected),
        (ObjectState::Nonexistent, expected)
    );
    assert_eq!(tracker.poll_update(), None);
    tracker.updated(update.id, Outcome::Done);
    assert!(tracker.is_gone(remove));
    assert!(!tracker.may_exist(OBJECTS));
    assert_eq!(tracker.poll_update().unwrap().objects, OBJECTS..OBJECTS + 1);
    assert_eq!(tracker.progress(write), Progress::Pending);
}

#[test]
fn a_removal_that_was_given_up_leaves_it_pending() {
    let mut tracker = tracker(ObjectState::Exists);
    let remove = tracker.claim(Purpose::Remove, 0..1);
    let update = tracker.poll_update().unwrap();
    tracker.release(remove);
    assert!(!tracker.is_idle());
    done(&mut tracker, &update);
    assert!(tracker.is_idle());
    assert_eq!(tracker.map().get(0), Some(ObjectState::Pending));
}

#[test]
fn a_refused_change_refuses_its_claims_only() {
    let mut tracker = tracker(ObjectState::Nonexistent);
    let refused = tracker.claim(Purpose::Write, 0..1);
    let update = tracker.poll_update().unwrap();
    let waiting = tracker.claim(Purpose::Write, 0..1);
    tracker.updated(update.id, Outcome::Refused);
    assert_eq!(tracker.progress(refused), Progress::Refused);
    assert_eq!(tracker.map().get(0), Some(ObjectState::Nonexistent));
    let again = tracker.poll_update().unwrap();
    tracker.updated(again.id, Outcome::Invalidated);
    assert_eq!(tracker.progress(waiting), Progress::Granted);
    // From now on it costs nothing.
    let later = tracker.claim(Purpose::Write, 0..1);
    assert_eq!(tracker.progress(later), Progress::Granted);
}

#[test]
fn what_is_written_while_objects_are_looked_at_is_known_better() {
    let mut tracker = tracker(ObjectState::Exists);
    let held = tracker.claim(Purpose::Write, 0..1);
    tracker.forget(OBJECTS);
    tracker.found(0, ObjectState::Nonexistent);
    tracker.found(1, ObjectState::ExistsClean);
    let write = tracker.claim(Purpose::Write, 2..3);
    let update = tracker.poll_update().unwrap();
    done(&mut tracker, &update);
    tracker.found(2, ObjectState::ExistsClean);
    let states: Vec<_> = tracker.map().states().take(4).collect();
    assert_eq!(
        states,
        [
            ObjectState::Exists,
            ObjectState::ExistsClean,
            ObjectState::Exists,
            ObjectState::Nonexistent
        ]
    );
    tracker.release(held);
    tracker.release(write);
}

#[test]
fn objects_behind_the_end_of_the_map_need_nothing() {
    let mut tracker = tracker(ObjectState::Nonexistent);
    let write = tracker.claim(Purpose::Write, OBJECTS..OBJECTS + 3);
    assert_eq!(tracker.progress(write), Progress::Granted);
    assert!(tracker.may_exist(OBJECTS));
    let partly = tracker.claim(Purpose::Write, OBJECTS - 1..OBJECTS + 3);
    assert_eq!(tracker.poll_update().unwrap().objects, OBJECTS - 1..OBJECTS);
    assert_eq!(tracker.progress(partly), Progress::Pending);
}
