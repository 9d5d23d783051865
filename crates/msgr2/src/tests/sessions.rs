//! What OSDs told each other when their connections were cut (`testdata/session-frames`).

use std::collections::BTreeSet;

use denc::Writer;

use crate::frame::{Control, Tag};

const RECORDED: &str = include_str!("../../testdata/session-frames");

fn recorded() -> Vec<(Tag, Vec<u8>)> {
    let line = |line: &str| {
        let (tag, payload) = line.split_once(' ').unwrap();
        let payload = payload.trim_matches('-').as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        let payload = payload.chunks(2).map(|pair| byte(pair).unwrap());
        let tag = Tag::try_from(tag.parse::<u8>().unwrap()).unwrap();
        (tag, payload.collect())
    };
    RECORDED.lines().map(line).collect()
}

#[test]
fn sessions_are_resumed_by_the_names_they_were_begun_with() {
    let (mut clients, mut servers, mut resumed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut others = BTreeSet::new();
    for (tag, payload) in recorded() {
        let frame = Control::decode(tag, &payload).unwrap();
        assert_eq!(Writer::encode(&frame), payload, "{frame:?}");
        match frame {
            Control::ClientIdent(ident) => drop(clients.insert(ident.cookie)),
            Control::ServerIdent(ident) => drop(servers.insert(ident.cookie)),
            Control::SessionReconnect(reconnect) => resumed.push(reconnect),
            Control::SessionRetry(retry) => {
                assert!((1..100).contains(&retry.connect_seq), "{retry:?}");
            }
            Control::SessionReconnectOk(ok) => {
                assert!((1..10_000).contains(&ok.msg_seq), "{ok:?}");
            }
            Control::Wait(_) => {}
            other => panic!("{other:?}"),
        }
        others.insert(format!("{tag:?}"));
    }
    assert_eq!(others.len(), 6, "{others:?}");
    assert!(resumed.len() >= 5);
    for reconnect in resumed {
        assert!(clients.contains(&reconnect.client_cookie), "{reconnect:?}");
        assert!(servers.contains(&reconnect.server_cookie), "{reconnect:?}");
        assert!((1..100).contains(&reconnect.connect_seq), "{reconnect:?}");
        assert!((1..10_000).contains(&reconnect.global_seq), "{reconnect:?}");
        let addr = reconnect.addrs.v2().unwrap().socket.unwrap();
        assert!(addr.ip().is_loopback() && addr.port() >= 6800, "{addr}");
    }
}

#[test]
fn they_are_refused_when_anything_is_missing() {
    for (tag, payload) in recorded() {
        for len in 0..payload.len() {
            let cut = payload.get(..len).unwrap();
            assert!(Control::decode(tag, cut).is_err(), "{tag:?} of {len} bytes");
        }
    }
}
