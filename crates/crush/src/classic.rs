//! Rules made of choose and chooseleaf steps (ceph: src/crush/mapper.c, `crush_do_rule_no_retry`,
//! `crush_choose_firstn`, `crush_choose_indep`).

use crate::place::Walk;
use crate::{Bucket, BucketData, Item, Op, PlaceError, Step};

/// How items are searched for; steps of the rule change it for those behind them.
#[derive(Clone, Copy)]
struct Search {
    tries: u32,
    /// 0: not set by the rule.
    leaf_tries: u32,
    local_retries: u32,
    local_fallback_retries: u32,
    vary_r: u32,
    stable: bool,
}

/// What one step, or the search inside one bucket, chooses.
#[derive(Clone, Copy)]
struct Choice {
    /// How many items, as the step says.
    count: u32,
    /// Their type.
    kind: i32,
    tries: u32,
    /// Attempts inside each chosen bucket.
    leaf_tries: u32,
    /// The attempt number of the outer search.
    parent_r: u32,
}

/// Follows the rule of the walk and puts what it emits into `result`.
pub(crate) fn follow(
    walk: &mut Walk<'_>,
    vectors: &mut [Vec<Item>; 3],
    result: &mut Vec<Item>,
) -> Result<(), PlaceError> {
    let tunables = walk.map.tunables();
    let mut search = Search {
        // The map counts further attempts.
        tries: tunables.choose_total_tries.wrapping_add(1),
        leaf_tries: 0,
        local_retries: tunables.choose_local_tries,
        local_fallback_retries: tunables.choose_local_fallback_tries,
        vary_r: tunables.chooseleaf_vary_r.into(),
        stable: tunables.chooseleaf_stable,
    };
    let [chosen, choosing, leaves] = vectors;
    chosen.clear();
    for step in &walk.rule.steps {
        match step.op {
            Op::TAKE => {
                let item = Item(step.arg1);
                if walk.kind(item).is_some() {
                    chosen.clear();
                    chosen.push(item);
                }
            }
            Op::CHOOSE_FIRSTN | Op::CHOOSE_INDEP | Op::CHOOSELEAF_FIRSTN | Op::CHOOSELEAF_INDEP
                if !chosen.is_empty() =>
            {
                choose(walk, &search, step, chosen, choosing, leaves)?;
                std::mem::swap(chosen, choosing);
            }
            Op::EMIT => {
                let room = walk.input.replicas.saturating_sub(result.len());
                result.extend(chosen.iter().take(room));
                chosen.clear();
            }
            _ => search.set(step),
        }
    }
    Ok(())
}

impl Search {
    fn set(&mut self, step: &Step) {
        let Ok(value) = u32::try_from(step.arg1) else {
            return;
        };
        match step.op {
            Op::SET_CHOOSE_TRIES if value > 0 => self.tries = value,
            Op::SET_CHOOSELEAF_TRIES if value > 0 => self.leaf_tries = value,
            Op::SET_CHOOSE_LOCAL_TRIES => self.local_retries = value,
            Op::SET_CHOOSE_LOCAL_FALLBACK_TRIES => self.local_fallback_retries = value,
            Op::SET_CHOOSELEAF_VARY_R => self.vary_r = value,
            Op::SET_CHOOSELEAF_STABLE => self.stable = value != 0,
            _ => {}
        }
    }
}

