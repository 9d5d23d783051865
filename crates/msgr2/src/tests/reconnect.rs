//! Sessions that outlive their connections.

use denc::Decode;

use super::*;
use crate::frame::Tag;
use crate::frame::message::Header;

fn lossless() -> Pair {
    resumed(super::lossless(), vec![])
}

/// A connection on which the client wants `session` and the server has prepared its answers.
fn resumed(session: SessionRequest, replies: Vec<ReconnectReply>) -> Pair {
    let options = ClientOptions {
        session,
        ..client_options()
    };
    Pair::new(
        (options, TestClient::default()),
        (server_options(), TestServer::default()),
        TestSessions {
            replies,
            is_waiting: false,
        },
    )
}

/// The sessions of both sides after `count` messages of the client, of which the server has
/// received `received` and the client knows nothing, and as many the other way.
fn broken(count: u64, received: u64) -> (Box<Session>, Box<Session>) {
    let mut pair = lossless();
    pair.run().unwrap();
    events(&mut pair.client);
    events(&mut pair.server);
    let mut lens = Vec::new();
    for tid in 1..=count {
        pair.client.send(message(tid)).unwrap();
        pair.server.send(message(tid)).unwrap();
        let (out, back) = (output(&mut pair.client), output(&mut pair.server));
        lens.push((out, back));
    }
    for (out, back) in &lens[..usize::try_from(received).unwrap()] {
        pair.server.feed(out).unwrap();
        pair.client.feed(back).unwrap();
    }
    // A part of the next one was on the way.
    if let Some((out, back)) = lens.get(usize::try_from(received).unwrap()) {
        pair.server.feed(&out[..200]).unwrap();
        pair.client.feed(&back[..200]).unwrap();
    }
    (
        Box::new(pair.client.into_session().unwrap()),
        Box::new(pair.server.into_session().unwrap()),
    )
}

#[test]
fn what_was_lost_is_sent_again_once_and_in_order() {
    for received in 0..=5 {
        let (client, server) = broken(5, received);
        assert_eq!(client.last_received(), received);
        assert_eq!((client.client_cookie(), client.server_cookie()), (7, 99));
        let mut pair = resumed(
            SessionRequest::Resume(client),
            vec![ReconnectReply::Resume(server)],
        );
        pair.run().unwrap();
        let info = established(&mut pair.client);
        assert!(!info.is_lossy);
        assert_eq!((info.peer_id, info.features), (3, FEATURES));
        established(&mut pair.server);
        pair.client.send(message(6)).unwrap();
        pair.server.send(message(6)).unwrap();
        pair.run().unwrap();
        let expected: Vec<_> = (received + 1..=6).collect();
        // What had arrived did not go out again.
        assert_eq!(
            (sent(&pair.to_server), sent(&pair.to_client)),
            (expected.clone(), expected.clone())
        );
        assert_eq!(tids(&mut pair.client), expected);
        assert_eq!(tids(&mut pair.server), expected);
        // Nothing is left over.
        for side in [pair.client, pair.server] {
            let session = side.into_session().unwrap();
            assert_eq!(session.unacknowledged().len(), 0);
            assert_eq!(session.last_received(), 6);
            assert_eq!(session.connect_seq(), 1);
        }
    }
}

/// The numbers of the messages in what one side has said.
fn sent(bytes: &[u8]) -> Vec<u64> {
    let frames = decode_frames(Revision::V2_1, None, &bytes[26..]).unwrap();
    let messages = frames.iter().filter(|frame| frame.tag == Tag::Message);
    messages
        .map(|frame| {
            Header::decode_all("header", &frame.segments[0])
                .unwrap()
                .seq
        })
        .collect()
}

#[test]
fn messages_can_be_queued_without_a_connection() {
    let (mut client, server) = broken(1, 1);
    client.push(message(2)).unwrap();
    assert_eq!(client.unacknowledged().len(), 2);
    let mut pair = resumed(
        SessionRequest::Resume(client),
        vec![ReconnectReply::Resume(server)],
    );
    pair.run().unwrap();
    established(&mut pair.server);
    assert_eq!(tids(&mut pair.server), [2]);
}

