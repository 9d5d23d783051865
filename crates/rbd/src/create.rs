//! Making images (ceph: src/librbd/image/CreateRequest.cc).

use rados::{Operation, Pool};

use crate::error::{InvalidOptions, undecodable};
use crate::header::{self, NewHeader};
use crate::object_map::{self, ObjectState};
use crate::spec::{check_new_name, full_name};
use crate::{Error, Features, Layout, Result, directory, object_names, pool_check};

/// What a new image is to be like.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The size in bytes.
    pub size_bytes: u64,
    /// The size of an object as a power of two, one of [`Layout::ORDERS`].
    pub order: u8,
    /// What it can do. [`Features::STRIPING`] and [`Features::DATA_POOL`] follow from the fields
    /// below, whatever is said here, and an object map always comes with fast-diff.
    pub features: Features,
    /// How many bytes go to an object before it is the next one's turn; 0 for the object size.
    pub stripe_unit: u64,
    /// How many objects take turns; 0 for one.
    pub stripe_count: u64,
    /// Where the data goes, if not into the pool of the header. Its namespace is ignored: it is that
    /// of the header.
    pub data_pool: Option<Pool>,
}

impl CreateOptions {
    /// Upstream's defaults for an image of `size_bytes` bytes.
    pub const fn new(size_bytes: u64) -> Self {
        Self {
            size_bytes,
            order: DEFAULT_ORDER,
            features: Features::DEFAULT,
            stripe_unit: 0,
            stripe_count: 0,
            data_pool: None,
        }
    }

    /// The layout these options ask for.
    ///
    /// # Errors
    /// If they do not fit together.
    pub fn layout(&self) -> Result<Layout, InvalidOptions> {
        if (self.stripe_unit == 0) != (self.stripe_count == 0) {
            return Err(InvalidOptions::HalfStriped);
        }
        if self.stripe_unit == 0 {
            Layout::plain(self.order)
        } else {
            Layout::new(self.order, self.stripe_unit, self.stripe_count)
        }
    }

    /// The features of the image that these options make.
    ///
    /// # Errors
    /// If there are some that this version cannot give, or that lack others.
    fn effective_features(&self, layout: &Layout) -> Result<Features, InvalidOptions> {
        let mut features = self
            .features
            .without(Features::STRIPING.with(Features::DATA_POOL));
        if features.contains(Features::OBJECT_MAP) {
            features = features | Features::FAST_DIFF;
        }
        let unsupported = features.without(CREATABLE);
        if !unsupported.is_empty() {
            return Err(InvalidOptions::UnsupportedFeatures(unsupported));
        }
        features.check_dependencies()?;
        if !layout.is_plain() {
            features = features | Features::STRIPING;
        }
        if self.data_pool.is_some() {
            features = features | Features::DATA_POOL;
        }
        Ok(features)
    }
}

/// What one needs to know to make an image, checked.
struct Plan<'a> {
    pool: &'a Pool,
    name: &'a str,
    id: String,
    size: u64,
    layout: Layout,
    features: Features,
    data_pool: Option<&'a Pool>,
}

/// Makes an image.
///
/// The pool is not marked as validated in `rbd_info`, as librbd does after it has made and removed a
/// snapshot there: the mark would claim that somebody tried. Instead the OSD map is asked what pools
/// can hold. librbd validates the pool itself when it first makes an image in it.
///
/// # Errors
/// [`Error::ImageExists`], also for an image of format 1; [`Error::InvalidOptions`];
/// [`Error::UnsuitablePool`]; [`Error::NoSuchNamespace`]. When a step fails, those before it are
/// undone.
///
/// # Cancellation
/// Dropping the future may leave an incomplete image behind, which [`remove`](crate::remove)
/// removes.
pub async fn create(pool: &Pool, name: &str, options: &CreateOptions) -> Result<()> {
    check_new_name(name)?;
    let invalid = |reason| Error::InvalidOptions {
        image: full_name(pool, name),
        reason,
    };
    let mut options = options.clone();
    if options.data_pool.as_ref().map(Pool::id) == Some(pool.id()) {
        options.data_pool = None;
    }
    let layout = options.layout().map_err(invalid)?;
    let features = options.effective_features(&layout).map_err(invalid)?;
    let objects = layout.object_count(options.size_bytes);
    if options.size_bytes > Layout::MAX_SIZE {
        return Err(invalid(InvalidOptions::TooLarge));
    }
    if features.contains(Features::OBJECT_MAP) && objects > object_map::MAX_OBJECTS {
        return Err(invalid(InvalidOptions::TooManyObjects { objects }));
    }
    pool_check::check(pool, options.data_pool.as_ref()).await?;
    directory::check_namespace(pool).await?;
    directory::check_name_is_free(pool, name).await?;
    let plan = Plan {
        pool,
        name,
        id: new_id(pool, name)?,
        size: options.size_bytes,
        layout,
        features,
        data_pool: options.data_pool.as_ref(),
    };
    plan.enter_directory().await
}

