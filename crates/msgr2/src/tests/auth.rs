//! Authentication that succeeds, fails, or is interfered with.

use super::*;

fn run(client: TestClient, server: TestServer) -> (Pair, Result<(), Error>) {
    let mut pair = Pair::new(
        (client_options(), client),
        (server_options(), server),
        TestSessions::default(),
    );
    let result = pair.run();
    (pair, result)
}

#[test]
fn another_method_is_tried_when_one_is_refused() {
    let client = TestClient {
        methods: vec![AuthMethod(9), AuthMethod(8), AuthMethod::CEPHX],
        ..TestClient::default()
    };
    let (mut pair, result) = run(client, TestServer::default());
    result.unwrap();
    established(&mut pair.client);
}

#[test]
fn a_refused_client_says_why() {
    let client = TestClient {
        methods: vec![AuthMethod(9), AuthMethod(8)],
        ..TestClient::default()
    };
    match run(client, TestServer::default()).1 {
        Err(Error::Auth(source)) => assert_eq!(source.to_string(), "refused with -95"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_asks_without_end_is_left() {
    let server = TestServer {
        questions: limits::AUTH_ROUNDS + 1,
        ..TestServer::default()
    };
    assert!(matches!(
        run(TestClient::default(), server).1,
        Err(Error::TooManyAuthRounds { .. })
    ));
}

#[test]
fn the_first_mode_wanted_is_taken() {
    for modes in [
        [ConnectionMode::CRC, ConnectionMode::SECURE],
        [ConnectionMode::SECURE, ConnectionMode::CRC],
    ] {
        let client = TestClient {
            modes: modes.to_vec(),
            ..TestClient::default()
        };
        let (mut pair, result) = run(client, TestServer::default());
        result.unwrap();
        assert_eq!(established(&mut pair.client).mode, modes[0]);
    }
}

#[test]
fn a_mode_that_was_not_offered_is_refused() {
    for (offered, forced) in [
        (ConnectionMode::CRC, ConnectionMode::SECURE),
        (ConnectionMode::SECURE, ConnectionMode::CRC),
        (ConnectionMode::CRC, ConnectionMode(7)),
        // Offered, but unknown here: nothing to protect the bytes with.
        (ConnectionMode(7), ConnectionMode(7)),
    ] {
        let client = TestClient {
            modes: vec![offered],
            ..TestClient::default()
        };
        let server = TestServer {
            forced_mode: Some(forced),
            ..TestServer::default()
        };
        assert!(matches!(
            run(client, server).1,
            Err(Error::ModeNotOffered { mode, .. }) if mode == forced
        ));
    }
}

#[test]
fn secure_mode_takes_a_secret() {
    let client = TestClient {
        modes: vec![ConnectionMode::SECURE],
        secret: vec![1; 39],
        ..TestClient::default()
    };
    assert!(matches!(
        run(client, TestServer::default()).1,
        Err(Error::NoConnectionSecret { len: 39 })
    ));
}

#[test]
fn sides_with_different_keys_part() {
    let server = TestServer {
        key: Some(b"another key".to_vec()),
        ..TestServer::default()
    };
    assert!(matches!(
        run(TestClient::default(), server).1,
        Err(Error::BadSignature)
    ));
    // A missing signature is as bad as a wrong one.
    let server = TestServer {
        key: None,
        ..TestServer::default()
    };
    assert!(matches!(
        run(TestClient::default(), server).1,
        Err(Error::BadSignature)
    ));
}

#[test]
fn sides_with_different_secrets_part() {
    for revision in [1, 0] {
        let mut options = client_options();
        options.protocol.supported = ProtocolFeatures(revision);
        let client = TestClient {
            modes: vec![ConnectionMode::SECURE],
            secret: vec![1; 64],
            ..TestClient::default()
        };
        let mut pair = Pair::new(
            (options, client),
            (server_options(), TestServer::default()),
            TestSessions::default(),
        );
        let error = pair.run().unwrap_err();
        match revision {
            1 => assert!(matches!(error, Error::GcmTag)),
            // Lengths are inside the encrypted bytes, so they are looked at first.
            _ => assert!(matches!(error, Error::PreambleCrc { .. })),
        }
    }
}

#[test]
fn without_a_key_nothing_is_signed() {
    let client = TestClient {
        key: None,
        ..TestClient::default()
    };
    let server = TestServer {
        key: None,
        ..TestServer::default()
    };
    run(client, server).1.unwrap();
}

/// Somebody in between changes the banner or HELLO of either side, checksums and all. Whoever
/// receives the change signs it, and the other side notices.
#[test]
fn a_changed_handshake_is_noticed() {
    // The server's banner: another feature is advertised.
    let mut pair = Pair::plain();
    let mut banner = output(&mut pair.server);
    banner[10] |= 2;
    pair.client.feed(&banner).unwrap();
    let mut result = Ok(());
    for _ in 0..10 {
        result = pair.run();
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(Error::BadSignature)));

    // The client's banner: revision 2.1 is taken out of both, to fall back to 2.0.
    let mut pair = Pair::plain();
    let mut to_client = output(&mut pair.server);
    let mut to_server = output(&mut pair.client);
    to_client[10] = 0;
    to_server[10] = 0;
    pair.client.feed(&to_client).unwrap();
    pair.server.feed(&to_server).unwrap();
    assert!(matches!(pair.run(), Err(Error::BadSignature)));
}