#[test]
fn a_retry_uses_a_higher_number() {
    let (client, server) = broken(2, 1);
    assert_eq!(client.connect_seq(), 0);
    let mut pair = resumed(
        SessionRequest::Resume(client),
        vec![
            ReconnectReply::Retry { connect_seq: 8 },
            ReconnectReply::RetryGlobal { global_seq: 20 },
            ReconnectReply::Resume(server),
        ],
    );
    pair.run().unwrap();
    assert_eq!(established(&mut pair.client).global_seq, 21);
    assert_eq!(established(&mut pair.server).global_seq, 21);
    assert_eq!(pair.client.into_session().unwrap().connect_seq(), 9);
    assert_eq!(pair.server.into_session().unwrap().connect_seq(), 9);
}

#[test]
fn a_server_that_says_retry_without_end_is_left() {
    let retry = |_| ReconnectReply::Retry { connect_seq: 8 };
    let mut pair = resumed(
        SessionRequest::Resume(broken(2, 1).0),
        (0..=limits::RECONNECT_RETRIES).map(retry).collect(),
    );
    assert!(matches!(pair.run(), Err(Error::TooManyRetries { .. })));
}

#[test]
fn a_reset_session_starts_anew_and_says_so() {
    let mut pair = resumed(
        SessionRequest::Resume(broken(3, 1).0),
        vec![ReconnectReply::Reset { full: true }],
    );
    pair.run().unwrap();
    assert!(matches!(
        pair.client.poll_event(),
        Some(Event::SessionReset)
    ));
    established(&mut pair.client);
    established(&mut pair.server);
    pair.client.send(message(9)).unwrap();
    pair.server.send(message(8)).unwrap();
    pair.run().unwrap();
    assert_eq!(tids(&mut pair.server), [9]);
    assert_eq!(tids(&mut pair.client), [8]);
    assert_eq!(pair.client.into_session().unwrap().last_received(), 1);
}

#[test]
fn half_a_reset_is_refused() {
    let mut pair = resumed(
        SessionRequest::Resume(broken(3, 1).0),
        vec![ReconnectReply::Reset { full: false }],
    );
    assert!(matches!(pair.run(), Err(Error::PartialReset)));
}

#[test]
fn who_is_told_to_wait_is_told_so() {
    let mut pair = resumed(
        SessionRequest::Resume(broken(3, 1).0),
        vec![ReconnectReply::Wait],
    );
    assert!(matches!(pair.run(), Err(Error::Wait)));
    let mut pair = Pair::new(
        (client_options(), TestClient::default()),
        (server_options(), TestServer::default()),
        TestSessions {
            replies: vec![],
            is_waiting: true,
        },
    );
    assert!(matches!(pair.run(), Err(Error::Wait)));
}

#[test]
fn a_server_cannot_have_received_what_was_not_sent() {
    let (client, _) = broken(3, 1);
    let (_, ahead) = broken(5, 5);
    let mut pair = resumed(
        SessionRequest::Resume(client),
        vec![ReconnectReply::Resume(ahead)],
    );
    assert!(matches!(
        pair.run(),
        Err(Error::AckBeyondSent { found: 5, last: 3 })
    ));
}

/// The connection is cut after every byte of either direction; whatever is missing comes over the
/// next connection, once and in order.
#[test]
fn nothing_is_lost_or_doubled_wherever_a_connection_is_cut() {
    let run = |cut_out: usize, cut_back: usize| {
        let mut pair = lossless();
        pair.run().unwrap();
        events(&mut pair.client);
        events(&mut pair.server);
        for tid in 1..=2 {
            pair.client.send(small(tid)).unwrap();
            pair.server.send(small(tid)).unwrap();
        }
        let out = output(&mut pair.client);
        let back = output(&mut pair.server);
        pair.server.feed(&out[..cut_out.min(out.len())]).unwrap();
        pair.client.feed(&back[..cut_back.min(back.len())]).unwrap();
        let mut at_server = tids(&mut pair.server);
        let mut at_client = tids(&mut pair.client);
        let client = Box::new(pair.client.into_session().unwrap());
        let server = Box::new(pair.server.into_session().unwrap());
        let mut pair = resumed(
            SessionRequest::Resume(client),
            vec![ReconnectReply::Resume(server)],
        );
        pair.run().unwrap();
        established(&mut pair.client);
        established(&mut pair.server);
        at_server.extend(tids(&mut pair.server));
        at_client.extend(tids(&mut pair.client));
        assert_eq!((at_server, at_client), (vec![1, 2], vec![1, 2]));
        out.len()
    };
    let len = run(0, 0);
    for cut in 1..=len {
        run(cut, len - cut);
    }
}

fn small(tid: u64) -> Message {
    Message {
        tid: Tid(tid),
        front: Bytes::from_static(b"ab"),
        ..Message::default()
    }
}
