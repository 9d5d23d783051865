//! A device behind FUSE and a loop device: for kernels without the NBD driver.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::backend::{AttachOptions, Attachment, DeviceBackend, Identity, Orphan};
use super::block;
use crate::blocking::blocking;
use crate::device::BlockDevice;
use crate::error::{Error, Result};
use crate::fuse::{self, FuseFile};
use crate::sys::{self, LoopSetup};

/// Attaches devices as `/dev/loopN`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopBackend;

/// A device attached as `/dev/loopN`.
///
/// If this process dies, the kernel gives the loop device up by itself, once nothing is mounted on it.
#[derive(Debug)]
pub struct LoopAttachment {
    path: PathBuf,
    /// Keeps the loop device, which gives itself up when it is closed. None once detached.
    device: Option<File>,
    file: Option<FuseFile>,
    ended: CancellationToken,
}

impl LoopBackend {
    /// Whether the kernel has loop devices and FUSE, and lets us use them.
    pub fn is_available() -> bool {
        open_control().is_ok() && FuseFile::is_available()
    }
}

impl DeviceBackend for LoopBackend {
    type Attachment = LoopAttachment;

    async fn attach<D: BlockDevice>(
        &self,
        device: Arc<D>,
        options: &AttachOptions,
    ) -> Result<LoopAttachment> {
        let limits = device.limits();
        let is_read_only = options.is_read_only || device.is_read_only();
        let setup = LoopSetup {
            block_size: options.sector_bytes.max(limits.minimum_bytes),
            is_read_only,
            is_direct: true,
            is_autoclear: true,
        };
        let wanted = options.path.clone();
        let file = FuseFile::serve(device).await?;
        let backing = file
            .file()
            .try_clone()
            .map_err(Error::system("duplicate a descriptor"))?;
        // The kernel may look for partitions, which we have to read for it.
        let configured = blocking("set up a loop device", move || match wanted {
            Some(path) => configure(&path, &backing, setup)?.ok_or(Error::Busy { device: path }),
            None => configure_free(&backing, setup),
        });
        match configured.await {
            Ok((path, device)) => {
                if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                    block::tune_queue(name, limits);
                }
                debug!(path = %path.display(), "attached");
                Ok(LoopAttachment {
                    path,
                    device: Some(device),
                    file: Some(file),
                    ended: CancellationToken::new(),
                })
            }
            Err(error) => {
                file.close(CLOSE_TIMEOUT).await?;
                Err(error)
            }
        }
    }
}

impl Attachment for LoopAttachment {
    fn path(&self) -> &Path {
        &self.path
    }

    async fn resize(&self, _: u64) -> Result<()> {
        let (Some(file), Some(device)) = (&self.file, &self.device) else {
            return Ok(());
        };
        let clone = |file: &File| {
            file.try_clone()
                .map_err(Error::system("duplicate a descriptor"))
        };
        let (file, device, path) = (clone(file.file())?, clone(device)?, self.path.clone());
        blocking("resize a loop device", move || {
            // The kernel learns the file's new size by asking, and the loop device's from that.
            rustix::fs::fstat(&file).map_err(Error::system("look at a FUSE file"))?;
            sys::loop_update_size(&device).map_err(Error::path("resize", path))
        })
        .await
    }

    async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn identity(&self) -> Identity {
        Identity {
            diskseq: block::diskseq(&self.path),
            fuse_connection: self.file.as_ref().map(FuseFile::connection),
        }
    }

    async fn detach(&mut self, limit: Duration, is_forced: bool) -> Result<()> {
        if let Some(device) = &self.device {
            let ours = match block::write_back(&self.path, limit, is_forced).await {
                Err(error) if is_forced => {
                    let path = self.path.display();
                    warn!(%path, error = error.with_causes(), "given up without everything being written");
                    None
                }
                written => written?,
            };
            sys::loop_clear(device).map_err(Error::path("give up", &self.path))?;
            // It goes when it is closed by the last of those who have it open, which may take writing back once more.
            let last = (self.device.take(), ours);
            let closed = blocking("close a loop device", move || {
                drop(last);
                Ok(())
            });
            if tokio::time::timeout(limit, closed).await.is_err() {
                warn!(path = %self.path.display(), "the device is not closed yet");
            }
        }
        let patience = if is_forced { FORCED_CLOSE_LIMIT } else { limit };
        let closed = match self.file.take() {
            Some(file) => file.close(patience).await,
            None => Ok(()),
        };
        // The loop device is gone: whatever became of the file behind it, there is nothing to serve.
        self.ended.cancel();
        closed
    }
}

