//! What has been written and is not on the OSDs yet: a state machine without I/O and clocks.
//!
//! Data is *dirty* until a [`WriteOut`] takes it along, then *in flight* until that has been answered:
//!
//! ```text
//!   insert --> dirty --next_write_out--> in flight --completed--> gone
//!                ^                           |
//!                +---------failed------------+   (only what has not been written over since)
//! ```
//! Bytes that are written again while they are in flight are dirty as well, and are only taken along
//! when the older ones have been answered: whatever becomes of the order of operations, the later bytes
//! win. Dirty ranges do not overlap each other, nor do ranges in flight.
//!
//! Little data is copied in: it is mostly a small slice of a network buffer, and a slice keeps all of its
//! buffer in memory, which could not be counted against a limit. In return, neighbours share one
//! allocation, and what is written again is written in place. Much data is kept as it came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::write::MAX_STEPS;

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;

/// Writes that are held together by something, and may be written out in one operation.
pub(super) trait Batch {
    /// What waits for the writes of a generation waits for those of older ones as well.
    fn generation(&self) -> u64;
}

/// Bytes of an object: where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    object_no: u64,
    offset: u64,
}

/// The bytes of a dirty range.
#[derive(Debug)]
enum Data {
    Own(Vec<u8>),
    /// As they came, because they are many.
    Shared(Bytes),
}

