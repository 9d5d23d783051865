//! An open image.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use denc::{SnapId, UTime};
use rados::Pool;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::cache::{Cache, ImageCache, WriteBack};
use crate::exclusive_lock::{ExclusiveLock, LockPolicy};
use crate::follow::Follower;
use crate::header_watch::{HeaderListener, watch};
use crate::in_flight::InFlight;
use crate::maintenance::{Asked, Requests};
use crate::object_map::{BitVector, ObjectMap, Slot};
use crate::object_names::DataObject;
use crate::overrides::Overrides;
use crate::read_policy::KnownPolicy;
use crate::spec::full_name;
use crate::write::SpareWrites;
use crate::{
    Error, Features, Flags, ImageInfo, Layout, OpFeatures, Parent, Result, Snapshot,
    SnapshotSelector, directory, object_map, object_names,
};

/// How an image is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// A snapshot to be read instead of the image as it is now. Implies `read_only`.
    pub snap: Option<SnapshotSelector>,
    /// Refuse everything that would change the image.
    pub read_only: bool,
    /// Open even what cannot be read or written, clones for example, to look at the header or to
    /// change it. Reading and writing then fail with the error that opening would have failed with.
    pub header_only: bool,
    /// Be seen as a user of the image, so that it is not removed meanwhile, and follow what others
    /// change about it: before anything is read or written after such a change, the header is read
    /// again. Takes the right to write to the header. End it with [`Image::close`].
    pub watch: bool,
    /// What to do when others ask for the lock of an image that has one.
    pub lock_policy: LockPolicy,
    /// Read, too, only with the lock, if the image has one and is not open for reading only: nothing is
    /// read that another client is about to write over.
    pub lock_on_read: bool,
    /// How long to wait for a lock that another client holds; `None` for ever.
    pub lock_timeout: Option<Duration>,
    /// Whether writes are buffered, and data is read ahead.
    pub cache: Cache,
}

/// An open image, or a snapshot of one. Cheap to clone; all clones are the same open image.
///
/// An image with the feature `exclusive-lock` is locked by the first write, and others have to ask for
/// the lock from then on: [`close`](Self::close) it in the end.
///
/// What the header says is read when it is opened, and again by [`refresh`](Self::refresh). Unless it
/// is open with [`watch`](OpenOptions::watch), sizes and snapshots changed by others in between are
/// not noticed. Above all, a write preserves the snapshots that were known at the last refresh.
#[derive(Clone, Debug)]
pub struct Image {
    inner: Arc<Inner>,
    /// What is needed by whoever takes the lock. Ends with the last of the user's clones: tasks
    /// themselves have clones without it.
    tasks: Option<Arc<UserEnd>>,
}

/// What ends with the last of the user's clones.
#[derive(Debug)]
struct UserEnd {
    image: WeakImage,
    tasks: OnceLock<Tasks>,
}

impl Drop for UserEnd {
    fn drop(&mut self) {
        if let Some(image) = self.image.upgrade()
            && let Some(write_back) = image.write_back()
        {
            write_back.abandon();
        }
    }
}

/// The tasks of an owner of the lock.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) lock_driver: AbortHandle,
    /// Does what others ask for.
    pub(crate) server: AbortHandle,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.server.abort();
        self.lock_driver.abort();
    }
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    data_pool: Pool,
    name: String,
    /// With pool, namespace and snapshot: what it is called in errors.
    full_name: String,
    header_object: String,
    options: OpenOptions,
    /// The snapshot it is open at.
    snap: Option<Snapshot>,
    /// Never change once an image exists, unlike the rest of the header.
    layout: Layout,
    block_name_prefix: String,
    known: RwLock<Known>,
    writes: InFlight,
    spare_writes: Arc<SpareWrites>,
    follower: Arc<Follower>,
    lock: Arc<ExclusiveLock>,
    asked: Arc<Asked>,
    requests: Arc<Requests>,
    /// Set once, before anybody else has the image, if it is cached.
    cache: Arc<OnceLock<ImageCache>>,
    /// The map of the head, while the lock is held.
    object_map: Slot,
    /// The map of the snapshot it is open at, if that can be relied on.
    snap_map: Option<BitVector>,
    watch: std::sync::Mutex<Option<rados::Watch>>,
    /// Held by what changes the header, one at a time.
    maintenance: Mutex<()>,
    /// Held by whoever reads the header again. Taken after `maintenance` by those who need both.
    reading: Mutex<()>,
    /// What a shrinking image is not larger than any more, whatever the header says.
    size_limit: AtomicU64,
}

