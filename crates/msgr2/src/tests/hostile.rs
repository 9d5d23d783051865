//! Peers that are somebody else, or that break the rules. Each way has its own error.

use denc::{EntityAddrVec, Features};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec::{Encoder, Output, Prepared};
use crate::frame::ack::Ack;
use crate::frame::auth::{AuthDone, AuthReplyMore, AuthRequestMore, AuthSignature};
use crate::frame::compression::{CompressionDone, CompressionRequest};
use crate::frame::hello::Hello;
use crate::frame::ident::{IdentMissingFeatures, ServerIdent};
use crate::frame::keepalive::{Keepalive, KeepaliveAck};
use crate::frame::session::*;
use crate::frame::{Control, Tag};

/// A server that says what the test says, in crc mode, with nothing signed.
struct Script {
    client: Connection,
    encoder: Encoder,
}

type Step = fn(&mut Script) -> Result<(), Error>;

impl Script {
    fn new() -> Self {
        Self::with_session(SessionRequest::Lossy)
    }

    fn with_session(session: SessionRequest) -> Self {
        let auth = TestClient {
            key: None,
            ..TestClient::default()
        };
        let options = ClientOptions {
            session,
            ..client_options()
        };
        Self {
            client: Connection::client(options, Box::new(auth)),
            encoder: Encoder::new(),
        }
    }

    fn bytes(&mut self, frame: impl Into<Control>) -> Vec<u8> {
        let mut out = Output::default();
        self.encoder.control(&frame.into(), &mut out).unwrap();
        out.since(0)
    }

    fn say(&mut self, frame: impl Into<Control>) -> Result<(), Error> {
        let bytes = self.bytes(frame);
        self.client.feed(&bytes)
    }

    fn message(&mut self, seq: u64, ack_seq: u64) -> Result<(), Error> {
        let mut out = Output::default();
        let message = Prepared::new(message(seq), self.encoder.form());
        self.encoder
            .message(&message, seq, ack_seq, &mut out)
            .unwrap();
        self.client.feed(&out.since(0))
    }

    /// Goes on to the `step`-th state of the handshake.
    fn until(mut self, step: usize) -> Self {
        let steps: [Step; 5] = [
            |script| script.client.feed(&Banner::OURS.encode()),
            |script| script.say(hello()),
            |script| script.say(done(ConnectionMode::CRC)),
            |script| script.say(AuthSignature([0; 32])),
            |script| script.say(server_ident()),
        ];
        for step in &steps[..step] {
            step(&mut self).unwrap();
        }
        self
    }

    fn open() -> Self {
        let mut script = Self::new().until(OPEN);
        established(&mut script.client);
        script
    }
}

const HELLO: usize = 1;
const AUTH: usize = 2;
const SIGNATURE: usize = 3;
const IDENT: usize = 4;
const OPEN: usize = 5;

fn hello() -> Hello {
    Hello {
        kind: EntityType::OSD,
        peer_addr: "v2:127.0.0.1:50000".parse().unwrap(),
    }
}

fn done(mode: ConnectionMode) -> AuthDone {
    AuthDone {
        global_id: GlobalId(4100),
        mode,
        payload: Bytes::from_static(b"welcome"),
    }
}

fn server_ident() -> ServerIdent {
    ServerIdent {
        addrs: SERVER_ADDR.parse::<EntityAddr>().unwrap().into(),
        gid: 3,
        global_seq: 1,
        supported: FEATURES,
        required: Features::NONE,
        flags: 1,
        cookie: 0,
    }
}

