//! Answers of monitors and OSDs, field by field against what Ceph 14.2 prints of the same bytes.

use denc::SnapId;
use serde_json::{Value, json};

use crate::dencoder::{assert_addr, assert_addrs, vectors};
use crate::listing::{ListedObject, Page};
use crate::msg::osd::Redirect;
use crate::osdmap::HObject;
use crate::osdmap::tests::printed_locator;
use crate::{CloneInfo, MonMap, SnapSet, Watchers};

const LINES: &str = include_str!("../testdata/dencoder.jsonl");

#[test]
fn monitors_are_what_ceph_reads() {
    let mut versions = Vec::new();
    for vector in vectors(LINES, "MonMap") {
        println!("{}", vector.label);
        let map: MonMap = vector.decode_enveloped();
        assert_eq!(map.epoch.0, vector.says["epoch"]);
        assert_eq!(map.fsid.to_string(), vector.says["fsid"].as_str().unwrap());
        let monitors = vector.says["mons"].as_array().unwrap();
        assert_eq!(map.monitors.len(), monitors.len());
        for monitor in monitors {
            let addrs = &map.monitors[monitor["name"].as_str().unwrap()];
            assert_addrs(addrs, &monitor["public_addrs"]);
        }
        versions.push(vector.bytes[0]);
    }
    assert_eq!(versions, [7, 5, 7, 5, 7, 5]);
}

#[test]
fn watchers_are_what_ceph_reads() {
    for vector in vectors(LINES, "obj_list_watch_response_t") {
        let Watchers(watchers) = vector.decode_enveloped();
        let entries = vector.says["entries"].as_array().unwrap();
        assert_eq!(watchers.len(), entries.len());
        for (watcher, says) in watchers.iter().zip(entries) {
            assert_eq!(watcher.name.to_string(), says["watcher"].as_str().unwrap());
            assert_eq!(watcher.cookie, says["cookie"]);
            assert_eq!(watcher.timeout_seconds, says["timeout"]);
            assert_addr(&watcher.addr, &says["addr"]);
        }
    }
}

/// The place in the order of objects, as Ceph prints it.
fn printed_handle(object: &HObject) -> String {
    if *object == HObject::MIN {
        return "MIN".to_owned();
    }
    format!(
        "{}:{:08x}:{}:{}:{}:{:x}",
        object.pool,
        object.hash.reverse_bits(),
        object.namespace,
        object.key,
        object.name,
        object.snap.0
    )
}

#[test]
fn pages_of_lists_are_what_ceph_reads() {
    let listed = |object: &ListedObject| json!({ "namespace": object.namespace, "object": object.name, "key": object.locator });
    for vector in vectors(LINES, "pg_nls_response_t") {
        let page: Page = vector.decode_enveloped();
        assert_eq!(
            printed_handle(&page.next),
            vector.says["handle"].as_str().unwrap()
        );
        let objects: Value = page.objects.iter().map(listed).collect();
        assert_eq!(objects, vector.says["entries"]);
    }
}

#[test]
fn clones_are_what_ceph_reads() {
    let mut counts = Vec::new();
    for vector in vectors(LINES, "obj_list_snap_response_t") {
        let found: SnapSet = vector.decode_enveloped();
        let mut says = vector.says["clones"].as_array().unwrap().clone();
        // What comes behind the clones has no name there.
        assert_eq!(found.seq.0, says.pop().unwrap());
        counts.push(says.len());
        let clones: Vec<_> = found.clones.iter().map(printed_clone).collect();
        assert_eq!(clones, says);
    }
    assert_eq!(counts, [0, 2]);
}

fn printed_clone(clone: &CloneInfo) -> Value {
    let id = if clone.id == SnapId::HEAD {
        json!("HEAD")
    } else {
        json!(clone.id.0)
    };
    let snaps: Value = clone
        .snaps
        .iter()
        .map(|snap| json!({ "id": snap.0 }))
        .collect();
    let overlaps: Value = clone
        .overlap
        .iter()
        .map(|(offset, length)| json!({ "offset": offset, "length": length }))
        .collect();
    json!({ "cloneid": id, "snapshots": snaps, "overlaps": overlaps, "size": clone.size })
}

#[test]
fn redirections_are_what_ceph_reads() {
    for vector in vectors(LINES, "request_redirect_t") {
        let redirect: Redirect = vector.decode_enveloped();
        assert_eq!(redirect.object, vector.says["object"].as_str().unwrap());
        assert_eq!(printed_locator(&redirect.locator), vector.says["locator"]);
    }
}