/// A limit to the size of an image. Dropping it lifts the limit, and leaves the size that is known.
pub(crate) struct SizeLimit<'a> {
    image: &'a Image,
}

impl Drop for SizeLimit<'_> {
    fn drop(&mut self) {
        self.image
            .inner
            .size_limit
            .store(u64::MAX, Ordering::Release);
    }
}

/// An [`Image`] that is gone when nobody else has it any more.
#[derive(Debug)]
pub(crate) struct WeakImage {
    inner: Weak<Inner>,
}

impl WeakImage {
    pub(crate) fn upgrade(&self) -> Option<Image> {
        let inner = self.inner.upgrade()?;
        Some(Image { inner, tasks: None })
    }
}

#[derive(Debug)]
struct Known {
    info: Arc<ImageInfo>,
    overrides: Arc<Overrides>,
    /// By these options, once it has been looked up.
    read_policy: Option<KnownPolicy>,
    /// What had been announced when the header was about to be read: what was read later is newer.
    announced: u64,
}

impl Image {
    /// Opens the image called `name`.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NoSuchSnapshot`], and [`Error::Format1`]; unless
    /// [`header_only`](OpenOptions::header_only), also what this version cannot read, by name:
    /// [`Error::HasParent`], [`Error::Migrating`], [`Error::UnsupportedFeatures`].
    /// An image that can be read but not written is opened: see
    /// [`check_writable`](Self::check_writable).
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn open(pool: &Pool, name: &str, options: OpenOptions) -> Result<Self> {
        let id = directory::image_id(pool, name).await?;
        Self::open_with_id(pool, &id, name, options).await
    }

