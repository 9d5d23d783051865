//! Buckets: the inner nodes of the hierarchy.

use denc::{Decode, Reader, Result};

use crate::Item;

/// A host, rack, root, ...: a set of weighted items and a way to pick one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its number.
    pub id: Item,
    /// Its type: what [`CrushMap::type_name`](crate::CrushMap::type_name) knows the name of.
    pub kind: u16,
    /// The hash function; 0 is the only one there is.
    pub hash: u8,
    /// Its weight, 16.16 fixed point.
    pub weight: u32,
    /// What is in it.
    pub items: Vec<Item>,
    /// How one of the items is picked, and by which numbers.
    pub data: BucketData,
}

/// How a bucket picks one of its items. Weights are 16.16 fixed point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketData {
    /// All items weigh the same.
    Uniform {
        /// The weight of each.
        item_weight: u32,
    },
    /// A list, searched from its end.
    List {
        /// The weight of each item, and of all items up to and with it.
        weights: Vec<(u32, u32)>,
    },
    /// A binary tree.
    Tree {
        /// The weights of the tree's nodes; items are the odd ones.
        node_weights: Vec<u32>,
    },
    /// Draws straws whose lengths depend on all weights.
    Straw {
        /// The weight of each item and the length of its straw.
        straws: Vec<(u32, u32)>,
    },
    /// Draws straws whose lengths depend on each item's weight alone.
    Straw2 {
        /// The weight of each item.
        weights: Vec<u32>,
    },
}

impl Bucket {
    /// The weight of the item at `index`, 16.16 fixed point.
    pub fn item_weight(&self, index: usize) -> Option<u32> {
        self.items.get(index)?;
        match &self.data {
            BucketData::Uniform { item_weight } => Some(*item_weight),
            BucketData::List { weights: pairs } | BucketData::Straw { straws: pairs } => {
                pairs.get(index).map(|&(weight, _)| weight)
            }
            BucketData::Tree { node_weights } => node_weights.get(2 * index + 1).copied(),
            BucketData::Straw2 { weights } => weights.get(index).copied(),
        }
    }

    /// Reads the bucket behind the word that names its algorithm.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let id = reader.get()?;
        let kind = reader.u16()?;
        let alg = reader.u8()?;
        let hash = reader.u8()?;
        let weight = reader.u32()?;
        let items: Vec<Item> = reader.get()?;
        let data = decode_data(reader, alg, items.len())?;
        Ok(Self {
            id,
            kind,
            hash,
            weight,
            items,
            data,
        })
    }
}

fn decode_data(reader: &mut Reader<'_>, alg: u8, size: usize) -> Result<BucketData> {
    Ok(match alg {
        UNIFORM => BucketData::Uniform {
            item_weight: reader.u32()?,
        },
        LIST => BucketData::List {
            weights: sequence(reader, size)?,
        },
        TREE => {
            let nodes = usize::from(reader.u8()?);
            BucketData::Tree {
                node_weights: sequence(reader, nodes)?,
            }
        }
        STRAW => BucketData::Straw {
            straws: sequence(reader, size)?,
        },
        STRAW2 => BucketData::Straw2 {
            weights: sequence(reader, size)?,
        },
        other => return Err(reader.invalid("bucket algorithm", other.into())),
    })
}

/// `len` values without a count before them. The bytes are checked before memory is set aside.
fn sequence<T: Decode>(reader: &mut Reader<'_>, len: usize) -> Result<Vec<T>> {
    let mut bytes = reader.sub(len.saturating_mul(T::MIN_LEN))?;
    (0..len).map(|_| bytes.get()).collect()
}

/// Bucket algorithms (ceph: src/crush/crush.h, `crush_algorithm`).
const UNIFORM: u8 = 1;
const LIST: u8 = 2;
const TREE: u8 = 3;
const STRAW: u8 = 4;
const STRAW2: u8 = 5;
