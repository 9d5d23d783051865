//! A buffer that is made for each use, beside one that is used again. Both are filled: the difference is
//! the allocator's, and that of the kernel, which has to find a page for each that is touched first.

use std::collections::VecDeque;
use std::hint::black_box;

use buffers::BufferPool;
use bytes::BytesMut;
use criterion::Criterion;

use crate::subject::{LENGTHS, Subject, noise};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "buffers");
    for (len, text) in LENGTHS {
        let contents = noise(len);
        let mut kept = BytesMut::with_capacity(len);
        let again = subject.cost(&format!("again {text}"), Some(len), || {
            kept.clear();
            fill(&mut kept, &contents);
        });
        let new = subject.cost(&format!("anew {text}"), Some(len), || {
            let mut bytes = BytesMut::with_capacity(black_box(len));
            fill(&mut bytes, &contents);
        });
        let pool = BufferPool::default();
        let pooled = subject.cost(&format!("pooled {text}"), Some(len), || {
            let mut bytes = pool.take(black_box(len));
            fill(&mut bytes, &contents);
        });
        let mut ring = vec![BytesMut::with_capacity(len); IN_FLIGHT];
        ring.iter_mut().for_each(|bytes| fill(bytes, &contents));
        let mut next = (0..IN_FLIGHT).cycle();
        let again_of_many = subject.cost(&format!("again, of many {text}"), Some(len), || {
            if let Some(bytes) = next.next().and_then(|next| ring.get_mut(next)) {
                bytes.clear();
                fill(bytes, &contents);
            }
        });
        drop(ring);
        let mut queue = VecDeque::new();
        let one_of_many = subject.cost(&format!("anew, of many {text}"), Some(len), || {
            let mut bytes = BytesMut::with_capacity(black_box(len));
            fill(&mut bytes, &contents);
            queue.push_back(bytes);
            if queue.len() > IN_FLIGHT {
                queue.pop_front();
            }
        });
        let limit = format!("filling a kept one, {text}");
        subject.beside(&format!("made anew, {text}"), new, &limit, again);
        subject.beside(&format!("from the pool, {text}"), pooled, &limit, again);
        let limit = format!("filling one of {IN_FLIGHT} kept, {text}");
        let name = format!("made anew, {IN_FLIGHT} in use, {text}");
        subject.beside(&name, one_of_many, &limit, again_of_many);
    }
    subject.finish();
}

fn fill(bytes: &mut BytesMut, contents: &[u8]) {
    bytes.extend_from_slice(black_box(contents));
    black_box(bytes);
}

/// How many buffers a client that has much to do holds at once.
const IN_FLIGHT: usize = 16;
