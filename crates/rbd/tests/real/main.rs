//! Images on a real cluster, held against what upstream's `rbd` makes of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod cached;
mod changes;
mod create;
mod features;
mod interop;
mod lifecycle;
mod locking;
mod locking_by_command;
mod locking_upstream;
mod maintenance;
mod maintenance_upstream;
mod object_map;
mod object_map_kept;
mod oracle;
mod overrides;
mod snapshots;
mod stopped;
mod support;
