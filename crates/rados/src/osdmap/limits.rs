//! Limits on what a map may ask for.

/// The most OSDs a map may have room for. An incremental names this number without having as many
/// bytes, so it must be bounded; monitors allow 10,000 by default (`mon_max_osd`).
pub(crate) const MAX_OSDS: u32 = 1 << 18;

/// The most placement groups of a pool for which placements are remembered, at 8 bytes each.
/// Monitors allow 65,536 by default (`mon_max_pool_pg_num`).
pub(crate) const MAX_CACHED_PGS: u32 = 1 << 18;
