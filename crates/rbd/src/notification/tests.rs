//! Messages against what Ceph encodes and reads, and against themselves.

use bytes::Bytes;
use denc::{Decode, GlobalId, PoolId, SnapId, Writer};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::request::{Maintenance, SnapshotName};
use super::*;
use crate::dencoder::vectors;
use crate::{Features, SnapshotNamespace};

const LINES: &str = include_str!("../../testdata/dencoder.jsonl");

/// What `ceph-dencoder` of 14.2 prints of a message.
fn printed(message: &Message) -> Value {
    let mut says = Map::new();
    let mut say = |key: &str, value: Value| says.insert(key.to_owned(), value);
    let id =
        |id: &AsyncRequestId| json!({ "client_id": client(id.client), "request_id": id.request });
    let operation = match message {
        Message::AcquiredLock(owner) => {
            say("client_id", client(*owner));
            "AcquiredLock"
        }
        Message::ReleasedLock(owner) => {
            say("client_id", client(*owner));
            "ReleasedLock"
        }
        Message::RequestLock { client: by, force } => {
            say("client_id", client(*by));
            say("force", json!(force));
            "RequestLock"
        }
        Message::HeaderUpdate => "HeaderUpdate",
        Message::AsyncProgress {
            request,
            done,
            total,
        } => {
            say("async_request_id", id(request));
            say("offset", json!(done));
            say("total", json!(total));
            "AsyncProgress"
        }
        Message::AsyncComplete { request, result } => {
            say("async_request_id", id(request));
            say("result", json!(result));
            "AsyncComplete"
        }
        Message::Request(request) => {
            // Where it reads none, it prints none.
            if let Some(request) = &request.id {
                say("async_request_id", id(request));
            }
            let (operation, fields) = printed_request(&request.wanted);
            says.extend(fields.as_object().unwrap().clone());
            operation
        }
        Message::Quiesce(_) | Message::Unquiesce(_) | Message::Unknown { .. } => {
            return json!({});
        }
    };
    says.insert("notify_op".to_owned(), json!(operation));
    Value::Object(says)
}

fn client(client: ClientId) -> Value {
    json!({ "gid": client.gid.0, "handle": client.handle })
}

fn printed_request(wanted: &Maintenance) -> (&'static str, Value) {
    match wanted {
        Maintenance::Flatten => ("Flatten", json!({})),
        Maintenance::Resize { size, allow_shrink } => {
            let fields = json!({ "size": size, "allow_shrink": allow_shrink });
            ("Resize", fields)
        }
        Maintenance::SnapCreate { snapshot, .. } => ("SnapCreate", printed_snapshot(snapshot)),
        Maintenance::SnapRemove(snapshot) => ("SnapRemove", printed_snapshot(snapshot)),
        Maintenance::RebuildObjectMap => ("RebuildObjectMap", json!({})),
        Maintenance::SnapRename { id, to } => {
            let mut fields = printed_snapshot(to);
            fields["src_snap_id"] = json!(id.0);
            ("SnapRename", fields)
        }
        Maintenance::SnapProtect(snapshot) => ("SnapProtect", printed_snapshot(snapshot)),
        Maintenance::SnapUnprotect(snapshot) => ("SnapUnprotect", printed_snapshot(snapshot)),
        Maintenance::Rename { name } => ("Rename", json!({ "image_name": name })),
        Maintenance::UpdateFeatures { features, enabled } => {
            let fields = json!({ "features": features.0, "enabled": enabled });
            ("UpdateFeatures", fields)
        }
        Maintenance::Migrate => ("Migrate", json!({})),
        Maintenance::Sparsify { sparse_size } => {
            ("Sparsify", json!({ "sparse_size": sparse_size }))
        }
        Maintenance::MetadataUpdate { .. } => panic!("14.2 does not know it"),
    }
}

fn printed_snapshot(snapshot: &SnapshotName) -> Value {
    let mut fields = match &snapshot.namespace {
        SnapshotNamespace::Group {
            pool,
            group_id,
            group_snapshot_id,
        } => json!({
            "group_pool": pool.0,
            "group_id": group_id,
            "group_snapshot_id": group_snapshot_id,
        }),
        _ => json!({}),
    };
    fields["snapshot_namespace_type"] = json!(snapshot.namespace.name());
    fields["snap_name"] = json!(snapshot.name);
    fields
}

/// Whether something had no id before version 7.
fn got_its_id_late(wanted: &Maintenance) -> bool {
    !matches!(
        wanted,
        Maintenance::Flatten
            | Maintenance::Resize { .. }
            | Maintenance::RebuildObjectMap
            | Maintenance::Migrate
            | Maintenance::Sparsify { .. }
    )
}

