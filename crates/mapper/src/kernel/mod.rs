//! Devices of the kernel: how a [device](crate::device::BlockDevice) becomes `/dev/something`.
//!
//! A [`DeviceBackend`] is a way to do that; there are two, chosen by [`DeviceType`].

mod any;
mod backend;
pub(crate) mod block;
mod loop_device;
mod nbd;
mod nbd_netlink;
mod openers;

pub use any::AnyAttachment;
pub use backend::{
    AttachOptions, Attachment, DeviceBackend, DeviceType, Identity, Orphan, UnknownDeviceType,
};
pub use loop_device::{LoopAttachment, LoopBackend};
pub use nbd::{NbdAttachment, NbdBackend};
