//! A device behind the kernel's NBD driver.
//!
//! The kernel gets one end of each of some socket pairs, this process serves the others. There is no negotiation: what
//! the device can do is told to the driver over netlink.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::backend::{AttachOptions, Attachment, DeviceBackend, Identity, Orphan};
use super::block;
use super::nbd_netlink::{Connect, NbdDriver};
use crate::blocking::blocking;
use crate::device::BlockDevice;
use crate::error::{Error, Result};
use crate::nbd::{ExportInfo, Session, TransmissionOptions, UnixSocket, transmit, unix_socket};
use crate::sync;

/// Attaches devices as `/dev/nbdN`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NbdBackend;

/// A device attached as `/dev/nbdN`.
///
/// If this process dies, the kernel keeps new requests for
/// [`dead_connection_timeout`](AttachOptions::dead_connection_timeout) before it fails them. Those that were under way it keeps
/// until somebody disconnects the device.
#[derive(Debug)]
pub struct NbdAttachment {
    index: u32,
    path: PathBuf,
    identifier: Option<String>,
    connections: TaskTracker,
    stop: CancellationToken,
}

impl NbdBackend {
    /// Whether the kernel has the driver; it is loaded if need be, and if that is possible.
    pub async fn is_available() -> bool {
        matches!(driver().await, Ok(Some(_)))
    }
}

impl DeviceBackend for NbdBackend {
    type Attachment = NbdAttachment;

    async fn attach<D: BlockDevice>(
        &self,
        device: Arc<D>,
        options: &AttachOptions,
    ) -> Result<NbdAttachment> {
        let driver = require_driver().await?;
        let limits = device.limits();
        let info = ExportInfo {
            name: String::new(),
            description: String::new(),
            size_bytes: device.size_bytes(),
            is_read_only: options.is_read_only || device.is_read_only(),
            limits,
        };
        let session = Session::plain(&info);
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let mut kernel_ends: Vec<OwnedFd> = Vec::new();
        for _ in 0..options.connections.max(1) {
            let (ours, kernels) = socket_pair().map_err(Error::system("make a pair of sockets"))?;
            kernel_ends.push(kernels.into());
            let (device, session, stop) = (Arc::clone(&device), session.clone(), stop.clone());
            connections.spawn(async move {
                let transmission = TransmissionOptions::default();
                let served =
                    transmit(ours, BytesMut::new(), session, device, transmission, &stop).await;
                if let Err(error) = served {
                    warn!(%error, "lost a connection to the kernel");
                }
            });
        }
        connections.close();
        let connect = Connect {
            index: options.path.as_deref().map(index_of).transpose()?,
            size_bytes: info.size_bytes,
            sector_bytes: options.sector_bytes.max(limits.minimum_bytes),
            transmission_flags: info.flags(false),
            dead_connection_timeout: options.dead_connection_timeout.as_secs(),
            identifier: options.identifier.clone(),
            sockets: kernel_ends.iter().map(AsRawFd::as_raw_fd).collect(),
        };
        // If this fails, the kernel's ends are dropped here, which ends the connections.
        let index = driver.connect(&connect).await?;
        let name = format!("nbd{index}");
        let path = match block::node(&name) {
            Ok(path) => path,
            Err(error) => {
                driver.disconnect(index).await?;
                return Err(error);
            }
        };
        block::tune_queue(&name, limits);
        look_for_partitions(&path).await;
        debug!(path = %path.display(), "attached");
        Ok(NbdAttachment {
            index,
            path,
            identifier: connect.identifier,
            connections,
            stop,
        })
    }
}

impl Attachment for NbdAttachment {
    fn path(&self) -> &Path {
        &self.path
    }

    async fn resize(&self, size_bytes: u64) -> Result<()> {
        let driver = require_driver().await?;
        driver
            .resize(self.index, size_bytes, self.identifier.as_deref())
            .await
    }

    async fn ended(&self) {
        self.connections.wait().await;
    }

    fn identity(&self) -> Identity {
        Identity {
            diskseq: block::diskseq(&self.path),
            fuse_connection: None,
        }
    }

    async fn detach(&mut self, limit: Duration, is_forced: bool) -> Result<()> {
        if self.connections.is_empty() {
            return Ok(());
        }
        // Kept open until the device is gone, so that nobody can mount it.
        let ours = match block::write_back(&self.path, limit, is_forced).await {
            Err(error) if is_forced => {
                let path = self.path.display();
                warn!(%path, error = error.with_causes(), "given up without everything being written");
                None
            }
            written => written?,
        };
        let driver = require_driver().await?;
        driver.disconnect(self.index).await?;
        drop(ours);
        if timeout(limit, self.connections.wait()).await.is_err() {
            // The kernel is gone, what is still being done for it matters to nobody.
            warn!(path = %self.path.display(), "requests are still under way");
            self.stop.cancel();
            let action = "finish the requests of a device";
            return Err(Error::TimedOut { action, limit });
        }
        Ok(())
    }
}

