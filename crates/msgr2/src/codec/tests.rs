use bytes::{BufMut, Bytes};
use denc::{Decode, Tid};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::frame::Frame;
use crate::frame::ack::Ack;
use crate::frame::message::Header;
use crate::frame::session::Wait;
use crate::frame::{Control, Tag};
use crate::{Error, Revision};
use crate::{Message, MessageType, limits};

/// Mode and revision.
type Form = (bool, Revision);

const FORMS: [Form; 4] = [
    (false, Revision::V2_1),
    (false, Revision::V2_0),
    (true, Revision::V2_1),
    (true, Revision::V2_0),
];

fn encoder((is_secure, revision): Form) -> Encoder {
    let mut encoder = Encoder::new();
    encoder.set_revision(revision);
    if is_secure {
        encoder.set_cipher(Gcm::pair(&SECRET, revision).unwrap().1);
    }
    encoder
}

fn decoder((is_secure, revision): Form) -> Decoder {
    let mut decoder = Decoder::new(Default::default());
    decoder.set_revision(revision);
    decoder.take_transcript();
    decoder.allow_messages();
    if is_secure {
        decoder.set_cipher(Gcm::pair(&SECRET, revision).unwrap().1);
    }
    decoder
}

const SECRET: [u8; 40] = [5; 40];

fn message(front: usize, middle: usize, data: &[usize]) -> Message {
    let bytes = |len: usize, first: u8| -> Bytes {
        let numbers = (0..len).map(|index| index.to_le_bytes()[0]);
        numbers.map(|number| number.wrapping_add(first)).collect()
    };
    Message {
        tid: Tid(77),
        kind: MessageType(42),
        priority: 63,
        version: 9,
        compat_version: 3,
        front: bytes(front, 1),
        middle: bytes(middle, 2),
        data: data.iter().map(|len| bytes(*len, 3)).collect(),
    }
}

fn encode(encoder: &mut Encoder, message: &Message, seq: u64) -> Vec<u8> {
    let mut out = Output::default();
    let prepared = Prepared::new(message.clone(), encoder.form());
    encoder.message(&prepared, seq, 7, &mut out).unwrap();
    out.since(0)
}

fn encode_control(encoder: &mut Encoder, frame: impl Into<Control>) -> Vec<u8> {
    let mut out = Output::default();
    encoder.control(&frame.into(), &mut out).unwrap();
    out.since(0)
}

/// Feeds `bytes` in pieces of `piece` bytes and gives all frames.
fn decode(decoder: &mut Decoder, bytes: &[u8], piece: usize) -> Result<Vec<Frame>, Error> {
    let mut frames = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let mut space = decoder.space();
            let now = piece.len().min(space.remaining_mut());
            space.put_slice(&piece[..now]);
            piece = &piece[now..];
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
    }
    Ok(frames)
}

fn expected(message: &Message, seq: u64) -> (Header, [Bytes; 3]) {
    let header = Header {
        seq,
        tid: message.tid,
        kind: message.kind,
        priority: message.priority,
        version: message.version,
        ack_seq: 7,
        compat_version: message.compat_version,
    };
    let data = message.data.clone().into_bytes();
    (
        header,
        [message.front.clone(), message.middle.clone(), data],
    )
}

fn taken_apart(frame: &Frame) -> (Header, [Bytes; 3]) {
    assert_eq!(frame.tag, Tag::Message);
    let [control, rest @ ..] = frame.segments.clone();
    (Header::decode_all("header", &control).unwrap(), rest)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut(
        form in 0..4usize,
        sizes in vec((0..300usize, 0..3usize, vec(0..5000usize, 0..3)), 1..5),
        piece in 1..10_000usize,
    ) {
        let mut encoder = encoder(FORMS[form]);
        let messages: Vec<_> = sizes
            .iter()
            .map(|(front, middle, data)| message(*front, *middle * 100, data))
            .collect();
        let bytes: Vec<u8> = (1..)
            .zip(&messages)
            .flat_map(|(seq, message)| encode(&mut encoder, message, seq))
            .collect();
        let frames = decode(&mut decoder(FORMS[form]), &bytes, piece).unwrap();
        prop_assert_eq!(frames.len(), messages.len());
        for ((seq, message), frame) in (1..).zip(&messages).zip(&frames) {
            prop_assert_eq!(taken_apart(frame), expected(message, seq));
        }
    }

    #[test]
    fn any_bytes_are_frames_or_refused(bytes in vec(any::<u8>(), 0..300), form in 0..4usize) {
        let _ = decode(&mut decoder(FORMS[form]), &bytes, 300);
    }
}