/// Chooses below each of the items `from`, one after the other.
fn choose(
    walk: &mut Walk<'_>,
    search: &Search,
    step: &Step,
    from: &[Item],
    chosen: &mut Vec<Item>,
    leaves: &mut Vec<Item>,
) -> Result<(), PlaceError> {
    let replicas = walk.input.replicas;
    let firstn = matches!(step.op, Op::CHOOSE_FIRSTN | Op::CHOOSELEAF_FIRSTN);
    let leaf = matches!(step.op, Op::CHOOSELEAF_FIRSTN | Op::CHOOSELEAF_INDEP);
    for vector in [&mut *chosen, &mut *leaves] {
        vector.clear();
        vector.resize(replicas, Item::NONE);
    }
    let mut len = 0;
    let count = match u32::try_from(step.arg1) {
        Ok(count @ 1..) => count,
        // "All", or all but some.
        _ => u32::try_from(replicas)
            .unwrap_or(u32::MAX)
            .saturating_sub(step.arg1.unsigned_abs()),
    };
    let map = walk.map;
    for bucket in from.iter().filter_map(|item| map.bucket(*item)) {
        if count == 0 {
            break;
        }
        let out = chosen.get_mut(len..).unwrap_or_default();
        let leaf_out = leaf.then(|| leaves.get_mut(len..).unwrap_or_default());
        let room = replicas - len;
        let mut choice = Choice {
            count,
            kind: step.arg2,
            tries: search.tries,
            leaf_tries: 1,
            parent_r: 0,
        };
        if firstn {
            choice.leaf_tries = if search.leaf_tries > 0 {
                search.leaf_tries
            } else if walk.map.tunables().chooseleaf_descend_once {
                1
            } else {
                search.tries
            };
            len += choose_firstn(walk, search, &choice, bucket, out, (0, room), leaf_out)?;
        } else {
            choice.leaf_tries = search.leaf_tries.max(1);
            let room = room.min(usize::try_from(count).unwrap_or(usize::MAX));
            choose_indep(walk, &choice, bucket, out, (0, room), leaf_out)?;
            len += room;
        }
    }
    chosen.truncate(len);
    if leaf {
        for (item, leaf) in chosen.iter_mut().zip(leaves) {
            *item = *leaf;
        }
    }
    Ok(())
}

/// Chooses items that do not repeat, closing ranks over what is not found. Fills `out` from `start`
/// on with at most `room` items and gives the position behind the last.
fn choose_firstn(
    walk: &mut Walk<'_>,
    search: &Search,
    choice: &Choice,
    top: &Bucket,
    out: &mut [Item],
    (start, mut room): (usize, usize),
    mut leaves: Option<&mut [Item]>,
) -> Result<usize, PlaceError> {
    let mut position = start;
    let first = if search.stable { 0 } else { start };
    let first = u32::try_from(first).unwrap_or(u32::MAX);
    for replica in first..choice.count {
        if room == 0 {
            break;
        }
        let base = replica.wrapping_add(choice.parent_r);
        let mut failures = 0u32;
        let found = 'descent: loop {
            let mut bucket = top;
            let mut local_failures = 0u32;
            loop {
                let r = base.wrapping_add(failures);
                let size = u32::try_from(bucket.items.len()).unwrap_or(u32::MAX);
                let mut collides = false;
                if size == 0 {
                    walk.pay(bucket)?;
                } else {
                    let fallback = search.local_fallback_retries;
                    let item = if fallback > 0
                        && local_failures >= size / 2
                        && local_failures > fallback
                    {
                        walk.draw_shuffled(bucket, r)?
                    } else {
                        walk.draw(bucket, r, position)?
                    };
                    let Some((item, kind)) = item.and_then(|item| Some((item, walk.kind(item)?)))
                    else {
                        break 'descent None;
                    };
                    if kind != choice.kind {
                        match walk.bucket(item) {
                            Some(inner) => bucket = inner,
                            None => break 'descent None,
                        }
                        continue;
                    }
                    collides = out.iter().take(position).any(|taken| *taken == item);
                    if !collides {
                        let leaves = leaves.as_deref_mut();
                        let at = (position, room);
                        if find_leaf(walk, search, choice, item, r, at, leaves)?
                            && !(kind == 0 && walk.is_out(item))
                        {
                            break 'descent Some(item);
                        }
                    }
                }
                failures = failures.wrapping_add(1);
                local_failures = local_failures.wrapping_add(1);
                let again_here = collides && local_failures <= search.local_retries
                    || search.local_fallback_retries > 0
                        && local_failures <= size.wrapping_add(search.local_fallback_retries);
                if again_here {
                    continue;
                }
                if failures < choice.tries {
                    continue 'descent;
                }
                break 'descent None;
            }
        };
        if let Some(item) = found {
            put(out, position, item);
            position += 1;
            room -= 1;
        }
    }
    Ok(position)
}

/// Puts a device inside a chosen item into `leaves`; gives whether there is one. Without `leaves`
/// none is wanted.
fn find_leaf(
    walk: &mut Walk<'_>,
    search: &Search,
    choice: &Choice,
    item: Item,
    r: u32,
    (position, room): (usize, usize),
    leaves: Option<&mut [Item]>,
) -> Result<bool, PlaceError> {
    let Some(leaves) = leaves else {
        return Ok(true);
    };
    let Some(inner) = walk.bucket(item) else {
        return Ok(put(leaves, position, item));
    };
    let last = u32::try_from(position).unwrap_or(u32::MAX);
    let inside = Choice {
        count: if search.stable {
            1
        } else {
            last.saturating_add(1)
        },
        kind: 0,
        tries: choice.leaf_tries,
        leaf_tries: 0,
        parent_r: shifted(r, search.vary_r),
    };
    let end = choose_firstn(walk, search, &inside, inner, leaves, (position, room), None)?;
    Ok(end > position)
}