/// One frame of every kind.
fn every_frame() -> Vec<Control> {
    let Ok(reconnect) = Control::decode(
        Tag::SessionReconnect,
        &[&[2, 0, 0, 0, 0][..], &[0; 40]].concat(),
    ) else {
        panic!()
    };
    let client_ident = {
        let mut pair = Pair::plain();
        pair.run().unwrap();
        let sent = decode_frames(Revision::V2_1, None, &pair.to_server[26..]).unwrap();
        let frame = sent
            .iter()
            .find(|frame| frame.tag == Tag::ClientIdent)
            .unwrap();
        Control::decode(frame.tag, &frame.segments[0]).unwrap()
    };
    let mut auth = TestClient::default();
    vec![
        hello().into(),
        auth.begin().unwrap().into(),
        BadMethod {
            method: AuthMethod::CEPHX,
            result: -13,
            allowed_methods: vec![],
            allowed_modes: vec![],
        }
        .into(),
        AuthReplyMore(Bytes::new()).into(),
        AuthRequestMore(Bytes::new()).into(),
        done(ConnectionMode::CRC).into(),
        AuthSignature([0; 32]).into(),
        client_ident,
        server_ident().into(),
        IdentMissingFeatures(Features(1)).into(),
        reconnect,
        SessionReset { full: true }.into(),
        SessionRetry { connect_seq: 1 }.into(),
        SessionRetryGlobal { global_seq: 1 }.into(),
        SessionReconnectOk { msg_seq: 0 }.into(),
        Wait.into(),
        Keepalive(denc::UTime::default()).into(),
        KeepaliveAck(denc::UTime::default()).into(),
        Ack(0).into(),
        CompressionRequest {
            is_compress: false,
            methods: vec![],
        }
        .into(),
        CompressionDone {
            is_compress: false,
            method: 0,
        }
        .into(),
    ]
}

#[test]
fn every_frame_in_every_state_is_expected_or_refused() {
    let allowed: [(usize, &[Tag]); 5] = [
        (HELLO, &[Tag::Hello]),
        (
            AUTH,
            &[Tag::AuthBadMethod, Tag::AuthReplyMore, Tag::AuthDone],
        ),
        (SIGNATURE, &[Tag::AuthSignature]),
        (
            IDENT,
            &[Tag::ServerIdent, Tag::IdentMissingFeatures, Tag::Wait],
        ),
        (OPEN, &[Tag::Ack, Tag::Keepalive, Tag::KeepaliveAck]),
    ];
    for (state, allowed) in allowed {
        for frame in every_frame() {
            let tag = frame.tag();
            let mut script = Script::new().until(state);
            let result = script.say(frame);
            let is_refused =
                matches!(result, Err(Error::UnexpectedFrame { tag: found, .. }) if found == tag);
            assert_eq!(
                is_refused,
                !allowed.contains(&tag),
                "{tag} in state {state}"
            );
            if is_refused {
                // And that is the end of it.
                assert!(matches!(script.say(Ack(0)), Err(Error::Closed)));
                assert!(output(&mut script.client).is_empty());
            }
        }
        if state != OPEN {
            assert!(matches!(
                Script::new().until(state).message(1, 0),
                Err(Error::UnexpectedFrame {
                    tag: Tag::Message,
                    ..
                })
            ));
        }
    }
}

#[test]
fn while_reconnecting_only_its_answers_are_expected() {
    let allowed = [
        Tag::SessionReconnectOk,
        Tag::SessionRetry,
        Tag::SessionRetryGlobal,
        Tag::SessionReset,
        Tag::Wait,
    ];
    let session = {
        let mut options = client_options();
        options.session = lossless();
        let mut pair = Pair::new(
            (options, TestClient::default()),
            (server_options(), TestServer::default()),
            TestSessions::default(),
        );
        pair.run().unwrap();
        Box::new(pair.client.into_session().unwrap())
    };
    for frame in every_frame() {
        let tag = frame.tag();
        let wanted = SessionRequest::Resume(session.clone());
        let result = Script::with_session(wanted).until(IDENT).say(frame);
        let is_refused = matches!(result, Err(Error::UnexpectedFrame { .. }));
        assert_eq!(is_refused, !allowed.contains(&tag), "{tag}");
    }
}

#[test]
fn other_programs_are_recognised() {
    let feed = |bytes: &[u8]| Script::new().client.feed(bytes);
    assert!(matches!(feed(b"ceph v027\0\0\0"), Err(Error::V1Banner)));
    assert!(matches!(
        feed(b"HTTP/1.1 400 Bad Request\r\n"),
        Err(Error::NotABanner { .. })
    ));
    feed(b"ceph v2\n").unwrap();
}

#[test]
fn protocol_features_must_fit() {
    let banner = |supported, required| Banner {
        supported: ProtocolFeatures(supported),
        required: ProtocolFeatures(required),
    };
    let mut script = Script::new();
    assert!(matches!(
        script.client.feed(&banner(3, 2).encode()),
        Err(Error::MissingProtocolFeatures { missing: 2 })
    ));
    let options = ClientOptions {
        protocol: banner(1, 1),
        ..client_options()
    };
    let mut client = Connection::client(options, Box::new(TestClient::default()));
    assert!(matches!(
        client.feed(&banner(0, 0).encode()),
        Err(Error::PeerLacksProtocolFeatures { missing: 1 })
    ));
}