#[test]
fn large_segments_round_trip_in_every_form() {
    for form in FORMS {
        let mut encoder = encoder(form);
        let large = message(100_000, 0, &[3 << 20, limits::RESERVE_AT_ONCE]);
        let mut bytes = encode(&mut encoder, &large, 1);
        bytes.extend(encode_control(&mut encoder, Ack(5)));
        let frames = decode(&mut decoder(form), &bytes, 100_001).unwrap();
        assert!(taken_apart(&frames[0]) == expected(&large, 1));
        assert_eq!(
            Control::decode(frames[1].tag, &frames[1].segments[0]).unwrap(),
            Ack(5).into()
        );
    }
}

#[test]
fn a_cut_frame_is_waited_for() {
    for form in FORMS {
        for message in [
            message(70, 0, &[]),
            message(0, 0, &[33]),
            message(5, 6, &[7, 8]),
        ] {
            let bytes = encode(&mut encoder(form), &message, 1);
            for len in 0..bytes.len() {
                let frames = decode(&mut decoder(form), &bytes[..len], len.max(1)).unwrap();
                assert!(frames.is_empty(), "{form:?} cut at {len}");
            }
            assert_eq!(decode(&mut decoder(form), &bytes, 1).unwrap().len(), 1);
        }
    }
}

/// A changed byte anywhere is noticed, or is one that has no meaning.
#[test]
fn every_changed_byte_is_noticed() {
    for form in FORMS {
        let whole = message(20, 0, &[30]);
        let bytes = encode(&mut encoder(form), &whole, 1);
        let mut ignored = 0;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            match decode(&mut decoder(form), &changed, 1000) {
                Err(_) => {}
                Ok(frames) => {
                    assert_eq!(taken_apart(&frames[0]), expected(&whole, 1));
                    ignored += 1;
                }
            }
        }
        // The upper half of the late status means nothing.
        assert_eq!(ignored, if form.0 { 0 } else { 1 }, "{form:?}");
    }
}

/// Where the data segment of [`message(20, 0, &[30])`](message) starts in revision 2.1, crc mode.
const DATA_AT: usize = 32 + Header::LEN + 4 + 20;

#[test]
fn damaged_segments_are_told_by_their_number() {
    let segment_of = |form: Form, at: usize| {
        let mut bytes = encode(&mut encoder(form), &message(20, 0, &[30]), 1);
        bytes[at] ^= 1;
        match decode(&mut decoder(form), &bytes, 1000).unwrap_err() {
            Error::SegmentCrc {
                tag: Tag::Message,
                segment,
                ..
            } => segment,
            other => panic!("{other:?}"),
        }
    };
    let [new, old, ..] = FORMS;
    assert_eq!(segment_of(new, 32), 0);
    assert_eq!(segment_of(new, 32 + Header::LEN + 4), 1);
    assert_eq!(segment_of(new, DATA_AT), 3);
    assert_eq!(segment_of(old, 32), 0);
    assert_eq!(segment_of(old, 32 + Header::LEN), 1);
    assert_eq!(segment_of(old, DATA_AT - 4), 3);
}

#[test]
fn a_late_status_of_zero_is_refused_and_an_aborted_frame_passed_over() {
    let form = (false, Revision::V2_1);
    let mut encoder = encoder(form);
    let mut bytes = encode(&mut encoder, &message(20, 0, &[30]), 1);
    let status = DATA_AT + 30;
    assert_eq!(bytes[status], 0x0e);
    for wrong in [0, 2, 0x0f, 0xe0] {
        bytes[status] = wrong;
        assert!(matches!(
            decode(&mut decoder(form), &bytes, 1000),
            Err(Error::LateStatus(found)) if found == wrong
        ));
    }
    bytes[status] = 1;
    bytes.extend(encode_control(&mut encoder, Ack(9)));
    let frames = decode(&mut decoder(form), &bytes, 1000).unwrap();
    assert_eq!(
        frames.iter().map(|frame| frame.tag).collect::<Vec<_>>(),
        [Tag::Ack]
    );
}

#[test]
fn an_aborted_frame_of_revision_0_is_passed_over() {
    let form = (false, Revision::V2_0);
    let mut encoder = encoder(form);
    let mut bytes = encode(&mut encoder, &message(20, 0, &[30]), 1);
    bytes[DATA_AT - 4 + 30] |= 1;
    bytes.extend(encode_control(&mut encoder, Ack(9)));
    let frames = decode(&mut decoder(form), &bytes, 1000).unwrap();
    assert_eq!(
        frames.iter().map(|frame| frame.tag).collect::<Vec<_>>(),
        [Tag::Ack]
    );
}