impl Data {
    fn of(bytes: Bytes, shared_from: usize) -> Self {
        if bytes.len() < shared_from {
            Self::Own(bytes.to_vec())
        } else {
            Self::Shared(bytes)
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn retained(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Own(bytes) => bytes.into(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// The bytes, to be changed: copied if others may have them. Leaves none.
    fn take(&mut self) -> Vec<u8> {
        match std::mem::replace(self, Self::Own(Vec::new())) {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes.to_vec(),
        }
    }
}

#[derive(Debug)]
struct Dirty<B> {
    data: Data,
    /// When it was put in, or zero if it is to be written out before all else.
    since: Duration,
    /// The number of the insertion that began it.
    stamp: u64,
    batch: Arc<B>,
}

impl<B> Dirty<B> {
    fn len(&self) -> u64 {
        self.data.as_slice().len() as u64
    }

    fn retained(&self) -> u64 {
        self.data.retained() as u64 + OVERHEAD
    }
}

#[derive(Debug)]
struct InFlight {
    data: Bytes,
    stamp: u64,
    retained: u64,
}

/// One operation on one object.
#[derive(Debug)]
pub(super) struct WriteOut<B> {
    pub(super) object_no: u64,
    /// Offset in the object and bytes: ascending and apart.
    pub(super) pieces: SmallVec<[(u64, Bytes); 1]>,
    pub(super) batch: Arc<B>,
}

/// Buffered bytes of an object: offset in the object and bytes, ascending and apart.
pub(super) type Overlay = SmallVec<[(u64, Bytes); 1]>;

/// What is buffered of an image.
#[derive(Debug)]
pub(super) struct Buffer<B> {
    object_size: u64,
    /// From how many bytes on data is kept as it came.
    shared_from: usize,
    dirty: BTreeMap<Place, Dirty<B>>,
    /// The dirty ranges by age.
    by_age: BTreeSet<(Duration, Place)>,
    in_flight: BTreeMap<Place, InFlight>,
    last_stamp: u64,
    dirty_retained: u64,
    in_flight_retained: u64,
    bytes: u64,
}

impl<B: Batch> Buffer<B> {
    pub(super) const fn new(object_size: u64) -> Self {
        Self {
            object_size,
            shared_from: SHARED_FROM,
            dirty: BTreeMap::new(),
            by_age: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            last_stamp: 0,
            dirty_retained: 0,
            in_flight_retained: 0,
            bytes: 0,
        }
    }

    /// Whether everything is on the OSDs.
    pub(super) fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.in_flight.is_empty()
    }

    /// Whether nothing waits to be written out.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty()
    }

    /// The bytes of the image that are not known to be on the OSDs. What is in flight and dirty counts
    /// twice.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory that it takes, in bytes.
    pub(super) const fn retained(&self) -> u64 {
        self.dirty_retained + self.in_flight_retained
    }

    /// The memory, in bytes, of what is not in flight.
    pub(super) const fn dirty_retained(&self) -> u64 {
        self.dirty_retained
    }

    /// The number of the latest insertion.
    pub(super) const fn last_stamp(&self) -> u64 {
        self.last_stamp
    }

    /// When the oldest dirty bytes were put in.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.by_age.first().map(|(since, _)| *since)
    }

    /// Takes bytes in, at the time `now`. They win against all that came before.
    pub(super) fn insert(
        &mut self,
        object_no: u64,
        offset: u64,
        data: Bytes,
        now: Duration,
        batch: &Arc<B>,
    ) {
        self.last_stamp += 1;
        if data.is_empty() {
            return;
        }
        let place = Place { object_no, offset };
        let end = offset + data.len() as u64;
        if data.len() < self.shared_from && self.join(place, &data, batch) {
            return;
        }
        self.cut(object_no, offset, end);
        let dirty = Dirty {
            data: Data::of(data, self.shared_from),
            since: now,
            stamp: self.last_stamp,
            batch: Arc::clone(batch),
        };
        self.add(place, dirty);
    }

    /// Puts bytes into a range that they continue or lie in, if that may take them.
    fn join(&mut self, place: Place, data: &[u8], batch: &Arc<B>) -> bool {
        let end = place.offset + data.len() as u64;
        let Some((before, dirty)) = self.before_mut(place) else {
            return false;
        };
        let at = place.offset - before.offset;
        // Who waits for the writes of this batch's generation would not wait for a younger one.
        if at > dirty.len() || dirty.batch.generation() > batch.generation() {
            return false;
        }
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let (start, old_end) = (before.offset, before.offset + dirty.len());
        if end <= old_end {
            let old_retained = dirty.data.retained();
            let mut bytes = dirty.data.take();
            if let Some(inside) = bytes.get_mut(at..at.saturating_add(data.len())) {
                inside.copy_from_slice(data);
            }
            dirty.data = Data::Own(bytes);
            let retained = dirty.data.retained();
            self.note_retained(old_retained, retained);
            return true;
        }
        let new_len = at + data.len();
        if new_len > RANGE_LIMIT || matches!(dirty.data, Data::Shared(_)) {
            return false;
        }
        self.cut(place.object_no, old_end, end);
        let Some(dirty) = self.dirty.get_mut(&Place {
            offset: start,
            ..place
        }) else {
            return false;
        };
        let mut bytes = dirty.data.take();
        let old_capacity = bytes.capacity();
        bytes.truncate(at);
        let wanted = new_len.max((old_capacity * 2).min(RANGE_LIMIT));
        if new_len > old_capacity {
            bytes.reserve_exact(wanted - bytes.len());
        }
        bytes.extend_from_slice(data);
        let capacity = bytes.capacity();
        dirty.data = Data::Own(bytes);
        self.note_retained(old_capacity, capacity);
        self.bytes += end - old_end;
        true
    }

    /// The bytes of a dirty range take another amount of memory than before.
    fn note_retained(&mut self, before: usize, now: usize) {
        self.dirty_retained -= before as u64;
        self.dirty_retained += now as u64;
    }

    /// The dirty range that begins at a place or before it, in the same object.
    fn before_mut(&mut self, place: Place) -> Option<(Place, &mut Dirty<B>)> {
        let (before, dirty) = self.dirty.range_mut(..=place).next_back()?;
        (before.object_no == place.object_no).then_some((*before, dirty))
    }

    /// Takes `from..to` of an object out of the dirty ranges.
    fn cut(&mut self, object_no: u64, from: u64, to: u64) {
        let place = |offset| Place { object_no, offset };
        if let Some((before, dirty)) = self.before_mut(place(from))
            && before.offset < from
            && before.offset + dirty.len() > from
        {
            let keep = usize::try_from(from - before.offset).unwrap_or(usize::MAX);
            let old_retained = dirty.data.retained();
            let mut bytes = dirty.data.take();
            let rest = bytes.split_off(keep.min(bytes.len()));
            dirty.data = Data::Own(bytes);
            let retained = dirty.data.retained();
            let (since, stamp, batch) = (dirty.since, dirty.stamp, Arc::clone(&dirty.batch));
            self.note_retained(old_retained, retained);
            self.bytes -= rest.len() as u64;
            let skip = usize::try_from(to - from).unwrap_or(usize::MAX);
            if let Some(behind) = rest.get(skip..).filter(|behind| !behind.is_empty()) {
                let dirty = Dirty {
                    data: Data::Own(behind.to_vec()),
                    since,
                    stamp,
                    batch,
                };
                self.add(place(to), dirty);
                return;
            }
        }
        while let Some((&start, _)) = self.dirty.range(place(from)..place(to)).next()
            && let Some(mut dirty) = self.remove(start)
        {
            let end = start.offset + dirty.len();
            if end > to {
                let keep = usize::try_from(end - to).unwrap_or(usize::MAX);
                let mut bytes = dirty.data.take();
                dirty.data = Data::Own(bytes.split_off(bytes.len().saturating_sub(keep)));
                self.add(place(to), dirty);
            }
        }
    }

    fn add(&mut self, place: Place, dirty: Dirty<B>) {
        self.dirty_retained += dirty.retained();
        self.bytes += dirty.len();
        self.by_age.insert((dirty.since, place));
        self.dirty.insert(place, dirty);
    }

    fn remove(&mut self, place: Place) -> Option<Dirty<B>> {
        let dirty = self.dirty.remove(&place)?;
        self.by_age.remove(&(dirty.since, place));
        self.dirty_retained -= dirty.retained();
        self.bytes -= dirty.len();
        Some(dirty)
    }

    /// Has what is dirty in `from..to` of an object written out before all else.
    pub(super) fn demand(&mut self, object_no: u64, from: u64, to: u64) {
        let places: SmallVec<[Place; 4]> = self.dirty_in(object_no, from, to).collect();
        for place in places {
            if let Some(dirty) = self.dirty.get_mut(&place) {
                let since = std::mem::take(&mut dirty.since);
                self.by_age.remove(&(since, place));
                self.by_age.insert((Duration::ZERO, place));
            }
        }
    }

    /// Whether anything in `from..to` of an object is not on the OSDs, of what was put in up to
    /// `stamp`.
    pub(super) fn holds(&self, object_no: u64, from: u64, to: u64, stamp: u64) -> bool {
        let mut dirty = self.dirty_in(object_no, from, to);
        let is_old = |place: Place| {
            let dirty = self.dirty.get(&place);
            dirty.is_some_and(|dirty| dirty.stamp <= stamp)
        };
        dirty.any(is_old)
            || self
                .in_flight_in(object_no, from, to)
                .any(|(_, in_flight)| in_flight.stamp <= stamp)
    }

    /// As [`holds`](Self::holds), of the whole image.
    pub(super) fn holds_any(&self, stamp: u64) -> bool {
        self.dirty.values().any(|dirty| dirty.stamp <= stamp)
            || self.in_flight.values().any(|sent| sent.stamp <= stamp)
    }

    /// The dirty ranges that overlap `from..to` of an object.
    fn dirty_in(&self, object_no: u64, from: u64, to: u64) -> impl Iterator<Item = Place> {
        let place = |offset| Place { object_no, offset };
        let before = self.dirty.range(..place(from)).next_back();
        let before = before.filter(move |(before, dirty)| {
            before.object_no == object_no && before.offset + dirty.len() > from
        });
        let inside = self.dirty.range(place(from)..place(to.max(from)));
        before.into_iter().chain(inside).map(|(place, _)| *place)
    }

    /// The ranges in flight that overlap `from..to` of an object.
    fn in_flight_in(
        &self,
        object_no: u64,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = (&Place, &InFlight)> {
        let place = |offset| Place { object_no, offset };
        let before = self.in_flight.range(..place(from)).next_back();
        let before = before.filter(move |(before, sent)| {
            before.object_no == object_no && before.offset + sent.data.len() as u64 > from
        });
        before
            .into_iter()
            .chain(self.in_flight.range(place(from)..place(to.max(from))))
    }

    /// The buffered bytes of `from..to` of an object.
    pub(super) fn overlay(&self, object_no: u64, from: u64, to: u64) -> Overlay {
        let mut overlay = Overlay::new();
        let mut next = from;
        for place in self.dirty_in(object_no, from, to) {
            let Some(dirty) = self.dirty.get(&place) else {
                continue;
            };
            let (start, end) = (place.offset.max(from), (place.offset + dirty.len()).min(to));
            self.overlay_in_flight(object_no, next, start, &mut overlay);
            let bytes = dirty.data.as_slice();
            if let Some(part) = part(bytes, start - place.offset, end - place.offset) {
                let bytes = match &dirty.data {
                    Data::Own(_) => Bytes::copy_from_slice(part),
                    Data::Shared(bytes) => bytes.slice_ref(part),
                };
                overlay.push((start, bytes));
            }
            next = end;
        }
        self.overlay_in_flight(object_no, next, to, &mut overlay);
        overlay
    }

    fn overlay_in_flight(&self, object_no: u64, from: u64, to: u64, overlay: &mut Overlay) {
        if from >= to || self.in_flight.is_empty() {
            return;
        }
        for (place, sent) in self.in_flight_in(object_no, from, to) {
            let end = place.offset + sent.data.len() as u64;
            let (start, end) = (place.offset.max(from), end.min(to));
            if let Some(data) = part(&sent.data, start - place.offset, end - place.offset) {
                overlay.push((start, sent.data.slice_ref(data)));
            }
        }
    }

    /// The next operation to be sent, of bytes that `is_due` says yes to when asked for the time at
    /// which they were put in. The oldest come first, and with them goes what else there is of their
    /// object.
    pub(super) fn next_write_out(
        &mut self,
        is_due: impl Fn(Duration) -> bool,
    ) -> Option<WriteOut<B>> {
        let oldest = self.by_age.iter().take_while(|(since, _)| is_due(*since));
        let first = oldest
            .map(|(_, place)| *place)
            .find(|place| !self.is_blocked(*place))?;
        let object_no = first.object_no;
        let batch = Arc::clone(&self.dirty.get(&first)?.batch);
        let object = |offset| Place { object_no, offset };
        let mut places: SmallVec<[Place; 8]> = SmallVec::from_iter([first]);
        let mut len = self.dirty.get(&first)?.len();
        // From the oldest on, round to the beginning of the object.
        let behind = self
            .dirty
            .range(object(first.offset + 1)..=object(u64::MAX));
        let before = self.dirty.range(object(0)..first);
        for (place, dirty) in behind.chain(before) {
            if places.len() == MAX_STEPS || len + dirty.len() > self.object_size {
                break;
            }
            if Arc::ptr_eq(&dirty.batch, &batch) && !self.is_blocked(*place) {
                len += dirty.len();
                places.push(*place);
            }
        }
        places.sort_unstable();
        let mut pieces = SmallVec::with_capacity(places.len());
        for place in places {
            if let Some(dirty) = self.remove(place) {
                pieces.push((place.offset, self.send(place, dirty)));
            }
        }
        Some(WriteOut {
            object_no,
            pieces,
            batch,
        })
    }

    /// Whether older bytes of a dirty range are in flight.
    fn is_blocked(&self, place: Place) -> bool {
        let Some(dirty) = self.dirty.get(&place) else {
            return true;
        };
        let end = place.offset + dirty.len();
        self.in_flight_in(place.object_no, place.offset, end)
            .next()
            .is_some()
    }

    fn send(&mut self, place: Place, dirty: Dirty<B>) -> Bytes {
        let retained = dirty.retained();
        let data = dirty.data.into_bytes();
        self.in_flight_retained += retained;
        self.bytes += data.len() as u64;
        let sent = InFlight {
            data: data.clone(),
            stamp: dirty.stamp,
            retained,
        };
        self.in_flight.insert(place, sent);
        data
    }

    /// An operation has been carried out.
    pub(super) fn completed(&mut self, out: &WriteOut<B>) {
        for (offset, _) in &out.pieces {
            self.land(out.object_no, *offset);
        }
    }

    /// An operation has failed: what has not been written over since is dirty again, as if it had been
    /// put in `now`, so that it is not tried again at once.
    pub(super) fn failed(&mut self, out: &WriteOut<B>, now: Duration) {
        for (offset, data) in &out.pieces {
            let Some(sent) = self.land(out.object_no, *offset) else {
                continue;
            };
            let end = offset + data.len() as u64;
            for (from, to) in self.clean_parts(out.object_no, *offset, end) {
                if let Some(part) = part(data, from - offset, to - offset) {
                    let place = Place {
                        object_no: out.object_no,
                        offset: from,
                    };
                    let dirty = Dirty {
                        data: Data::of(data.slice_ref(part), self.shared_from),
                        since: now,
                        stamp: sent.stamp,
                        batch: Arc::clone(&out.batch),
                    };
                    self.add(place, dirty);
                }
            }
        }
    }

    /// The parts of a range in which nothing is dirty.
    fn clean_parts(&self, object_no: u64, from: u64, to: u64) -> SmallVec<[(u64, u64); 2]> {
        let mut parts = SmallVec::new();
        let mut next = from;
        for place in self.dirty_in(object_no, from, to) {
            let Some(dirty) = self.dirty.get(&place) else {
                continue;
            };
            if place.offset > next {
                parts.push((next, place.offset));
            }
            next = place.offset + dirty.len();
        }
        if next < to {
            parts.push((next, to));
        }
        parts
    }

    fn land(&mut self, object_no: u64, offset: u64) -> Option<InFlight> {
        let sent = self.in_flight.remove(&Place { object_no, offset })?;
        self.in_flight_retained -= sent.retained;
        self.bytes -= sent.data.len() as u64;
        Some(sent)
    }

    /// Gives up what is dirty. Gives how many bytes that was.
    pub(super) fn drop_dirty(&mut self) -> u64 {
        let dropped = self.dirty.values().map(Dirty::len).sum();
        self.dirty.clear();
        self.by_age.clear();
        self.dirty_retained = 0;
        self.bytes -= dropped;
        dropped
    }
}

impl<B> WriteOut<B> {
    /// How many bytes it writes.
    pub(super) fn len(&self) -> u64 {
        self.pieces.iter().map(|(_, data)| data.len() as u64).sum()
    }
}

fn part(data: &[u8], from: u64, to: u64) -> Option<&[u8]> {
    let index = |at: u64| usize::try_from(at).ok();
    data.get(index(from)?..index(to)?)
        .filter(|part| !part.is_empty())
}

/// What a range takes beside its bytes: its places in two trees, and what allocators add. An estimate.
pub(super) const OVERHEAD: u64 = 192;
/// From how many bytes on data is kept as it came. If it came from a socket, its buffer has little else:
/// payloads of that length have buffers of their own.
const SHARED_FROM: usize = 32 << 10;
/// How long a range may become, in bytes, by writes that continue it. What grows is copied, and may take
/// twice its length meanwhile.
const RANGE_LIMIT: usize = 128 << 10;
