//! How each kind of bucket picks one of its items (ceph: src/crush/mapper.c, `bucket_*_choose`).

use std::iter::repeat;

use crate::ln::ln;
use crate::{Bucket, BucketData, ChooseArg, Item, hash32_3, hash32_4};

/// The hash function of all buckets (`CRUSH_HASH_RJENKINS1`); any other gives 0.
const RJENKINS1: u8 = 0;

/// The permutation of one bucket's items, as far as it has been needed.
#[derive(Debug, Default)]
pub(crate) struct Permutation {
    bucket: Option<(Item, u32)>,
    /// Indices of items; those before `done` are in their final place.
    order: Vec<u32>,
    done: usize,
}

impl Permutation {
    /// Forgets what belongs to another map.
    pub(crate) fn clear(&mut self) {
        self.bucket = None;
    }

    /// The item that comes `r`-th, counted around, when the items are shuffled for `x`.
    pub(crate) fn choose(&mut self, bucket: &Bucket, x: u32, r: u32) -> Option<Item> {
        let size = u32::try_from(bucket.items.len()).ok()?;
        if self.bucket != Some((bucket.id, x)) {
            self.bucket = Some((bucket.id, x));
            self.order.clear();
            self.order.extend(0..size);
            self.done = 0;
        }
        let wanted = usize::try_from(r.checked_rem(size)?).ok()?;
        while self.done <= wanted {
            let p = self.done;
            let left = u32::try_from(self.order.len() - p).ok()?;
            let hash = hash3(bucket, x, bucket.id.hashed(), u32::try_from(p).ok()?);
            let other = p + usize::try_from(hash.checked_rem(left)?).ok()?;
            self.order.swap(p, other);
            self.done += 1;
        }
        let index = usize::try_from(*self.order.get(wanted)?).ok()?;
        bucket.items.get(index).copied()
    }
}

/// Picks an item for `x` at attempt `r`.
///
/// `position` selects among alternative weights. `None` if the bucket is empty or malformed.
pub(crate) fn choose(
    bucket: &Bucket,
    permutation: &mut Permutation,
    (x, r): (u32, u32),
    arg: Option<&ChooseArg>,
    position: usize,
) -> Option<Item> {
    match &bucket.data {
        BucketData::Uniform { .. } => permutation.choose(bucket, x, r),
        BucketData::List { weights } => list(bucket, weights, x, r),
        BucketData::Tree { node_weights } => tree(bucket, node_weights, x, r),
        BucketData::Straw { straws } => straw(bucket, straws, x, r),
        BucketData::Straw2 { weights } => {
            let weights = arg.and_then(|arg| arg.weights(position)).unwrap_or(weights);
            let ids = arg
                .map(|arg| arg.ids.as_slice())
                .filter(|ids| !ids.is_empty())
                .unwrap_or(&bucket.items);
            straw2(bucket, ids, weights, x, r)
        }
    }
}

fn list(bucket: &Bucket, weights: &[(u32, u32)], x: u32, r: u32) -> Option<Item> {
    bucket
        .items
        .iter()
        .zip(weights)
        .rev()
        .find(|&(item, &(weight, sum))| {
            let hash = hash4(bucket, x, item.hashed(), r);
            (u64::from(hash & 0xffff) * u64::from(sum)) >> 16 < u64::from(weight)
        })
        .map(|(item, _)| *item)
        .or_else(|| bucket.items.first().copied())
}

/// Nodes are numbered in order, so that leaves are odd and the root is the middle one. How often a
/// node's number can be halved is its height.
fn tree(bucket: &Bucket, node_weights: &[u32], x: u32, r: u32) -> Option<Item> {
    let mut node = u32::try_from(node_weights.len() / 2).ok()?;
    let weight = |node: u32| Some(u64::from(*node_weights.get(usize::try_from(node).ok()?)?));
    while node & 1 == 0 {
        let half = 1u32.checked_shl(node.trailing_zeros().checked_sub(1)?)?;
        let point = (u64::from(hash4(bucket, x, node, r)) * weight(node)?) >> 32;
        let left = node.checked_sub(half)?;
        node = if point < weight(left)? {
            left
        } else {
            node.checked_add(half)?
        };
    }
    bucket.items.get(usize::try_from(node >> 1).ok()?).copied()
}

fn straw(bucket: &Bucket, straws: &[(u32, u32)], x: u32, r: u32) -> Option<Item> {
    longest(bucket.items.iter().zip(straws).map(|(item, &(_, straw))| {
        let hash = hash3(bucket, x, item.hashed(), r);
        (*item, u64::from(hash & 0xffff) * u64::from(straw))
    }))
}

fn straw2(bucket: &Bucket, ids: &[Item], weights: &[u32], x: u32, r: u32) -> Option<Item> {
    let weights = weights.iter().copied().chain(repeat(0));
    longest(
        bucket
            .items
            .iter()
            .zip(ids)
            .zip(weights)
            .map(|((item, id), weight)| {
                // Ceph takes the weight for signed.
                let draw = match i64::from(weight.cast_signed()) {
                    0 => i64::MIN,
                    weight => {
                        let [low, high, ..] = hash3(bucket, x, id.hashed(), r).to_le_bytes();
                        let ln = ln(u16::from_le_bytes([low, high])).cast_signed() - LN_ONE;
                        ln / weight
                    }
                };
                (*item, draw)
            }),
    )
}

/// The item with the longest straw, the first of equals.
fn longest<T: PartialOrd>(straws: impl Iterator<Item = (Item, T)>) -> Option<Item> {
    straws
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(item, _)| item)
}

fn hash3(bucket: &Bucket, a: u32, b: u32, c: u32) -> u32 {
    if bucket.hash == RJENKINS1 {
        hash32_3(a, b, c)
    } else {
        0
    }
}

/// The fourth number is always that of the bucket.
fn hash4(bucket: &Bucket, a: u32, b: u32, c: u32) -> u32 {
    if bucket.hash == RJENKINS1 {
        hash32_4(a, b, c, bucket.id.hashed())
    } else {
        0
    }
}

/// The logarithm that stands for the probability 1.
const LN_ONE: i64 = 1 << 48;
