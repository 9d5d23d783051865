use std::collections::BTreeSet;

use denc::{EntityAddr, EntityAddrVec, EntityType, Features, GlobalId, Tid, UTime, Writer};

use super::ack::Ack;
use super::auth::*;
use super::compression::*;
use super::hello::Hello;
use super::ident::*;
use super::keepalive::*;
use super::session::*;
use super::*;
use crate::MessageType;

const ADDR: &str = "v2:10.0.0.1:3300/7";
/// The encoding of [`ADDR`], laid out by hand as the protocol describes it.
const ADDR_BYTES: [u8; 35] = [
    1, 1, 1, 28, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0x0c, 0xe4, 10, 0, 0, 1, 0, 0,
    0, 0, 0, 0, 0, 0,
];

fn addr() -> EntityAddr {
    ADDR.parse().unwrap()
}

fn addrs() -> EntityAddrVec {
    addr().into()
}

fn addrs_bytes() -> Vec<u8> {
    [&[2, 1, 0, 0, 0][..], &ADDR_BYTES].concat()
}

fn u64s(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// A frame of every kind, and its first segment byte by byte.
fn samples() -> Vec<(Control, Vec<u8>)> {
    let modes = || [ConnectionMode::SECURE, ConnectionMode::CRC];
    vec![
        (
            Hello {
                kind: EntityType::MON,
                peer_addr: addr(),
            }
            .into(),
            [&[1][..], &ADDR_BYTES].concat(),
        ),
        (
            AuthRequest {
                method: AuthMethod::CEPHX,
                modes: modes().into_iter().collect(),
                payload: Bytes::from_static(b"abc"),
            }
            .into(),
            b"\x02\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\0\0abc".to_vec(),
        ),
        (
            BadMethod {
                method: AuthMethod::NONE,
                result: -13,
                allowed_methods: vec![AuthMethod::CEPHX],
                allowed_modes: modes().to_vec(),
            }
            .into(),
            [
                &b"\x01\0\0\0\xf3\xff\xff\xff\x01\0\0\0\x02\0\0\0"[..],
                b"\x02\0\0\0\x02\0\0\0\x01\0\0\0",
            ]
            .concat(),
        ),
        (
            AuthReplyMore(Bytes::from_static(b"x")).into(),
            b"\x01\0\0\0x".to_vec(),
        ),
        (
            AuthRequestMore(Bytes::from_static(b"yz")).into(),
            b"\x02\0\0\0yz".to_vec(),
        ),
        (
            AuthDone {
                global_id: GlobalId(0x1234),
                mode: ConnectionMode::SECURE,
                payload: Bytes::from_static(b"w"),
            }
            .into(),
            b"\x34\x12\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0w".to_vec(),
        ),
        (AuthSignature([9; 32]).into(), vec![9; 32]),
        (
            ClientIdent {
                addrs: addrs(),
                target_addr: addr(),
                gid: -1,
                global_seq: 3,
                supported: Features(4),
                required: Features(5),
                flags: FLAG_LOSSY,
                cookie: 6,
            }
            .into(),
            [
                &addrs_bytes()[..],
                &ADDR_BYTES,
                &u64s(&[u64::MAX, 3, 4, 5, 1, 6]),
            ]
            .concat(),
        ),
        (
            ServerIdent {
                addrs: addrs(),
                gid: 2,
                global_seq: 3,
                supported: Features(4),
                required: Features(5),
                flags: 0,
                cookie: 6,
            }
            .into(),
            [&addrs_bytes()[..], &u64s(&[2, 3, 4, 5, 0, 6])].concat(),
        ),
        (IdentMissingFeatures(Features(8)).into(), u64s(&[8])),
        (
            SessionReconnect {
                addrs: addrs(),
                client_cookie: 1,
                server_cookie: 2,
                global_seq: 3,
                connect_seq: 4,
                msg_seq: 5,
            }
            .into(),
            [&addrs_bytes()[..], &u64s(&[1, 2, 3, 4, 5])].concat(),
        ),
        (SessionReset { full: true }.into(), vec![1]),
        (SessionRetry { connect_seq: 9 }.into(), u64s(&[9])),
        (SessionRetryGlobal { global_seq: 9 }.into(), u64s(&[9])),
        (SessionReconnectOk { msg_seq: 9 }.into(), u64s(&[9])),
        (Wait.into(), vec![]),
        (
            Keepalive(UTime {
                seconds: 1,
                nanoseconds: 2,
            })
            .into(),
            vec![1, 0, 0, 0, 2, 0, 0, 0],
        ),
        (
            KeepaliveAck(UTime {
                seconds: 3,
                nanoseconds: 4,
            })
            .into(),
            vec![3, 0, 0, 0, 4, 0, 0, 0],
        ),
        (Ack(9).into(), u64s(&[9])),
        (
            CompressionRequest {
                is_compress: false,
                methods: vec![1],
            }
            .into(),
            vec![0, 1, 0, 0, 0, 1, 0, 0, 0],
        ),
        (
            CompressionDone {
                is_compress: false,
                method: 0,
            }
            .into(),
            vec![0; 5],
        ),
    ]
}

#[test]
fn every_frame_is_laid_out_as_described() {
    for (frame, bytes) in samples() {
        assert_eq!(Writer::encode(&frame)[..], bytes, "{frame:?}");
        assert_eq!(Control::decode(frame.tag(), &bytes).unwrap(), frame);
    }
}

#[test]
fn every_frame_is_refused_when_cut() {
    for (frame, bytes) in samples() {
        for len in 0..bytes.len() {
            let cut = Control::decode(frame.tag(), &bytes[..len]);
            assert!(matches!(cut, Err(Error::Decode(_))), "{frame:?} at {len}");
        }
    }
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    for (frame, mut bytes) in samples() {
        bytes.extend(b"more");
        assert_eq!(Control::decode(frame.tag(), &bytes).unwrap(), frame);
    }
}

#[test]
fn every_tag_has_a_sample_and_every_other_number_is_refused() {
    let mut known: BTreeSet<u8> = samples()
        .iter()
        .map(|(frame, _)| frame.tag() as u8)
        .collect();
    known.insert(Tag::Message as u8);
    assert_eq!(known, (1..=22).collect());
    for number in 0..=u8::MAX {
        match Tag::try_from(number) {
            Ok(tag) => assert_eq!(tag as u8, number),
            Err(Error::UnknownTag(found)) => assert!(found == number && !known.contains(&number)),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn long_lists_are_refused() {
    let mut many = AuthRequest {
        method: AuthMethod::NONE,
        modes: [ConnectionMode::CRC; limits::AUTH_CHOICES]
            .into_iter()
            .collect(),
        payload: Bytes::new(),
    };
    Control::decode(Tag::AuthRequest, &Writer::encode(&many)).unwrap();
    many.modes.push(ConnectionMode::CRC);
    assert!(Control::decode(Tag::AuthRequest, &Writer::encode(&many)).is_err());

    let mut reset = SessionReconnect {
        addrs: EntityAddrVec([addr(); limits::ADDRESSES].into_iter().collect()),
        client_cookie: 0,
        server_cookie: 0,
        global_seq: 0,
        connect_seq: 0,
        msg_seq: 0,
    };
    Control::decode(Tag::SessionReconnect, &Writer::encode(&reset)).unwrap();
    reset.addrs.0.push(addr());
    assert!(Control::decode(Tag::SessionReconnect, &Writer::encode(&reset)).is_err());
}

#[test]
fn payloads_of_authentication_are_not_printed() {
    for (frame, _) in samples() {
        let text = format!("{frame:?}");
        assert!(!text.contains("abc") && !text.contains("b\""), "{text}");
    }
}

#[test]
fn a_message_header_takes_41_bytes() {
    let header = message::Header {
        seq: 1,
        tid: Tid(2),
        kind: MessageType(42),
        priority: 63,
        version: 8,
        ack_seq: 4,
        compat_version: 3,
    };
    let bytes = Writer::encode(&header);
    let expected = [
        &u64s(&[1, 2])[..],
        &[42, 0, 63, 0, 8, 0, 0, 0, 0, 0, 0, 0],
        &u64s(&[4]),
        &[0, 3, 0, 0, 0],
    ]
    .concat();
    assert_eq!(bytes[..], expected);
    assert_eq!(bytes.len(), message::Header::LEN);
    assert_eq!(
        message::Header::decode_all("header", &bytes).unwrap(),
        header
    );
    for len in 0..bytes.len() {
        assert!(message::Header::decode_all("header", &bytes[..len]).is_err());
    }
}
