//! What the objects of images are called (ceph: src/include/rbd_types.h).

use denc::SnapId;
use smallvec::SmallVec;

/// What is known of a pool as a whole; in the default namespace.
pub(crate) const POOL_INFO: &str = "rbd_info";
/// Name to id and id to name of every image of a namespace.
pub(crate) const DIRECTORY: &str = "rbd_directory";
/// Which namespaces a pool has; in the default namespace.
pub(crate) const NAMESPACES: &str = "rbd_namespace";

/// The object that holds the id of the image called `name`.
pub(crate) fn id_object(name: &str) -> String {
    format!("rbd_id.{name}")
}

/// The object that everything about an image hangs on.
pub(crate) fn header(id: &str) -> String {
    format!("rbd_header.{id}")
}

/// The header of an image of format 1.
pub(crate) fn format1_header(name: &str) -> String {
    format!("{name}.rbd")
}

/// The object map of an image or of a snapshot of it.
pub(crate) fn object_map(id: &str, snap: SnapId) -> String {
    if snap == SnapId::HEAD {
        format!("rbd_object_map.{id}")
    } else {
        format!("rbd_object_map.{id}.{:016x}", snap.0)
    }
}

/// The prefix of a new image's data objects; `metadata_pool` is given if they are in another pool.
pub(crate) fn data_prefix(id: &str, metadata_pool: Option<denc::PoolId>) -> String {
    match metadata_pool {
        Some(pool) => format!("rbd_data.{pool}.{id}"),
        None => format!("rbd_data.{id}"),
    }
}

/// The name of a data object, on the stack.
#[derive(Debug, Default)]
pub(crate) struct DataObject {
    /// UTF-8: only whole strings are ever appended.
    text: SmallVec<[u8; 64]>,
}

impl DataObject {
    pub(crate) fn new(prefix: &str, object_no: u64) -> Self {
        let mut name = Self::default();
        name.text.extend_from_slice(prefix.as_bytes());
        name.text.push(b'.');
        // Made for every I/O: formatting by the standard library's means takes ten times as long.
        let digits = object_no.to_be_bytes().map(|byte| {
            let digit = |value: u8| char::from_digit(value.into(), 16).map_or(b'0', |it| it as u8);
            [digit(byte >> 4), digit(byte & 0xf)]
        });
        name.text.extend_from_slice(digits.as_flattened());
        name
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_the_tools_list() {
        assert_eq!(
            DataObject::new("rbd_data.1020de14bd1", 0x1f).as_str(),
            "rbd_data.1020de14bd1.000000000000001f"
        );
        assert_eq!(object_map("12ab", SnapId::HEAD), "rbd_object_map.12ab");
        assert_eq!(
            object_map("12ab", SnapId(4)),
            "rbd_object_map.12ab.0000000000000004"
        );
        assert_eq!(
            data_prefix("12ab", Some(denc::PoolId(7))),
            "rbd_data.7.12ab"
        );
        let long = "x".repeat(200);
        assert_eq!(DataObject::new(&long, 1).as_str().len(), 217);
    }
}
