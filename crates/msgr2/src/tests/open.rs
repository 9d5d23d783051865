//! Sessions that open and carry messages.

use denc::UTime;

use super::*;

fn forms() -> impl Iterator<Item = (ConnectionMode, Revision, Pair)> {
    let modes = [ConnectionMode::CRC, ConnectionMode::SECURE];
    let revisions = [Revision::V2_1, Revision::V2_0];
    modes.into_iter().flat_map(move |mode| {
        revisions.into_iter().map(move |revision| {
            let mut options = client_options();
            if revision == Revision::V2_0 {
                options.protocol.supported = ProtocolFeatures(0);
            }
            let client = TestClient {
                modes: vec![mode],
                ..TestClient::default()
            };
            let pair = Pair::new(
                (options, client),
                (server_options(), TestServer::default()),
                TestSessions::default(),
            );
            (mode, revision, pair)
        })
    })
}

#[test]
fn a_session_opens_in_every_form_and_carries_messages() {
    for (mode, revision, mut pair) in forms() {
        pair.run().unwrap();
        let client = established(&mut pair.client);
        assert_eq!((client.mode, client.revision), (mode, revision));
        assert_eq!(client.peer_addrs.to_string(), SERVER_ADDR);
        assert_eq!(client.my_addr.to_string(), "127.0.0.1:0/1234");
        assert_eq!((client.peer_id, client.global_id), (3, GlobalId(4100)));
        assert_eq!((client.features, client.global_seq), (FEATURES, 5));
        assert!(client.is_lossy);
        let server = established(&mut pair.server);
        assert_eq!((server.mode, server.revision), (mode, revision));
        assert_eq!(server.peer_addrs.to_string(), "127.0.0.1:0/1234");
        assert_eq!((server.peer_id, server.global_seq), (4100, 5));

        for tid in 1..=3 {
            pair.client.send(message(tid)).unwrap();
            pair.server.send(message(tid + 10)).unwrap();
        }
        pair.run().unwrap();
        let arrived = events(&mut pair.server);
        assert_eq!(arrived.len(), 3);
        for (tid, event) in (1..).zip(arrived) {
            assert!(matches!(event, Event::Message(found) if found == message(tid)));
        }
        assert_eq!(tids(&mut pair.client), [11, 12, 13]);

        let stamp = UTime {
            seconds: 5,
            nanoseconds: 6,
        };
        pair.client.keepalive(stamp).unwrap();
        pair.run().unwrap();
        let signs = events(&mut pair.client);
        assert!(matches!(signs[..], [Event::KeepaliveAck(found)] if found == stamp));
        assert!(events(&mut pair.server).is_empty());
    }
}

#[test]
fn in_secure_mode_nothing_is_readable() {
    let find =
        |bytes: &[u8], front: &[u8]| bytes.windows(front.len()).any(|window| window == front);
    for (mode, _, mut pair) in forms() {
        pair.run().unwrap();
        pair.client.send(message(1)).unwrap();
        pair.run().unwrap();
        let is_readable = find(&pair.to_server, &[2; 64]);
        assert_eq!(is_readable, mode == ConnectionMode::CRC);
    }
}

/// However the bytes are cut, the same comes of them; and as long as one is missing, nothing more
/// than what is there.
#[test]
fn a_session_opens_byte_by_byte() {
    for ((.., mut pair), (.., fresh)) in forms().zip(forms()) {
        pair.run().unwrap();
        pair.server.send(message(1)).unwrap();
        let last = output(&mut pair.server);
        let opened_at = pair.to_client.len();
        let all = [&pair.to_client[..], &last].concat();

        let mut client = fresh.client;
        for (at, byte) in all.iter().enumerate() {
            let before = events(&mut client).len();
            assert_eq!(before, usize::from(at == opened_at), "at {at}");
            client.feed(&[*byte]).unwrap();
        }
        assert_eq!(tids(&mut client), [1]);
    }
}

#[test]
fn messages_are_acknowledged_along_the_way() {
    let mut options = client_options();
    options.session = lossless();
    let mut pair = Pair::new(
        (options, TestClient::default()),
        (server_options(), TestServer::default()),
        TestSessions::default(),
    );
    pair.run().unwrap();
    assert!(!established(&mut pair.client).is_lossy);
    pair.client.send(message(1)).unwrap();
    pair.client.send(message(2)).unwrap();
    let said = output(&mut pair.client);
    pair.server.feed(&said).unwrap();
    // Something is due, but a message carries it just as well.
    let ack = output(&mut pair.server);
    assert_eq!(ack.len(), 32 + 8 + 4);
    pair.client.feed(&ack).unwrap();
    let session = pair.client.into_session().unwrap();
    assert_eq!(session.unacknowledged().len(), 0);
}

#[test]
fn lossy_sessions_keep_nothing_and_acknowledge_rarely() {
    let mut pair = Pair::plain();
    pair.run().unwrap();
    for tid in 1..limits::LOSSY_ACK_EVERY {
        pair.client.send(message(tid)).unwrap();
    }
    let said = output(&mut pair.client);
    pair.server.feed(&said).unwrap();
    assert!(output(&mut pair.server).is_empty());
    // A message carries the acknowledgement just as well, and the count starts again.
    pair.server.send(message(0)).unwrap();
    let answer = output(&mut pair.server);
    pair.client.feed(&answer).unwrap();
    let mut send = |count| {
        for tid in 0..count {
            pair.client.send(message(tid)).unwrap();
        }
        let said = output(&mut pair.client);
        pair.server.feed(&said).unwrap();
        output(&mut pair.server).len()
    };
    assert_eq!(send(limits::LOSSY_ACK_EVERY - 1), 0);
    assert_eq!(send(1), 32 + 8 + 4);
    assert!(pair.client.into_session().is_none());
}

#[test]
fn nothing_can_be_sent_too_early_or_too_large() {
    let mut pair = Pair::plain();
    assert!(matches!(pair.client.send(message(1)), Err(Error::NotOpen)));
    pair.run().unwrap();
    let huge = Message {
        front: vec![0; limits::FRONT + 1].into(),
        ..Message::default()
    };
    assert!(matches!(
        pair.client.send(huge),
        Err(Error::MessageTooLong {
            part: "a front",
            ..
        })
    ));
    pair.client.send(message(1)).unwrap();
}

#[test]
fn long_messages_wait_as_they_are_and_arrive_in_order() {
    let long = |tid: u64| Message {
        data: Bytes::from(vec![tid.to_le_bytes()[0]; 600 << 10]).into(),
        ..message(tid)
    };
    for (mode, _, mut pair) in forms() {
        pair.run().unwrap();
        events(&mut pair.server);
        for tid in 1..=9 {
            pair.client.send(long(tid)).unwrap();
        }
        let mut slices = [IoSlice::new(&[]); 64];
        let count = pair.client.slices(&mut slices);
        let framed: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        assert!(framed < 3 * (600 << 10), "{mode}: {framed}");
        pair.client.keepalive(UTime::default()).unwrap();
        pair.run().unwrap();
        let arrived = events(&mut pair.server);
        assert_eq!(arrived.len(), 9);
        for (tid, event) in (1..).zip(arrived) {
            assert!(matches!(event, Event::Message(found) if found == long(tid)));
        }
    }
}
