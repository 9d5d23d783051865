//! Limits on what a map may ask for.

/// How many bucket items may be looked at for one placement.
///
/// A map may ask for billions of attempts, and Ceph's programs would make them. Ten positions, each
/// tried a hundred times over five levels of a thousand items, are five million; a map that needs
/// more than this is broken or hostile.
pub(crate) const MAX_DRAWS: u64 = 1 << 24;
