//! Keys and values that people and programs attach to images.

use std::collections::BTreeMap;

use bytes::Bytes;
use rados::Operation;

use crate::notification::Maintenance;
use crate::{Error, Image, Result, directory, header};

impl Image {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::NoSuchMetadata`]; what the cluster fails with.
    pub async fn metadata_get(&self, key: &str) -> Result<Bytes> {
        let operation = header::metadata_get(Operation::new(), key);
        directory::call(self.pool(), self.header_object(), operation)
            .await
            .map_err(|error| {
                if error.is_not_found() {
                    self.no_metadata(key)
                } else {
                    error
                }
            })
    }

    /// All keys and values, ordered by key. Keys that begin with `conf_` are options for clients.
    ///
    /// # Errors
    /// What the cluster fails with.
    pub async fn metadata_list(&self) -> Result<BTreeMap<String, Bytes>> {
        let mut all = BTreeMap::new();
        loop {
            let after = all
                .last_key_value()
                .map_or("", |(key, _): (&String, _)| key);
            let operation = header::metadata_list(Operation::new(), after, PAGE);
            let page: BTreeMap<String, Bytes> =
                directory::call(self.pool(), self.header_object(), operation).await?;
            let known = all.len();
            let complete = (page.len() as u64) < PAGE;
            all.extend(page);
            if complete || all.len() == known {
                return Ok(all);
            }
        }
    }

    /// Sets the value of a key. If another client has the image's exclusive lock, it is asked to do it.
    /// Others who have the image open are told: it may be an option for them.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::OwnerFailed`] if the owner of the lock cannot do it; as
    /// [`acquire_lock`](Self::acquire_lock).
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether it was set.
    pub async fn metadata_set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.check_header_writable()?;
        let wanted = Maintenance::MetadataUpdate {
            key: key.to_string(),
            value: Some(Bytes::copy_from_slice(value)),
        };
        self.maintain(&wanted, |_| ()).await
    }

    /// Removes a key. If another client has the image's exclusive lock, it is asked to do it. Others who
    /// have the image open are told.
    ///
    /// # Errors
    /// [`Error::NoSuchMetadata`]; as [`metadata_set`](Self::metadata_set).
    ///
    /// # Cancellation
    /// Dropping the future leaves open whether it was removed.
    pub async fn metadata_remove(&self, key: &str) -> Result<()> {
        self.check_header_writable()?;
        // The class does not mind if there is no such key; people do.
        self.metadata_get(key).await?;
        let wanted = Maintenance::MetadataUpdate {
            key: key.to_string(),
            value: None,
        };
        self.maintain(&wanted, |_| ()).await
    }

    /// Sets or removes a key, for whoever has the lock.
    pub(crate) async fn update_metadata(&self, key: &str, value: Option<&[u8]>) -> Result<()> {
        let operation = match value {
            Some(value) => header::metadata_set(Operation::new(), key, value),
            None => header::metadata_remove(Operation::new(), key),
        };
        self.pool().execute(self.header_object(), operation).await?;
        Ok(())
    }

    fn no_metadata(&self, key: &str) -> Error {
        Error::NoSuchMetadata {
            image: self.full_name().to_string(),
            key: key.to_string(),
        }
    }
}

/// Keys listed at a time, as librbd does.
const PAGE: u64 = 64;
