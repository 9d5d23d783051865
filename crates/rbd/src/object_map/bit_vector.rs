//! Two bits for every object of an image (ceph: src/common/bit_vector.hpp, `BitVector<2>`).
//!
//! ```text
//! length of the header u32 | header: envelope 1, 1 { number of objects u64 }
//! the states, four to a byte, the first in the highest bits
//! length of the footer u32 | footer: checksum of the header u32 | count u32 | as many checksums u32
//! ```
//! Each of the checksums in the footer covers 4096 bytes of states, the last what is left. Where the
//! object class answers and takes maps, the footer is empty.

use std::ops::Range;

use denc::{Decode, DecodeErrorKind, Encode, Reader, Writer};

/// What a map says about an object (ceph: src/include/rbd/object_map_types.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ObjectState {
    /// It does not exist.
    Nonexistent = 0,
    /// It may exist, and may have changed since the last snapshot.
    Exists = 1,
    /// It is being removed.
    Pending = 2,
    /// It may exist, and has not changed since the last snapshot.
    ExistsClean = 3,
}

impl ObjectState {
    const fn from_bits(bits: u8) -> Self {
        match bits & MASK {
            0 => Self::Nonexistent,
            1 => Self::Exists,
            2 => Self::Pending,
            _ => Self::ExistsClean,
        }
    }

    /// As it is encoded.
    pub(crate) const fn bits(self) -> u8 {
        self as u8
    }

    /// Four objects in this state.
    const fn byte(self) -> u8 {
        self.bits() * 0b0101_0101
    }

    /// Whether the object counts as data of the image.
    pub(crate) const fn exists(self) -> bool {
        matches!(self, Self::Exists | Self::ExistsClean)
    }
}

/// The states of objects 0, 1, and so on.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct BitVector {
    len: u64,
    /// Four states to a byte; what is behind the last state is zero.
    bytes: Vec<u8>,
}

impl BitVector {
    /// `len` objects in one state. `len` must not be above [`MAX_OBJECTS`].
    pub(crate) fn new(len: u64, state: ObjectState) -> Self {
        let mut new = Self::default();
        new.resize(len, state);
        new
    }

    /// How many objects there are.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The state of an object; `None` if it is none of these.
    pub(crate) fn get(&self, object_no: u64) -> Option<ObjectState> {
        if object_no >= self.len {
            return None;
        }
        let byte = self.bytes.get(index(object_no))?;
        Some(ObjectState::from_bits(byte >> shift(object_no)))
    }

    /// Whether an object may exist. Of what is none of these nothing is known.
    pub(crate) fn may_exist(&self, object_no: u64) -> bool {
        self.get(object_no) != Some(ObjectState::Nonexistent)
    }

    /// Changes the state of an object, if it is one of these.
    pub(crate) fn set(&mut self, object_no: u64, state: ObjectState) {
        if object_no >= self.len {
            return;
        }
        if let Some(byte) = self.bytes.get_mut(index(object_no)) {
            *byte &= !(MASK << shift(object_no));
            *byte |= state.bits() << shift(object_no);
        }
    }

    /// Changes the states of those of the objects that are among these.
    pub(crate) fn fill(&mut self, objects: Range<u64>, state: ObjectState) {
        let end = objects.end.min(self.len);
        let mut next = objects.start;
        while next < end && !next.is_multiple_of(PER_BYTE) {
            self.set(next, state);
            next += 1;
        }
        let whole = index(next)..index(end.max(next));
        if let Some(bytes) = self.bytes.get_mut(whole) {
            bytes.fill(state.byte());
        }
        for object_no in next.max(end - end % PER_BYTE)..end {
            self.set(object_no, state);
        }
    }

    /// Drops the objects from `len` on, or appends some in the given state.
    pub(crate) fn resize(&mut self, len: u64, state: ObjectState) {
        let before = self.len;
        self.bytes.resize(index(len.next_multiple_of(PER_BYTE)), 0);
        self.len = len;
        if len > before {
            self.fill(before..len, state);
        } else {
            self.clear_tail();
        }
    }

    /// The states of all objects in turn.
    pub(crate) fn states(&self) -> impl Iterator<Item = ObjectState> + '_ {
        let states = self
            .bytes
            .iter()
            .flat_map(|byte| [6, 4, 2, 0].map(|shift| ObjectState::from_bits(byte >> shift)));
        states.take(usize::try_from(self.len).unwrap_or(usize::MAX))
    }

    fn clear_tail(&mut self) {
        let used = self.len % PER_BYTE;
        if used > 0
            && let Some(last) = self.bytes.last_mut()
        {
            *last &= u8::MAX << shift(used - 1);
        }
    }

    fn header(&self) -> Writer {
        let mut header = Writer::new();
        header.envelope(1, 1, |fields| {
            fields.u64(self.len);
        });
        header
    }
}

/// In the form that the object class takes: without checksums.
impl Encode for BitVector {
    fn encode(&self, writer: &mut Writer) {
        writer
            .blob(self.header().as_slice())
            .raw(&self.bytes)
            .u32(0);
    }
}

impl Decode for BitVector {
    const MIN_LEN: usize = 4 + HEADER_LEN + 4;

    /// Checksums, if there are any, must be right.
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let header = reader.clone().blob()?;
        let len = reader.sub_blob()?.envelope("BitVector", 1)?.reader.u64()?;
        if len > MAX_OBJECTS {
            return Err(reader.invalid("number of objects", len));
        }
        let bytes = reader.take(index(len.next_multiple_of(PER_BYTE)))?;
        let mut footer = reader.sub_blob()?;
        if !footer.is_empty() {
            check(&mut footer, header)?;
            let count = footer.count(4)?;
            let blocks = bytes.chunks(BLOCK);
            if count != blocks.len() {
                return Err(footer.invalid("number of checksums", count as u64));
            }
            for block in blocks {
                check(&mut footer, block)?;
            }
        }
        let mut decoded = Self {
            len,
            bytes: bytes.to_vec(),
        };
        decoded.clear_tail();
        Ok(decoded)
    }
}

