//! Types in the answers of object classes, against what Ceph 14.2 prints of the same bytes.

use denc::Writer;
use serde_json::{Value, json};

use crate::dencoder::{printed_time, vectors};
use crate::header::{GroupReply, SnapContextReply, SnapshotReply};
use crate::object_map::BitVector;
use crate::parent::ParentSpec;
use crate::{LockInfo, SnapshotNamespace};

const LINES: &str = include_str!("../testdata/dencoder.jsonl");

/// As it is printed as a part of a snapshot; on its own, the type is called otherwise.
fn printed_namespace(namespace: &SnapshotNamespace) -> Value {
    match namespace {
        SnapshotNamespace::Group {
            pool,
            group_id,
            group_snapshot_id,
        } => json!({
            "type": "group",
            "group_pool": pool.0,
            "group_id": group_id,
            "group_snapshot_id": group_snapshot_id,
        }),
        SnapshotNamespace::Trash {
            original_name,
            original_kind: 0,
        } => json!({
            "type": "trash",
            "original_name": original_name,
            "original_snapshot_namespace": "user",
        }),
        other => json!({ "type": other.name() }),
    }
}

#[test]
fn namespaces_of_snapshots_are_what_ceph_reads() {
    let mut names = Vec::new();
    for mut vector in vectors(LINES, "cls::rbd::SnapshotNamespace") {
        let namespace: SnapshotNamespace = vector.decode_enveloped();
        let says = vector.says.as_object_mut().unwrap();
        let kind = says.remove("snapshot_namespace_type").unwrap();
        says.insert("type".to_owned(), kind);
        assert_eq!(printed_namespace(&namespace), vector.says);
        assert_eq!(Writer::encode(&namespace), vector.bytes);
        names.push(namespace.name());
    }
    assert_eq!(names, ["user", "group", "group", "trash"]);
}

#[test]
fn snapshots_are_what_ceph_reads() {
    for vector in vectors(LINES, "cls::rbd::SnapshotInfo") {
        let snapshot: SnapshotReply = vector.decode_enveloped();
        let found = json!({
            "id": snapshot.id.0,
            "namespace": printed_namespace(&snapshot.namespace),
            "name": snapshot.name,
            "image_size": snapshot.size,
            "timestamp": printed_time(snapshot.created),
        });
        assert_eq!(found, vector.says);
        // This is not printed, and is the last field.
        let children = vector.bytes.last_chunk().unwrap();
        assert_eq!(snapshot.children, u32::from_le_bytes(*children));
    }
}

#[test]
fn parents_and_groups_are_what_ceph_reads() {
    for vector in vectors(LINES, "cls::rbd::ParentImageSpec") {
        let parent: ParentSpec = vector.decode_enveloped();
        let found = json!({
            "pool_id": parent.pool.0,
            "pool_namespace": parent.namespace,
            "image_id": parent.image_id,
            "snap_id": parent.snap.0,
        });
        assert_eq!(found, vector.says);
    }
    for vector in vectors(LINES, "cls::rbd::GroupSpec") {
        let GroupReply(group) = vector.decode_enveloped();
        let group = group.unwrap();
        let found = json!({ "group_id": group.id, "pool_id": group.pool.0 });
        assert_eq!(found, vector.says);
    }
}

#[test]
fn snapshot_contexts_are_what_ceph_reads() {
    for vector in vectors(LINES, "SnapContext") {
        let SnapContextReply(context) = vector.decode();
        let snaps: Value = context.snaps.iter().map(|snap| snap.0).collect();
        let found = json!({ "seq": context.seq.0, "snaps": snaps });
        assert_eq!(found, vector.says);
    }
}

#[test]
fn locks_are_what_ceph_reads() {
    let mut lockers = Vec::new();
    for vector in vectors(LINES, "cls_lock_get_info_reply") {
        let lock: LockInfo = vector.decode_enveloped();
        assert_eq!(lock.shared, vector.says["lock_type"] == "shared");
        assert_eq!(lock.tag, vector.says["tag"].as_str().unwrap());
        let listed = vector.says["lockers"].as_array().unwrap();
        assert_eq!(lock.lockers.len(), listed.len());
        lockers.push(listed.len());
        for (locker, says) in lock.lockers.iter().zip(listed) {
            let mut says = says.clone();
            says.as_object_mut().unwrap().remove("expiration");
            let addr = locker.addr.to_string();
            let found = json!({
                "locker": locker.name.to_string(),
                "description": locker.description,
                "cookie": locker.cookie,
                "addr": addr.strip_prefix("v1:").unwrap(),
            });
            assert_eq!(found, says);
        }
    }
    // The same ones with addresses as they are now and as they were before Nautilus.
    assert_eq!(lockers, [2, 2, 0]);
}

#[test]
fn object_maps_are_what_ceph_reads() {
    let mut lens = Vec::new();
    for vector in vectors(LINES, "BitVector<2>") {
        let map: BitVector = vector.decode();
        let states: Vec<_> = map.states().map(|state| state.bits()).collect();
        // Four to a byte; the numbers of objects are multiples of four.
        let bytes = states
            .chunks(4)
            .map(|states| states.iter().fold(0, |byte, bits| byte << 2 | bits))
            .map(|byte| json!(format!("{byte:#04X}")));
        assert_eq!(map.len(), vector.says["size"]);
        assert_eq!(Value::from_iter(bytes), vector.says["bit_table"]);
        // What is sent lacks the checksums only.
        let sent = Writer::encode(&map);
        let (sent, footer) = sent.split_at(sent.len() - 4);
        assert_eq!(footer, [0; 4]);
        assert!(vector.bytes.starts_with(sent));
        lens.push(map.len());
    }
    assert_eq!(lens, [0, 1024]);
}
