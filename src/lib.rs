//! A Ceph RADOS and RBD client in Rust: the library crates under one roof.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use {cephx, crush, denc, msgr2, rados, rbd};
