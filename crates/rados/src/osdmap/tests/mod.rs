//! Maps made by Ceph's own programs, and what these say about them.

mod fields;
mod hostile;
mod incremental;
mod placement;
mod printed;

pub(crate) use printed::printed_locator;