    /// Opens the image with this id, which need not be in the directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_by_id(pool: &Pool, id: &str, options: OpenOptions) -> Result<Self> {
        let name = directory::image_name(pool, id).await?;
        Self::open_with_id(pool, id, name.as_deref().unwrap_or(id), options).await
    }

    pub(crate) async fn open_with_id(
        pool: &Pool,
        id: &str,
        name: &str,
        options: OpenOptions,
    ) -> Result<Self> {
        let mut full_name = full_name(pool, name);
        let header_object = object_names::header(id);
        let follower = Arc::new(Follower::default());
        let writes = InFlight::default();
        let lock = ExclusiveLock::new(&full_name, options.lock_policy, writes.clone());
        let asked = Arc::new(Asked::default());
        let requests = Arc::new(Requests::default());
        let cache = Arc::new(OnceLock::new());
        // Before the header is read, so that no change is missed.
        let watch = if options.watch {
            let listener = HeaderListener {
                follower: Arc::clone(&follower),
                lock: Arc::clone(&lock),
                asked: Arc::clone(&asked),
                requests: Arc::clone(&requests),
                cache: Arc::clone(&cache),
            };
            Some(watch(pool, &header_object, listener, &full_name).await?)
        } else {
            None
        };
        let announced = follower.announced();
        let (info, overrides) = tokio::try_join!(
            ImageInfo::load(pool, id, &full_name),
            Overrides::load(pool, &header_object),
        )?;
        let snap = options
            .snap
            .as_ref()
            .map(|selector| info.snapshot(selector, &full_name).cloned())
            .transpose()?;
        if let Some(snap) = &snap {
            full_name = format!("{full_name}@{}", snap.name);
        }
        if !options.header_only {
            info.check_readable(&full_name, snap.as_ref())?;
        }
        let snap_map = match &snap {
            Some(snap) => object_map::load_snapshot_map(pool, &info, snap).await?,
            None => None,
        };
        let data_pool = match info.data_pool {
            Some(id) => pool
                .cluster()
                .pool_by_id(id)
                .await?
                .in_namespace(pool.namespace()),
            None => pool.clone(),
        };
        let mut image = Self {
            inner: Arc::new(Inner {
                pool: pool.clone(),
                data_pool,
                name: name.to_string(),
                full_name,
                header_object,
                options,
                snap,
                layout: info.layout,
                block_name_prefix: info.block_name_prefix.clone(),
                known: RwLock::new(Known {
                    info: Arc::new(info),
                    overrides: Arc::new(overrides),
                    read_policy: None,
                    announced,
                }),
                writes,
                spare_writes: Arc::default(),
                follower,
                lock,
                asked,
                requests,
                cache,
                object_map: Slot::default(),
                snap_map,
                watch: std::sync::Mutex::new(watch),
                maintenance: Mutex::new(()),
                reading: Mutex::new(()),
                size_limit: AtomicU64::new(u64::MAX),
            }),
            tasks: None,
        };
        // What it says wrong is better told now than by every read.
        image.read_policy()?;
        if let Some(cache) = ImageCache::new(&image, &image.inner.options.cache)? {
            // There is none yet.
            let _ = image.inner.cache.set(cache);
        }
        image.tasks = Some(Arc::new(UserEnd {
            image: image.downgrade(),
            tasks: OnceLock::new(),
        }));
        Ok(image)
    }

    /// The pool, with the namespace, where its header is.
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    /// The pool, with the namespace, where its data is.
    pub fn data_pool(&self) -> &Pool {
        &self.inner.data_pool
    }

    /// Its name when it was opened.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its name with pool, namespace and snapshot, as people write it.
    pub fn full_name(&self) -> &str {
        &self.inner.full_name
    }

    /// What the header said when it was last read.
    pub fn info(&self) -> Arc<ImageInfo> {
        let known = self.inner.known.read();
        Arc::clone(&known.unwrap_or_else(PoisonError::into_inner).info)
    }

    /// The options that were set for it when the header was last read.
    pub(crate) fn overrides(&self) -> Arc<Overrides> {
        let known = self.inner.known.read();
        Arc::clone(&known.unwrap_or_else(PoisonError::into_inner).overrides)
    }

    pub(crate) fn known_read_policy(&self) -> Option<KnownPolicy> {
        let known = self.inner.known.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.read_policy.clone()
    }

    /// Keeps what `overrides` and the configuration say, until they change.
    pub(crate) fn set_known_read_policy(&self, overrides: &Arc<Overrides>, policy: KnownPolicy) {
        let known = self.inner.known.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&known.overrides, overrides) {
            known.read_policy = Some(policy);
        }
    }

    /// The part of its objects' names that stays when it is renamed.
    pub fn id(&self) -> String {
        self.info().id.clone()
    }

    /// Its size, or that of the snapshot it is open at, in bytes.
    pub fn size_bytes(&self) -> u64 {
        match &self.inner.snap {
            Some(snap) => snap.size_bytes,
            None => self.info().size_bytes,
        }
    }

    /// How its bytes are laid out over objects.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// The size of an object in bytes.
    pub fn object_size(&self) -> u64 {
        self.inner.layout.object_size()
    }

    /// How many objects it can have.
    pub fn object_count(&self) -> u64 {
        self.inner.layout.object_count(self.size_bytes())
    }

    /// What the names of its data objects start with.
    pub fn block_name_prefix(&self) -> &str {
        &self.inner.block_name_prefix
    }

    /// What it can do.
    pub fn features(&self) -> Features {
        self.info().features
    }

    /// What it takes part in.
    pub fn op_features(&self) -> OpFeatures {
        self.info().op_features
    }

    /// What is wrong with it, or with the snapshot it is open at, as far as that is known.
    pub fn flags(&self) -> Flags {
        match &self.inner.snap {
            Some(snap) => snap.flags,
            None => self.info().flags,
        }
    }

    /// When it was made.
    pub fn created(&self) -> UTime {
        self.info().created
    }

    /// What it is a clone of.
    pub fn parent(&self) -> Option<Parent> {
        self.info().parent.clone()
    }

    /// Its snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.info().snapshots.clone()
    }

    /// The snapshot it is open at.
    pub fn snap(&self) -> Option<&Snapshot> {
        self.inner.snap.as_ref()
    }

    /// Whether it was opened for reading only, or at a snapshot.
    pub fn is_read_only(&self) -> bool {
        self.inner.options.read_only || self.inner.snap.is_some()
    }

    /// Whether writing is possible and safe.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if it was opened for reading only; otherwise by name, what this version
    /// cannot keep intact, with the command that turns it off: [`Error::NotWritable`],
    /// [`Error::UnknownOperations`], or why it cannot even be read.
    pub fn check_writable(&self) -> Result<()> {
        self.check_data_writable(&self.info())
    }

    pub(crate) fn check_data_writable(&self, info: &ImageInfo) -> Result<()> {
        self.check_header_writable()?;
        info.check_writable(self.full_name())?;
        info.check_readable(self.full_name(), None)
    }

    /// Whether it was opened for changes, of the header at least.
    pub(crate) fn check_header_writable(&self) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::ReadOnly {
                image: self.full_name().to_string(),
            });
        }
        Ok(())
    }

    pub(crate) fn is_for_header_only(&self) -> bool {
        self.inner.options.header_only
    }

    /// Only an image opened for its header alone can fail this.
    pub(crate) fn check_readable(&self, info: &ImageInfo) -> Result<()> {
        if self.is_for_header_only() {
            return info.check_readable(self.full_name(), self.snap());
        }
        Ok(())
    }

    /// Hears of changes that others make to the header, as soon as they announce them: what
    /// [`refresh`](Self::refresh) would find may have changed then. Nothing is heard by an image opened
    /// without [`watch`](OpenOptions::watch).
    pub fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.inner.follower.changes()
    }

    /// What the header says, read again if others said that they changed it.
    pub(crate) async fn current_info(&self) -> Result<Arc<ImageInfo>> {
        if self.is_stale() {
            let _reading = self.inner.reading.lock().await;
            // Somebody else may have done that before.
            if self.is_stale() {
                self.reload().await?;
            }
        }
        Ok(self.info())
    }

    /// Reads the header again.
    ///
    /// # Errors
    /// If it cannot be read; [`Error::NoSuchSnapshot`] if the image is open at a snapshot that has
    /// been removed. What was known before then stays.
    pub async fn refresh(&self) -> Result<()> {
        let _reading = self.inner.reading.lock().await;
        self.reload().await
    }

    /// As [`refresh`](Self::refresh), with `reading` held.
    pub(crate) async fn reload(&self) -> Result<()> {
        let announced = self.inner.follower.announced();
        let id = self.id();
        let (mut info, overrides) = tokio::try_join!(
            ImageInfo::load(self.pool(), &id, self.full_name()),
            Overrides::load(self.pool(), self.header_object()),
        )?;
        if let Some(snap) = self.snap() {
            info.snapshot(&SnapshotSelector::Id(snap.id), self.full_name())?;
        }
        let known = self.inner.known.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        info.size_bytes = info
            .size_bytes
            .min(self.inner.size_limit.load(Ordering::Acquire));
        // The lock's driver does not wait for `reading`, which may wait for it.
        if announced >= known.announced {
            *known = Known {
                info: Arc::new(info),
                overrides: Arc::new(overrides),
                read_policy: None,
                announced,
            };
        }
        drop(known);
        self.inner.follower.caught_up(announced);
        if let Some(cache) = self.cache() {
            cache.forget_read_ahead();
        }
        Ok(())
    }

    /// As [`refresh`](Self::refresh), for the lock's driver, when the lock has just been taken: others
    /// may have changed the header in a way that was not heard of. Whatever was read before counts as
    /// older.
    pub(crate) async fn reload_under_lock(&self) -> Result<()> {
        self.inner.follower.announce();
        self.reload().await
    }

    /// Takes note of the size that this client has given to the image.
    pub(crate) fn set_known_size(&self, size_bytes: u64) {
        let known = self.inner.known.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let mut info = (*known.info).clone();
        info.size_bytes = size_bytes;
        known.info = Arc::new(info);
        drop(known);
        if let Some(cache) = self.cache() {
            cache.forget_read_ahead();
        }
    }

    /// Lets nothing be written from `size_bytes` on, until the limit is lifted.
    pub(crate) fn limit_size(&self, size_bytes: u64) -> SizeLimit<'_> {
        // Before the size is set: who reads the header meanwhile sets it before or heeds the limit.
        self.inner.size_limit.store(size_bytes, Ordering::Release);
        self.set_known_size(size_bytes);
        SizeLimit { image: self }
    }

    /// Whether others have changed the header since it was read.
    pub(crate) fn is_stale(&self) -> bool {
        self.inner.follower.is_stale()
    }

    /// The same image for those who must not keep it from being dropped.
    pub(crate) fn downgrade(&self) -> WeakImage {
        WeakImage {
            inner: Arc::downgrade(&self.inner),
        }
    }

    /// Where the map of the head is, while the lock is held.
    pub(crate) fn object_map_slot(&self) -> &Slot {
        &self.inner.object_map
    }

    /// The map of the head, while the lock is held.
    pub(crate) fn object_map(&self) -> Option<Arc<ObjectMap>> {
        self.inner.object_map.get()
    }

    /// The map of the snapshot it is open at, if that can be relied on.
    pub(crate) fn snap_map(&self) -> Option<&BitVector> {
        self.inner.snap_map.as_ref()
    }

    /// Takes note of flags that this client has set.
    pub(crate) fn add_known_flags(&self, flags: Flags) {
        let known = self.inner.known.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let flags = known.info.flags | flags;
        if known.info.flags != flags {
            let mut info = (*known.info).clone();
            info.flags = flags;
            known.info = Arc::new(info);
        }
    }

    pub(crate) fn lock(&self) -> &Arc<ExclusiveLock> {
        &self.inner.lock
    }

    pub(crate) fn lock_on_read(&self) -> bool {
        self.inner.options.lock_on_read && !self.is_read_only()
    }

    pub(crate) fn lock_timeout(&self) -> Option<Duration> {
        self.inner.options.lock_timeout
    }

    pub(crate) fn listener(&self) -> HeaderListener {
        HeaderListener {
            follower: Arc::clone(&self.inner.follower),
            lock: Arc::clone(&self.inner.lock),
            asked: Arc::clone(&self.inner.asked),
            requests: Arc::clone(&self.inner.requests),
            cache: Arc::clone(&self.inner.cache),
        }
    }

    /// What this client has asked the owner of the lock for.
    pub(crate) fn asked(&self) -> &Asked {
        &self.inner.asked
    }

    /// What others have asked this client for, as the owner of the lock.
    pub(crate) fn requests(&self) -> &Requests {
        &self.inner.requests
    }

    /// Lets no write begin before the header has been read again, and waits for those that have begun:
    /// for those who do that in the end and hold `reading` until then.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub(crate) async fn hold_writes(&self) -> Result<()> {
        self.inner.follower.announce();
        self.finish_writes().await
    }

    /// How long an operation may take (`rados_osd_op_timeout`).
    pub(crate) fn operation_limit(&self) -> Result<Option<Duration>> {
        let timeouts = self.pool().cluster().config().timeouts();
        Ok(timeouts.map_err(rados::Error::from)?.osd_op)
    }

    /// Waits for the end of writes, but no longer than operations may take if the configuration says
    /// how long that is: whoever limits that does not want to wait for writes either that were given up
    /// and may still be carried out.
    ///
    /// # Errors
    /// [`Error::WritesUnfinished`].
    pub(crate) async fn within_limit<T>(&self, end: impl Future<Output = T>) -> Result<T> {
        let Some(limit) = self.operation_limit()? else {
            return Ok(end.await);
        };
        timeout(limit, end)
            .await
            .map_err(|_| Error::WritesUnfinished {
                image: self.full_name().to_string(),
                limit,
            })
    }

    pub(crate) fn watch_slot(&self) -> MutexGuard<'_, Option<rados::Watch>> {
        let watch = self.inner.watch.lock();
        watch.unwrap_or_else(PoisonError::into_inner)
    }

    /// The same image for a task, which does not keep the image open.
    pub(crate) fn without_tasks(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            tasks: None,
        }
    }

    /// Starts what is needed to take the lock unless that was done before.
    pub(crate) fn start_tasks(&self, start: impl FnOnce() -> Tasks) {
        if let Some(end) = &self.tasks {
            end.tasks.get_or_init(start);
        }
    }

    pub(crate) fn header_object(&self) -> &str {
        &self.inner.header_object
    }

    /// What is cached, if anything may be.
    pub(crate) fn cache(&self) -> Option<&ImageCache> {
        self.inner.cache.get()
    }

    /// The buffer for writes, if they are buffered.
    pub(crate) fn write_back(&self) -> Option<&WriteBack> {
        self.cache().and_then(ImageCache::write_back)
    }

    pub(crate) fn writes(&self) -> &InFlight {
        &self.inner.writes
    }

    pub(crate) fn spare_writes(&self) -> &Arc<SpareWrites> {
        &self.inner.spare_writes
    }

    pub(crate) fn maintenance(&self) -> &Mutex<()> {
        &self.inner.maintenance
    }

    pub(crate) fn reading(&self) -> &Mutex<()> {
        &self.inner.reading
    }

    /// Where reads look: a snapshot or the head.
    pub(crate) fn read_snap(&self) -> SnapId {
        self.snap().map_or(SnapId::HEAD, |snap| snap.id)
    }

    pub(crate) fn data_object(&self, object_no: u64) -> DataObject {
        DataObject::new(self.block_name_prefix(), object_no)
    }

    /// Refuses ranges that are not within `size` bytes.
    pub(crate) fn check_bounds(&self, offset: u64, len: u64, size: u64) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::OutOfBounds {
                image: self.full_name().to_string(),
                offset,
                len,
                size,
            }),
        }
    }
}
