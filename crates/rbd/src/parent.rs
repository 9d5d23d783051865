//! Where a clone's data comes from (ceph: src/cls/rbd/cls_rbd_types.h, `ParentImageSpec`).

use std::fmt;

use denc::{Decode, PoolId, Reader, SnapId};

/// The snapshot that a clone was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentSpec {
    /// The number of the pool where it is.
    pub pool: PoolId,
    /// The namespace, "" for the default one.
    pub namespace: String,
    /// The id of the image.
    pub image_id: String,
    /// The snapshot.
    pub snap: SnapId,
}

impl Decode for ParentSpec {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("ParentImageSpec", 1)?.reader;
        Ok(Self {
            pool: fields.get()?,
            namespace: fields.get()?,
            image_id: fields.get()?,
            snap: fields.get()?,
        })
    }
}

/// Numbers and ids, since names would have to be looked up.
impl fmt::Display for ParentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}", self.pool)?;
        if !self.namespace.is_empty() {
            write!(f, " namespace {}", self.namespace)?;
        }
        write!(f, " image id {} snapshot id {}", self.image_id, self.snap)
    }
}

/// The parent of an image or of a snapshot of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// What was cloned.
    pub spec: ParentSpec,
    /// How many bytes from the start of the clone show the parent where nothing was written.
    pub overlap: u64,
}
