//! Alternative weights and ids for straw2 buckets (`ceph osd crush weight-set`).

use std::collections::BTreeMap;

use crate::Item;

/// What takes the place of buckets' own weights and item numbers, for one pool or for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChooseArgs {
    /// By the bucket's place in the map.
    pub(crate) buckets: BTreeMap<usize, ChooseArg>,
}

impl ChooseArgs {
    /// What applies to a bucket.
    pub fn bucket(&self, bucket: Item) -> Option<&ChooseArg> {
        self.buckets.get(&bucket.bucket_index()?)
    }
}

/// What takes the place of one bucket's weights and item numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChooseArg {
    /// Item weights (16.16 fixed point) by position in the result; the last set stands for all
    /// further positions. Items beyond the end of a set weigh nothing.
    pub weight_sets: Vec<Vec<u32>>,
    /// Numbers that are hashed instead of the items' own: as many as there are items, or none.
    pub ids: Vec<Item>,
}

impl ChooseArg {
    /// The weights for a position in the result, if they differ from the bucket's own.
    pub(crate) fn weights(&self, position: usize) -> Option<&[u32]> {
        self.weight_sets
            .get(position)
            .or_else(|| self.weight_sets.last())
            .map(Vec::as_slice)
    }
}
