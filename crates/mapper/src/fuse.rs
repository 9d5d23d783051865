//! A device as a file: a FUSE file system that consists of one regular file and is mounted nowhere.
//!
//! The file has no page cache of its own. What is written to it is at the device when the write returns, and on stable
//! storage after an `fsync`; punching a hole or zeroing a range writes zeroes to the device.
//!
//! The mount belongs to descriptors of this process alone: it has no place in the tree of files, nobody can stumble over
//! it, and if the process dies, the kernel takes it down.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, Session, SessionACL, WriteFlags,
};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};
use tokio::runtime::Handle;
use tracing::warn;

use crate::blocking::blocking;
use crate::device::{BlockDevice, DeviceError, ReadData, Segment, ZeroMode};
use crate::error::{Error, Result};

/// A device that can be used as a file, in this process and by the kernel.
#[derive(Debug)]
pub struct FuseFile {
    file: File,
    session: BackgroundSession,
    /// The connection's number in `/sys/fs/fuse/connections`.
    connection: u32,
}

impl FuseFile {
    /// Whether the kernel has FUSE and lets us use it.
    pub fn is_available() -> bool {
        open_fuse().is_ok()
    }

    /// Makes a file of a device, whose requests are carried out by the current runtime.
    ///
    /// # Errors
    /// If there is no FUSE, or it may not be used.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn serve<D: BlockDevice>(device: Arc<D>) -> Result<Self> {
        let runtime = Handle::current();
        // The kernel asks the threads that are being started here, and the caller must not wait for itself.
        blocking("serve a device over FUSE", move || {
            Self::serve_blocking(device, runtime)
        })
        .await
    }

    fn serve_blocking<D: BlockDevice>(device: Arc<D>, runtime: Handle) -> Result<Self> {
        let is_read_only = device.is_read_only();
        let fuse = open_fuse()?;
        let mount = mount_file(&fuse).map_err(Error::system("make a FUSE file system"))?;
        let mut config = Config::default();
        config.acl = SessionACL::Owner;
        config.n_threads = Some(EVENT_LOOPS);
        config.clone_fd = true;
        let files = OneFile { device, runtime };
        let session = Session::from_fd(files, fuse, SessionACL::Owner, config)
            .and_then(Session::spawn)
            .map_err(Error::system("start a FUSE session"))?;
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let file = OpenOptions::new()
            .read(true)
            .write(!is_read_only)
            .open(&path)
            .map_err(Error::path("open the FUSE file behind", path))?;
        let status = rustix::fs::fstat(&file).map_err(Error::system("look at a FUSE file"))?;
        Ok(Self {
            file,
            session,
            connection: rustix::fs::minor(status.st_dev),
        })
    }

    /// The file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The connection's number in `/sys/fs/fuse/connections`.
    pub const fn connection(&self) -> u32 {
        self.connection
    }

    /// Closes the file and waits until nobody else uses it, either. If that takes longer than `limit`, requests that
    /// wait for the device are failed.
    ///
    /// # Errors
    /// If somebody still uses it after that.
    pub async fn close(self, limit: Duration) -> Result<()> {
        let Self {
            file,
            session,
            connection,
        } = self;
        let ended = blocking("close a FUSE file", move || {
            drop(file);
            match session.join() {
                // What a request is told that was about to be read when the last user went.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
                ended => ended.map_err(Error::system("end a FUSE session")),
            }
        });
        tokio::pin!(ended);
        if let Ok(ended) = tokio::time::timeout(limit, &mut ended).await {
            return ended;
        }
        warn!(
            connection,
            "the FUSE file is still in use, aborting its connection"
        );
        abort(connection)?;
        let action = "close a FUSE file";
        tokio::time::timeout(ABORT_TIMEOUT, ended)
            .await
            .map_err(|_| Error::TimedOut { action, limit })?
    }
}

fn open_fuse() -> Result<OwnedFd> {
    rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::path("open", "/dev/fuse"))
}