/// Gives up a loop device that nobody serves any more, if it is still there.
pub(super) async fn release_orphan(orphan: &Orphan<'_>, is_forced: bool) -> Result<()> {
    let (path, identity) = (orphan.path.to_owned(), orphan.identity);
    blocking("give a loop device up", move || {
        let known = block::diskseq(&path).zip(identity.diskseq);
        // It gave itself up when its daemon died, and may be somebody else's by now.
        if known.is_some_and(|(now, then)| now != then) || !is_taken(&path) {
            return Ok(());
        }
        let (device, is_in_use) = match block::open_exclusively(&path) {
            Err(Error::Busy { .. }) if is_forced => (block::open(&path, true)?, true),
            opened => (opened?, false),
        };
        if let (Some(_), Some(connection)) = (known, identity.fuse_connection) {
            // A daemon that was killed while it waited for its own device does not end before this.
            fuse::abort(connection)?;
        }
        match sys::loop_clear(&device) {
            Err(Errno::NXIO) => {}
            cleared => cleared.map_err(Error::path("give up", &path))?,
        }
        drop(device);
        if !is_in_use {
            wait_until_free(&path);
        }
        Ok(())
    })
    .await
}

/// Waits a moment for a device that has been given up to be free: that happens when the last of those
/// who have it open closes it, and the threads of a killed daemon may still be about to.
fn wait_until_free(path: &Path) {
    let deadline = Instant::now() + FREE_LIMIT;
    while is_taken(path) && Instant::now() < deadline {
        std::thread::sleep(FREE_POLL);
    }
}

/// Whether there is a file behind a loop device.
fn is_taken(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let file = Path::new("/sys/block").join(name).join("loop/backing_file");
        file.exists()
    })
}

fn open_control() -> Result<File> {
    let path = "/dev/loop-control";
    let open = || OpenOptions::new().read(true).write(true).open(path);
    open().map_err(Error::path("open", path))
}

/// Puts a file behind any loop device that is free.
fn configure_free(file: &File, setup: LoopSetup) -> Result<(PathBuf, File)> {
    let control = open_control()?;
    for _ in 0..ATTEMPTS {
        let index = sys::loop_free(&control).map_err(Error::system("find a free loop device"))?;
        let path = block::node(&format!("loop{index}"))?;
        // Somebody else may have been quicker.
        if let Some(configured) = configure(&path, file, setup)? {
            return Ok(configured);
        }
    }
    Err(Error::System {
        action: "get hold of a free loop device",
        source: Errno::BUSY.into(),
    })
}

/// Puts a file behind a certain loop device; none if it is taken.
fn configure(path: &Path, file: &File, setup: LoopSetup) -> Result<Option<(PathBuf, File)>> {
    let device = block::open(path, setup.is_read_only)?;
    match sys::loop_configure(&device, file, setup) {
        Ok(()) => Ok(Some((path.to_owned(), device))),
        Err(Errno::BUSY) => Ok(None),
        // Kernels that cannot do without the page cache for this file.
        Err(Errno::INVAL) if setup.is_direct => {
            let is_direct = false;
            configure(path, file, LoopSetup { is_direct, ..setup })
        }
        Err(error) => Err(Error::path("set up", path)(error)),
    }
}

/// How long those who still have a device open may take to close it.
const FREE_LIMIT: Duration = Duration::from_secs(5);
/// The kernel announces the end of a loop device to udev only, which containers do not hear.
const FREE_POLL: Duration = Duration::from_millis(10);

/// How often to try when others take the loop devices that were free.
const ATTEMPTS: usize = 16;

/// How long those who still use a device that is given up by force may finish what they are about.
const FORCED_CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How long a file that nobody has used yet may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
