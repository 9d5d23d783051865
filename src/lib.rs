//! A RADOS and RBD client in Rust.
#![forbid(unsafe_code)]

pub use {cephx, crush, denc, msgr2, rados, rbd};
