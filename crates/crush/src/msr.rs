//! Multi-step-retry rules (ceph: src/crush/mapper.c, `crush_msr_do_rule`; doc/dev/crush-msr.rst).
//!
//! Such a rule sets its number of attempts and then consists of blocks `take, choose_msr..., emit`.
//! Every choose step divides the positions that it is to fill into strides, one for each of its
//! items; all steps of a block are tried again together when a device is out.

use smallvec::{SmallVec, smallvec};

use crate::limits::MAX_NESTED_STEPS;
use crate::place::Walk;
use crate::{Bucket, Item, Op, PlaceError, RuleType, Step};

/// A block of the rule, and how far it is.
struct Block<'b> {
    /// The choose steps.
    steps: &'b [Step],
    /// For each step, what is used by which position: steps times replicas.
    used: &'b mut [Item],
    tries: u32,
    collision_tries: u32,
    /// The number of the attempt.
    attempt: u32,
}

/// A choose step for the positions from `start` to `end`.
#[derive(Clone, Copy)]
struct Part {
    /// Which of the block's steps.
    step: usize,
    /// Positions that this step and those behind it could fill.
    descendants: u32,
    start: u32,
    end: u32,
}

struct Output<'o> {
    result: &'o mut Vec<Item>,
    kind: RuleType,
    found: u32,
}

/// Follows the rule of the walk and puts what it gives into `result`.
pub(crate) fn follow(
    walk: &mut Walk<'_>,
    used: &mut Vec<Item>,
    result: &mut Vec<Item>,
) -> Result<(), PlaceError> {
    let malformed = PlaceError::MalformedRule(walk.number);
    let replicas = u32::try_from(walk.input.replicas).map_err(|_| malformed)?;
    result.resize(walk.input.replicas, Item::NONE);
    let mut output = Output {
        result,
        kind: walk.rule.kind,
        found: 0,
    };
    let mut tries = walk.map.tunables().msr_descents;
    let mut collision_tries = walk.map.tunables().msr_collision_tries;
    let mut steps = walk.rule.steps.as_slice();
    while let [first, rest @ ..] = steps {
        match first.op {
            Op::SET_MSR_DESCENTS => tries = first.arg1.cast_unsigned(),
            Op::SET_MSR_COLLISION_TRIES => collision_tries = first.arg1.cast_unsigned(),
            _ => break,
        }
        steps = rest;
    }
    let mut start = 0;
    while !steps.is_empty() {
        let (take, choices, rest) = next_block(steps).ok_or(malformed)?;
        steps = rest;
        let item = Item(take.arg1);
        if !item.is_bucket() {
            if !choices.is_empty() {
                return Err(malformed);
            }
            if start < replicas {
                output.put(start, item);
                start += 1;
            }
            continue;
        }
        let top = walk.bucket(item).ok_or(malformed)?;
        let descendants = choices
            .iter()
            .try_fold(1u32, |all, step| all.checked_mul(strides(step, replicas)?))
            .filter(|_| (1..=MAX_NESTED_STEPS).contains(&choices.len()))
            .ok_or(malformed)?;
        used.clear();
        used.resize(
            choices.len().saturating_mul(walk.input.replicas),
            Item::UNDEF,
        );
        let end = start.saturating_add(descendants).min(replicas);
        let wanted = output.found + (end - start);
        let mut block = Block {
            steps: choices,
            used,
            tries,
            collision_tries,
            attempt: 0,
        };
        while block.attempt < block.tries && output.found < wanted {
            let part = Part {
                step: 0,
                descendants,
                start,
                end,
            };
            block.choose(walk, &mut output, top, part)?;
            block.attempt += 1;
        }
        start = end;
    }
    if output.kind == RuleType::MSR_FIRSTN {
        let found = usize::try_from(output.found).unwrap_or(usize::MAX);
        output.result.truncate(found);
    }
    Ok(())
}

/// `take`, the choose steps, and what follows behind `emit`.
fn next_block(steps: &[Step]) -> Option<(Step, &[Step], &[Step])> {
    let (take, steps) = steps.split_first()?;
    let emit = steps.iter().position(|step| step.op != Op::CHOOSE_MSR)?;
    let (choices, rest) = steps.split_at_checked(emit)?;
    let (emit, rest) = rest.split_first()?;
    (take.op == Op::TAKE && emit.op == Op::EMIT).then_some((*take, choices, rest))
}

/// How many items a step chooses, at least 1.
fn strides(step: &Step, replicas: u32) -> Option<u32> {
    match u32::try_from(step.arg1).ok()? {
        0 => Some(replicas.max(1)),
        count => Some(count),
    }
}

