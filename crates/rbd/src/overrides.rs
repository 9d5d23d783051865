//! Options that an image, or its pool, sets for all who use it: metadata whose keys begin with `conf_`,
//! which `rbd config image set` and `rbd config pool set` write. What the image says counts before what
//! the pool says, and both before what the client is configured with (ceph:
//! src/librbd/image/RefreshRequest.cc; `ImageCtx::apply_metadata`).

use std::collections::BTreeMap;

use bytes::Bytes;
use rados::config::OptionValue;
use rados::{Errno, Operation, Pool};

use crate::{Image, Result, directory, header, object_names};

/// The options that are set for an image, by name, without `conf_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    by_name: BTreeMap<String, String>,
}

impl Overrides {
    /// Those of an image with this header.
    ///
    /// A client that may not read the pool's goes without.
    ///
    /// # Errors
    /// What the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn load(pool: &Pool, header_object: &str) -> Result<Self> {
        // Pools have theirs outside of all namespaces.
        let whole_pool = pool.in_namespace("");
        let (of_pool, of_image) = tokio::join!(
            options_in(&whole_pool, object_names::POOL_INFO),
            options_in(pool, header_object),
        );
        let of_pool = match of_pool {
            Err(error) if matches!(error.errno(), Errno::EPERM | Errno::EACCES) => {
                tracing::debug!(pool = pool.name(), %error, "without the pool's options");
                BTreeMap::new()
            }
            of_pool => of_pool?,
        };
        let mut by_name = of_pool;
        by_name.extend(of_image?);
        Ok(Self { by_name })
    }

    /// What an option is set to. What is not of its type counts as not set.
    fn get<T: OptionValue>(&self, name: &str, image: &str) -> Option<T> {
        let text = self.by_name.get(name)?;
        let value = T::parse(text);
        if value.is_none() {
            let expected = T::EXPECTED;
            tracing::warn!(
                image,
                name,
                text,
                expected,
                "an option of the image is ignored"
            );
        }
        value
    }
}

/// The options in an object's metadata.
async fn options_in(pool: &Pool, object: &str) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    let mut after = PREFIX.to_string();
    loop {
        let operation = header::metadata_list(Operation::new(), &after, PAGE);
        let page: BTreeMap<String, Bytes> = match directory::call(pool, object, operation).await {
            Ok(page) => page,
            // Whoever needs the object asks for more than this.
            Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::EOPNOTSUPP) => break,
            Err(error) => return Err(error),
        };
        let Some((last, _)) = page.last_key_value() else {
            break;
        };
        after.clone_from(last);
        let is_last = (page.len() as u64) < PAGE || !after.starts_with(PREFIX);
        for (key, value) in &page {
            if let Some(name) = key.strip_prefix(PREFIX) {
                let text = String::from_utf8_lossy(value).into_owned();
                options.insert(name.to_string(), text);
            }
        }
        if is_last {
            break;
        }
    }
    Ok(options)
}

impl Image {
    /// What an option is set to, by the first of its names that is set for the image, or else in the
    /// configuration.
    ///
    /// # Errors
    /// If the configuration's value is not of the option's type.
    pub(crate) fn option<T: OptionValue>(&self, names: &[&str]) -> Result<Option<T>> {
        let overrides = self.overrides();
        let mut overriding = names.iter();
        if let Some(value) = overriding.find_map(|name| overrides.get(name, self.full_name())) {
            return Ok(Some(value));
        }
        let config = self.pool().cluster().config();
        for name in names {
            let value = config.get(name).map_err(rados::Error::from)?;
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }
}

/// How the keys of options begin.
const PREFIX: &str = "conf_";
/// Keys listed at a time, as librbd does.
const PAGE: u64 = 64;