/// A mount whose root is a regular file, not attached to anything.
fn mount_file(fuse: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let settings = [
        ("source", "orbd".to_owned()),
        ("fd", fuse.as_raw_fd().to_string()),
        // A regular file, in octal.
        ("rootmode", "100000".to_owned()),
        ("user_id", rustix::process::geteuid().as_raw().to_string()),
        ("group_id", rustix::process::getegid().as_raw().to_string()),
    ];
    for (key, value) in settings {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Fails what waits on a connection, and everything after that. A connection that is gone already is fine.
pub(crate) fn abort(connection: u32) -> Result<()> {
    let write = || {
        // The file system of FUSE's controls need not be mounted anywhere, either.
        let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let controls = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(
            &controls,
            format!("{connection}/abort"),
            flags,
            Mode::empty(),
        )?;
        rustix::io::write(&file, b"1")
    };
    match write() {
        Ok(_) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::system("abort a FUSE connection")(error)),
    }
}

/// The file system.
struct OneFile<D> {
    device: Arc<D>,
    runtime: Handle,
}

impl<D: BlockDevice> OneFile<D> {
    /// Carries out a request on the runtime and has `reply` answered with its result.
    fn spawn<T, W, F, R>(&self, reply: R, work: W, answer: fn(R, Result<T, DeviceError>))
    where
        T: Send + 'static,
        W: FnOnce(Arc<D>) -> F,
        F: Future<Output = Result<T, DeviceError>> + Send + 'static,
        R: Send + 'static,
    {
        let work = work(Arc::clone(&self.device));
        self.runtime.spawn(async move { answer(reply, work.await) });
    }

    fn attributes(&self) -> FileAttr {
        let size = self.device.size_bytes();
        FileAttr {
            ino: INodeNo::ROOT,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::RegularFile,
            perm: 0o600,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: self.device.limits().preferred_bytes,
            flags: 0,
        }
    }

    /// Whether a range lies inside the device.
    fn has(&self, offset: u64, len: u64) -> bool {
        offset
            .checked_add(len)
            .is_some_and(|end| end <= self.device.size_bytes())
    }
}

impl<D: BlockDevice> Filesystem for OneFile<D> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel does not have it does without, only slower.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO | InitFlags::FUSE_MAX_PAGES);
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn getattr(&self, _: &Request, _: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        // The size may change at any time, so the kernel is to ask every time.
        reply.attr(&Duration::ZERO, &self.attributes());
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO
            | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES
            | FopenFlags::FOPEN_NOFLUSH;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = self.device.size_bytes().saturating_sub(offset);
        let len = left.min(size.into());
        if len == 0 {
            return reply.data(&[]);
        }
        let read = move |device: Arc<D>| async move { device.read(offset, len).await };
        self.spawn(reply, read, |reply, result| match result {
            Ok(data) => reply.data(&in_one_piece(data)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if !self.has(offset, data.len() as u64) {
            return reply.error(Errno::ENOSPC);
        }
        // Less than 4 GiB by far, see MAX_WRITE.
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // The library keeps the buffer for the next request, so this one has to leave it.
        let data = Bytes::copy_from_slice(data);
        let write = move |device: Arc<D>| async move {
            device.write(offset, data, false).await?;
            Ok(len)
        };
        self.spawn(reply, write, |reply, result| match result {
            Ok(len) => reply.written(len),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Called when a descriptor is closed, which promises nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flush = |device: Arc<D>| async move { device.flush().await };
        self.spawn(reply, flush, answer_empty);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let may_unmap = flags.contains(FallocateFlags::PUNCH_HOLE);
        if !may_unmap && !flags.contains(FallocateFlags::ZERO_RANGE) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        if !self.has(offset, length) {
            return reply.error(Errno::ENOSPC);
        }
        // The loop driver punches holes for discards and for writes of zeroes alike, so it must be zeroes afterwards.
        let mode = ZeroMode {
            may_unmap,
            is_fast: false,
        };
        let zero =
            move |device: Arc<D>| async move { device.write_zeroes(offset, length, mode).await };
        self.spawn(reply, zero, answer_empty);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // The loop driver takes the block size for the granularity of discards.
        let block = self.device.limits().discard_granularity_bytes.max(512);
        let blocks = self.device.size_bytes() / u64::from(block);
        reply.statfs(blocks, 0, 0, 1, 0, block, 255, block);
    }
}

fn answer_empty(reply: ReplyEmpty, result: Result<(), DeviceError>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

fn errno(error: &DeviceError) -> Errno {
    Errno::from_i32(error.errno().raw_os_error())
}

/// The library sends one slice, so what is not one has to be made one.
fn in_one_piece(data: ReadData) -> Bytes {
    if let [Segment::Data(bytes)] = data.segments() {
        return bytes.clone();
    }
    let len = usize::try_from(data.len_bytes()).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(len);
    for segment in data {
        match segment {
            Segment::Data(data) => bytes.extend_from_slice(&data),
            Segment::Hole(hole) => {
                let end = bytes.len() + usize::try_from(hole).unwrap_or(usize::MAX);
                bytes.resize(end, 0);
            }
        }
    }
    bytes.freeze()
}

/// Threads that take requests from the kernel. They only hand them on.
const EVENT_LOOPS: usize = 2;

/// The largest write the kernel sends at once: what it takes at most since Linux 4.20, unless told otherwise.
const MAX_WRITE: u32 = 1 << 20;

/// Asynchronous requests under way at a time, each up to [`MAX_WRITE`].
const MAX_BACKGROUND: u16 = 64;

/// How long a session may take to end once its requests have been failed.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);
