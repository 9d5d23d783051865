//! The start of every frame: what it is and how long its segments are.
//!
//! ```text
//! tag u8 | segments u8 | 4 x { length u32 | alignment u16 } | flags u8 | reserved u8 | crc u32
//! ```
//! The checksum covers the 28 bytes before it and is there in every mode and revision. Alignments
//! are hints to the receiver's allocator and ignored here.

use bytes::BufMut;
use denc::Reader;

use super::Tag;
use crate::crc::crc32c;
use crate::{Error, limits};

/// A preamble whose every field is acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) tag: Tag,
    /// How many segments there are, at least one.
    pub(crate) count: usize,
    /// Their lengths in bytes; zero beyond `count`.
    pub(crate) lens: [usize; limits::SEGMENTS],
    /// Whether they are compressed.
    pub(crate) is_compressed: bool,
}

impl Preamble {
    pub(crate) const LEN: usize = 32;

    /// The preamble of a frame with segments of these lengths. Empty segments at the end are left
    /// out.
    pub(crate) fn new(tag: Tag, lens: [usize; limits::SEGMENTS], is_compressed: bool) -> Self {
        let last = lens.iter().rposition(|len| *len > 0);
        Self {
            tag,
            count: last.map_or(1, |index| index + 1),
            lens,
            is_compressed,
        }
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut covered = &mut bytes[..];
        covered.put_u8(self.tag as u8);
        covered.put_u8(u8::try_from(self.count).unwrap_or(u8::MAX));
        for (len, alignment) in self.lens.into_iter().zip(ALIGNMENTS).take(self.count) {
            // Longer ones have been refused when the message was given.
            covered.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
            covered.put_u16_le(alignment);
        }
        let (covered, mut checksum) = bytes.split_at_mut(Self::LEN - 4);
        if let Some(flags) = covered.get_mut(FLAGS_AT) {
            *flags = if self.is_compressed { COMPRESSED } else { 0 };
        }
        checksum.put_u32_le(crc32c(0, covered));
        bytes
    }

    /// Reads and checks a preamble.
    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, Error> {
        let (covered, _) = bytes.split_at(Self::LEN - 4);
        let mut reader = Reader::new("preamble", bytes);
        let tag = reader.u8()?;
        let count = reader.u8()?;
        let mut descriptors = reader.sub(limits::SEGMENTS * 6)?;
        let flags = reader.u8()?;
        reader.skip(1)?;
        let found = reader.u32()?;
        let expected = crc32c(0, covered);
        if found != expected {
            return Err(Error::PreambleCrc { found, expected });
        }

        let tag = Tag::try_from(tag)?;
        let segments = usize::from(count);
        if !(1..=limits::SEGMENTS).contains(&segments) || (segments > 1 && tag != Tag::Message) {
            return Err(Error::SegmentCount { tag, count });
        }
        if flags & !COMPRESSED != 0 {
            return Err(Error::FrameFlags { tag, flags });
        }
        let mut lens = [0; limits::SEGMENTS];
        let slots = lens.iter_mut().zip(limits::SEGMENT).enumerate();
        let mut last = 0;
        for (segment, (slot, max)) in slots.take(segments) {
            last = descriptors.u32()?;
            descriptors.skip(2)?;
            *slot = match usize::try_from(last) {
                Ok(len) if len <= max => len,
                _ => {
                    return Err(Error::SegmentTooLong {
                        tag,
                        segment,
                        len: last,
                        max,
                    });
                }
            };
        }
        if segments > 1 && last == 0 {
            return Err(Error::EmptyLastSegment { tag, count });
        }
        Ok(Self {
            tag,
            count: segments,
            lens,
            is_compressed: flags & COMPRESSED != 0,
        })
    }
}

