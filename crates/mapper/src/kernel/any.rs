//! Any of the ways, chosen at run time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::backend::{AttachOptions, Attachment, DeviceBackend, DeviceType, Identity, Orphan};
use super::loop_device::{self, LoopAttachment, LoopBackend};
use super::nbd::{self, NbdAttachment, NbdBackend};
use crate::device::BlockDevice;
use crate::error::{Error, Result};

/// A device attached in any way.
#[derive(Debug)]
pub enum AnyAttachment {
    /// By the NBD driver.
    Nbd(NbdAttachment),
    /// By FUSE and a loop device.
    Fuse(LoopAttachment),
}

impl DeviceType {
    /// The best of those that this machine has: the NBD driver where it is there or can be loaded, else FUSE.
    pub async fn best() -> Self {
        if NbdBackend::is_available().await {
            Self::Nbd
        } else {
            Self::Fuse
        }
    }

    /// Gives up a device whose daemon is dead, unless it has become somebody else's since. Nothing is written back, since
    /// nobody could take it. By force it is given up even if it is in use; it then goes with the last of those who use it.
    ///
    /// # Errors
    /// If the device is in use, unless by force; or if it takes longer than `limit`.
    pub async fn release_orphan(
        self,
        orphan: &Orphan<'_>,
        is_forced: bool,
        limit: Duration,
    ) -> Result<()> {
        let released = async {
            match self {
                Self::Nbd => nbd::release_orphan(orphan, is_forced).await,
                Self::Fuse => loop_device::release_orphan(orphan, is_forced).await,
            }
        };
        let action = "give a device up";
        tokio::time::timeout(limit, released)
            .await
            .map_err(|_| Error::TimedOut { action, limit })?
    }
}

impl DeviceBackend for DeviceType {
    type Attachment = AnyAttachment;

    async fn attach<D: BlockDevice>(
        &self,
        device: Arc<D>,
        options: &AttachOptions,
    ) -> Result<AnyAttachment> {
        match self {
            Self::Nbd => NbdBackend
                .attach(device, options)
                .await
                .map(AnyAttachment::Nbd),
            Self::Fuse => LoopBackend
                .attach(device, options)
                .await
                .map(AnyAttachment::Fuse),
        }
    }
}

impl Attachment for AnyAttachment {
    fn path(&self) -> &Path {
        match self {
            Self::Nbd(attachment) => attachment.path(),
            Self::Fuse(attachment) => attachment.path(),
        }
    }

    async fn resize(&self, size_bytes: u64) -> Result<()> {
        match self {
            Self::Nbd(attachment) => attachment.resize(size_bytes).await,
            Self::Fuse(attachment) => attachment.resize(size_bytes).await,
        }
    }

    async fn ended(&self) {
        match self {
            Self::Nbd(attachment) => attachment.ended().await,
            Self::Fuse(attachment) => attachment.ended().await,
        }
    }

    fn identity(&self) -> Identity {
        match self {
            Self::Nbd(attachment) => attachment.identity(),
            Self::Fuse(attachment) => attachment.identity(),
        }
    }

    async fn detach(&mut self, limit: Duration, is_forced: bool) -> Result<()> {
        match self {
            Self::Nbd(attachment) => attachment.detach(limit, is_forced).await,
            Self::Fuse(attachment) => attachment.detach(limit, is_forced).await,
        }
    }
}
