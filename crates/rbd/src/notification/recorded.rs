//! What upstream's clients told the watchers of a header, understood and said again.

use denc::GlobalId;

use super::request::{Maintenance, SnapshotName};
use super::*;
use crate::{Features, SnapshotNamespace};

/// Release, number of the operation, message, and the command that was run.
const LINES: &str = include_str!("../../testdata/notified.txt");

fn messages(release: &str) -> Vec<(&'static str, Message)> {
    let lines = LINES.lines().filter(|line| line.starts_with(release));
    let messages = lines.map(|line| {
        let mut words = line.splitn(4, ' ').skip(1);
        let operation: u32 = words.next().unwrap().parse().unwrap();
        let payload = bytes_of(words.next().unwrap());
        let message = Message::from_payload(&payload).unwrap();
        assert_eq!(payload[6..10], operation.to_le_bytes(), "{line}");
        assert_eq!(message.to_payload(), payload, "{line}");
        (words.next().unwrap(), message)
    });
    messages.collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16));
    bytes.collect::<Result<_, _>>().unwrap()
}

fn id(message: &Message) -> Option<AsyncRequestId> {
    match message {
        Message::Request(request) => request.id,
        Message::AsyncProgress { request, .. } | Message::AsyncComplete { request, .. } => {
            Some(*request)
        }
        _ => None,
    }
}

/// In a word, with the result of what is complete.
fn kind(message: &Message) -> &'static str {
    match message {
        Message::Request(_) => "request",
        Message::AsyncProgress { .. } => "progress",
        Message::AsyncComplete { result: 0, .. } => "complete",
        Message::HeaderUpdate => "update",
        Message::Quiesce(_) => "quiesce",
        Message::Unquiesce(_) => "unquiesce",
        _ => "other",
    }
}

/// The messages of each command, of which there are as many about progress as there happened to be.
fn conversations(release: &str) -> Vec<(&'static str, Vec<Message>, Vec<&'static str>)> {
    let mut conversations: Vec<(_, Vec<Message>, Vec<_>)> = Vec::new();
    for (command, message) in messages(release) {
        match conversations.last_mut() {
            Some((last, said, kinds)) if *last == command => {
                kinds.push(kind(&message));
                said.push(message);
            }
            _ => conversations.push((command, vec![message.clone()], vec![kind(&message)])),
        }
    }
    for (_, _, kinds) in &mut conversations {
        kinds.dedup();
    }
    conversations
}

fn snapshot(name: &str) -> SnapshotName {
    SnapshotName {
        name: name.to_owned(),
        namespace: SnapshotNamespace::User,
    }
}

fn requests() -> Vec<Maintenance> {
    vec![
        Maintenance::Resize {
            size: 96 << 20,
            allow_shrink: false,
        },
        Maintenance::Resize {
            size: 64 << 20,
            allow_shrink: true,
        },
        Maintenance::SnapCreate {
            snapshot: snapshot("one"),
            flags: 0,
        },
        Maintenance::SnapRemove(snapshot("two")),
        Maintenance::MetadataUpdate {
            key: "key".to_owned(),
            value: Some("value".into()),
        },
        Maintenance::MetadataUpdate {
            key: "key".to_owned(),
            value: None,
        },
        Maintenance::UpdateFeatures {
            features: Features::DEEP_FLATTEN,
            enabled: false,
        },
        Maintenance::RebuildObjectMap,
        Maintenance::Sparsify { sparse_size: 4096 },
        Maintenance::Rename {
            name: "renamed".to_owned(),
        },
    ]
}

#[test]
fn what_is_asked_for_is_understood() {
    for release in ["16.2", "20.2"] {
        let wanted: Vec<_> = messages(release)
            .into_iter()
            .filter_map(|(_, message)| match message {
                Message::Request(request) => Some(request.wanted),
                _ => None,
            })
            .collect();
        assert_eq!(wanted, requests(), "{release}");
    }
}

/// What an owner has to tell those who asked, and everybody else.
#[test]
fn owners_say_when_the_header_has_changed_before_they_are_done() {
    let plain = ["request", "update", "complete"];
    let long = ["request", "progress", "update", "complete"];
    for release in ["16.2", "20.2"] {
        for (command, messages, kinds) in conversations(release) {
            let expected: &[_] = match command {
                "resize rbd/watched --size 64M --allow-shrink"
                | "object-map rebuild rbd/watched"
                | "sparsify rbd/watched" => &long,
                "snap create rbd/watched@one" => &[
                    "request",
                    "quiesce",
                    "progress",
                    "unquiesce",
                    "update",
                    "complete",
                ],
                // Nothing is in the header.
                "rename rbd/watched rbd/renamed" => &["request", "complete"],
                // The owner is not asked for these.
                "snap protect rbd/watched@one"
                | "snap unprotect rbd/watched@one"
                | "snap rename rbd/watched@one rbd/watched@two" => &["update"],
                _ => &plain,
            };
            assert_eq!(kinds, expected, "{release} {command}");
            let mut ids: Vec<_> = messages.iter().filter_map(id).collect();
            assert_ne!(ids.first().map(|id| id.client.gid), Some(GlobalId(0)));
            ids.dedup();
            assert_eq!(ids.len(), usize::from(expected.len() > 1), "{command}");
        }
    }
}