#[test]
fn messages_are_what_ceph_reads() {
    let mut operations = Vec::new();
    for vector in vectors(LINES, "librbd::watch_notify::NotifyMessage") {
        let message: Message = vector.decode_enveloped();
        assert_eq!(printed(&message), vector.says, "{}", vector.label);
        operations.push(vector.says["notify_op"].as_str().unwrap().to_owned());

        // What is the same in both versions is encoded the same, too.
        let encoded = message.to_payload();
        let added = encoded.len() - vector.bytes.len();
        let expected = match &message {
            Message::Request(request) if got_its_id_late(&request.wanted) => match request.wanted {
                Maintenance::SnapCreate { .. } => 24 + 8,
                _ => 24,
            },
            _ => 0,
        };
        assert_eq!(added, expected, "{}", vector.label);
        assert_eq!(encoded[..2], [7, 1]);
        assert_eq!(encoded[6..][..vector.bytes.len() - 6], vector.bytes[6..]);
        assert!(encoded[vector.bytes.len()..].iter().all(|byte| *byte == 0));
    }
    assert_eq!(
        operations,
        [
            "AcquiredLock",
            "ReleasedLock",
            "RequestLock",
            "HeaderUpdate",
            "AsyncProgress",
            "AsyncComplete",
            "Flatten",
            "Resize",
            "SnapCreate",
            "SnapRemove",
            "SnapProtect",
            "SnapUnprotect",
            "RebuildObjectMap",
            "Rename",
            "UpdateFeatures",
            "Migrate",
            "Sparsify",
            "SnapCreate",
            "SnapRename",
        ]
    );
}

#[test]
fn responses_are_what_ceph_reads() {
    let mut results = Vec::new();
    for vector in vectors(LINES, "librbd::watch_notify::ResponseMessage") {
        let response: Response = vector.decode_enveloped();
        assert_eq!(vector.says, json!({ "result": response.result }));
        assert_eq!(response.to_answer(), vector.bytes);
        assert_eq!(Response::from_answer(&vector.bytes), Ok(Some(response)));
        results.push(response.result);
    }
    assert_eq!(results, [1, -95]);
    assert_eq!(Response::from_answer(&[]), Ok(None));
}

#[test]
fn what_ceph_14_reads_in_our_messages_is_what_was_meant() {
    let id = AsyncRequestId {
        client: ClientId {
            gid: GlobalId(4123),
            handle: 94_000_000_000_001,
        },
        request: 7,
    };
    let request = |wanted| {
        Message::Request(Request {
            id: Some(id),
            wanted,
        })
    };
    let snapshot = || SnapshotName {
        name: "snap".to_owned(),
        namespace: SnapshotNamespace::Group {
            pool: PoolId(3),
            group_id: "10152ae8944a".to_owned(),
            group_snapshot_id: "2118643c9732".to_owned(),
        },
    };
    let ours = [
        Message::AcquiredLock(id.client),
        Message::ReleasedLock(id.client),
        Message::RequestLock {
            client: id.client,
            force: false,
        },
        Message::HeaderUpdate,
        Message::AsyncProgress {
            request: id,
            done: 5,
            total: 9,
        },
        Message::AsyncComplete {
            request: id,
            result: -95,
        },
        request(Maintenance::Flatten),
        request(Maintenance::Resize {
            size: 1 << 40,
            allow_shrink: false,
        }),
        request(Maintenance::SnapCreate {
            snapshot: snapshot(),
            flags: 1,
        }),
        request(Maintenance::SnapRemove(snapshot())),
        request(Maintenance::RebuildObjectMap),
        request(Maintenance::SnapRename {
            id: SnapId(12),
            to: snapshot(),
        }),
        request(Maintenance::SnapProtect(snapshot())),
        request(Maintenance::SnapUnprotect(snapshot())),
        request(Maintenance::Rename {
            name: "other".to_owned(),
        }),
        request(Maintenance::UpdateFeatures {
            features: Features::OBJECT_MAP,
            enabled: true,
        }),
        request(Maintenance::Migrate),
        request(Maintenance::Sparsify { sparse_size: 4096 }),
    ];
    let mut blobs = Writer::new();
    let payloads: Vec<_> = ours.iter().map(Message::to_payload).collect();
    blobs.put(&payloads);
    assert_eq!(
        blobs.as_slice(),
        include_bytes!("../../testdata/notifications")
    );
    let lines = include_str!("../../testdata/notifications.jsonl");
    let read = vectors(lines, "librbd::watch_notify::NotifyMessage");
    assert_eq!(read.len(), ours.len());
    for (message, read) in ours.into_iter().zip(read) {
        assert_eq!(read.says, printed(&without_late_id(message)));
    }
}

