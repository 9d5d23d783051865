//! Bytes that wait to be written, in as few pieces as possible.

use std::collections::VecDeque;
use std::io::IoSlice;

use buffers::BufferPool;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A queue of pieces: small things are gathered in a growing tail, bulk data stays where it is.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pool: BufferPool,
    pieces: VecDeque<Bytes>,
    /// Behind all pieces.
    tail: BytesMut,
    /// Bytes in the pieces and the tail.
    len: usize,
}

impl Output {
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self {
            pool,
            pieces: VecDeque::new(),
            tail: BytesMut::new(),
            len: 0,
        }
    }

    /// Bytes not written yet.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.tail.put_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `bytes` without copying them.
    pub(crate) fn put_piece(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        self.end_tail();
        self.pieces.push_back(bytes);
    }

    /// Room for `len` bytes in one piece, which are appended by [`put`](Self::put).
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.tail.capacity() - self.tail.len() < len {
            // Growing would move what is there.
            self.end_tail();
            self.tail = self.pool.take(len.max(TAIL));
        }
    }

    /// Appends what `write` puts at the end of the tail, which is told where it starts.
    pub(crate) fn in_tail<T>(&mut self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        let before = self.tail.len();
        let result = write(&mut self.tail);
        self.len += self.tail.len() - before;
        result
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// Fills `slices` with the first pieces and says how many there are.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter().map(|piece| &piece[..]);
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.chain(tail)) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Drops the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.len = self.len.saturating_sub(written);
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > written {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written.min(self.tail.len()));
    }

    /// Drops everything.
    #[cfg(feature = "tokio")]
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.pool.clone());
    }

    /// What was appended since there were `start` bytes, as long as nothing has been written.
    pub(crate) fn since(&self, start: usize) -> Vec<u8> {
        let pieces = self.pieces.iter().map(|piece| &piece[..]);
        pieces
            .chain([&self.tail[..]])
            .flatten()
            .skip(start)
            .copied()
            .collect()
    }
}

/// Room made at once for small things.
const TAIL: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(output: &Output) -> Vec<Vec<u8>> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = output.slices(&mut slices);
        slices[..count].iter().map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn small_things_are_gathered_and_bulk_is_not_copied() {
        let bulk = Bytes::from(vec![7; 3]);
        let mut output = Output::default();
        output.put(b"ab");
        output.put(b"c");
        output.put_piece(bulk.clone());
        output.put_piece(Bytes::new());
        output.put(b"d");
        assert_eq!(all(&output), [&b"abc"[..], &[7; 3], b"d"]);
        assert_eq!(output.len(), 7);
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(output.slices(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), bulk.as_ptr());
    }

    #[test]
    fn what_is_written_is_dropped_wherever_it_ends() {
        for written in 0..=9 {
            let mut output = Output::default();
            output.put(b"abc");
            output.put_piece(Bytes::from_static(b"def"));
            output.put(b"ghi");
            output.advance(written);
            assert_eq!(all(&output).concat(), b"abcdefghi"[written..]);
            assert_eq!(output.len(), 9 - written);
            assert_eq!(output.since(0), b"abcdefghi"[written..]);
        }
    }
}
