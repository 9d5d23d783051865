//! Images as block devices and mounted file systems, and an `rbd`-compatible command line.
#![deny(unsafe_code)]

mod blocking;
pub mod control;
pub mod daemon;
pub mod device;
mod error;
pub mod fuse;
pub mod image_probe;
pub mod kernel;
pub mod mount;
pub mod nbd;
pub mod serving;
pub mod state;
mod sync;
#[expect(unsafe_code, reason = "calls to the kernel that no library wraps")]
mod sys;

pub use error::{Error, Result};