#[test]
fn encrypted_frames_cannot_be_changed_reordered_or_repeated() {
    for form in [(true, Revision::V2_1), (true, Revision::V2_0)] {
        let mut encoder = encoder(form);
        let first = encode_control(&mut encoder, Ack(1));
        let second = encode_control(&mut encoder, Ack(2));
        let refused = |bytes: &[u8]| decode(&mut decoder(form), bytes, 1000).unwrap_err();
        let reordered = refused(&[&second[..], &first].concat());
        let repeated = refused(&[&first[..], &first].concat());
        let mut changed = first.clone();
        // Behind the preamble, whose checksum notices first in revision 2.0.
        changed[40] ^= 1;
        let changed = refused(&changed);
        assert!(matches!(changed, Error::GcmTag));
        if form.1 == Revision::V2_1 {
            assert!(matches!(reordered, Error::GcmTag));
            assert!(matches!(repeated, Error::GcmTag));
        } else {
            assert!(matches!(reordered, Error::PreambleCrc { .. }));
            assert!(matches!(repeated, Error::PreambleCrc { .. }));
        }
        decode(&mut decoder(form), &[&first[..], &second].concat(), 1000).unwrap();
    }
}

#[test]
fn messages_are_refused_by_their_preamble_before_they_are_allowed() {
    let form = (false, Revision::V2_1);
    let bytes = encode(&mut encoder(form), &message(20, 0, &[30]), 1);
    let mut decoder = Decoder::new(Default::default());
    assert!(matches!(
        decode(&mut decoder, &bytes[..32], 32),
        Err(Error::UnexpectedFrame {
            tag: Tag::Message,
            ..
        })
    ));
}

#[test]
fn the_transcript_is_bounded() {
    let mut encoder = encoder((false, Revision::V2_1));
    let bytes = encode_control(&mut encoder, Ack(1));
    let many = bytes.repeat(limits::TRANSCRIPT / bytes.len() + 1);
    assert!(matches!(
        decode(&mut Decoder::new(Default::default()), &many, 1000),
        Err(Error::TranscriptTooLong { .. })
    ));
}

#[test]
fn data_is_neither_copied_out_nor_in() {
    let data = Bytes::from(vec![9; 100_000]);
    let address = data.as_ptr();
    let message = Message {
        front: Bytes::from(vec![1; limits::COPY_FRONT_UP_TO + 1]),
        data: data.clone().into(),
        ..Message::default()
    };
    let front = message.front.as_ptr();
    let mut out = Output::default();
    let form = (false, Revision::V2_1);
    let mut encoder = encoder(form);
    let prepared = Prepared::new(message, encoder.form());
    encoder.message(&prepared, 1, 0, &mut out).unwrap();
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let count = out.slices(&mut slices);
    assert_eq!(count, 4);
    assert_eq!((slices[1].as_ptr(), slices[2].as_ptr()), (front, address));

    // What comes in goes from the space it was read into to the message without moving again.
    let bytes = out.since(0);
    let mut decoder = decoder(form);
    decode(&mut decoder, &bytes[..bytes.len() - 100_000], 1 << 20).unwrap();
    let space = decoder.space();
    assert!(space.get_ref().len() < limits::OWN_BUFFER_ABOVE);
    let buffer = space.get_ref().as_ptr();
    let frames = decode(&mut decoder, &bytes[bytes.len() - 100_000..], 1 << 20).unwrap();
    assert_eq!(frames[0].segments[3].as_ptr(), buffer);
}

/// Frames of the protocol's description, byte by byte.
#[test]
fn a_frame_without_contents_has_the_checksum_of_nothing() {
    let bytes = encode_control(&mut encoder((false, Revision::V2_1)), Wait);
    assert_eq!(bytes.len(), 36);
    assert_eq!(bytes[..8], [16, 1, 0, 0, 0, 0, 8, 0]);
    assert_eq!(bytes[32..], [0xff; 4]);
}

#[test]
fn an_empty_middle_has_the_checksum_of_nothing_and_what_is_left_out_zero() {
    let mut encoder = encoder((false, Revision::V2_1));
    let bytes = encode(&mut encoder, &message(1, 0, &[1]), 1);
    let epilogue = &bytes[bytes.len() - 13..];
    assert_eq!(epilogue[0], 0x0e);
    assert_eq!(epilogue[5..9], [0xff; 4]);
    let bytes = encode(&mut encoder, &message(1, 0, &[]), 2);
    let epilogue = &bytes[bytes.len() - 13..];
    assert_eq!(epilogue[5..], [0; 8]);
}

#[test]
fn lengths_on_the_wire_are_those_of_the_protocol() {
    let len =
        |form, front, data: &[usize]| encode(&mut encoder(form), &message(front, 0, data), 1).len();
    let [crc, crc_old, secure, secure_old] = FORMS;
    assert_eq!(len(crc, 10, &[20]), 32 + 41 + 4 + 30 + 13);
    assert_eq!(len(crc_old, 10, &[20]), 32 + 41 + 30 + 17);
    assert_eq!(len(secure, 10, &[20]), 96 + 16 + 32 + 16 + 16);
    assert_eq!(len(secure_old, 10, &[20]), 32 + 48 + 16 + 32 + 16 + 16);
    assert_eq!(len(secure, 0, &[]), 96);
}