/// What 14.2 takes from a message: it skips the ids that it does not know of.
fn without_late_id(mut message: Message) -> Message {
    match &mut message {
        Message::Request(request) if got_its_id_late(&request.wanted) => request.id = None,
        _ => {}
    }
    message
}

fn versioned(version: u8, fields: &[u8]) -> denc::Result<Message> {
    let mut writer = Writer::new();
    writer.envelope(version, 1, |writer| {
        writer.raw(fields);
    });
    Message::from_payload(writer.as_slice())
}

#[test]
fn messages_of_all_versions_are_read() {
    let owner = ClientId {
        gid: GlobalId(1),
        handle: 2,
    };
    let nobody = ClientId::default();
    let mut lock = Writer::new();
    lock.u32(REQUEST_LOCK).put(&owner).u8(1);
    let lock = lock.as_slice();
    let asked = |client, force| Ok(Message::RequestLock { client, force });
    assert_eq!(versioned(1, &lock[..4]), asked(nobody, false));
    assert_eq!(versioned(2, &lock[..20]), asked(owner, false));
    assert_eq!(versioned(3, lock), asked(owner, true));
    assert!(versioned(2, &lock[..4]).is_err());
    assert!(versioned(3, &lock[..20]).is_err());

    let group = SnapshotNamespace::Group {
        pool: PoolId(1),
        group_id: "g".to_owned(),
        group_snapshot_id: "s".to_owned(),
    };
    for (operation, since) in [(8, 5), (9, 6), (12, 6), (13, 6)] {
        let mut fields = Writer::new();
        fields.u32(operation).str("snap").put(&group);
        for version in 1..7 {
            let Ok(Message::Request(request)) = versioned(version, fields.as_slice()) else {
                panic!("operation {operation} of version {version}");
            };
            let (Maintenance::SnapCreate { snapshot, .. }
            | Maintenance::SnapRemove(snapshot)
            | Maintenance::SnapProtect(snapshot)
            | Maintenance::SnapUnprotect(snapshot)) = request.wanted
            else {
                panic!("{request:?}");
            };
            assert_eq!(request.id, None);
            assert_eq!(snapshot.name, "snap");
            assert_eq!(snapshot.namespace == group, version >= since);
        }
        assert!(versioned(7, fields.as_slice()).is_err());
    }

    let mut resize = Writer::new();
    resize.u32(7).u64(9).put(&AsyncRequestId::NONE).u8(0);
    for version in 1..8 {
        let wanted = Maintenance::Resize {
            size: 9,
            allow_shrink: version < 4,
        };
        let request = Request { id: None, wanted };
        assert_eq!(
            versioned(version, resize.as_slice()),
            Ok(Message::Request(request))
        );
    }
}

#[test]
fn what_is_not_known_is_kept_or_refused() {
    let unknown = Message::Unknown {
        operation: 21,
        fields: Bytes::from_static(&[1, 2, 3]),
    };
    assert_eq!(versioned(7, &[21, 0, 0, 0, 1, 2, 3]), Ok(unknown.clone()));
    // Newer ones may say more.
    assert_eq!(versioned(8, &[21, 0, 0, 0, 1, 2, 3]), Ok(unknown));
    assert_eq!(versioned(8, &[3, 0, 0, 0, 9]), Ok(Message::HeaderUpdate));
    assert!(Message::from_payload(&[8, 8, 4, 0, 0, 0, 3, 0, 0, 0]).is_err());
    assert_eq!(Message::from_payload(&[]), Ok(Message::HeaderUpdate));
}

fn client_id() -> impl Strategy<Value = ClientId> {
    any::<(u64, u64)>().prop_map(|(gid, handle)| ClientId {
        gid: GlobalId(gid),
        handle,
    })
}

