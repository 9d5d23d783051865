//! The binary form of the map (ceph: src/crush/CrushWrapper.cc, `CrushWrapper::decode`).
//!
//! ```text
//! magic u32 | max_buckets i32 | max_rules u32 | max_devices i32
//! max_buckets x { algorithm u32, 0 if there is none | bucket }
//! max_rules x { 1 or 0 u32 | rule }
//! names of types, items, rules
//! ```
//! Then follow, each from some release on, tunables, device classes, `choose_args` and the tunables
//! of multi-step-retry rules. There is no version: what the bytes do not hold is at its default, and
//! what follows behind is from a newer release and ignored.

use std::collections::BTreeMap;

use denc::{Decode, DecodeErrorKind, Reader, Result};

use crate::{Bucket, ChooseArg, ChooseArgs, CrushMap, Item, Rule, Tunables};

impl Decode for CrushMap {
    /// Takes all bytes of the reader.
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let outer = reader.what();
        reader.set_what("crush map");
        let map = decode(reader);
        reader.set_what(outer);
        map
    }
}

fn decode(reader: &mut Reader<'_>) -> Result<CrushMap> {
    let magic = reader.u32()?;
    if magic != MAGIC {
        return Err(reader.invalid("magic", magic.into()));
    }
    let max_buckets = reader.u32()?;
    let max_rules = reader.u32()?;
    // max_devices, which may be out of date.
    reader.i32()?;
    let buckets = decode_buckets(reader, max_buckets)?;
    let rules = decode_rules(reader, max_rules)?;
    let mut map = CrushMap {
        max_devices: max_devices(&buckets),
        buckets,
        rules,
        tunables: Tunables::LEGACY,
        type_names: decode_names(reader)?,
        item_names: decode_names(reader)?,
        rule_names: decode_names(reader)?,
        classes: BTreeMap::new(),
        class_names: BTreeMap::new(),
        class_buckets: BTreeMap::new(),
        choose_args: BTreeMap::new(),
    };
    decode_tail(reader, &mut map)?;
    reader.take_rest();
    match find_cycle(&map) {
        Some(bucket) => Err(reader.invalid("bucket inside itself", bucket.hashed().into())),
        None => Ok(map),
    }
}

/// What later releases have appended; any of it may be missing.
fn decode_tail(reader: &mut Reader<'_>, map: &mut CrushMap) -> Result<()> {
    let tunables = &mut map.tunables;
    if !reader.is_empty() {
        tunables.choose_local_tries = reader.u32()?;
        tunables.choose_local_fallback_tries = reader.u32()?;
        tunables.choose_total_tries = reader.u32()?;
    }
    if !reader.is_empty() {
        tunables.chooseleaf_descend_once = reader.u32()? != 0;
    }
    if !reader.is_empty() {
        tunables.chooseleaf_vary_r = reader.u8()?;
    }
    if !reader.is_empty() {
        tunables.straw_calc_version = reader.u8()?;
    }
    if !reader.is_empty() {
        tunables.allowed_bucket_algs = reader.u32()?;
    }
    if !reader.is_empty() {
        tunables.chooseleaf_stable = reader.bool()?;
    }
    if !reader.is_empty() {
        map.classes = reader.get()?;
        map.class_names = reader.get()?;
        map.class_buckets = reader.get()?;
    }
    if !reader.is_empty() {
        map.choose_args = decode_choose_args(reader, &map.buckets)?;
    }
    if !reader.is_empty() {
        map.tunables.msr_descents = reader.u32()?;
        map.tunables.msr_collision_tries = reader.u32()?;
    }
    Ok(())
}

fn decode_buckets(reader: &mut Reader<'_>, count: u32) -> Result<Vec<Option<Box<Bucket>>>> {
    let mut buckets = Vec::with_capacity(present(reader, count)?);
    for index in 0..count {
        let algorithm = reader.u32()?;
        if algorithm == 0 {
            buckets.push(None);
            continue;
        }
        let start = reader.clone();
        let bucket = Bucket::decode(reader)?;
        // The walk goes from number to place and back.
        if bucket.id.0 != !index.cast_signed() {
            return Err(start.invalid("bucket id", bucket.id.hashed().into()));
        }
        buckets.push(Some(Box::new(bucket)));
    }
    Ok(buckets)
}

