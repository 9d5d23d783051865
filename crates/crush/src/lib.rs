//! CRUSH: the map that says how a cluster is built, and the function that picks OSDs from it.
//!
//! A [`CrushMap`] is a hierarchy of [buckets](Bucket) with devices at its leaves, and
//! [rules](Rule) that walk it. [`CrushMap::place`] follows a rule for a number (what a placement
//! group hashes to) and gives the devices for it: always the same for the same map, which is why
//! clients and OSDs agree on where data is without asking anyone.
//!
//! The result must be the same bit for bit as that of Ceph's own programs, oddities included. The
//! crate knows maps of all versions: all five bucket algorithms, the tunables of every release,
//! alternative weights (`choose_args`) and multi-step-retry rules.
//!
//! It is pure: no clock, no randomness, no I/O.
//!
//! Source: ceph: src/crush/mapper.c, src/crush/CrushWrapper.cc.
#![forbid(unsafe_code)]

mod bucket;
mod choose_args;
mod classic;
mod decode;
mod draw;
mod error;
mod hash;
mod item;
mod limits;
mod ln;
mod ln_table;
mod map;
mod msr;
mod place;
mod rule;
mod tunables;

pub use bucket::{Bucket, BucketData};
pub use choose_args::{ChooseArg, ChooseArgs};
pub use error::PlaceError;
pub use hash::{hash32_2, hash32_3, hash32_4, mix};
pub use item::Item;
pub use map::CrushMap;
pub use place::{Input, Scratch};
pub use rule::{Op, Rule, RuleType, Step};
pub use tunables::Tunables;

#[cfg(test)]
mod tests;