#[test]
fn a_peer_of_another_kind_is_refused() {
    let wrong = Hello {
        kind: EntityType::MON,
        ..hello()
    };
    assert!(matches!(
        Script::new().until(HELLO).say(wrong),
        Err(Error::WrongPeerType {
            found: EntityType::MON,
            expected: EntityType::OSD,
            ..
        })
    ));
}

#[test]
fn a_peer_that_does_not_see_this_side_is_refused() {
    let blind = || Hello {
        peer_addr: EntityAddr::NONE,
        ..hello()
    };
    assert!(matches!(
        Script::new().until(HELLO).say(blind()),
        Err(Error::OwnAddrUnknown(_))
    ));
    // Unless this side knows better.
    let options = ClientOptions {
        my_ip: Some([10, 0, 0, 9].into()),
        ..client_options()
    };
    let mut script = Script::new();
    script.client = Connection::client(options, Box::new(TestClient::default()));
    script.until(HELLO).say(blind()).unwrap();
}

#[test]
fn a_peer_at_another_address_is_refused() {
    // Another port, another nonce, another protocol, no address at all.
    for text in [
        "v2:127.0.0.1:3301/0",
        "v2:127.0.0.1:3300/1",
        "v1:127.0.0.1:3300/0",
        "-",
    ] {
        let addr: EntityAddr = text.parse().unwrap();
        let wrong = ServerIdent {
            addrs: addr.into(),
            ..server_ident()
        };
        assert!(matches!(
            Script::new().until(IDENT).say(wrong),
            Err(Error::WrongPeerAddr { found, .. }) if *found == EntityAddrVec::from(addr)
        ));
    }
    // One of several is enough.
    let mut several = server_ident();
    several
        .addrs
        .0
        .insert(0, "v1:127.0.0.1:6789/0".parse().unwrap());
    Script::new().until(IDENT).say(several).unwrap();
}

#[test]
fn a_peer_with_another_number_is_refused() {
    let wrong = ServerIdent {
        gid: 4,
        ..server_ident()
    };
    assert!(matches!(
        Script::new().until(IDENT).say(wrong),
        Err(Error::WrongPeerId {
            found: 4,
            expected: 3,
            ..
        })
    ));
}

#[test]
fn a_server_without_the_key_is_refused() {
    for key in [None, Some(b"the key".to_vec())] {
        let auth = TestClient {
            key: key.clone(),
            ..TestClient::default()
        };
        let mut script = Script::new();
        script.client = Connection::client(client_options(), Box::new(auth));
        let mut script = script.until(SIGNATURE);
        // Whatever the signature should be, it is not this one; and zeros only without a key.
        let result = script.say(AuthSignature([0; 32]));
        assert_eq!(matches!(result, Err(Error::BadSignature)), key.is_some());
        assert_eq!(result.is_ok(), key.is_none());
    }
    assert!(matches!(
        Script::new().until(SIGNATURE).say(AuthSignature([1; 32])),
        Err(Error::BadSignature)
    ));
}

#[test]
fn features_must_fit() {
    let missing = Features(1 << 62);
    assert!(matches!(
        Script::new().until(IDENT).say(IdentMissingFeatures(missing)),
        Err(Error::MissingFeatures(found)) if found == missing
    ));
    let demanding = ServerIdent {
        required: missing,
        ..server_ident()
    };
    assert!(matches!(
        Script::new().until(IDENT).say(demanding),
        Err(Error::MissingFeatures(found)) if found == missing
    ));
    let poor = ServerIdent {
        supported: FEATURES.without(Features::MSG_ADDR2),
        ..server_ident()
    };
    assert!(matches!(
        Script::new().until(IDENT).say(poor),
        Err(Error::PeerLacksFeatures(Features::MSG_ADDR2))
    ));

    // Our own server says so by itself.
    let options = ServerOptions {
        required: missing,
        ..server_options()
    };
    let mut pair = Pair::new(
        (client_options(), TestClient::default()),
        (options, TestServer::default()),
        TestSessions::default(),
    );
    assert!(matches!(pair.run(), Err(Error::MissingFeatures(found)) if found == missing));
}

