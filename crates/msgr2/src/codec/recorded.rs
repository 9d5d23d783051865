//! Traffic of Ceph's own programs, decoded and encoded again. See testdata/README.md.

use bytes::BufMut;
use denc::{AddrType, Decode, EntityType, Features, GlobalId, UTime};
use zeroize::Zeroizing;

use super::*;
use crate::Revision;
use crate::auth::AuthSecrets;
use crate::frame::Frame;
use crate::frame::auth::{AuthMethod, ConnectionMode};
use crate::frame::message::Header;
use crate::frame::{Control, Tag};
use crate::{Banner, Message, ProtocolFeatures, transcript};

const CRC_CLIENT: &[u8] = include_bytes!("../../testdata/crc.client");
const CRC_SERVER: &[u8] = include_bytes!("../../testdata/crc.server");
const OLD_SERVER: &[u8] = include_bytes!("../../testdata/crc-2.0.server");
const SECURE_CLIENT: &[u8] = include_bytes!("../../testdata/secure.client");
const SECURE_SERVER: &[u8] = include_bytes!("../../testdata/secure.server");

const SESSION_KEY: u128 = 0x5c1c_e3da_1c5b_af8b_8de1_9903_fed3_39f1;
const CONNECTION_SECRET: [u128; 4] = [
    0x8c80_5e53_8619_84ee_ab50_b868_0666_3993,
    0xf873_ec36_7c47_a5f3_d486_a588_48d4_e5b5,
    0x5c1a_fa5d_adc8_b269_a743_db0a_a97b_723d,
    0x5aba_46c5_970e_a185_01fa_629b_61ce_ebd0,
];

fn secrets() -> AuthSecrets {
    let secret = CONNECTION_SECRET.map(u128::to_be_bytes).concat();
    AuthSecrets {
        session_key: Some(Zeroizing::new(SESSION_KEY.to_be_bytes().to_vec())),
        connection_secret: Zeroizing::new(secret),
    }
}

fn without_banner(bytes: &[u8]) -> &[u8] {
    assert_eq!(Banner::decode(bytes).unwrap(), Banner::OURS);
    &bytes[Banner::frame_len(bytes).unwrap().unwrap()..]
}

fn tags(frames: &[Frame]) -> Vec<Tag> {
    frames.iter().map(|frame| frame.tag).collect()
}

fn control(frame: &Frame) -> Control {
    Control::decode(frame.tag, &frame.segments[0]).unwrap()
}

/// Encodes frames as they came. Where librados sets flags that nobody looks at, this crate does not,
/// so they are set by hand.
fn encode_again(encoder: &mut Encoder, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let mut out = Output::default();
        if frame.tag == Tag::Message {
            let [header, front, middle, data] = frame.segments.clone();
            let flags = header[36];
            let header = Header::decode_all("header", &header).unwrap();
            let message = Message {
                tid: header.tid,
                kind: header.kind,
                priority: header.priority,
                version: header.version,
                compat_version: header.compat_version,
                front,
                middle,
                data: data.into(),
            };
            let prepared = Prepared::new(message, encoder.form());
            encoder
                .message(&prepared, header.seq, header.ack_seq, &mut out)
                .unwrap();
            let mut again = out.since(0);
            again[32 + 36] = flags;
            let crc = crate::crc::segment(&again[32..32 + Header::LEN]);
            again[32 + Header::LEN..][..4].copy_from_slice(&crc.to_le_bytes());
            bytes.extend(again);
        } else {
            encoder.control(&control(frame), &mut out).unwrap();
            bytes.extend(out.since(0));
        }
    }
    bytes
}

