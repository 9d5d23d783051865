//! Messages to bytes and bytes to messages, beside one pass of checksum or cipher over their data.

use std::hint::black_box;
use std::io::IoSlice;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit, Nonce};
use bytes::{BufMut, Bytes};
use criterion::Criterion;
use denc::Tid;
use msgr2::{Incoming, Message, MessageType, Outgoing, Receiver, Sender};

use crate::ciphers::at_once;
use crate::connection::{Pair, take_output};
use crate::subject::{LENGTHS, Subject, noise};

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "frames");
    let gcm = Aes128Gcm::new(&[7; 16].into());
    for (len, text) in LENGTHS {
        let data = Bytes::from(noise(len));
        let mut copy = vec![0; len];
        let copied = subject.cost(&format!("copy {text}"), Some(len), || {
            copy.copy_from_slice(black_box(&data));
            black_box(&mut copy);
        });
        let crc = subject.cost(&format!("crc32c {text}"), Some(len), || {
            crc32c::crc32c(black_box(&data))
        });
        let copied_and_summed = subject.cost(&format!("copy, crc32c {text}"), Some(len), || {
            copy.copy_from_slice(black_box(&data));
            crc32c::crc32c(black_box(&copy))
        });
        let cipher = subject.cost(&format!("aes-gcm {text}"), Some(len), || {
            gcm.encrypt_inout_detached(&Nonce::from([9; 12]), &[], (&mut copy[..]).into())
        });
        let copied_and_sealed = subject.cost(&format!("copy, aes-gcm {text}"), Some(len), || {
            copy.copy_from_slice(black_box(&data));
            gcm.encrypt_inout_detached(&Nonce::from([9; 12]), &[], (&mut copy[..]).into())
        });
        let message = message(data);
        for (mode, open, encoded_at_least, decoded_at_least) in [
            (
                "crc",
                Pair::with_checksums as fn() -> Pair,
                ("one CRC", crc),
                copied_and_summed,
            ),
            (
                "secure",
                Pair::encrypted,
                ("one AES-GCM", cipher),
                copied_and_sealed,
            ),
        ] {
            let mut sender = open().sender;
            let encoded = subject.cost(&format!("encode {mode} {text}"), Some(len), || {
                encode(&mut sender, &message);
                discard(&mut sender);
            });
            let decoded = decode(&mut subject, mode, (len, text), open(), &message);
            let (pass, encoded_at_least) = encoded_at_least;
            let name = format!("encode, {mode}, {text}");
            subject.beside(&name, encoded, pass, encoded_at_least);
            let name = format!("decode, {mode}, {text}");
            subject.beside(&name, decoded, &format!("a copy, {pass}"), decoded_at_least);
        }
        subject.alone(&format!("a copy of {text}"), copied);
    }
    subject.finish();
}

/// Measures taking messages out of bytes that come in reads as long as there is room for.
fn decode(
    subject: &mut Subject<'_>,
    mode: &str,
    (len, text): (usize, &str),
    pair: Pair,
    message: &Message,
) -> crate::subject::Cost {
    let Pair {
        mut sender,
        mut receiver,
    } = pair;
    subject.prepared_cost(
        &format!("decode {mode} {text}"),
        Some(len),
        at_once(len),
        |count| {
            let mut wire = Vec::new();
            for _ in 0..count {
                encode(&mut sender, message);
                take_output(&mut sender, &mut wire);
            }
            (count, wire)
        },
        |(count, wire)| {
            assert_eq!(receive(&mut receiver, &wire), count);
            wire
        },
    )
}

fn message(data: Bytes) -> Message {
    Message {
        tid: Tid(1),
        kind: MessageType(42),
        priority: 63,
        version: 8,
        compat_version: 2,
        front: Bytes::from(noise(250)),
        middle: Bytes::new(),
        data: data.into(),
    }
}

fn encode(sender: &mut Sender, message: &Message) {
    let outgoing = Outgoing::new(black_box(message.clone()), sender.form()).unwrap();
    sender.send(outgoing, 0).unwrap();
}

/// Does as if everything had been written.
fn discard(sender: &mut Sender) {
    let mut slices = [IoSlice::new(&[]); 16];
    black_box(sender.slices(black_box(&mut slices)));
    sender.advance(sender.queued_bytes()).unwrap();
}

fn receive(receiver: &mut Receiver, mut bytes: &[u8]) -> u64 {
    let mut messages = 0;
    while !bytes.is_empty() {
        let mut space = receiver.space();
        let (now, later) = bytes.split_at(bytes.len().min(space.remaining_mut()));
        space.put_slice(now);
        bytes = later;
        while let Some(incoming) = receiver.poll_incoming().unwrap() {
            assert!(matches!(black_box(incoming), Incoming::Message(..)));
            messages += 1;
        }
    }
    messages
}