impl Block<'_> {
    /// Tries once to fill the positions of a part that are not filled yet; gives how many it could.
    fn choose(
        &mut self,
        walk: &mut Walk<'_>,
        output: &mut Output<'_>,
        bucket: &Bucket,
        part: Part,
    ) -> Result<u32, PlaceError> {
        let malformed = PlaceError::MalformedRule(walk.number);
        let replicas = u32::try_from(walk.input.replicas).map_err(|_| malformed)?;
        // Also if there are no tries to pay for.
        walk.pay(bucket)?;
        let step = *self.steps.get(part.step).ok_or(malformed)?;
        let last = part.step + 1 == self.steps.len();
        let count = strides(&step, replicas).ok_or(malformed)?;
        let stride = part
            .descendants
            .checked_div(count)
            .filter(|len| *len > 0)
            .ok_or(malformed)?;
        // What was chosen in vain still keeps others away until the end of this attempt.
        let mut in_vain: SmallVec<[(u32, u32); 8]> = smallvec![];
        let mut mapped = 0;
        let mut start = part.start;
        for index in 0u32.. {
            if start >= part.end {
                break;
            }
            let range = (start, start.saturating_add(stride).min(part.end));
            start = range.1;
            if self.is_filled(walk, range) {
                continue;
            }
            let Some(item) = self.find(walk, bucket, &step, (part, range), index)? else {
                continue;
            };
            if step.arg2 == 0 {
                // Behind a step that chooses devices there can be no other.
                if stride != 1 || !last || walk.is_out(item) {
                    continue;
                }
                self.push(walk, part.step, range, item);
                output.put(range.0, item);
                mapped += 1;
            } else {
                let Some(inner) = walk.bucket(item).filter(|_| !last) else {
                    continue;
                };
                let inside = Part {
                    step: part.step + 1,
                    descendants: stride,
                    start: range.0,
                    end: range.1,
                };
                let inside = self.choose(walk, output, inner, inside)?;
                if self.push(walk, part.step, range, item) && inside == 0 {
                    in_vain.push(range);
                } else {
                    mapped += inside;
                }
            }
        }
        for range in in_vain {
            self.pop(walk, part.step, range);
        }
        Ok(mapped)
    }

    /// An item of the step's type that no other stride uses.
    fn find(
        &self,
        walk: &mut Walk<'_>,
        bucket: &Bucket,
        step: &Step,
        (part, range): (Part, (u32, u32)),
        index: u32,
    ) -> Result<Option<Item>, PlaceError> {
        let replicas = u32::try_from(walk.input.replicas).unwrap_or(u32::MAX);
        let at = self.attempt.wrapping_mul(replicas).wrapping_add(index) << 16;
        for collision in 0..self.collision_tries {
            let r = at.wrapping_add(collision);
            let Some(item) = descend(walk, bucket, step.arg2, r, index)? else {
                continue;
            };
            let used = self.used(walk, part.step, (part.start, part.end));
            let first = (part.start..).zip(used).find(|(_, used)| **used == item);
            if first.is_none_or(|(position, _)| (range.0..range.1).contains(&position)) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Whether all positions of a stride have their device.
    fn is_filled(&self, walk: &Walk<'_>, range: (u32, u32)) -> bool {
        let devices = self.used(walk, self.steps.len() - 1, range);
        !devices.contains(&Item::UNDEF)
    }

    /// Notes that a stride uses an item; gives whether that is new.
    fn push(&mut self, walk: &Walk<'_>, step: usize, range: (u32, u32), item: Item) -> bool {
        let free = |used: &&mut Item| **used == item || **used == Item::UNDEF;
        match self.used_mut(walk, step, range).iter_mut().find(free) {
            Some(slot) if *slot != item => {
                *slot = item;
                true
            }
            _ => false,
        }
    }

    /// Takes back the last thing that a stride has come to use.
    fn pop(&mut self, walk: &Walk<'_>, step: usize, range: (u32, u32)) {
        let used = self.used_mut(walk, step, range).iter_mut();
        if let Some(slot) = used.rev().find(|used| **used != Item::UNDEF) {
            *slot = Item::UNDEF;
        }
    }

    fn used(&self, walk: &Walk<'_>, step: usize, range: (u32, u32)) -> &[Item] {
        self.used.get(span(walk, step, range)).unwrap_or_default()
    }

    fn used_mut(&mut self, walk: &Walk<'_>, step: usize, range: (u32, u32)) -> &mut [Item] {
        self.used
            .get_mut(span(walk, step, range))
            .unwrap_or_default()
    }
}

/// Where a step's positions are among those of all steps.
fn span(walk: &Walk<'_>, step: usize, (start, end): (u32, u32)) -> std::ops::Range<usize> {
    let at = |position: u32| {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        step.saturating_mul(walk.input.replicas)
            .saturating_add(position)
    };
    at(start)..at(end)
}

/// Goes down from a bucket to an item of a type or to a device.
fn descend(
    walk: &mut Walk<'_>,
    top: &Bucket,
    kind: i32,
    r: u32,
    index: u32,
) -> Result<Option<Item>, PlaceError> {
    let position = usize::try_from(index).unwrap_or(usize::MAX);
    let mut inner = None;
    loop {
        let bucket = inner.unwrap_or(top);
        let Some(item) = walk.draw(bucket, r, position)? else {
            return Ok(None);
        };
        if !item.is_bucket() {
            return Ok(Some(item));
        }
        let Some(bucket) = walk.bucket(item) else {
            return Ok(None);
        };
        if i32::from(bucket.kind) == kind {
            return Ok(Some(item));
        }
        inner = Some(bucket);
    }
}

impl Output<'_> {
    fn put(&mut self, position: u32, item: Item) {
        let position = if self.kind == RuleType::MSR_FIRSTN {
            self.found
        } else {
            position
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        if let Some(slot) = self.result.get_mut(position) {
            *slot = item;
            self.found += 1;
        }
    }
}
