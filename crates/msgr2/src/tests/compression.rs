//! Sessions whose messages are compressed, and those whose messages are not.

use super::*;

fn options(methods: &[CompressionMethod]) -> Option<CompressionOptions> {
    Some(CompressionOptions {
        methods: methods.to_vec(),
        min_bytes: 1024,
        in_secure_mode: false,
    })
}

fn pair(
    mode: ConnectionMode,
    client: Option<CompressionOptions>,
    server: Option<CompressionOptions>,
) -> Pair {
    let client_options = ClientOptions {
        compression: client,
        ..client_options()
    };
    let auth = TestClient {
        modes: vec![mode],
        ..TestClient::default()
    };
    let server_options = ServerOptions {
        compression: server,
        ..server_options()
    };
    Pair::new(
        (client_options, auth),
        (server_options, TestServer::default()),
        TestSessions::default(),
    )
}

/// Opens the session and gives the method, on which both sides must agree.
fn agreed(pair: &mut Pair) -> Option<CompressionMethod> {
    pair.run().unwrap();
    let client = established(&mut pair.client).compression;
    assert_eq!(client, established(&mut pair.server).compression);
    client
}

/// How many frames each side has sent and received compressed.
fn counts(pair: Pair) -> [(u64, u64); 2] {
    [pair.client, pair.server].map(|connection| {
        let open = connection.split().unwrap();
        (
            open.sender.compressed_frames(),
            open.receiver.compressed_frames(),
        )
    })
}

fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    noise.take(len).collect()
}

#[test]
fn messages_are_compressed_with_every_method_in_every_form() {
    for method in CompressionMethod::ALL {
        for mode in [ConnectionMode::CRC, ConnectionMode::SECURE] {
            let options = Some(CompressionOptions {
                in_secure_mode: true,
                ..options(&[method]).unwrap()
            });
            let mut pair = pair(mode, options.clone(), options);
            assert_eq!(agreed(&mut pair), Some(method));
            let before = (pair.to_server.len(), pair.to_client.len());
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
            // Each of the messages has more than 5000 bytes.
            assert!(pair.to_server.len() - before.0 < 3000);
            assert!(pair.to_client.len() - before.1 < 3000);
            assert_eq!(counts(pair), [(3, 3), (3, 3)], "{method} {mode}");
        }
    }
}

#[test]
fn parts_of_all_sizes_arrive_as_they_were() {
    for method in CompressionMethod::ALL {
        let options = Some(CompressionOptions {
            min_bytes: 0,
            ..options(&[method]).unwrap()
        });
        let mut pair = pair(ConnectionMode::CRC, options.clone(), options);
        agreed(&mut pair);
        let zeros = |len| Bytes::from(vec![0; len]);
        let pieces = [zeros(5), noise(9000), zeros(200_000)];
        let messages = [
            (zeros(0), zeros(0), Payload::new()),
            (zeros(1), zeros(0), zeros(1).into()),
            (zeros(0), zeros(0), zeros(8 << 20).into()),
            (noise(5000), zeros(9000), noise(3).into()),
            (noise(100), zeros(0), pieces.into_iter().collect()),
            (zeros(0), zeros(300), Payload::new()),
            (noise(100_000), noise(1), noise(1 << 20).into()),
        ];
        for (front, middle, data) in messages {
            let sent = Message {
                front,
                middle,
                data,
                ..message(1)
            };
            pair.client.send(sent.clone()).unwrap();
            pair.run().unwrap();
            let arrived = pair.server.poll_event();
            assert!(matches!(arrived, Some(Event::Message(found)) if found == sent));
        }
    }
}

#[test]
fn what_is_short_or_gets_no_shorter_is_sent_as_it_is() {
    for method in CompressionMethod::ALL {
        let mut pair = pair(ConnectionMode::CRC, options(&[method]), options(&[method]));
        agreed(&mut pair);
        let front = |len| Message {
            front: Bytes::from(vec![1; len]),
            data: Payload::new(),
            ..message(1)
        };
        // A header has 41 bytes: the threshold counts them.
        for len in [1024 - 41 - 1, 1024 - 41] {
            pair.client.send(front(len)).unwrap();
        }
        pair.client
            .send(Message {
                front: noise(5000),
                data: noise(100_000).into(),
                ..message(1)
            })
            .unwrap();
        pair.run().unwrap();
        assert_eq!(events(&mut pair.server).len(), 3);
        assert_eq!(counts(pair), [(1, 0), (0, 1)], "{method}");
    }
}