#[test]
fn a_server_refuses_who_dialled_somebody_else() {
    let options = ClientOptions {
        peer_addr: "v2:127.0.0.1:3300/5".parse().unwrap(),
        ..client_options()
    };
    let mut pair = Pair::new(
        (options, TestClient::default()),
        (server_options(), TestServer::default()),
        TestSessions::default(),
    );
    assert!(matches!(pair.run(), Err(Error::WrongPeerAddr { .. })));
}

#[test]
fn a_gap_in_the_sequence_is_refused_and_a_repetition_passed_over() {
    let mut script = Script::open();
    script.message(1, 0).unwrap();
    script.message(2, 0).unwrap();
    script.message(1, 0).unwrap();
    script.message(2, 0).unwrap();
    script.message(0, 0).unwrap();
    script.message(3, 0).unwrap();
    assert_eq!(tids(&mut script.client), [1, 2, 3]);
    assert!(matches!(
        script.message(5, 0),
        Err(Error::SequenceGap { found: 5, last: 3 })
    ));
}

#[test]
fn what_was_not_sent_cannot_be_acknowledged() {
    for is_message in [true, false] {
        let mut script = Script::open();
        script.client.send(message(1)).unwrap();
        script.say(Ack(1)).unwrap();
        let result = if is_message {
            script.message(1, 2)
        } else {
            script.say(Ack(2))
        };
        assert!(matches!(
            result,
            Err(Error::AckBeyondSent { found: 2, last: 1 })
        ));
    }
}

#[test]
fn damaged_frames_of_the_handshake_are_refused() {
    let mut script = Script::new().until(HELLO);
    let mut bytes = script.bytes(hello());
    bytes[33] ^= 1;
    assert!(matches!(
        script.client.feed(&bytes),
        Err(Error::SegmentCrc {
            tag: Tag::Hello,
            segment: 0,
            ..
        })
    ));
    let mut script = Script::new().until(HELLO);
    let mut bytes = script.bytes(hello());
    bytes[1] = 200;
    assert!(matches!(
        script.client.feed(&bytes),
        Err(Error::PreambleCrc { .. })
    ));
}

#[test]
fn answers_to_a_peer_that_does_not_read_do_not_pile_up() {
    let mut script = Script::open();
    let ask = script.bytes(Keepalive(denc::UTime::default()));
    for _ in 0..3 * limits::UNREAD_ANSWERS / ask.len() {
        script.client.feed(&ask).unwrap();
    }
    let unread = output(&mut script.client).len();
    assert!((limits::UNREAD_ANSWERS..limits::UNREAD_ANSWERS + 100).contains(&unread));
    // It gets the last one once it reads.
    script.client.feed(&ask).unwrap();
    assert_eq!(output(&mut script.client).len(), ask.len());
}

#[test]
fn a_promise_of_much_sets_little_aside() {
    let mut script = Script::open();
    let preamble = frame::Preamble::new(Tag::Message, [41, 0, 0, limits::DATA], false).encode();
    let header = denc::Writer::encode(&frame::message::Header {
        seq: 1,
        tid: Tid(1),
        kind: MessageType(1),
        priority: 1,
        version: 1,
        ack_seq: 0,
        compat_version: 1,
    });
    let crc = crc::segment(&header).to_le_bytes();
    script
        .client
        .feed(&[&preamble[..], &header, &crc].concat())
        .unwrap();
    let space = script.client.space().unwrap();
    assert!(space.get_ref().capacity() <= limits::RESERVE_AT_ONCE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_in_any_state_do_more_than_fail(
        state in 0..=OPEN,
        bytes in vec(any::<u8>(), 0..200),
        tag in 0..24u8,
        len in 0..200u32,
    ) {
        let mut script = Script::new().until(state);
        let _ = script.client.feed(&bytes);

        // With a preamble and a checksum that are right, to get further.
        let mut script = Script::new().until(state);
        let mut preamble = [0; 32];
        (preamble[0], preamble[1]) = (tag, 1);
        preamble[2..6].copy_from_slice(&len.to_le_bytes());
        let crc = crc::crc32c(0, &preamble[..28]).to_le_bytes();
        preamble[28..].copy_from_slice(&crc);
        let mut contents = bytes;
        contents.resize(usize::try_from(len).unwrap(), 0);
        let crc = crc::segment(&contents).to_le_bytes();
        let _ = script.client.feed(&[&preamble[..], &contents, &crc].concat());
    }
}