#[test]
fn a_client_in_crc_mode() {
    let bytes = without_banner(CRC_CLIENT);
    let frames = decode_frames(Revision::V2_1, None, bytes).unwrap();
    let mut expected = vec![
        Tag::Hello,
        Tag::AuthRequest,
        Tag::AuthSignature,
        Tag::ClientIdent,
    ];
    expected.resize(frames.len(), Tag::Message);
    assert_eq!(tags(&frames), expected);
    assert!(encode_again(&mut Encoder::new(), &frames) == bytes);

    let Control::Hello(hello) = control(&frames[0]) else {
        panic!()
    };
    assert_eq!(hello.kind, EntityType::CLIENT);
    assert_eq!(hello.peer_addr.to_string(), "v2:127.0.0.1:17001/0");
    let Control::AuthRequest(request) = control(&frames[1]) else {
        panic!()
    };
    assert_eq!(request.method, AuthMethod::NONE);
    assert_eq!(request.modes[..], [ConnectionMode::CRC]);
    let Control::AuthSignature(signature) = control(&frames[2]) else {
        panic!()
    };
    assert_eq!(signature.0, [0; 32]);
    let Control::ClientIdent(ident) = control(&frames[3]) else {
        panic!()
    };
    assert_eq!(ident.addrs.0[0].kind, AddrType::ANY);
    assert_eq!(ident.target_addr, hello.peer_addr);
    assert_eq!((ident.flags, ident.cookie), (1, 0));
    assert_eq!(ident.supported, Features(0x3f01_cfbd_fffd_ffff));
    let kinds: Vec<_> = messages(&frames).map(|(header, _)| header.kind.0).collect();
    // MON_GET_MAP, four MON_SUBSCRIBE and MON_COMMAND.
    assert_eq!((kinds[0], kinds.last()), (5, Some(&50)));
}

fn messages(frames: &[Frame]) -> impl Iterator<Item = (Header, &Frame)> {
    let messages = frames.iter().filter(|frame| frame.tag == Tag::Message);
    messages.map(|frame| {
        (
            Header::decode_all("header", &frame.segments[0]).unwrap(),
            frame,
        )
    })
}

#[test]
fn a_monitor_in_crc_mode() {
    let bytes = without_banner(CRC_SERVER);
    let frames = decode_frames(Revision::V2_1, None, bytes).unwrap();
    assert!(encode_again(&mut Encoder::new(), &frames) == bytes);
    let expected = [
        Tag::Hello,
        Tag::AuthDone,
        Tag::AuthSignature,
        Tag::ServerIdent,
    ];
    assert_eq!(tags(&frames)[..4], expected);
    let Control::AuthDone(done) = control(&frames[1]) else {
        panic!()
    };
    assert_eq!(done.mode, ConnectionMode::CRC);
    assert!(done.global_id > GlobalId(0) && done.payload.is_empty());
    let Control::ServerIdent(ident) = control(&frames[3]) else {
        panic!()
    };
    assert_eq!(ident.addrs.to_string(), "v2:127.0.0.1:17001/0");
    assert_eq!(ident.required, Features(0x0c01_0200_0204_0000));
    let seqs: Vec<_> = messages(&frames).map(|(header, _)| header.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7]);
    // MON_MAP, CONFIG, MON_MAP, MGR_MAP, OSD_MAP and two MON_COMMAND_ACK, the first of them the
    // description of all commands.
    let lens: Vec<_> = messages(&frames)
        .map(|(header, frame)| (header.kind.0, frame.segments[3].len()))
        .collect();
    assert_eq!(
        (lens[0], lens[5], lens[6]),
        ((4, 0), (51, 73271), (51, 215))
    );
}

