//! Bytes that have arrived and wait to be taken in stretches of known length.
//!
//! Small stretches are cut out of a common buffer without being copied. A long one of which most is
//! still to come gets a buffer of its own: what is there is moved over, the rest is read straight to
//! where it stays. Where one long stretch has come, others follow, so that only little is read then
//! before it is known how long the next one is: what is read less of need not be moved.

use buffers::BufferPool;
use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};

use crate::limits;

#[derive(Debug, Default)]
pub(crate) struct Input {
    pool: BufferPool,
    common: BytesMut,
    own: Option<Own>,
    /// What is missing in the common buffer of the stretch that is waited for.
    missing: usize,
    /// Whether this frame had a long stretch.
    is_long: bool,
    /// Whether the frame before had one.
    was_long: bool,
}

/// A long stretch in the making.
#[derive(Debug)]
struct Own {
    bytes: BytesMut,
    len: usize,
}

impl Input {
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self {
            pool,
            ..Self::default()
        }
    }

    /// A frame has been taken.
    pub(crate) fn end_frame(&mut self) {
        self.was_long = std::mem::take(&mut self.is_long);
    }

    /// Where the next bytes go: never empty, and never more than may be read now.
    pub(crate) fn space(&mut self) -> Limit<&mut BytesMut> {
        if let Some(own) = &mut self.own {
            let missing = own.len - own.bytes.len();
            if missing > 0 {
                if own.bytes.capacity() == own.bytes.len() {
                    own.bytes.reserve(missing.min(own.bytes.len()));
                }
                return (&mut own.bytes).limit(missing);
            }
        }
        if self.common.capacity() - self.common.len() < self.missing.max(MIN_SPACE) {
            let wanted = self.common.len() + self.missing;
            let mut next = self.pool.take(limits::READ_BUFFER.max(wanted));
            next.extend_from_slice(&self.common);
            self.common = next;
        }
        let limit = match self.was_long {
            true => self.missing.max(HEADS),
            false => limits::READ_BUFFER,
        };
        (&mut self.common).limit(limit)
    }

    /// The next `len` bytes, once they are all there. Must be asked again with the same length
    /// until they are.
    pub(crate) fn take(&mut self, len: usize) -> Option<BytesMut> {
        self.is_long |= len > limits::OWN_BUFFER_ABOVE;
        if let Some(own) = self.own.take() {
            if own.bytes.len() == own.len {
                return Some(own.bytes);
            }
            self.own = Some(own);
            return None;
        }
        if self.common.len() >= len {
            self.missing = 0;
            return Some(self.common.split_to(len));
        }
        self.missing = len - self.common.len();
        if self.missing > limits::OWN_BUFFER_ABOVE {
            self.missing = 0;
            let mut bytes = self.pool.take(len.min(limits::RESERVE_AT_ONCE));
            bytes.extend_from_slice(&self.common);
            self.common.clear();
            self.own = Some(Own { bytes, len });
        }
        None
    }

    /// What is there of a long stretch that is waited for.
    pub(crate) fn so_far(&self) -> &[u8] {
        self.own.as_ref().map_or(&[], |own| &own.bytes)
    }

    /// The bytes that are there, without taking them. Not while a stretch is being waited for.
    pub(crate) fn peek(&self) -> &[u8] {
        &self.common
    }
}

/// Less room than this in the common buffer is not worth a read.
const MIN_SPACE: usize = 4 << 10;
/// The end of one frame with a long stretch and the beginning of another, up to that stretch.
const HEADS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(input: &mut Input, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut space = input.space();
            let now = bytes.len().min(space.remaining_mut());
            assert!(now > 0);
            space.put_slice(&bytes[..now]);
            bytes = &bytes[now..];
        }
    }

    #[test]
    fn small_stretches_share_a_buffer() {
        let mut input = Input::default();
        fill(&mut input, b"abcdef");
        let first = input.take(2).unwrap();
        let second = input.take(3).unwrap();
        assert_eq!((&first[..], &second[..]), (&b"ab"[..], &b"cde"[..]));
        assert_eq!(first.as_ptr() as usize + 2, second.as_ptr() as usize);
        assert!(input.take(2).is_none());
        fill(&mut input, b"g");
        assert_eq!(input.take(2).unwrap()[..], b"fg"[..]);
        assert_eq!(input.take(0).unwrap().len(), 0);
    }

    #[test]
    fn little_of_a_long_stretch_is_moved_once_one_has_come() {
        let len = 2 * limits::OWN_BUFFER_ABOVE;
        let mut input = Input::default();
        for frame in 0..3 {
            assert!(input.take(len).is_none());
            let limit = input.space().remaining_mut();
            // What is read before the length is known.
            let expected = if frame == 0 { len } else { len - HEADS };
            assert_eq!(limit, expected, "{frame}");
            let rest = vec![1; limit];
            fill(&mut input, &rest);
            assert_eq!(input.take(len).unwrap().len(), len);
            input.end_frame();
            assert_eq!(input.space().remaining_mut(), HEADS);
            fill(&mut input, &[1; HEADS]);
        }
        input.take(HEADS).unwrap();
        input.end_frame();
        assert_eq!(input.space().remaining_mut(), limits::READ_BUFFER);
    }

    #[test]
    fn one_that_came_with_the_read_before_counts_as_long() {
        let mut input = Input::default();
        fill(&mut input, &[1; limits::OWN_BUFFER_ABOVE + 1]);
        input.take(limits::OWN_BUFFER_ABOVE + 1).unwrap();
        input.end_frame();
        assert_eq!(input.space().remaining_mut(), HEADS);
    }

    #[test]
    fn a_long_stretch_is_read_to_where_it_stays_and_no_further() {
        let len = limits::RESERVE_AT_ONCE + 12345;
        let bytes: Vec<u8> = (0..len)
            .map(|index| (index % 251).to_le_bytes()[0])
            .collect();
        let mut input = Input::default();
        fill(&mut input, &bytes[..10]);
        assert!(input.take(len).is_none());
        let space = input.space();
        assert_eq!(space.remaining_mut(), len - 10);
        // A length alone sets aside no more than the reserve.
        assert!(space.get_ref().capacity() <= limits::RESERVE_AT_ONCE);
        fill(&mut input, &bytes[10..limits::RESERVE_AT_ONCE]);
        assert_eq!(input.space().get_ref()[..10], bytes[..10]);
        assert!(input.take(len).is_none());
        fill(&mut input, &bytes[limits::RESERVE_AT_ONCE..]);
        fill(&mut input, b"next");
        let taken = input.take(len).unwrap();
        assert!(taken[..] == bytes[..]);
        assert_eq!(input.take(4).unwrap()[..], b"next"[..]);
    }
}
