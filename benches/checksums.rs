//! CRC-32C, beside reading the bytes once.

use std::hint::black_box;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use criterion::Criterion;
use msgr2::{Message, Outgoing};

use crate::connection::Pair;
use crate::subject::{LENGTHS, Subject, noise};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "checksums");
    let form = Pair::with_checksums().sender.form();
    for (len, text) in LENGTHS {
        let bytes = Bytes::from(noise(len));
        assert_eq!(
            u64::from(crc32c::crc32c(&bytes)),
            crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &bytes)
        );
        let mut copy = vec![0; len];
        let read = subject.cost(&format!("read {text}"), Some(len), || {
            sum(black_box(&bytes))
        });
        let copied = subject.cost(&format!("copy {text}"), Some(len), || {
            copy.copy_from_slice(black_box(&bytes));
            black_box(&mut copy);
        });
        let library = subject.cost(&format!("crc32c {text}"), Some(len), || {
            crc32c::crc32c(black_box(&bytes))
        });
        let other = subject.cost(&format!("crc-fast {text}"), Some(len), || {
            crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, black_box(&bytes))
        });
        let outgoing = subject.cost(&format!("outgoing message {text}"), Some(len), || {
            let message = Message {
                data: bytes.clone().into(),
                ..Message::default()
            };
            Outgoing::new(black_box(message), form).unwrap()
        });
        let limit = format!("reading {text}");
        subject.beside(&format!("copying {text}"), copied, &limit, read);
        subject.beside(&format!("crate crc32c, {text}"), library, &limit, read);
        subject.beside(&format!("crate crc-fast, {text}"), other, &limit, read);
        let limit = format!("crate crc32c, {text}");
        subject.beside(&format!("of a message, {text}"), outgoing, &limit, library);
    }
    subject.finish();
}

/// As cheap a pass over all bytes as there is: words are added in several sums at once, so that no
/// addition has to wait for another.
fn sum(bytes: &[u8]) -> [u64; 8] {
    let (blocks, _) = bytes.as_chunks::<64>();
    let mut sums = [0_u64; 8];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums
}
