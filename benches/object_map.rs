//! What a write to an object that exists has to do with the map of an image's objects, beside looking at
//! one byte.

use std::hint::black_box;

use criterion::Criterion;
use rbd::{ObjectBits, TrackedMap};

use crate::subject::Subject;

/// Of an image of 4 TiB.
const OBJECTS: u64 = 1 << 20;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "object map");
    let bytes = vec![0x55_u8; 1 << 18];
    let mut next = Scattered::default();
    let byte = subject.cost("one byte", None, || {
        let object_no = next.object_no();
        let index = usize::try_from(object_no / 4).unwrap_or_default();
        bytes
            .get(black_box(index))
            .map(|byte| byte >> (6 - 2 * (object_no % 4)))
    });
    let mut tracked = TrackedMap::full(OBJECTS);
    let mut next = Scattered::default();
    let claimed = subject.cost("claim and release", None, || {
        assert!(!tracked.write(black_box(next.object_no())));
    });
    let mut bits = ObjectBits::empty(OBJECTS);
    let mut next = Scattered::default();
    let asked = subject.cost("may exist", None, || {
        bits.may_exist(black_box(next.object_no()))
    });
    let mut next = Scattered::default();
    let set = subject.cost("set", None, || bits.set(black_box(next.object_no())));
    for (name, cost) in [
        ("ask whether an object may exist", asked),
        ("mark an object as existing", set),
        ("claim an object to write, and release", claimed),
    ] {
        subject.beside(name, cost, "one byte", byte);
    }
    subject.finish();
}

/// Object numbers in no order that a processor could foresee.
#[derive(Default)]
struct Scattered(u64);

impl Scattered {
    const fn object_no(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        self.0 >> 44
    }
}