/// What Ceph's own messenger asks for: control, front and middle 8, data a page.
const ALIGNMENTS: [u16; limits::SEGMENTS] = [8, 8, 8, 4096];
/// Where the flags are.
const FLAGS_AT: usize = 2 + limits::SEGMENTS * 6;
/// The only flag there is (ceph: `FRAME_EARLY_DATA_COMPRESSED`).
const COMPRESSED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a preamble with its checksum put right.
    fn seal(mut bytes: [u8; 32]) -> [u8; 32] {
        let crc = crc32c(0, &bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn refusal(change: impl FnOnce(&mut [u8; 32])) -> Error {
        let mut bytes = Preamble::new(Tag::Message, [41, 10, 0, 4096], false).encode();
        change(&mut bytes);
        Preamble::decode(&seal(bytes)).unwrap_err()
    }

    #[test]
    fn empty_segments_at_the_end_are_left_out() {
        let preamble = Preamble::new(Tag::Message, [41, 10, 0, 0], false);
        assert_eq!(preamble.count, 2);
        let bytes = preamble.encode();
        assert_eq!(bytes[..14], [17, 2, 41, 0, 0, 0, 8, 0, 10, 0, 0, 0, 8, 0]);
        assert_eq!(bytes[14..28], [0; 14]);
        assert_eq!(Preamble::decode(&bytes).unwrap(), preamble);
        assert_eq!(Preamble::new(Tag::Wait, [0; 4], false).count, 1);
    }

    #[test]
    fn compression_is_a_flag() {
        let preamble = Preamble::new(Tag::Message, [41, 10, 0, 0], true);
        let bytes = preamble.encode();
        assert_eq!(bytes[14..28], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(Preamble::decode(&bytes).unwrap(), preamble);
    }

    #[test]
    fn a_segment_between_may_be_empty() {
        let preamble = Preamble::new(Tag::Message, [41, 0, 0, 5], false);
        assert_eq!(preamble.count, 4);
        assert_eq!(Preamble::decode(&preamble.encode()).unwrap(), preamble);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = Preamble::new(Tag::Message, [41, 10, 0, 4096], false).encode();
        for bit in 0..32 * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(
                Preamble::decode(&changed),
                Err(Error::PreambleCrc { .. })
            ));
        }
    }

    #[test]
    fn refuses_zero_five_and_two_hundred_segments() {
        for wrong in [0, 5, 200] {
            assert!(matches!(
                refusal(|bytes| bytes[1] = wrong),
                Error::SegmentCount { count, .. } if count == wrong
            ));
        }
    }

    #[test]
    fn refuses_a_segment_of_four_gibibytes() {
        for (segment, at) in [2, 8, 14, 20].into_iter().enumerate() {
            let error = refusal(|bytes| bytes[at..at + 4].fill(0xff));
            assert!(
                matches!(error, Error::SegmentTooLong { segment: s, len: u32::MAX, .. } if s == segment)
            );
        }
    }

    #[test]
    fn limits_are_inclusive() {
        let largest = [limits::CONTROL, limits::FRONT, limits::MIDDLE, limits::DATA];
        Preamble::decode(&Preamble::new(Tag::Message, largest, false).encode()).unwrap();
        for index in 0..4 {
            let mut lens = largest;
            lens[index] += 1;
            assert!(matches!(
                Preamble::decode(&Preamble::new(Tag::Message, lens, false).encode()),
                Err(Error::SegmentTooLong { segment, .. }) if segment == index
            ));
        }
    }

    #[test]
    fn refuses_an_empty_last_segment() {
        assert!(matches!(
            refusal(|bytes| bytes[20..24].fill(0)),
            Error::EmptyLastSegment { count: 4, .. }
        ));
    }

    #[test]
    fn refuses_flags_and_unknown_tags() {
        for wrong in [2, 3, 0x80] {
            assert!(matches!(
                refusal(|bytes| bytes[26] = wrong),
                Error::FrameFlags { flags, .. } if flags == wrong
            ));
        }
        assert!(matches!(
            refusal(|bytes| bytes[0] = 23),
            Error::UnknownTag(23)
        ));
        assert!(matches!(
            refusal(|bytes| bytes[0] = 0),
            Error::UnknownTag(0)
        ));
    }

    #[test]
    fn only_messages_have_more_than_one_segment() {
        assert!(matches!(
            refusal(|bytes| bytes[0] = Tag::Hello as u8),
            Error::SegmentCount {
                tag: Tag::Hello,
                count: 4
            }
        ));
    }
}