impl Plan<'_> {
    async fn enter_directory(&self) -> Result<()> {
        let mut operation = Operation::new();
        if !self.pool.namespace().is_empty() {
            operation = directory::dir_assert_ready(operation);
        }
        operation = directory::dir_add_image(operation, self.name, &self.id);
        let entered = self.pool.execute(object_names::DIRECTORY, operation).await;
        self.name_taken(entered)?;
        let made = self.make_id_object().await;
        if made.is_err() {
            let operation = directory::dir_remove_image(Operation::new(), self.name, &self.id);
            self.undo(object_names::DIRECTORY, operation).await;
        }
        made
    }

    async fn make_id_object(&self) -> Result<()> {
        let object = object_names::id_object(self.name);
        let operation = directory::set_id(Operation::new().create_exclusive(), &self.id);
        let made = self.pool.execute(&object, operation).await;
        self.name_taken(made)?;
        let made = self.make_header().await;
        if made.is_err() {
            self.undo(&object, Operation::new().delete()).await;
        }
        made
    }

    async fn make_header(&self) -> Result<()> {
        self.check_servers_know_features().await?;
        let object = object_names::header(&self.id);
        let data_pool = self.data_pool.map(Pool::id);
        let prefix = object_names::data_prefix(&self.id, data_pool.map(|_| self.pool.id()));
        let new = NewHeader {
            size: self.size,
            order: self.layout.order(),
            features: self.features,
            object_prefix: &prefix,
            data_pool,
        };
        let operation = header::create(Operation::new().create_exclusive(), &new);
        self.pool.execute(&object, operation).await?;
        let made = self.complete_header(&object).await;
        if made.is_err() {
            self.undo(&object, Operation::new().delete()).await;
        }
        made
    }

    async fn complete_header(&self, object: &str) -> Result<()> {
        if !self.layout.is_plain() {
            // Not in one operation with the step before: it would not see the features yet.
            let (unit, count) = (self.layout.stripe_unit(), self.layout.stripe_count());
            let operation = header::set_stripe_unit_count(Operation::new(), unit, count);
            self.pool.execute(object, operation).await?;
        }
        self.make_object_map().await
    }

    async fn make_object_map(&self) -> Result<()> {
        if !self.features.contains(Features::OBJECT_MAP) {
            return Ok(());
        }
        let object = object_names::object_map(&self.id, denc::SnapId::HEAD);
        let objects = self.layout.object_count(self.size);
        let operation =
            object_map::class::resize(Operation::new(), objects, ObjectState::Nonexistent);
        self.pool.execute(&object, operation).await?;
        Ok(())
    }

    async fn check_servers_know_features(&self) -> Result<()> {
        let object = object_names::DIRECTORY;
        let operation = directory::get_all_features(Operation::new());
        let reply = self.pool.execute(object, operation).await?;
        let known: Features = reply
            .decode(0, "get_all_features")
            .map_err(undecodable(self.pool, object))?;
        let unknown = self.features.without(known);
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Error::InvalidOptions {
            image: full_name(self.pool, self.name),
            reason: InvalidOptions::UnsupportedFeatures(unknown),
        })
    }

    /// Somebody may have been faster after the name was found to be free.
    fn name_taken(&self, result: rados::Result<rados::Reply>) -> Result<()> {
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == rados::Errno::EEXIST => Err(Error::ImageExists {
                image: full_name(self.pool, self.name),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes back a step because of an error that is more interesting than one of this.
    async fn undo(&self, object: &str, operation: Operation) {
        if let Err(error) = self.pool.execute(object, operation.full_try()).await {
            tracing::warn!(%error, object, "could not undo a step of making an image");
        }
    }
}

/// An id for a new image: unique by the number of this client instance and, within it, by chance.
fn new_id(pool: &Pool, name: &str) -> Result<String> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|_| Error::NoRandomness {
        image: full_name(pool, name),
    })?;
    let instance = pool.cluster().global_id().0;
    let id = format!("{instance:x}{:08x}", u32::from_le_bytes(random));
    // ASCII only.
    Ok(id
        .get(id.len().saturating_sub(MAX_ID_LEN)..)
        .unwrap_or(&id)
        .to_string())
}

/// Upstream's default: objects of 4 MiB (`rbd_default_order`).
const DEFAULT_ORDER: u8 = 22;
/// Longer ids would not leave room for a pool's number in the names of data objects
/// (`RBD_MAX_IMAGE_ID_LENGTH`).
const MAX_ID_LEN: usize = 14;
/// What an image can be given by asking for it.
const CREATABLE: Features = Features::DEFAULT;

#[cfg(test)]
mod tests {
    use super::*;

    fn features(options: &CreateOptions) -> Result<Features, InvalidOptions> {
        options.effective_features(&options.layout()?)
    }

    #[test]
    fn striping_follows_from_the_layout() {
        let mut options = CreateOptions::new(1 << 30);
        options.features = Features::LAYERING | Features::STRIPING;
        assert_eq!(features(&options), Ok(Features::LAYERING));
        (options.stripe_unit, options.stripe_count) = (1 << 22, 1);
        assert_eq!(features(&options), Ok(Features::LAYERING));
        options.stripe_unit = 1 << 16;
        assert_eq!(
            features(&options),
            Ok(Features::LAYERING | Features::STRIPING)
        );
        options.stripe_count = 0;
        assert_eq!(features(&options), Err(InvalidOptions::HalfStriped));
    }

    #[test]
    fn an_object_map_comes_with_fast_diff() {
        let mut options = CreateOptions::new(0);
        options.features = Features::EXCLUSIVE_LOCK | Features::OBJECT_MAP;
        assert!(features(&options).unwrap().contains(Features::FAST_DIFF));
        options.features = Features::OBJECT_MAP;
        assert!(matches!(
            features(&options),
            Err(InvalidOptions::Dependency { .. })
        ));
    }

    #[test]
    fn what_this_version_cannot_give_is_refused_by_name() {
        let mut options = CreateOptions::new(0);
        options.features = Features::DEFAULT | Features::JOURNALING;
        let error = features(&options).unwrap_err();
        assert_eq!(
            error,
            InvalidOptions::UnsupportedFeatures(Features::JOURNALING)
        );
        assert!(error.to_string().contains("journaling"));
    }
}
