//! Tests of everything that is decoded, against what real OSDs answered and what upstream's tool
//! said about the same images.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use denc::{Decode, SnapId, UTime};
use serde_json::Value;

use crate::header::{
    FeatureSets, GroupReply, OptionalParent, OptionalPool, Size, SnapContextReply, SnapshotReply,
    Striping,
};
use crate::{
    Features, Flags, LockInfo, OpFeatures, Protection, SnapshotNamespace, SnapshotSelector,
};

const IMAGES: [&str; 3] = ["vector", "child", "parent"];

fn find(label: &str) -> &'static str {
    include_str!("../testdata/class_replies.txt")
        .lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no vector {label:?}"))
}

fn json(label: &str) -> Value {
    serde_json::from_str(find(label)).unwrap()
}

fn bytes(label: &str) -> Vec<u8> {
    let digits = find(label);
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Decodes a vector, and checks that it is refused when it is cut anywhere.
fn decode<T: Decode + Debug>(label: &str) -> T {
    let bytes = bytes(label);
    for len in 0..bytes.len() {
        let cut = T::decode_all("cut", &bytes[..len]);
        assert!(cut.is_err(), "{label} cut at {len}: {cut:?}");
    }
    T::decode_all("vector", &bytes).unwrap()
}

fn names(value: &Value) -> Vec<&str> {
    let names = value.as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn size_and_layout_are_what_the_tool_says() {
    for image in IMAGES {
        let info = json(&format!("{image} info"));
        let size: Size = decode(&format!("{image} size"));
        assert_eq!(info["size"], size.size);
        assert_eq!(info["order"], size.order);
        let layout = if image == "vector" {
            let striping: Striping = decode("vector striping");
            assert_eq!(info["stripe_unit"], striping.unit);
            assert_eq!(info["stripe_count"], striping.count);
            crate::Layout::new(size.order, striping.unit, striping.count)
        } else {
            crate::Layout::plain(size.order)
        };
        assert_eq!(info["objects"], layout.unwrap().object_count(size.size));
    }
}

#[test]
fn ids_and_prefixes_are_what_the_tool_says() {
    for image in IMAGES {
        let info = json(&format!("{image} info"));
        assert_eq!(info["id"], decode::<String>(&format!("{image} id")));
        let prefix: String = decode(&format!("{image} object_prefix"));
        assert_eq!(info["block_name_prefix"], prefix);
        let pool: OptionalPool = decode(&format!("{image} data_pool"));
        assert_eq!(pool.0.is_some(), info.get("data_pool").is_some());
        if let Some(pool) = pool.0 {
            // The prefix names the pool of the header, as does the group below.
            assert_ne!(prefix.split('.').nth(1), Some(pool.to_string().as_str()));
        }
    }
}

#[test]
fn features_are_what_the_tool_says() {
    for image in IMAGES {
        let info = json(&format!("{image} info"));
        let sets: FeatureSets = decode(&format!("{image} features"));
        let features: Vec<_> = sets.features.names().collect();
        assert_eq!(names(&info["features"]), features);
        assert!(sets.features.contains(sets.incompatible));
        assert!(Features::READABLE.contains(sets.incompatible));
        let strict: FeatureSets = decode(&format!("{image} features_rw"));
        assert_eq!(strict.features, sets.features);
        let op_features: OpFeatures = decode(&format!("{image} op_features"));
        let op_names: Vec<_> = op_features.names().collect();
        assert_eq!(names(&info["op_features"]), op_names);
        assert_eq!(decode::<Flags>(&format!("{image} flags")), Flags::NONE);
    }
    assert_eq!(decode::<Features>("directory features"), Features::ALL);
}

#[test]
fn snapshots_are_what_the_tool_says() {
    for image in IMAGES {
        let listed = json(&format!("{image} snapshots"));
        let listed = listed.as_array().unwrap();
        let context: SnapContextReply = decode(&format!("{image} snapcontext"));
        let ids: Vec<u64> = context.0.snaps.iter().rev().map(|snap| snap.0).collect();
        let listed_ids: Vec<u64> = listed
            .iter()
            .map(|snap| snap["id"].as_u64().unwrap())
            .collect();
        assert_eq!(ids, listed_ids);
        assert_eq!(context.0.seq.0, ids.last().copied().unwrap_or(0));
        for said in listed {
            let id = &said["id"];
            let snap: SnapshotReply = decode(&format!("{image} snap{id}"));
            assert_eq!(*id, snap.id.0);
            assert_eq!(said["name"], snap.name);
            assert_eq!(said["size"], snap.size);
            assert_eq!(said["namespace"]["type"], snap.namespace.name());
            assert_eq!(snap.children, 0);
            let protection: Protection = decode(&format!("{image} protection{id}"));
            let protected = (protection == Protection::Protected).to_string();
            assert_eq!(said["protected"], protected);
            assert_eq!(local_time(snap.created), said["timestamp"]);
        }
    }
}

/// The time of day, which is all that can be said of a local time without its time zone.
fn local_time(time: UTime) -> String {
    assert_eq!(
        time.seconds / 86_400,
        20_779,
        "the vectors were made on one day"
    );
    let of_day = time.seconds % 86_400;
    let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("Sun Nov 22 {hours:02}:{minutes:02}:{seconds:02} 2026")
}

#[test]
fn times_are_what_the_tool_says() {
    for image in IMAGES {
        let info = json(&format!("{image} info"));
        let created = decode(&format!("{image} created"));
        assert_eq!(info["create_timestamp"], local_time(created));
    }
}

#[test]
fn a_groups_snapshot_knows_its_group() {
    let snap: SnapshotReply = decode("vector snap6");
    let group: GroupReply = decode("vector group");
    let group = group.0.unwrap();
    let SnapshotNamespace::Group {
        pool,
        group_id,
        group_snapshot_id,
    } = snap.namespace
    else {
        panic!("{:?}", snap.namespace);
    };
    assert_eq!((pool, &group_id), (group.pool, &group.id));
    assert_eq!(
        snap.name,
        format!(".group.{pool}_{group_id}_{group_snapshot_id}")
    );
    for image in ["child", "parent"] {
        assert_eq!(decode::<GroupReply>(&format!("{image} group")).0, None);
    }
}

#[test]
fn a_clone_knows_its_parent() {
    let said = &json("child info")["parent"];
    let parent: OptionalParent = decode("child parent");
    let parent = parent.0.unwrap();
    assert_eq!(said["id"], parent.image_id);
    assert_eq!(said["pool_namespace"], parent.namespace);
    assert_eq!(decode::<String>("parent id"), parent.image_id);
    assert_eq!(
        decode::<SnapContextReply>("parent snapcontext").0.snaps,
        [parent.snap]
    );
    let overlap: Option<u64> = decode("child overlap");
    assert_eq!(said["overlap"], overlap.unwrap());
    for image in ["vector", "parent"] {
        assert_eq!(decode::<OptionalParent>(&format!("{image} parent")).0, None);
        assert_eq!(decode::<Option<u64>>(&format!("{image} overlap")), None);
    }
}

#[test]
fn lockers_are_what_the_tool_says() {
    let lock: LockInfo = decode("vector lock");
    assert!(lock.shared);
    assert_eq!(lock.tag, "some tag");
    let said = &json("vector locks")[0];
    let [locker] = lock.lockers.as_slice() else {
        panic!("{lock:?}");
    };
    assert_eq!(said["id"], locker.cookie);
    assert_eq!(said["locker"], locker.name.to_string());
    // Locks are kept under the address without the protocol, which is written as v1.
    assert_eq!(
        said["address"],
        locker.addr.to_string().trim_start_matches("v1:")
    );
    assert!(!locker.is_automatic());
    for image in ["child", "parent"] {
        assert_eq!(decode::<LockInfo>(&format!("{image} lock")).lockers, []);
    }
}

#[test]
fn the_directory_and_metadata_are_maps() {
    let listed: BTreeMap<String, String> = decode("directory list");
    for image in IMAGES {
        assert_eq!(listed[image], decode::<String>(&format!("{image} id")));
    }
    assert_eq!(listed.len(), IMAGES.len());
    let metadata: BTreeMap<String, Bytes> = decode("vector metadata");
    assert_eq!(metadata["key"], "value");
    assert_eq!(metadata["conf_rbd_cache"], "false");
    assert_eq!(decode::<Bytes>("vector metadata_key"), "value");
}

#[test]
fn snapshot_contexts_out_of_order_are_refused() {
    let context = |seq: u64, snaps: &[u64]| {
        let mut writer = denc::Writer::new();
        writer.u64(seq).put(snaps);
        SnapContextReply::decode_all("context", writer.as_slice())
    };
    assert!(context(6, &[6, 5, 4]).is_ok());
    assert!(context(9, &[6]).is_ok());
    assert!(context(6, &[4, 5]).is_err());
    assert!(context(6, &[5, 5]).is_err());
    assert!(context(6, &[7]).is_err());
    assert!(context(u64::MAX, &[]).is_ok());
}

#[test]
fn only_the_users_snapshots_have_names() {
    let snapshot = |id, name: &str, namespace| crate::Snapshot {
        id: SnapId(id),
        name: name.to_string(),
        size_bytes: 0,
        protection: Protection::Unprotected,
        created: UTime::default(),
        namespace,
        children: 0,
        flags: Flags::NONE,
        parent_overlap: None,
    };
    let snapshots = [
        snapshot(3, "a", SnapshotNamespace::Mirror(Bytes::new())),
        snapshot(4, "a", SnapshotNamespace::User),
    ];
    let found = |selector: SnapshotSelector| selector.find(&snapshots).map(|snap| snap.id.0);
    assert_eq!(found(SnapshotSelector::Name("a".to_string())), Some(4));
    assert_eq!(found(SnapshotSelector::Id(SnapId(3))), Some(3));
    assert_eq!(found(SnapshotSelector::Name("b".to_string())), None);
}
