//! What all ways to a device of the kernel have in common.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::device::BlockDevice;
use crate::error::Result;

/// A way to make a device a device of the kernel.
pub trait DeviceBackend: Send + Sync {
    /// What it makes.
    type Attachment: Attachment;

    /// Makes a device of the kernel, ready to be used, whose requests are carried out by the current runtime.
    ///
    /// **Cancellation:** not safe, a device may stay behind.
    ///
    /// # Errors
    /// If the kernel has not got what it takes, or no device is free.
    fn attach<D: BlockDevice>(
        &self,
        device: Arc<D>,
        options: &AttachOptions,
    ) -> impl Future<Output = Result<Self::Attachment>> + Send;
}

/// A device of the kernel that is served by this process.
pub trait Attachment: Send + Sync + 'static {
    /// Where it is, `/dev/something`.
    fn path(&self) -> &Path;

    /// Tells the kernel that the device has another size.
    ///
    /// # Errors
    /// If the kernel does not take it.
    fn resize(&self, size_bytes: u64) -> impl Future<Output = Result<()>> + Send;

    /// Returns when the kernel no longer sends requests, for whatever reason: somebody else disconnected the device, say.
    ///
    /// **Cancellation:** safe.
    fn ended(&self) -> impl Future<Output = ()> + Send;

    /// What tells the device from others that come later under the same path.
    fn identity(&self) -> Identity;

    /// Writes back what is not written yet and gives the device up.
    ///
    /// By force it does so even if the device is in use, or is not written back within `limit`, or at all. Then it is the
    /// device behind it that has to fail what the kernel still waits for: see [`Ledger::abandon`](crate::device::Ledger::abandon).
    ///
    /// **Cancellation:** not safe, the device may stay behind.
    ///
    /// # Errors
    /// Unless by force, if the device is in use, or is not written back within `limit`. The attachment is then still good.
    fn detach(
        &mut self,
        limit: Duration,
        is_forced: bool,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What tells a device from others that come later under the same path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The kernel's own number for it, which is never used again. Linux 5.15 and later have it for loop devices.
    #[serde(default)]
    pub diskseq: Option<u64>,
    /// The FUSE connection behind it, if there is one: its number in `/sys/fs/fuse/connections`.
    #[serde(default)]
    pub fuse_connection: Option<u32>,
}

/// A device whose daemon is dead.
#[derive(Clone, Copy, Debug)]
pub struct Orphan<'a> {
    /// Where it is, or was.
    pub path: &'a Path,
    /// What tells it from others.
    pub identity: Identity,
    /// The name by which the kernel knows what is behind it, where it can.
    pub identifier: Option<&'a str>,
}

/// How a device is to be attached.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// Whether the kernel is to refuse writes, even if the device takes them.
    pub is_read_only: bool,
    /// The size of a sector in bytes.
    pub sector_bytes: u32,
    /// The device to use, `/dev/nbd3` or `/dev/loop7`, rather than any that is free.
    pub path: Option<std::path::PathBuf>,
    /// Sockets between the kernel and this process, where there are sockets: each is a queue of its own.
    pub connections: usize,
    /// A name for what is behind the device, kept by kernels that can.
    pub identifier: Option<String>,
    /// How long requests are kept when this process has died, for another one to take over, where that can be.
    pub dead_connection_timeout: Duration,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            is_read_only: false,
            sector_bytes: 512,
            path: None,
            connections: 2,
            identifier: None,
            dead_connection_timeout: Duration::from_secs(30),
        }
    }
}

/// The ways to a device of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeviceType {
    /// The kernel's NBD driver.
    Nbd,
    /// A file made by FUSE behind a loop device.
    Fuse,
}

impl DeviceType {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nbd => "nbd",
            Self::Fuse => "fuse",
        }
    }
}

impl std::fmt::Display for DeviceType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that is no device type's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device type {0:?}, only nbd and fuse")]
pub struct UnknownDeviceType(String);

impl FromStr for DeviceType {
    type Err = UnknownDeviceType;

    fn from_str(name: &str) -> Result<Self, UnknownDeviceType> {
        [Self::Nbd, Self::Fuse]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownDeviceType(name.to_owned()))
    }
}
