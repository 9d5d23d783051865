//! The buffer against plain arrays of bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const OBJECT: u64 = 64;
const OBJECTS: u64 = 3;
/// From how many bytes on data is kept as it came.
const SHARED: usize = 16;

#[derive(Debug)]
struct Number(u64);

impl Batch for Number {
    fn generation(&self) -> u64 {
        self.0
    }
}

fn batch(generation: u64) -> Arc<Number> {
    Arc::new(Number(generation))
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// What objects hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Objects(Vec<Vec<u8>>);

impl Objects {
    fn new() -> Self {
        Self(vec![vec![0; at(OBJECT)]; at(OBJECTS)])
    }

    fn write(&mut self, object_no: u64, offset: u64, data: &[u8]) {
        self.0[at(object_no)][at(offset)..at(offset) + data.len()].copy_from_slice(data);
    }

    /// With what is buffered on top.
    fn covered(&self, buffer: &Buffer<Number>, object_no: u64, from: u64, to: u64) -> Vec<u8> {
        let mut data = self.0[at(object_no)][at(from)..at(to)].to_vec();
        let mut next = from;
        for (offset, bytes) in buffer.overlay(object_no, from, to) {
            assert!(offset >= next && !bytes.is_empty());
            next = offset + bytes.len() as u64;
            assert!(next <= to);
            data[at(offset - from)..at(next - from)].copy_from_slice(&bytes);
        }
        data
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        object_no: u64,
        offset: u64,
        len: u64,
        is_old: bool,
    },
    Flush,
    Demand {
        object_no: u64,
        from: u64,
        to: u64,
    },
    Send {
        since: u64,
    },
    Complete {
        which: usize,
    },
    Fail {
        which: usize,
        is_done: bool,
    },
    Read {
        object_no: u64,
        from: u64,
        to: u64,
    },
    /// A read whose answer comes after another operation.
    SlowRead {
        object_no: u64,
        which: usize,
    },
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..OBJECT, 0..=OBJECT).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn step() -> impl Strategy<Value = Step> {
    let object_no = 0..OBJECTS;
    prop_oneof![
        6 => (object_no.clone(), 0..OBJECT, 1u64..32, any::<bool>()).prop_map(
            |(object_no, offset, len, is_old)| {
                let len = len.min(OBJECT - offset);
                Step::Write { object_no, offset, len, is_old }
            }
        ),
        1 => Just(Step::Flush),
        1 => (object_no.clone(), range())
            .prop_map(|(object_no, (from, to))| Step::Demand { object_no, from, to }),
        3 => (0u64..40).prop_map(|since| Step::Send { since }),
        2 => any::<usize>().prop_map(|which| Step::Complete { which }),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, is_done)| Step::Fail { which, is_done }),
        2 => (object_no.clone(), range())
            .prop_map(|(object_no, (from, to))| Step::Read { object_no, from, to }),
        1 => (object_no, any::<usize>())
            .prop_map(|(object_no, which)| Step::SlowRead { object_no, which }),
    ]
}

fn take<T>(items: &mut Vec<T>, which: usize) -> Option<T> {
    (!items.is_empty()).then(|| items.swap_remove(which % items.len()))
}

