//! Replays what librados and real daemons said to each other: our side must send the same bytes
//! where it draws the same random numbers, and understand the answers.

use std::time::{Duration, SystemTime};

use denc::{AuthEntityName, Decode, EntityType, GlobalId};

use crate::proto::{Authenticate, Authorize, Authorizer};
use crate::{ClientSession, CryptoKey, KeyUsage, MonitorHandshake};

/// One connection: what the client sent and what was answered.
struct Connection {
    server: EntityType,
    sent: Vec<Vec<u8>>,
    answered: Vec<Vec<u8>>,
    global_id: GlobalId,
    secure: bool,
}

fn parse(text: &str) -> (CryptoKey, Vec<Connection>) {
    let mut key = None;
    let mut connections: Vec<Connection> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        let current = connections.last_mut();
        match word {
            "key" => key = Some(rest.parse().unwrap()),
            "connection" => connections.push(Connection {
                server: EntityType(rest.parse().unwrap()),
                sent: Vec::new(),
                answered: Vec::new(),
                global_id: GlobalId(0),
                secure: false,
            }),
            ">" => current.unwrap().sent.push(bytes(rest)),
            "<" => current.unwrap().answered.push(bytes(rest)),
            "done" => {
                let (id, mode) = rest.split_once(' ').unwrap();
                let current = current.unwrap();
                current.global_id = GlobalId(id.parse().unwrap());
                current.secure = mode == "2";
            }
            other => panic!("{other}"),
        }
    }
    (key.unwrap(), connections)
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// All beginnings of an answer.
fn cuts(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..answer.len()).map(|len| &answer[..len])
}

/// Draws this number and nothing else.
fn only(number: u64) -> impl FnMut(&mut [u8]) {
    move |bytes| bytes.copy_from_slice(&number.to_le_bytes())
}

fn no_randomness(_: &mut [u8]) {
    panic!("nothing random is needed here");
}

fn replay_monitor(key: &CryptoKey, connection: &Connection, session: &mut ClientSession) {
    let proof = Authenticate::decode_all("proof", &connection.sent[1][2..]).unwrap();
    let name = AuthEntityName::client("admin");
    let mut client = MonitorHandshake::new(name, key.clone(), GlobalId(0), None, proof.wanted);
    assert_eq!(client.request(), connection.sent[0]);
    for cut in cuts(&connection.answered[0]) {
        let name = AuthEntityName::client("admin");
        let mut client = MonitorHandshake::new(name, key.clone(), GlobalId(0), None, proof.wanted);
        client.request();
        let result = client.handle_more(cut, &mut only(proof.client_challenge));
        assert!(result.is_err(), "cut at {}", cut.len());
    }
    let sent = client.handle_more(&connection.answered[0], &mut only(proof.client_challenge));
    assert_eq!(sent.unwrap(), connection.sent[1]);
    for cut in cuts(&connection.answered[1]) {
        let name = AuthEntityName::client("admin");
        let mut client = MonitorHandshake::new(name, key.clone(), GlobalId(0), None, proof.wanted);
        client.request();
        client
            .handle_more(&connection.answered[0], &mut only(proof.client_challenge))
            .unwrap();
        let result = client.handle_done(connection.global_id, cut, NOW);
        assert!(result.is_err(), "cut at {}", cut.len());
    }
    let (keys, grant) = client
        .handle_done(connection.global_id, &connection.answered[1], NOW)
        .unwrap();
    assert_eq!(keys.session_key.len(), 16);
    assert_eq!(
        keys.connection_secret.len(),
        if connection.secure { 64 } else { 0 }
    );
    assert!(grant.services().contains(EntityType::AUTH));
    session.adopt(grant);
}

fn replay_service(connection: &Connection, session: &ClientSession) {
    let nonce = {
        let authorizer = Authorizer::decode_all("authorizer", &connection.sent[0]).unwrap();
        let probe = session
            .service_handshake(connection.server, NOW, &mut only(0))
            .unwrap();
        let key = probe.session_key();
        let authorize: Authorize = key
            .open(KeyUsage::AUTHORIZE, "authorizer", &authorizer.authorize)
            .unwrap();
        assert_eq!(authorize.challenge, None);
        authorize.nonce
    };
    let begin = || {
        let client = session
            .service_handshake(connection.server, NOW, &mut only(nonce))
            .unwrap();
        assert_eq!(client.request(&mut no_randomness), connection.sent[0]);
        client
    };
    for cut in cuts(&connection.answered[0]) {
        let result = begin().handle_more(cut, &mut no_randomness);
        assert!(result.is_err(), "cut at {}", cut.len());
    }
    for cut in cuts(&connection.answered[1]) {
        let mut client = begin();
        client
            .handle_more(&connection.answered[0], &mut no_randomness)
            .unwrap();
        let result = client.handle_done(cut);
        assert!(result.is_err(), "cut at {}", cut.len());
    }
    let mut client = begin();
    let sent = client.handle_more(&connection.answered[0], &mut no_randomness);
    assert_eq!(sent.unwrap(), connection.sent[1]);
    let keys = client.handle_done(&connection.answered[1]).unwrap();
    assert_eq!(
        keys.connection_secret.len(),
        if connection.secure { 64 } else { 0 }
    );
}

fn replay(text: &str) -> (usize, usize) {
    let (key, connections) = parse(text);
    let mut session = ClientSession::new(AuthEntityName::client("admin"), key.clone());
    let mut counts = (0, 0);
    for connection in &connections {
        if connection.server == EntityType::MON {
            replay_monitor(&key, connection, &mut session);
            counts.0 += 1;
        } else {
            replay_service(connection, &session);
            counts.1 += 1;
        }
    }
    // The validities that the monitor gave: a ticket for OSDs is good for an hour.
    let hour = Duration::from_secs(3600);
    let almost = hour - Duration::from_secs(1);
    assert!(session.has_ticket(EntityType::OSD, NOW + almost));
    assert!(!session.has_ticket(EntityType::OSD, NOW + hour));
    assert!(session.has_ticket(EntityType::AUTH, NOW + 71 * hour));
    counts
}

#[test]
fn what_librados_and_the_daemons_said_in_crc_mode() {
    let counts = replay(include_str!("../testdata/exchange-crc.txt"));
    assert_eq!(counts, (3, 1));
}

#[test]
fn what_librados_and_the_daemons_said_in_secure_mode() {
    let counts = replay(include_str!("../testdata/exchange-secure.txt"));
    assert_eq!(counts, (3, 1));
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