fn request_id() -> impl Strategy<Value = AsyncRequestId> {
    (client_id(), 1..=u64::MAX).prop_map(|(client, request)| AsyncRequestId { client, request })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn namespace() -> impl Strategy<Value = SnapshotNamespace> {
    prop_oneof![
        Just(SnapshotNamespace::User),
        any::<(i64, String, String)>().prop_map(|(pool, group_id, group_snapshot_id)| {
            SnapshotNamespace::Group {
                pool: PoolId(pool),
                group_id,
                group_snapshot_id,
            }
        }),
        any::<(String, u32)>().prop_map(|(original_name, original_kind)| {
            SnapshotNamespace::Trash {
                original_name,
                original_kind,
            }
        }),
        bytes().prop_map(SnapshotNamespace::Mirror),
        (4..=u32::MAX, bytes()).prop_map(|(kind, data)| SnapshotNamespace::Unknown { kind, data }),
    ]
}

fn snapshot() -> impl Strategy<Value = SnapshotName> {
    (any::<String>(), namespace()).prop_map(|(name, namespace)| SnapshotName { name, namespace })
}

fn maintenance() -> impl Strategy<Value = Maintenance> {
    prop_oneof![
        Just(Maintenance::Flatten),
        any::<(u64, bool)>()
            .prop_map(|(size, allow_shrink)| Maintenance::Resize { size, allow_shrink }),
        (snapshot(), any::<u64>())
            .prop_map(|(snapshot, flags)| Maintenance::SnapCreate { snapshot, flags }),
        snapshot().prop_map(Maintenance::SnapRemove),
        Just(Maintenance::RebuildObjectMap),
        (any::<u64>(), snapshot())
            .prop_map(|(id, to)| Maintenance::SnapRename { id: SnapId(id), to }),
        snapshot().prop_map(Maintenance::SnapProtect),
        snapshot().prop_map(Maintenance::SnapUnprotect),
        any::<String>().prop_map(|name| Maintenance::Rename { name }),
        any::<(u64, bool)>().prop_map(|(features, enabled)| Maintenance::UpdateFeatures {
            features: Features(features),
            enabled,
        }),
        Just(Maintenance::Migrate),
        any::<u64>().prop_map(|sparse_size| Maintenance::Sparsify { sparse_size }),
        (any::<String>(), option::of(bytes()))
            .prop_map(|(key, value)| Maintenance::MetadataUpdate { key, value }),
    ]
}

fn announcement() -> impl Strategy<Value = Message> {
    prop_oneof![
        client_id().prop_map(Message::AcquiredLock),
        client_id().prop_map(Message::ReleasedLock),
        (client_id(), any::<bool>())
            .prop_map(|(client, force)| Message::RequestLock { client, force }),
        Just(Message::HeaderUpdate),
        (request_id(), any::<(u64, u64)>()).prop_map(|(request, (done, total))| {
            Message::AsyncProgress {
                request,
                done,
                total,
            }
        }),
        (request_id(), any::<i32>())
            .prop_map(|(request, result)| Message::AsyncComplete { request, result }),
        request_id().prop_map(Message::Quiesce),
        request_id().prop_map(Message::Unquiesce),
        (21..=u32::MAX, bytes())
            .prop_map(|(operation, fields)| Message::Unknown { operation, fields }),
    ]
}

fn request() -> impl Strategy<Value = Message> {
    (option::of(request_id()), maintenance())
        .prop_map(|(id, wanted)| Message::Request(Request { id, wanted }))
}

/// Checks that no shorter message is taken for a value, whether it is the bytes that end early or
/// the fields in the envelope.
fn assert_needs_all<T: Decode + std::fmt::Debug>(bytes: &[u8]) {
    const ENVELOPE: usize = 6;
    for len in 1..bytes.len() {
        let mut cut = bytes[..len].to_vec();
        assert!(T::decode_all("cut", &cut).is_err(), "cut at {len}");
        if let Some(inside) = len.checked_sub(ENVELOPE) {
            let inside = u32::try_from(inside).unwrap();
            cut[2..ENVELOPE].copy_from_slice(&inside.to_le_bytes());
            assert!(T::decode_all("cut", &cut).is_err(), "fields cut at {len}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in prop_oneof![announcement(), request()], result: i32) {
        let payload = message.to_payload();
        prop_assert_eq!(Message::from_payload(&payload), Ok(message.clone()));
        // What is unknown may be as long as it likes.
        if !matches!(message, Message::Unknown { .. }) {
            assert_needs_all::<Message>(&payload);
        }
        let response = Response { result };
        let answer = response.to_answer();
        prop_assert_eq!(Response::from_answer(&answer), Ok(Some(response)));
        assert_needs_all::<Response>(&answer);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        version in 1..8u8,
        operation in 0..22u32,
        fields in vec(any::<u8>(), 0..80),
    ) {
        let mut writer = Writer::new();
        writer.u32(operation).raw(&fields);
        if let Ok(message) = versioned(version, writer.as_slice()) {
            prop_assert_eq!(Message::from_payload(&message.to_payload()), Ok(message));
        }
        let _ = Response::from_answer(&fields);
    }
}
