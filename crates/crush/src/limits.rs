//! Limits on what a map may ask for.

/// How many bucket items may be looked at for one placement.
///
/// A map may ask for billions of attempts, and Ceph's programs would make them. Ten positions, each
/// tried a hundred times over five levels of a thousand items, are five million; a map that needs
/// more than this is broken or hostile.
pub(crate) const MAX_DRAWS: u64 = 1 << 24;

/// How many choose steps a block of a multi-step-retry rule may have, each inside the one before.
/// Ceph names twelve levels of buckets; every step below another goes down by one at least.
pub(crate) const MAX_NESTED_STEPS: usize = 64;
