//! What the object classes say about the one image there is (ceph: src/cls/rbd/cls_rbd.cc, src/cls/lock/cls_lock.cc).

use bytes::Bytes;
use denc::{UTime, Writer};

use crate::{IMAGE_SIZE, OBJECT_ORDER, OBJECT_SIZE};

/// What a method answers; `None` if it is not known.
pub(crate) fn call(object: &str, class: &str, method: &str) -> Option<Bytes> {
    let mut output = Writer::new();
    match (class, method) {
        ("lock", "get_info") => lock_info(&mut output),
        ("lock", "lock" | "unlock" | "assert_locked") => {}
        ("rbd", "get_id") => {
            output.str(ID);
        }
        ("rbd", "object_map_load") => object_map(&mut output),
        ("rbd", method) if object.starts_with("rbd_header.") => header(method, &mut output)?,
        // Of the pool.
        ("rbd", "metadata_list") => {
            output.u32(0);
        }
        _ => return None,
    }
    Some(output.freeze())
}

fn header(method: &str, output: &mut Writer) -> Option<()> {
    match method {
        "get_size" => output.u8(OBJECT_ORDER).u64(IMAGE_SIZE),
        "get_object_prefix" => output.str(&format!("rbd_data.{ID}")),
        "get_features" => output.u64(FEATURES).u64(INCOMPATIBLE),
        "get_snapcontext" => output.u64(0).u32(0),
        "get_flags" | "op_features_get" => output.u64(0),
        "get_data_pool" => output.i64(-1),
        // No pool, no namespace, no image, no snapshot.
        "parent_get" => output.envelope(1, 1, |spec| {
            spec.i64(-1).str("").str("").u64(u64::MAX - 1);
        }),
        "parent_overlap_get" => output.bool(false),
        "image_group_get" => output.envelope(1, 1, |group| {
            group.i64(-1).str("");
        }),
        "get_create_timestamp" | "get_access_timestamp" | "get_modify_timestamp" => {
            output.put(&UTime::default())
        }
        "metadata_list" => output.u32(0),
        _ => return None,
    };
    Some(())
}

/// Nobody holds the lock.
fn lock_info(output: &mut Writer) {
    output.envelope(1, 1, |info| {
        info.u32(0).u8(0).str("");
    });
}

/// All objects exist.
fn object_map(output: &mut Writer) {
    const EXISTS: u8 = 0b0101_0101;
    let objects = IMAGE_SIZE / OBJECT_SIZE;
    output.with_length(|header| {
        header.envelope(1, 1, |fields| {
            fields.u64(objects);
        });
    });
    let bytes = usize::try_from(objects / 4).unwrap_or_default();
    output.raw(&vec![EXISTS; bytes]).u32(0);
}

const ID: &str = "1005f2e8ab57";

/// `layering`, `exclusive-lock`, `object-map`, `fast-diff`, `deep-flatten`: what new images have.
const FEATURES: u64 = 0b11_1101;
/// Those of them without which nobody may write.
const INCOMPATIBLE: u64 = FEATURES;