/// Numbers and counts: the states themselves may be very many.
impl std::fmt::Debug for BitVector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let existing = self.states().filter(|state| state.exists()).count();
        write!(f, "BitVector({existing} of {} exist)", self.len)
    }
}

/// Reads a checksum and holds it against what it covers.
fn check(footer: &mut Reader<'_>, covered: &[u8]) -> denc::Result<()> {
    let expected = ceph_crc32c(covered);
    let found = footer.u32()?;
    if found == expected {
        return Ok(());
    }
    Err(footer.error(DecodeErrorKind::Checksum { expected, found }))
}

/// CRC-32C from zero, without the inversions at both ends (ceph: src/common/crc32c.h).
fn ceph_crc32c(bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(u32::MAX, bytes)
}

/// Objects fit into memory: [`MAX_OBJECTS`] bounds them.
fn index(object_no: u64) -> usize {
    usize::try_from(object_no / PER_BYTE).unwrap_or(usize::MAX)
}

const fn shift(object_no: u64) -> u64 {
    (PER_BYTE - 1 - object_no % PER_BYTE) * 2
}

/// The most objects a map can have (`cls::rbd::MAX_OBJECT_MAP_OBJECT_COUNT`).
pub(crate) const MAX_OBJECTS: u64 = 256_000_000;
const PER_BYTE: u64 = 4;
const MASK: u8 = 0b11;
/// An envelope with the number of objects.
const HEADER_LEN: usize = 6 + 8;
/// Bytes of states that a checksum covers.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ALL: [ObjectState; 4] = [
        ObjectState::Nonexistent,
        ObjectState::Exists,
        ObjectState::Pending,
        ObjectState::ExistsClean,
    ];

    fn state() -> impl Strategy<Value = ObjectState> {
        prop::sample::select(&ALL[..])
    }

    /// With checksums, as it is stored.
    fn stored(map: &BitVector) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.blob(map.header().as_slice()).raw(&map.bytes);
        writer.with_length(|footer| {
            footer.u32(ceph_crc32c(map.header().as_slice()));
            let blocks = map.bytes.chunks(BLOCK);
            footer.count(blocks.len());
            for block in blocks {
                footer.u32(ceph_crc32c(block));
            }
        });
        writer.as_slice().to_vec()
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_states(
            len in 0u64..40,
            first in state(),
            changes in vec((0u64..50, 0u64..50, state(), any::<bool>()), 0..20),
        ) {
            let mut map = BitVector::new(len, first);
            let mut model = vec![first; usize::try_from(len).unwrap()];
            for (from, count, state, resize) in changes {
                if resize {
                    map.resize(count, state);
                    model.resize(usize::try_from(count).unwrap(), state);
                } else {
                    map.fill(from..from + count, state);
                    let end = usize::try_from(from + count).unwrap();
                    let at = usize::try_from(from).unwrap();
                    for slot in model.iter_mut().take(end).skip(at) {
                        *slot = state;
                    }
                }
                prop_assert_eq!(map.states().collect::<Vec<_>>(), model.clone());
                prop_assert_eq!(map.len(), model.len() as u64);
            }
            for (object_no, state) in (0u64..).zip(&model) {
                prop_assert_eq!(map.get(object_no), Some(*state));
            }
            prop_assert_eq!(map.get(map.len()), None);
            let sent = Writer::encode(&map);
            for bytes in [&sent[..], &stored(&map)[..]] {
                prop_assert_eq!(&BitVector::decode_all("map", bytes).unwrap(), &map);
                for len in 0..bytes.len() {
                    prop_assert!(BitVector::decode_all("map", &bytes[..len]).is_err());
                }
            }
        }

        #[test]
        fn one_changed_bit_of_a_stored_map_is_noticed(
            len in 1u64..40_000,
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut bytes = stored(&BitVector::new(len, ObjectState::ExistsClean));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(BitVector::decode_all("map", &bytes).is_err());
        }
    }

    #[test]
    fn the_first_object_is_in_the_highest_bits() {
        let mut map = BitVector::new(5, ObjectState::Nonexistent);
        map.set(0, ObjectState::Pending);
        map.set(3, ObjectState::Exists);
        map.set(4, ObjectState::ExistsClean);
        map.set(5, ObjectState::Exists);
        assert_eq!(map.bytes, [0b1000_0001, 0b1100_0000]);
    }

    #[test]
    fn what_is_behind_the_last_state_does_not_count() {
        let mut map = BitVector::new(8, ObjectState::Exists);
        map.resize(5, ObjectState::Nonexistent);
        assert_eq!(map, BitVector::new(5, ObjectState::Exists));
        let mut bytes = Writer::encode(&map).to_vec();
        bytes[4 + HEADER_LEN + 1] |= 0b11;
        assert_eq!(BitVector::decode_all("map", &bytes).unwrap(), map);
    }

    #[test]
    fn a_map_of_more_objects_than_there_may_be_takes_no_memory() {
        for len in [MAX_OBJECTS, MAX_OBJECTS + 1, u64::MAX] {
            let mut writer = Writer::new();
            writer.with_length(|header| {
                header.envelope(1, 1, |fields| {
                    fields.u64(len);
                });
            });
            assert!(BitVector::decode_all("map", writer.as_slice()).is_err());
        }
    }
}
