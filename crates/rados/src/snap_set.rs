//! The clones that snapshots have left of an object.

use denc::{Decode, Reader, SnapId};

/// The answer to [`Operation::list_snaps`](crate::Operation::list_snaps): everything that is stored
/// under an object's name (ceph: src/include/rados/rados_types.hpp, `obj_list_snap_response_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapSet {
    /// The clones, oldest first, and last the object as it is now, if it exists.
    pub clones: Vec<CloneInfo>,
    /// The newest snapshot that writes to the object had to preserve so far. The object as it is now
    /// is younger.
    pub seq: SnapId,
}

/// One clone of an object, or the object as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneInfo {
    /// Its number: the newest snapshot it was made for, or [`SnapId::HEAD`].
    pub id: SnapId,
    /// The snapshots, oldest first, that still exist and that it is what the object was at. Empty
    /// for the object as it is now.
    pub snaps: Vec<SnapId>,
    /// Offset and length in bytes of what the next one, the next younger, has unchanged.
    pub overlap: Vec<(u64, u64)>,
    /// Its size in bytes.
    pub size: u64,
}

impl Decode for SnapSet {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("obj_list_snap_response_t", 2)?.reader;
        Ok(Self {
            clones: fields.get()?,
            seq: fields.get()?,
        })
    }
}

impl Decode for CloneInfo {
    const MIN_LEN: usize = 6 + 8 + 4 + 4 + 8;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("clone_info", 1)?.reader;
        Ok(Self {
            id: fields.get()?,
            snaps: fields.get()?,
            overlap: fields.get()?,
            size: fields.u64()?,
        })
    }
}
