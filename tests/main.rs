//! Against real clusters: one file per capability.
//!
//! One program, because linking takes longer than most of these tests.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod compatibility;
mod connecting;
mod deadlines;
mod faults;
mod fullness;
mod monitors;
mod objects;
mod options;
mod placement;
mod replica_reads;
mod support;
mod watching;
