//! A file in a file system on a block device: past the page cache, its blocks are to behave as the
//! device's own do. Other files come and go beside it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use mapper::mount::{MountOptions, mount, unmount};
use rustix::fs::OFlags;

use super::super::stamp::BLOCK;
use super::device::Device;

pub(super) struct Mounted {
    directory: PathBuf,
    /// None once it is closed.
    file: Mutex<Option<Arc<File>>>,
    others: AtomicU64,
}

impl Mounted {
    /// Mounts what is on the device, which is made first if there is nothing.
    pub(super) async fn open(
        device: &Path,
        directory: &Path,
        blocks: u64,
        generation: u32,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let options = MountOptions {
            may_format: generation == 1,
            is_never_written: generation == 1,
            options: vec!["noatime,discard".to_owned()],
            ..MountOptions::default()
        };
        mount(device, directory, &options).await?;
        let (directory, path) = (directory.to_owned(), directory.join("data"));
        let file = blocking(move || {
            if !path.exists() {
                create(&path, blocks)?;
            }
            let flags = i32::try_from(OFlags::DIRECT.bits())?;
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).custom_flags(flags);
            Ok(options.open(&path)?)
        });
        Ok(Self {
            file: Mutex::new(Some(Arc::new(file.await?))),
            directory,
            others: AtomicU64::new(u64::from(generation) << 32),
        })
    }

    fn file(&self) -> anyhow::Result<Arc<File>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clone().context("the file is closed")
    }

    async fn write_all(&self, offset: u64, data: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let mut buffer = Aligned::new(data.as_ref().len());
        buffer.bytes().copy_from_slice(data.as_ref());
        let file = self.file()?;
        blocking(move || Ok(file.write_all_at(buffer.bytes(), offset)?)).await
    }
}

impl Device for Mounted {
    async fn read(&self, offset: u64, len: u64) -> anyhow::Result<Vec<u8>> {
        let mut buffer = Aligned::new(usize::try_from(len)?);
        let file = self.file()?;
        blocking(move || {
            file.read_exact_at(buffer.bytes(), offset)?;
            Ok(buffer.bytes().to_vec())
        })
        .await
    }

    async fn write(&self, offset: u64, data: Bytes) -> anyhow::Result<()> {
        self.write_all(offset, data).await
    }

    async fn zero(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        // The file stays as it lies on the device: where it does would have to be flushed.
        self.write_all(offset, vec![0; usize::try_from(len)?]).await
    }

    /// Has the file system discard something: a file that was written and is removed. Nothing is
    /// discarded of the one that counts.
    async fn discard(&self, _offset: u64, len: u64) -> anyhow::Result<()> {
        let number = self.others.fetch_add(1, Ordering::Relaxed);
        let path = |number: u64| self.directory.join(number.to_string());
        let (new, old) = (path(number), path(number.wrapping_sub(OTHERS)));
        blocking(move || {
            let mut file = File::create(new)?;
            file.write_all(&vec![0x5a; usize::try_from(len)?.min(LARGEST_OTHER)])?;
            file.sync_all()?;
            // It may have been removed already, by an earlier generation's end for one.
            let _ = fs::remove_file(old);
            Ok(())
        })
        .await
    }

    async fn flush(&self) -> anyhow::Result<()> {
        let file = self.file()?;
        blocking(move || Ok(file.sync_all()?)).await
    }

    fn is_refusal(_error: &anyhow::Error) -> bool {
        false
    }

    async fn close(&self) -> anyhow::Result<()> {
        let file = self.file.lock().map(|mut file| file.take());
        drop(file.unwrap_or_else(|poisoned| poisoned.into_inner().take()));
        Ok(unmount(&self.directory, UNMOUNT_LIMIT).await?)
    }
}

/// Memory that the kernel can read a device's blocks into.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let memory = vec![0; len + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK);
        Self { memory, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let end = self.start + self.len;
        // There is one block more than wanted, so that a multiple of a block is among its first bytes.
        self.memory.get_mut(self.start..end).unwrap_or_default()
    }
}

/// Whole or not at all, and with nothing left to do for the file system when it is written to.
fn create(path: &Path, blocks: u64) -> anyhow::Result<()> {
    let begun = path.with_extension("begun");
    let mut file = File::create(&begun)?;
    let zeros = vec![0; BLOCK << 8];
    let mut left = usize::try_from(blocks)? * BLOCK;
    while left > 0 {
        let piece = left.min(zeros.len());
        file.write_all(zeros.get(..piece).unwrap_or_default())?;
        left -= piece;
    }
    file.sync_all()?;
    fs::rename(&begun, path)?;
    let directory = path.parent().context("a file without a directory")?;
    Ok(File::open(directory)?.sync_all()?)
}

async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(what).await?
}

const UNMOUNT_LIMIT: Duration = Duration::from_secs(60);
/// So many other files are there at a time.
const OTHERS: u64 = 8;
const LARGEST_OTHER: usize = 256 << 10;
