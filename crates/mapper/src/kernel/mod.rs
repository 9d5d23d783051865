//! Devices of the kernel: how a [device](crate::device::BlockDevice) becomes `/dev/something`.
//!
//! A [`DeviceBackend`] is a way to do that; there are two, chosen by [`DeviceType`].

mod backend;
mod block;
mod loop_device;

pub use backend::{AttachOptions, Attachment, DeviceBackend, DeviceType};
pub use loop_device::{LoopAttachment, LoopBackend};
