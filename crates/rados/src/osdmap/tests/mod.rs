//! Maps made by Ceph's own programs, and what these say about them.

mod incremental;
mod placement;
