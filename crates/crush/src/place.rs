//! Following a rule.

use crate::draw::{self, Permutation};
use crate::limits::MAX_DRAWS;
use crate::{Bucket, ChooseArgs, CrushMap, Item, PlaceError, classic, hash32_2, msr};

/// What a placement is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The number to place: what a placement group hashes to.
    pub x: u32,
    /// How many devices are wanted at most.
    pub replicas: usize,
    /// How much of each device may be used, 16.16 fixed point: 0 is none (it is *out*), `0x10000`
    /// all. Devices beyond the end are out.
    pub weights: &'a [u32],
    /// Alternative weights; see [`CrushMap::choose_args`].
    pub choose_args: Option<&'a ChooseArgs>,
}

/// Memory that placements use; keep it to save setting it up every time.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) result: Vec<Item>,
    /// What the last step chose, what this one chooses, and the devices inside.
    pub(crate) vectors: [Vec<Item>; 3],
    /// What each step of a multi-step-retry rule uses, one step after another.
    pub(crate) used: Vec<Item>,
    pub(crate) permutation: Permutation,
}

impl CrushMap {
    /// Follows a rule: the devices for a number, with [holes](Item::NONE) where a position must
    /// stay empty. They may be fewer than wanted.
    ///
    /// # Errors
    /// If there is no such rule, or if it is malformed or would not come to an end.
    pub fn place<'s>(
        &self,
        rule: u32,
        input: &Input<'_>,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [Item], PlaceError> {
        let steps = self.rule(rule).ok_or(PlaceError::NoRule(rule))?;
        scratch.permutation.clear();
        scratch.result.clear();
        let Scratch {
            result,
            vectors,
            used,
            permutation,
        } = scratch;
        let mut walk = Walk {
            map: self,
            number: rule,
            rule: steps,
            input,
            permutation,
            draws_left: MAX_DRAWS,
        };
        if steps.kind.is_msr() {
            msr::follow(&mut walk, used, result)?;
        } else {
            classic::follow(&mut walk, vectors, result)?;
        }
        Ok(result)
    }
}

/// One placement under way.
pub(crate) struct Walk<'a> {
    pub(crate) map: &'a CrushMap,
    pub(crate) number: u32,
    pub(crate) rule: &'a crate::Rule,
    pub(crate) input: &'a Input<'a>,
    pub(crate) permutation: &'a mut Permutation,
    draws_left: u64,
}

impl<'a> Walk<'a> {
    /// Lets a bucket pick an item. `None` if it cannot.
    pub(crate) fn draw(
        &mut self,
        bucket: &Bucket,
        r: u32,
        position: usize,
    ) -> Result<Option<Item>, PlaceError> {
        self.pay(bucket)?;
        let arg = self
            .input
            .choose_args
            .and_then(|args| args.bucket(bucket.id));
        let at = (self.input.x, r);
        Ok(draw::choose(bucket, self.permutation, at, arg, position))
    }

    /// Picks an item by shuffling all of them.
    pub(crate) fn draw_shuffled(
        &mut self,
        bucket: &Bucket,
        r: u32,
    ) -> Result<Option<Item>, PlaceError> {
        self.pay(bucket)?;
        Ok(self.permutation.choose(bucket, self.input.x, r))
    }

    /// Counts an attempt in a bucket.
    pub(crate) fn pay(&mut self, bucket: &Bucket) -> Result<(), PlaceError> {
        let price = 1 + bucket.items.len() as u64;
        match self.draws_left.checked_sub(price) {
            Some(left) => {
                self.draws_left = left;
                Ok(())
            }
            None => Err(PlaceError::Endless(self.number)),
        }
    }

    /// The bucket of a number, living as long as the map.
    pub(crate) fn bucket(&self, item: Item) -> Option<&'a Bucket> {
        self.map.bucket(item)
    }

    /// The type of an item, 0 for devices. `None` if there is no such thing.
    pub(crate) fn kind(&self, item: Item) -> Option<i32> {
        if item.is_bucket() {
            return self.bucket(item).map(|bucket| bucket.kind.into());
        }
        (item.0 < self.map.max_devices).then_some(0)
    }

    /// Whether a device must not be used for this number. Buckets are no devices.
    pub(crate) fn is_out(&self, item: Item) -> bool {
        let weight = usize::try_from(item.0)
            .ok()
            .and_then(|index| self.input.weights.get(index).copied())
            .unwrap_or(0);
        match weight {
            0 => true,
            0x1_0000.. => false,
            weight => hash32_2(self.input.x, item.hashed()) & 0xffff >= weight,
        }
    }
}
