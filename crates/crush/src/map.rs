//! The CRUSH map.

use std::collections::BTreeMap;

use crate::{Bucket, ChooseArgs, Item, Rule, RuleType, Tunables};

/// How a cluster is built: buckets, rules, their names, tunables.
///
/// Got from bytes by [`denc::Decode`]. A map that has been decoded has no cycles: no bucket is
/// inside itself. It may refer to buckets and devices that do not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrushMap {
    /// By [`Item::bucket_index`]; boxed, so that holes cost little.
    pub(crate) buckets: Vec<Option<Box<Bucket>>>,
    /// By number.
    pub(crate) rules: Vec<Option<Rule>>,
    pub(crate) max_devices: i32,
    pub(crate) tunables: Tunables,
    pub(crate) type_names: BTreeMap<i32, String>,
    pub(crate) item_names: BTreeMap<i32, String>,
    pub(crate) rule_names: BTreeMap<i32, String>,
    /// Item to class number.
    pub(crate) classes: BTreeMap<i32, i32>,
    pub(crate) class_names: BTreeMap<i32, String>,
    /// Bucket to class number to the bucket that holds only devices of that class.
    pub(crate) class_buckets: BTreeMap<i32, BTreeMap<i32, i32>>,
    /// By pool number; [`DEFAULT_CHOOSE_ARGS`] for all other pools.
    pub(crate) choose_args: BTreeMap<i64, ChooseArgs>,
}

impl CrushMap {
    /// Numbers of the devices in buckets are below this.
    pub const fn max_devices(&self) -> i32 {
        self.max_devices
    }

    /// The knobs of the placement function.
    pub const fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// A bucket by its number.
    pub fn bucket(&self, item: Item) -> Option<&Bucket> {
        self.buckets.get(item.bucket_index()?)?.as_deref()
    }

    /// All buckets.
    pub fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().flatten().map(Box::as_ref)
    }

    /// A rule by its number.
    pub fn rule(&self, rule: u32) -> Option<&Rule> {
        self.rules.get(usize::try_from(rule).ok()?)?.as_ref()
    }

    /// All rules with their numbers.
    pub fn rules(&self) -> impl Iterator<Item = (u32, &Rule)> {
        (0u32..)
            .zip(&self.rules)
            .filter_map(|(number, rule)| Some((number, rule.as_ref()?)))
    }

    /// The number of the rule for a pool that names `rule` and has `replicas`.
    ///
    /// Since Luminous pools name the rule itself. Before, they named a rule set, of which the rule
    /// was used that fitted type and size.
    pub fn find_rule(&self, rule: u32, kind: RuleType, replicas: u8) -> Option<u32> {
        if self
            .rule(rule)
            .is_some_and(|found| u32::from(found.ruleset) == rule)
        {
            return Some(rule);
        }
        self.rules()
            .find(|(_, found)| {
                u32::from(found.ruleset) == rule
                    && found.kind == kind
                    && (found.min_size..=found.max_size).contains(&replicas)
            })
            .map(|(number, _)| number)
    }

    /// The alternative weights that apply to a pool.
    pub fn choose_args(&self, pool: i64) -> Option<&ChooseArgs> {
        self.choose_args
            .get(&pool)
            .or_else(|| self.choose_args.get(&DEFAULT_CHOOSE_ARGS))
    }

    /// The name of a bucket or device.
    pub fn item_name(&self, item: Item) -> Option<&str> {
        self.item_names.get(&item.0).map(String::as_str)
    }

    /// The bucket or device of a name.
    pub fn item_by_name(&self, name: &str) -> Option<Item> {
        self.item_names
            .iter()
            .find(|(_, found)| *found == name)
            .map(|(&item, _)| Item(item))
    }

    /// The name of a bucket type, for example `host`; type 0 is that of devices.
    pub fn type_name(&self, kind: u16) -> Option<&str> {
        self.type_names.get(&kind.into()).map(String::as_str)
    }

    /// The name of a rule.
    pub fn rule_name(&self, rule: u32) -> Option<&str> {
        let rule = i32::try_from(rule).ok()?;
        self.rule_names.get(&rule).map(String::as_str)
    }

    /// The device class of a device, for example `ssd`.
    pub fn device_class(&self, device: Item) -> Option<&str> {
        let class = self.classes.get(&device.0)?;
        self.class_names.get(class).map(String::as_str)
    }

    /// The bucket that stands for `bucket` with only its devices of a class, `bucket~class`.
    pub fn class_bucket(&self, bucket: Item, class: &str) -> Option<Item> {
        self.class_buckets
            .get(&bucket.0)?
            .iter()
            .find(|(number, _)| {
                self.class_names
                    .get(number)
                    .is_some_and(|name| name == class)
            })
            .map(|(_, &shadow)| Item(shadow))
    }
}

/// Key of the alternative weights for pools that have none of their own
/// (ceph: src/crush/CrushWrapper.h, `DEFAULT_CHOOSE_ARGS`).
const DEFAULT_CHOOSE_ARGS: i64 = -1;
