//! Knobs of the placement function, which differ from release to release.

/// How placements are searched for (`ceph osd crush show-tunables`).
///
/// Maps carry them; what an old map leaves out is as in [`LEGACY`](Self::LEGACY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunables {
    /// Further attempts in the same bucket after a collision.
    pub choose_local_tries: u32,
    /// Attempts in the same bucket by going through all of its items.
    pub choose_local_fallback_tries: u32,
    /// Further attempts from the top after the first.
    pub choose_total_tries: u32,
    /// Whether the search for a device inside a chosen bucket is made only once.
    pub chooseleaf_descend_once: bool,
    /// Whether and how far the attempt counts in the search inside a chosen bucket: 0 not at all,
    /// 1 fully, more: shifted right by one less.
    pub chooseleaf_vary_r: u8,
    /// How straw buckets were built. Nothing a placement depends on.
    pub straw_calc_version: u8,
    /// Bit mask of the bucket algorithms that may be used for new buckets.
    pub allowed_bucket_algs: u32,
    /// Whether the search inside a chosen bucket does not depend on the position.
    pub chooseleaf_stable: bool,
    /// Attempts of a multi-step-retry rule.
    pub msr_descents: u32,
    /// Attempts of a multi-step-retry rule to avoid what is taken.
    pub msr_collision_tries: u32,
}

impl Tunables {
    /// What maps without tunables mean (profiles `argonaut` and `legacy`).
    pub const LEGACY: Self = Self {
        choose_local_tries: 2,
        choose_local_fallback_tries: 5,
        choose_total_tries: 19,
        chooseleaf_descend_once: false,
        chooseleaf_vary_r: 0,
        straw_calc_version: 0,
        // uniform, list, straw
        allowed_bucket_algs: 1 << 1 | 1 << 2 | 1 << 4,
        chooseleaf_stable: false,
        msr_descents: 100,
        msr_collision_tries: 100,
    };
}
