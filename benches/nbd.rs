//! Requests of an NBD client and replies to them, beside copying their bytes.

use std::hint::black_box;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use buffers::BufferPool;
use bytes::{BufMut, Bytes, BytesMut};
use criterion::Criterion;
use mapper::device::Limits;
use mapper::nbd::{ExportInfo, Replies, RequestDecoder, Session};
use tokio::io::AsyncWrite;

use crate::subject::{Subject, noise};

const SIZE_BYTES: u64 = 1 << 30;
const READ: u16 = 0;
const WRITE: u16 = 1;
const MAGIC: u32 = 0x2560_9513;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "nbd");
    let session = Session::plain(&ExportInfo {
        name: String::new(),
        description: String::new(),
        size_bytes: SIZE_BYTES,
        is_read_only: false,
        limits: Limits::default(),
    });
    for (name, command, len) in [
        ("read of 4 KiB", READ, 4 << 10),
        ("write of 4 KiB", WRITE, 4 << 10),
        ("write of 64 KiB", WRITE, 64 << 10),
    ] {
        let bytes = request(command, len);
        let mut copy = BytesMut::with_capacity(bytes.len());
        let copied = subject.cost(&format!("copy, {name}"), Some(bytes.len()), || {
            copy.clear();
            copy.extend_from_slice(black_box(&bytes));
            black_box(&mut copy);
        });
        let mut decoder = RequestDecoder::new(&session, BytesMut::new(), BufferPool::default());
        let parsed = subject.cost(&format!("parse {name}"), Some(bytes.len()), || {
            let mut left = black_box(&bytes[..]);
            loop {
                let buffer = decoder.buffer();
                let room = (buffer.capacity() - buffer.len()).min(left.len());
                let (now, later) = left.split_at(room);
                buffer.extend_from_slice(now);
                left = later;
                if let Some(incoming) = decoder.next_request().unwrap() {
                    return session.check(incoming, SIZE_BYTES).unwrap();
                }
            }
        });
        subject.beside(&format!("parse a {name}"), parsed, "a copy of it", copied);
    }
    replies(&mut subject, &session);
    subject.finish();
}

fn replies(subject: &mut Subject<'_>, session: &Session) {
    let mut header = BytesMut::with_capacity(16);
    let copied = subject.cost("copy, reply", None, || {
        header.clear();
        header.extend_from_slice(black_box(&[7; 16]));
        black_box(&mut header);
    });
    let data = Bytes::from(noise(4 << 10));
    let mut queue = Replies::new(session);
    let read = subject.cost("reply to read", None, || {
        queue.push_data(black_box(7), 8192, data.clone());
        drain(&mut queue)
    });
    let written = subject.cost("reply to write", None, || {
        queue.push_done(black_box(7));
        drain(&mut queue)
    });
    for (name, cost) in [
        ("reply to a read of 4 KiB", read),
        ("reply to a write", written),
    ] {
        subject.beside(name, cost, "a copy of its header", copied);
    }
}

fn drain(queue: &mut Replies) {
    let mut context = Context::from_waker(Waker::noop());
    let written = queue.poll_write(&mut context, &mut Nowhere);
    assert!(matches!(black_box(written), Poll::Ready(Ok(1))));
}

fn request(command: u16, len: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32(MAGIC);
    bytes.put_u16(0);
    bytes.put_u16(command);
    bytes.put_u64(7);
    bytes.put_u64(8192);
    bytes.put_u32(len);
    if command == WRITE {
        bytes.extend(noise(len as usize));
    }
    bytes
}

/// A socket that takes everything at once.
struct Nowhere;

impl AsyncWrite for Nowhere {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(black_box(slices).iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
