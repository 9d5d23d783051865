//! Images as block devices and mounted file systems, and an `rbd`-compatible command line.
#![deny(unsafe_code)]

pub mod device;
pub mod nbd;