#[test]
fn the_first_of_the_clients_methods_that_the_server_has_is_taken() {
    use CompressionMethod::*;
    let both = |client: &[_], server: &[_]| {
        agreed(&mut pair(
            ConnectionMode::CRC,
            options(client),
            options(server),
        ))
    };
    assert_eq!(both(&[Zstd, Lz4, Snappy], &[Snappy, Lz4]), Some(Lz4));
    assert_eq!(both(&[Snappy], &[Zlib, Snappy]), Some(Snappy));
    assert_eq!(both(&[Snappy], &[Zlib]), None);
    assert_eq!(both(&[], &[Zlib]), None);
    assert_eq!(both(&[Zlib], &[]), None);
}

#[test]
fn secure_connections_are_compressed_only_if_both_say_so() {
    let of = |client, server| {
        let options = |in_secure_mode| {
            Some(CompressionOptions {
                in_secure_mode,
                ..options(&[CompressionMethod::Lz4]).unwrap()
            })
        };
        let mut pair = pair(ConnectionMode::SECURE, options(client), options(server));
        let method = agreed(&mut pair);
        pair.client.send(message(1)).unwrap();
        pair.run().unwrap();
        assert_eq!(events(&mut pair.server).len(), 1);
        (method, counts(pair)[0].0)
    };
    assert_eq!(of(true, true), (Some(CompressionMethod::Lz4), 1));
    assert_eq!(of(true, false), (None, 0));
    assert_eq!(of(false, true), (None, 0));
    assert_eq!(of(false, false), (None, 0));
}

/// Without a wish for compression the bytes are those from before there was any.
#[test]
fn who_does_not_want_compression_does_not_even_mention_it() {
    let snappy = || options(&[CompressionMethod::Snappy]);
    for (client, server) in [(None, snappy()), (None, None), (snappy(), None)] {
        let is_offered = client.is_some();
        let mut pair = pair(ConnectionMode::CRC, client, server);
        assert_eq!(agreed(&mut pair), None);
        let offered = Banner::decode(&pair.to_server[..26]).unwrap().supported.0;
        assert_eq!(offered, if is_offered { 3 } else { 1 });
        pair.client.send(message(1)).unwrap();
        pair.run().unwrap();
        let frames = decode_frames(Revision::V2_1, None, &pair.to_server[26..]).unwrap();
        let tags: Vec<_> = frames.iter().map(|frame| frame.tag.to_string()).collect();
        assert_eq!(tags[0], "HELLO");
        assert!(!tags.contains(&"COMPRESSION_REQUEST".to_owned()));
        assert_eq!(tags[tags.len() - 2..], ["CLIENT_IDENT", "MESSAGE"]);
        assert_eq!(counts(pair), [(0, 0), (0, 0)]);
    }
}

#[test]
fn a_session_goes_on_compressed_differently() {
    let first = options(&[CompressionMethod::Zlib]);
    let mut lossless = ClientOptions {
        compression: first.clone(),
        ..client_options()
    };
    lossless.session = super::lossless();
    let server = ServerOptions {
        compression: first,
        ..server_options()
    };
    let mut pair = Pair::new(
        (lossless, TestClient::default()),
        (server, TestServer::default()),
        TestSessions::default(),
    );
    agreed(&mut pair);
    pair.client.send(message(1)).unwrap();
    // Lost on the way.
    let session = pair.client.into_session().unwrap();
    let kept = pair.server.into_session().unwrap();

    for second in [None, options(&[CompressionMethod::Zstd])] {
        let client = ClientOptions {
            compression: second.clone(),
            session: SessionRequest::Resume(Box::new(session.clone())),
            ..client_options()
        };
        let server = ServerOptions {
            compression: second.clone(),
            ..server_options()
        };
        let sessions = TestSessions {
            replies: vec![ReconnectReply::Resume(Box::new(kept.clone()))],
            ..TestSessions::default()
        };
        let mut pair = Pair::new(
            (client, TestClient::default()),
            (server, TestServer::default()),
            sessions,
        );
        agreed(&mut pair);
        assert_eq!(tids(&mut pair.server), [1]);
        let expected = u64::from(second.is_some());
        assert_eq!(counts(pair)[1].1, expected);
    }
}