/// Checks what must hold at all times.
fn check(buffer: &Buffer<Number>) {
    let mut end = None;
    for (place, dirty) in &buffer.dirty {
        assert!(!dirty.data.as_slice().is_empty());
        assert!(end.is_none_or(|end| end <= (place.object_no, place.offset)));
        end = Some((place.object_no, place.offset + dirty.len()));
        assert!(buffer.by_age.contains(&(dirty.since, *place)));
    }
    let mut end = None;
    for (place, sent) in &buffer.in_flight {
        assert!(end.is_none_or(|end| end <= (place.object_no, place.offset)));
        end = Some((place.object_no, place.offset + sent.data.len() as u64));
    }
    assert_eq!(buffer.by_age.len(), buffer.dirty.len());
    let dirty = buffer.dirty.values();
    let in_flight = buffer.in_flight.values();
    let retained: u64 = dirty.clone().map(Dirty::retained).sum();
    assert_eq!(buffer.dirty_retained, retained);
    let sent: u64 = in_flight.clone().map(|sent| sent.retained).sum();
    assert_eq!(buffer.in_flight_retained, sent);
    let bytes: u64 = dirty.map(Dirty::len).sum();
    let sent: u64 = in_flight.map(|sent| sent.data.len() as u64).sum();
    assert_eq!(buffer.bytes(), bytes + sent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_buffer_and_the_objects_together_are_what_was_written(steps in vec(step(), 1..80)) {
        let mut buffer = Buffer {
            shared_from: SHARED,
            ..Buffer::new(OBJECT)
        };
        let (mut model, mut objects) = (Objects::new(), Objects::new());
        let mut sent: Vec<WriteOut<Number>> = Vec::new();
        let (mut now, mut byte, mut generation) = (1, 0u8, 1);
        let (mut old, mut current) = (batch(0), batch(1));
        let land = |objects: &mut Objects, out: &WriteOut<Number>| {
            for (offset, data) in &out.pieces {
                objects.write(out.object_no, *offset, data);
            }
        };
        for step in steps {
            now += 1;
            match step {
                Step::Write { object_no, offset, len, is_old } => {
                    byte = byte % 250 + 1;
                    let data = vec![byte; at(len)];
                    let batch = if is_old { &old } else { &current };
                    model.write(object_no, offset, &data);
                    buffer.insert(object_no, offset, data.into(), Duration::from_secs(now), batch);
                    // Whoever waits for a batch waits for all that is put in with it.
                    let place = Place { object_no, offset };
                    let (_, dirty) = buffer.before_mut(place).unwrap();
                    prop_assert!(dirty.batch.generation() <= batch.generation());
                }
                Step::Flush => {
                    generation += 1;
                    old = std::mem::replace(&mut current, batch(generation));
                }
                Step::Demand { object_no, from, to } => buffer.demand(object_no, from, to),
                Step::Send { since } => {
                    let due = Duration::from_secs(now.saturating_sub(since));
                    if let Some(out) = buffer.next_write_out(|since| since <= due) {
                        for other in sent.iter().filter(|o| o.object_no == out.object_no) {
                            for (offset, data) in &other.pieces {
                                let end = offset + data.len() as u64;
                                let overlaps = |(start, data): &(u64, Bytes)| {
                                    *start < end && start + data.len() as u64 > *offset
                                };
                                prop_assert!(!out.pieces.iter().any(overlaps));
                            }
                        }
                        prop_assert!(out.len() <= OBJECT);
                        sent.push(out);
                    }
                }
                Step::Complete { which } => {
                    if let Some(out) = take(&mut sent, which) {
                        land(&mut objects, &out);
                        buffer.completed(&out);
                    }
                }
                Step::Fail { which, is_done } => {
                    if let Some(out) = take(&mut sent, which) {
                        // It may have been carried out all the same.
                        if is_done {
                            land(&mut objects, &out);
                        }
                        buffer.failed(&out, Duration::from_secs(now));
                    }
                }
                Step::Read { object_no, from, to } => {
                    let read = objects.covered(&buffer, object_no, from, to);
                    prop_assert_eq!(&read[..], &model.0[at(object_no)][at(from)..at(to)]);
                }
                Step::SlowRead { object_no, which } => {
                    let overlay = buffer.overlay(object_no, 0, OBJECT);
                    if let Some(out) = take(&mut sent, which) {
                        land(&mut objects, &out);
                        buffer.completed(&out);
                    }
                    let mut read = objects.0[at(object_no)].clone();
                    for (offset, data) in overlay {
                        read[at(offset)..at(offset) + data.len()].copy_from_slice(&data);
                    }
                    prop_assert_eq!(&read, &model.0[at(object_no)]);
                }
            }
            check(&buffer);
        }
        while !buffer.is_empty() {
            sent.extend(std::iter::from_fn(|| buffer.next_write_out(|_| true)));
            let out = sent.pop().unwrap();
            land(&mut objects, &out);
            buffer.completed(&out);
        }
        prop_assert_eq!(objects, model);
        prop_assert_eq!((buffer.bytes(), buffer.retained()), (0, 0));
    }
}

fn filled(byte: u8, len: usize) -> Bytes {
    vec![byte; len].into()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn neighbours_in_an_object_go_in_one_operation() {
    let mut buffer = Buffer::new(1 << 22);
    let batch = batch(1);
    for block in 0..256u64 {
        buffer.insert(7, block * 4096, filled(1, 4096), secs(block), &batch);
    }
    buffer.insert(7, 3 << 20, filled(2, 512), secs(1), &batch);
    buffer.insert(8, 0, filled(3, 512), secs(0), &batch);
    assert!(buffer.next_write_out(|since| since < secs(0)).is_none());
    let first = buffer.next_write_out(|since| since <= secs(0)).unwrap();
    assert_eq!((first.object_no, first.len()), (7, (1 << 20) + 512));
    assert!(first.pieces.len() < 16, "{}", first.pieces.len());
    let second = buffer.next_write_out(|_| true).unwrap();
    assert_eq!((second.object_no, second.len()), (8, 512));
    assert!(buffer.next_write_out(|_| true).is_none());
}

#[test]
fn rewriting_takes_no_more_memory() {
    let mut buffer = Buffer::new(1 << 22);
    let batch = batch(1);
    buffer.insert(0, 0, filled(1, 8192), secs(1), &batch);
    let retained = buffer.retained();
    for round in 0..100 {
        buffer.insert(0, 4096, filled(round, 4096), secs(2), &batch);
    }
    assert_eq!((buffer.retained(), buffer.bytes()), (retained, 8192));
    assert_eq!(buffer.oldest(), Some(secs(1)));
}

#[test]
fn what_is_demanded_goes_first_and_is_known_to_be_gone() {
    let mut buffer = Buffer::new(1 << 22);
    let batch = batch(1);
    buffer.insert(1, 0, filled(1, 512), secs(1), &batch);
    buffer.insert(2, 0, filled(1, 512), secs(2), &batch);
    let stamp = buffer.last_stamp();
    buffer.demand(2, 100, 200);
    let out = buffer.next_write_out(|since| since.is_zero()).unwrap();
    assert_eq!(out.object_no, 2);
    assert!(buffer.next_write_out(|since| since.is_zero()).is_none());
    // What comes later is not waited for.
    buffer.insert(2, 50, filled(2, 512), secs(3), &batch);
    assert!(buffer.holds(2, 100, 200, stamp));
    buffer.completed(&out);
    assert!(!buffer.holds(2, 100, 200, stamp));
    assert!(buffer.holds(2, 100, 200, buffer.last_stamp()));
    assert!(buffer.holds_any(stamp));
    assert_eq!(buffer.drop_dirty(), 1024);
    assert!(buffer.is_empty());
}

#[test]
fn much_data_is_kept_as_it_came() {
    let mut buffer = Buffer::new(1 << 22);
    let batch = batch(1);
    let data = filled(1, 1 << 20);
    buffer.insert(0, 0, data.clone(), secs(1), &batch);
    let overlay = buffer.overlay(0, 4096, 8192);
    assert_eq!(overlay[0].1.as_ptr(), data[4096..].as_ptr());
    // As is the next to it, and what writes over all of it.
    let next = filled(2, SHARED_FROM);
    buffer.insert(0, 1 << 20, next.clone(), secs(1), &batch);
    let over = filled(3, 1 << 20);
    buffer.insert(0, 0, over.clone(), secs(1), &batch);
    let out = buffer.next_write_out(|_| true).unwrap();
    let sent: Vec<_> = out.pieces.iter().map(|(_, data)| data.as_ptr()).collect();
    assert_eq!(sent, [over.as_ptr(), next.as_ptr()]);
}

#[test]
fn what_others_have_is_not_written_over() {
    let mut buffer = Buffer::new(1 << 22);
    let batch = batch(1);
    let data = filled(1, SHARED_FROM);
    buffer.insert(0, 0, data.clone(), secs(1), &batch);
    let retained = buffer.retained();
    buffer.insert(0, 512, filled(2, 512), secs(2), &batch);
    assert_eq!(buffer.retained(), retained);
    check(&buffer);
    assert_eq!(data, filled(1, SHARED_FROM));
    let [(0, read)] = &buffer.overlay(0, 0, 1024)[..] else {
        panic!("one range");
    };
    assert_eq!(read[..], [[1; 512], [2; 512]].concat());
}