/// Chooses items that do not repeat, each for its own position; what is not found is a hole.
fn choose_indep(
    walk: &mut Walk<'_>,
    choice: &Choice,
    top: &Bucket,
    out: &mut [Item],
    (start, len): (usize, usize),
    mut leaves: Option<&mut [Item]>,
) -> Result<(), PlaceError> {
    let end = start + len;
    let mut left = len;
    for position in start..end {
        put(out, position, Item::UNDEF);
        if let Some(leaves) = leaves.as_deref_mut() {
            put(leaves, position, Item::UNDEF);
        }
    }
    let mut failures = 0;
    while left > 0 && failures < choice.tries {
        for position in start..end {
            if out.get(position) != Some(&Item::UNDEF) {
                continue;
            }
            let replica = u32::try_from(position).unwrap_or(u32::MAX);
            let base = replica.wrapping_add(choice.parent_r);
            let mut bucket = top;
            loop {
                let r = base.wrapping_add(stride(bucket, choice.count).wrapping_mul(failures));
                if bucket.items.is_empty() {
                    walk.pay(bucket)?;
                    break;
                }
                let item = walk.draw(bucket, r, start)?;
                let found = item.and_then(|item| Some((item, walk.kind(item)?)));
                let inner = found.and_then(|(item, _)| walk.bucket(item));
                let Some((item, kind)) =
                    found.filter(|&(_, kind)| kind == choice.kind || inner.is_some())
                else {
                    put(out, position, Item::NONE);
                    if let Some(leaves) = leaves.as_deref_mut() {
                        put(leaves, position, Item::NONE);
                    }
                    left -= 1;
                    break;
                };
                if let (true, Some(inner)) = (kind != choice.kind, inner) {
                    bucket = inner;
                    continue;
                }
                let taken = out.get(start..end).unwrap_or_default();
                if taken.contains(&item) {
                    break;
                }
                if let Some(leaves) = leaves.as_deref_mut() {
                    match inner {
                        None => {
                            put(leaves, position, item);
                        }
                        Some(inner) => {
                            let inside = Choice {
                                count: choice.count,
                                kind: 0,
                                tries: choice.leaf_tries,
                                leaf_tries: 0,
                                parent_r: r,
                            };
                            choose_indep(walk, &inside, inner, leaves, (position, 1), None)?;
                            if leaves.get(position) == Some(&Item::NONE) {
                                break;
                            }
                        }
                    }
                }
                if kind == 0 && walk.is_out(item) {
                    break;
                }
                put(out, position, item);
                left -= 1;
                break;
            }
        }
        failures += 1;
    }
    let undecided = |item: &&mut Item| **item == Item::UNDEF;
    let decided = out.get_mut(start..end).unwrap_or_default();
    decided
        .iter_mut()
        .filter(undecided)
        .for_each(|item| *item = Item::NONE);
    if let Some(leaves) = leaves {
        let decided = leaves.get_mut(start..end).unwrap_or_default();
        decided
            .iter_mut()
            .filter(undecided)
            .for_each(|item| *item = Item::NONE);
    }
    Ok(())
}

/// By how much attempts are apart, so that they do not hit the same items in turn.
fn stride(bucket: &Bucket, count: u32) -> u32 {
    let uniform = matches!(bucket.data, BucketData::Uniform { .. });
    let size = u32::try_from(bucket.items.len()).unwrap_or(u32::MAX);
    if uniform && size.checked_rem(count) == Some(0) {
        count.wrapping_add(1)
    } else {
        count
    }
}

/// How an attempt counts in the search inside a bucket.
fn shifted(r: u32, vary_r: u32) -> u32 {
    match vary_r.checked_sub(1) {
        None => 0,
        // Ceph takes it for signed.
        Some(shift) => r
            .cast_signed()
            .checked_shr(shift)
            .unwrap_or(0)
            .cast_unsigned(),
    }
}

/// Sets a position, which there always is; gives whether there was.
fn put(items: &mut [Item], position: usize, item: Item) -> bool {
    let slot = items.get_mut(position);
    let there = slot.is_some();
    if let Some(slot) = slot {
        *slot = item;
    }
    there
}