#[test]
fn a_monitor_that_is_not_offered_revision_1() {
    let bytes = without_banner(OLD_SERVER);
    let frames = decode_frames(Revision::V2_0, None, bytes).unwrap();
    let mut encoder = Encoder::new();
    encoder.set_revision(Revision::V2_0);
    let controls: Vec<_> = frames
        .iter()
        .filter(|frame| frame.tag != Tag::Message)
        .cloned()
        .collect();
    let expected = [
        Tag::Hello,
        Tag::AuthDone,
        Tag::AuthSignature,
        Tag::ServerIdent,
        Tag::KeepaliveAck,
    ];
    assert_eq!(tags(&controls), expected);
    let again = encode_again(&mut encoder, &controls[..4]);
    assert!(bytes.starts_with(&again));
    let Control::KeepaliveAck(ack) = control(&controls[4]) else {
        panic!()
    };
    assert_eq!(
        ack.0,
        UTime {
            seconds: 1,
            nanoseconds: 2
        }
    );
    assert!(messages(&frames).any(|(header, _)| header.kind.0 == 4));
    let offered = Banner {
        supported: ProtocolFeatures(0),
        ..Banner::OURS
    };
    assert_eq!(offered.agree(&Banner::OURS).unwrap(), Revision::V2_0);
}

/// The frames of one direction of the secure connection: those before the change to encryption,
/// those after, and everything up to the change.
fn secure(bytes: &[u8], last_plain: Tag, cipher: Gcm) -> (Vec<Frame>, Vec<Frame>, Vec<u8>) {
    let mut decoder = Decoder::new(Default::default());
    let mut rest = bytes;
    let mut feed = |decoder: &mut Decoder| {
        let mut space = decoder.space();
        let (now, later) = rest.split_at(rest.len().min(space.remaining_mut()));
        space.put_slice(now);
        rest = later;
    };
    feed(&mut decoder);
    decoder.take(26).unwrap().unwrap();
    let mut plain = Vec::new();
    loop {
        plain.push(decoder.next_frame().unwrap().unwrap());
        if plain.last().unwrap().tag == last_plain {
            break;
        }
    }
    let signed = decoder.take_transcript().to_vec();
    decoder.set_cipher(cipher);
    decoder.allow_messages();
    let mut sealed = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        sealed.push(frame);
    }
    assert_eq!(decoder.peek().len(), 0);
    (plain, sealed, signed)
}

#[test]
fn a_monitor_and_its_client_in_secure_mode() {
    let secret = secrets().connection_secret;
    let (to_client, to_server) = Gcm::pair(&secret, Revision::V2_1).unwrap();
    let (plain, server, to_client_bytes) = secure(SECURE_SERVER, Tag::AuthDone, to_client);
    assert_eq!(
        tags(&plain),
        [Tag::Hello, Tag::AuthReplyMore, Tag::AuthDone]
    );
    assert_eq!(
        tags(&server)[..3],
        [Tag::AuthSignature, Tag::ServerIdent, Tag::Message]
    );
    let (plain, client, to_server_bytes) = secure(SECURE_CLIENT, Tag::AuthRequestMore, to_server);
    assert_eq!(
        tags(&plain),
        [Tag::Hello, Tag::AuthRequest, Tag::AuthRequestMore]
    );
    assert_eq!(
        tags(&client)[..3],
        [Tag::AuthSignature, Tag::ClientIdent, Tag::Message]
    );

    // Each side has signed what it received.
    let signature = |frames: &[Frame]| match control(&frames[0]) {
        Control::AuthSignature(signature) => signature,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        signature(&client),
        transcript::sign(&secrets(), &to_client_bytes)
    );
    assert_eq!(
        signature(&server),
        transcript::sign(&secrets(), &to_server_bytes)
    );

    // Encrypting the control frames again gives what was on the wire.
    let (to_client, to_server) = Gcm::pair(&secret, Revision::V2_1).unwrap();
    for (cipher, frames, bytes, from) in [
        (to_client, &server, SECURE_SERVER, to_client_bytes.len()),
        (to_server, &client, SECURE_CLIENT, to_server_bytes.len()),
    ] {
        let mut encoder = Encoder::new();
        encoder.set_cipher(cipher);
        let again = encode_again(&mut encoder, &frames[..2]);
        assert!(again.len() > 2 * 96 && bytes[from..].starts_with(&again));
    }
    let kinds: Vec<_> = messages(&server).map(|(header, _)| header.kind.0).collect();
    assert_eq!(kinds, [4, 62, 4]);
}
