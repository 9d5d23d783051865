//! Bytes that have arrived and wait to be taken in stretches of known length.
//!
//! Small stretches are cut out of a common buffer without being copied. A long one of which most is
//! still to come gets a buffer of its own: what is there is moved over, the rest is read straight to
//! where it stays, and with it what begins the next frame. Where one long stretch has come, others
//! follow, so that only little is read then before it is known how long the next one is: what is read
//! less of need not be moved.

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

impl Own {
    fn missing(&self) -> usize {
        self.len.saturating_sub(self.bytes.len())
    }
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
        let missing = self.own.as_ref().map_or(0, Own::missing);
        if missing == 0 {
            self.make_room(self.missing.max(MIN_SPACE));
        }
        match &mut self.own {
            Some(own) if missing > 0 => {
                if own.bytes.capacity() == own.bytes.len() {
                    own.bytes.reserve((missing + HEADS).min(own.bytes.len()));
                }
                (&mut own.bytes).limit(missing + HEADS)
            }
            _ if self.was_long => (&mut self.common).limit(self.missing.max(HEADS)),
            _ => (&mut self.common).limit(limits::READ_BUFFER),
        }
    }

    /// The next `len` bytes, once they are all there. Must be asked again with the same length
    /// until they are.
    pub(crate) fn take(&mut self, len: usize) -> Option<BytesMut> {
        self.is_long |= len > limits::OWN_BUFFER_ABOVE;
        if let Some(mut own) = self.own.take() {
            if own.bytes.len() < own.len {
                self.own = Some(own);
                return None;
            }
            let next = own.bytes.split_off(own.len);
            self.make_room(next.len());
            self.common.extend_from_slice(&next);
            return Some(own.bytes);
        }
        if self.common.len() >= len {
            self.missing = 0;
            return Some(self.common.split_to(len));
        }
        self.missing = len - self.common.len();
        if self.missing > limits::OWN_BUFFER_ABOVE {
            self.missing = 0;
            let mut bytes = self.pool.take((len + HEADS).min(limits::RESERVE_AT_ONCE));
            bytes.extend_from_slice(&self.common);
            self.common.clear();
            self.own = Some(Own { bytes, len });
        }
        None
    }

    /// Sees to it that so many more bytes fit into the common buffer.
    fn make_room(&mut self, more: usize) {
        if self.common.capacity() - self.common.len() < more {
            let wanted = self.common.len() + more;
            let mut next = self.pool.take(limits::READ_BUFFER.max(wanted));
            next.extend_from_slice(&self.common);
            self.common = next;
        }
    }

    /// What is there of a long stretch that is waited for.
    pub(crate) fn so_far(&self) -> &[u8] {
        let Some(own) = &self.own else {
            return &[];
        };
        own.bytes.get(..own.len).unwrap_or(&own.bytes)
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
            // What is read before the length is known.
            let missing = if frame == 0 { len } else { len - HEADS };
            let limit = input.space().remaining_mut();
            assert_eq!(limit, missing + HEADS, "{frame}");
            fill(&mut input, &vec![1; missing]);
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
    fn what_begins_the_next_frame_comes_with_a_long_stretch() {
        let len = 2 * limits::OWN_BUFFER_ABOVE;
        let mut input = Input::default();
        assert!(input.take(len).is_none());
        let mut space = input.space();
        space.put_slice(&vec![1; len - 1]);
        assert!(input.take(len).is_none());
        assert_eq!(input.so_far().len(), len - 1);
        let mut space = input.space();
        assert_eq!(space.remaining_mut(), 1 + HEADS);
        space.put_slice(&[1; 1]);
        space.put_slice(&[2; HEADS]);
        assert_eq!(input.so_far().len(), len);
        assert!(input.take(len).unwrap()[..] == vec![1; len]);
        assert_eq!(input.peek(), [2; HEADS]);
    }

    #[test]
    fn a_long_stretch_is_read_to_where_it_stays() {
        let len = limits::RESERVE_AT_ONCE + 12345;
        let bytes: Vec<u8> = (0..len)
            .map(|index| (index % 251).to_le_bytes()[0])
            .collect();
        let mut input = Input::default();
        fill(&mut input, &bytes[..10]);
        assert!(input.take(len).is_none());
        let space = input.space();
        assert_eq!(space.remaining_mut(), len - 10 + HEADS);
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