/// Opens a device for the first time, which has the kernel look for partitions: later nobody has to wait for that, least of all
/// when there is nobody who answers. By another process, as this one is the one to answer.
async fn look_for_partitions(path: &Path) {
    if let Err(error) = sync::file(path, PARTITIONS_LIMIT).await {
        debug!(path = %path.display(), error = error.with_causes(), "no partitions looked for");
    }
}

/// Disconnects a device that nobody serves any more, if it is still there.
///
/// Opening it may wait for requests that only end when it is disconnected, such as those of a daemon that was killed while it
/// waited for its own device. By force that is not waited for.
pub(super) async fn release_orphan(orphan: &Orphan<'_>, is_forced: bool) -> Result<()> {
    let index = index_of(orphan.path)?;
    let driver = require_driver().await?;
    // It was disconnected by itself some time after its daemon died, and may be somebody else's by now.
    if !driver.is_connected(index).await? || !is_known_as(index, orphan.identifier) {
        return Ok(());
    }
    let path = orphan.path.to_owned();
    let opening = blocking("open a device", move || block::open_exclusively(&path));
    // Kept open until the device is gone, so that nobody can mount it.
    let _ours = if is_forced {
        timeout(FORCED_OPEN_LIMIT, opening).await.ok()
    } else {
        match opening.await {
            Err(error @ Error::Busy { .. }) => return Err(error),
            opened => Some(opened),
        }
    };
    driver.disconnect(index).await
}

/// Whether a device is the one of this identifier, as far as the kernel tells: Linux 5.14 and later do.
fn is_known_as(index: u32, identifier: Option<&str>) -> bool {
    let path = format!("/sys/block/nbd{index}/backend");
    let known = std::fs::read_to_string(path).ok();
    known
        .zip(identifier)
        .is_none_or(|(known, identifier)| known.trim_end() == identifier)
}

/// The driver, loaded if need be; none if there is none.
async fn driver() -> Result<Option<NbdDriver>> {
    if let Some(driver) = NbdDriver::find().await? {
        return Ok(Some(driver));
    }
    let loaded = tokio::process::Command::new("modprobe")
        .arg("nbd")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    match loaded {
        Ok(status) if status.success() => NbdDriver::find().await,
        Ok(_) | Err(_) => Ok(None),
    }
}

async fn require_driver() -> Result<NbdDriver> {
    driver().await?.ok_or(Error::DriverMissing {
        driver: "nbd",
        hint: "load it with `modprobe nbd`, or use --device-type fuse",
    })
}

/// This process's end, and the kernel's.
fn socket_pair() -> std::io::Result<(UnixSocket, UnixStream)> {
    let (ours, kernels) = UnixStream::pair()?;
    unix_socket::widen(&kernels)?;
    Ok((UnixSocket::new(ours)?, kernels))
}

/// The number in `/dev/nbdN`.
fn index_of(path: &Path) -> Result<u32> {
    let parse = || path.to_str()?.strip_prefix("/dev/nbd")?.parse().ok();
    parse().ok_or_else(|| Error::Path {
        action: "find a device number in",
        path: path.to_owned(),
        source: std::io::ErrorKind::InvalidInput.into(),
    })
}

/// How long the kernel may take to read the beginning of a device.
const PARTITIONS_LIMIT: Duration = Duration::from_secs(10);

/// How long opening a device that is not served may take before that is no longer waited for.
const FORCED_OPEN_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::memory::MemoryDevice;

    #[test]
    fn only_whole_devices_have_a_number() {
        assert_eq!(index_of(Path::new("/dev/nbd12")).unwrap(), 12);
        for path in ["/dev/nbd1p1", "/dev/nbd", "/dev/sda", "nbd1"] {
            assert!(index_of(Path::new(path)).is_err(), "{path}");
        }
    }

    #[tokio::test]
    async fn without_the_driver_it_says_what_to_do() {
        if NbdBackend::is_available().await {
            return;
        }
        let device = Arc::new(MemoryDevice::new(1 << 20));
        let error = NbdBackend
            .attach(device, &AttachOptions::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("modprobe nbd"), "{error}");
    }
}
