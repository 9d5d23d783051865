//! The replies on their way to a client.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustix::io::Errno;
use tokio::io::AsyncWrite;

use super::proto::{
    BASE_ALLOCATION_ID, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, allocation, bounded, chunk,
    error_number,
};
use super::session::Session;
use crate::device::{BlockExtent, ReadData, Segment};

/// How a request went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done, nothing to tell.
    Done,
    /// What was read from `offset` on; it must be told in one piece if `in_one`.
    Data {
        offset: u64,
        data: ReadData,
        in_one: bool,
    },
    /// What is allocated.
    Status(Vec<BlockExtent>),
    /// It failed.
    Failed { errno: Errno, text: String },
}

/// Replies in the order in which they are written, payload uncopied.
#[derive(Debug)]
pub(super) struct ReplyQueue {
    has_structured_replies: bool,
    chunks: VecDeque<Bytes>,
    /// What comes after the chunks: headers and other small things, which become one chunk.
    tail: BytesMut,
    queued_bytes: u64,
    written_bytes: u64,
    /// For each reply, where it ends in the stream and what it cost.
    ends: VecDeque<(u64, u64)>,
}

/// Replies that have been written completely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) replies: usize,
    pub(super) cost: u64,
}

impl ReplyQueue {
    pub(super) fn new(session: &Session) -> Self {
        Self {
            has_structured_replies: session.has_structured_replies,
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            queued_bytes: 0,
            written_bytes: 0,
            ends: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.written_bytes == self.queued_bytes
    }

    /// Adds a reply. `cost` is given back when it has been written.
    pub(super) fn push(&mut self, cookie: u64, cost: u64, outcome: Outcome) {
        match outcome {
            // Only what has data must be structured.
            Outcome::Done => self.push_simple(cookie, 0),
            Outcome::Failed { errno, text } if self.has_structured_replies => {
                self.push_error(cookie, error_number(errno), &text);
            }
            Outcome::Failed { errno, .. } => self.push_simple(cookie, error_number(errno)),
            Outcome::Data {
                offset,
                data,
                in_one,
            } if self.has_structured_replies => {
                if in_one {
                    self.push_data_in_one(cookie, offset, data);
                } else {
                    self.push_data(cookie, offset, data);
                }
            }
            Outcome::Data { data, .. } => {
                self.push_simple(cookie, 0);
                data.into_iter()
                    .for_each(|segment| self.push_segment(segment));
            }
            Outcome::Status(extents) => self.push_status(cookie, &extents),
        }
        self.ends.push_back((self.queued_bytes, cost));
    }

    /// Writes as much as the socket takes. What has been written completely is added to `written`.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
        written: &mut Written,
    ) -> Poll<io::Result<()>> {
        self.end_tail();
        while !self.chunks.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                *slice = IoSlice::new(chunk);
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let len = ready!(Pin::new(&mut *socket).poll_write_vectored(context, slices))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(len, written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut len: usize, written: &mut Written) {
        self.written_bytes += len as u64;
        while let Some(chunk) = self.chunks.front_mut() {
            if len < chunk.len() {
                chunk.advance(len);
                break;
            }
            len -= chunk.len();
            self.chunks.pop_front();
        }
        while let Some((end, cost)) = self.ends.front()
            && *end <= self.written_bytes
        {
            written.replies += 1;
            written.cost += cost;
            self.ends.pop_front();
        }
    }

    fn push_simple(&mut self, cookie: u64, error: u32) {
        self.put(16, |tail| {
            tail.put_u32(SIMPLE_REPLY_MAGIC);
            tail.put_u32(error);
            tail.put_u64(cookie);
        });
    }

    fn push_chunk_header(&mut self, cookie: u64, kind: u16, len: u64, is_last: bool) {
        self.put(20, |tail| {
            tail.put_u32(STRUCTURED_REPLY_MAGIC);
            tail.put_u16(if is_last { chunk::DONE } else { 0 });
            tail.put_u16(kind);
            tail.put_u64(cookie);
            // Payload is limited to far less than this.
            tail.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        });
    }

    fn push_error(&mut self, cookie: u64, error: u32, text: &str) {
        let text = bounded(text).as_bytes();
        let len = 6 + text.len();
        self.push_chunk_header(cookie, chunk::ERROR, len as u64, true);
        self.put(len, |tail| {
            tail.put_u32(error);
            tail.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
            tail.put_slice(text);
        });
    }

    fn push_data(&mut self, cookie: u64, mut offset: u64, data: ReadData) {
        let mut segments = data.into_iter().peekable();
        if segments.peek().is_none() {
            return self.push_chunk_header(cookie, chunk::NONE, 0, true);
        }
        while let Some(segment) = segments.next() {
            let len = segment.len_bytes();
            let is_last = segments.peek().is_none();
            match segment {
                Segment::Data(_) => {
                    self.push_chunk_header(cookie, chunk::OFFSET_DATA, 8 + len, is_last);
                    self.put(8, |tail| tail.put_u64(offset));
                    self.push_segment(segment);
                }
                Segment::Hole(_) => {
                    self.push_chunk_header(cookie, chunk::OFFSET_HOLE, 12, is_last);
                    self.put(12, |tail| {
                        tail.put_u64(offset);
                        tail.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
                    });
                }
            }
            offset += len;
        }
    }

    fn push_data_in_one(&mut self, cookie: u64, offset: u64, data: ReadData) {
        if data.segments().len() <= 1 {
            return self.push_data(cookie, offset, data);
        }
        self.push_chunk_header(cookie, chunk::OFFSET_DATA, 8 + data.len_bytes(), true);
        self.put(8, |tail| tail.put_u64(offset));
        data.into_iter()
            .for_each(|segment| self.push_segment(segment));
    }

    fn push_status(&mut self, cookie: u64, extents: &[BlockExtent]) {
        let len = 4 + 8 * extents.len();
        self.push_chunk_header(cookie, chunk::BLOCK_STATUS, len as u64, true);
        self.put(len, |tail| {
            tail.put_u32(BASE_ALLOCATION_ID);
            for extent in extents {
                let hole = if extent.is_hole { allocation::HOLE } else { 0 };
                let zero = if extent.is_zero { allocation::ZERO } else { 0 };
                tail.put_u32(u32::try_from(extent.len_bytes).unwrap_or(u32::MAX));
                tail.put_u32(hole | zero);
            }
        });
    }

    fn push_segment(&mut self, segment: Segment) {
        self.queued_bytes += segment.len_bytes();
        match segment {
            Segment::Data(data) => {
                self.end_tail();
                self.chunks.push_back(data);
            }
            Segment::Hole(mut len) => {
                self.end_tail();
                while len > 0 {
                    let part =
                        usize::try_from(len).map_or(ZEROES.len(), |len| len.min(ZEROES.len()));
                    self.chunks
                        .push_back(Bytes::from_static(&ZEROES).slice(..part));
                    len -= part as u64;
                }
            }
        }
    }

    fn put(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) {
        if self.tail.capacity() - self.tail.len() < len {
            self.tail.reserve(len.max(TAIL_LEN));
        }
        write(&mut self.tail);
        self.queued_bytes += len as u64;
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

/// Buffers in one write.
const MAX_SLICES: usize = 64;

/// Room for headers made at once.
const TAIL_LEN: usize = 4096;

/// What holes look like to those who cannot be told of them.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
