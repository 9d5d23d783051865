//! Methods of the object class `rbd` on the objects that hold maps: what is sent and how the answers
//! are encoded (ceph: src/cls/rbd/cls_rbd.cc, src/cls/rbd/cls_rbd_client.cc).
//!
//! Every function appends one step to an operation. A step does not see what an earlier one of the
//! same operation has changed: there must not be two that change a map.

use std::ops::Range;

use denc::Writer;
use rados::Operation;

use super::bit_vector::{BitVector, ObjectState};
use crate::header::CLASS;

/// Answered as [`BitVector`]. `ENOENT` if there is no map, `EINVAL` if it makes no sense.
pub(crate) fn load(operation: Operation) -> Operation {
    operation.call(CLASS, "object_map_load", &[])
}

/// Makes `map` the map.
pub(crate) fn save(operation: Operation, map: &BitVector) -> Operation {
    operation.call_mut(CLASS, "object_map_save", &Writer::encode(map))
}

/// Makes a map, or gives it another number of objects, of which new ones are in `state`. `ESTALE` if
/// one that is to go is not.
pub(crate) fn resize(operation: Operation, objects: u64, state: ObjectState) -> Operation {
    let mut input = Writer::new();
    input.u64(objects).u8(state.bits());
    operation.call_mut(CLASS, "object_map_resize", input.as_slice())
}

/// Changes the state of objects, only of those that are in state `expected` if that is given: an
/// object that exists and is clean counts as one that exists.
pub(crate) fn update(
    operation: Operation,
    objects: Range<u64>,
    state: ObjectState,
    expected: Option<ObjectState>,
) -> Operation {
    let mut input = Writer::new();
    input.u64(objects.start).u64(objects.end).u8(state.bits());
    input.bool(expected.is_some());
    if let Some(expected) = expected {
        input.u8(expected.bits());
    }
    operation.call_mut(CLASS, "object_map_update", input.as_slice())
}