/// As Ceph computes it anew for every map it reads (`crush_finalize`).
fn max_devices(buckets: &[Option<Box<Bucket>>]) -> i32 {
    let items = buckets.iter().flatten().flat_map(|bucket| &bucket.items);
    items
        .filter(|item| !item.is_bucket())
        .map(|item| item.0.saturating_add(1))
        .max()
        .unwrap_or(0)
}

fn decode_rules(reader: &mut Reader<'_>, count: u32) -> Result<Vec<Option<Rule>>> {
    present(reader, count)?;
    (0..count)
        .map(|_| match reader.u32()? {
            0 => Ok(None),
            _ => reader.get().map(Some),
        })
        .collect()
}

/// `count` items of which each takes a word at least.
fn present(reader: &Reader<'_>, count: u32) -> Result<usize> {
    let needed = u64::from(count) * size_of::<u32>() as u64;
    match usize::try_from(count) {
        Ok(count) if needed <= reader.remaining() as u64 => Ok(count),
        _ => Err(reader.error(DecodeErrorKind::Truncated {
            needed,
            available: reader.remaining(),
        })),
    }
}

/// Numbers and names. A release once wrote the numbers with 64 bits; as names are never empty, an
/// empty one is the upper half of such a number.
fn decode_names(reader: &mut Reader<'_>) -> Result<BTreeMap<i32, String>> {
    let count = reader.count(8)?;
    let mut names = BTreeMap::new();
    for _ in 0..count {
        let number = reader.i32()?;
        let name = match reader.str()? {
            "" => reader.str()?,
            name => name,
        };
        names.insert(number, name.to_owned());
    }
    Ok(names)
}

fn decode_choose_args(
    reader: &mut Reader<'_>,
    buckets: &[Option<Box<Bucket>>],
) -> Result<BTreeMap<i64, ChooseArgs>> {
    let sets = reader.count(12)?;
    let mut all = BTreeMap::new();
    for _ in 0..sets {
        let key = reader.i64()?;
        let count = reader.count(12)?;
        let mut args = ChooseArgs::default();
        for _ in 0..count {
            let start = reader.clone();
            let number = reader.u32()?;
            let weight_sets = reader.get()?;
            let ids: Vec<Item> = reader.get()?;
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let Some(bucket) = buckets.get(index) else {
                return Err(start.invalid("choose_args bucket index", number.into()));
            };
            let size = bucket.as_ref().map_or(0, |bucket| bucket.items.len());
            if !ids.is_empty() && ids.len() != size {
                return Err(start.invalid("choose_args ids", ids.len() as u64));
            }
            args.buckets.insert(index, ChooseArg { weight_sets, ids });
        }
        all.insert(key, args);
    }
    Ok(all)
}

/// A bucket that is inside itself, if there is one. Goes down from every bucket, depth first, and
/// never enters a bucket twice.
fn find_cycle(map: &CrushMap) -> Option<Item> {
    let mut states = vec![Visit::Unseen; map.buckets.len()];
    // Buckets being looked at, each inside the one before, and which of their items is next.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..map.buckets.len() {
        enter(&mut states, &mut path, start);
        while let Some((index, next)) = path.last_mut() {
            let bucket = map.buckets.get(*index).and_then(Option::as_deref);
            let Some(item) = bucket.and_then(|bucket| bucket.items.get(*next)) else {
                if let Some(state) = states.get_mut(*index) {
                    *state = Visit::Done;
                }
                path.pop();
                continue;
            };
            *next += 1;
            let Some(child) = item.bucket_index() else {
                continue;
            };
            if states.get(child) == Some(&Visit::Open) {
                return Some(*item);
            }
            enter(&mut states, &mut path, child);
        }
    }
    None
}

/// Goes into a bucket unless that has been done before.
fn enter(states: &mut [Visit], path: &mut Vec<(usize, usize)>, index: usize) {
    if let Some(state @ Visit::Unseen) = states.get_mut(index) {
        *state = Visit::Open;
        path.push((index, 0));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Unseen,
    /// On the path that is being looked at.
    Open,
    Done,
}

/// First word of every map.
const MAGIC: u32 = 0x0001_0000;
