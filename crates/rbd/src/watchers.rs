//! Who has an image open.

use rados::{Operation, Pool, Watcher, Watchers};

use crate::{Error, Image, Result, directory};

impl Image {
    /// Who watches the image: whoever has it open for more than a quick look at it, this client not
    /// counted.
    ///
    /// # Errors
    /// What the cluster fails with.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn watchers(&self) -> Result<Vec<Watcher>> {
        list(self.pool(), self.header_object()).await
    }
}

/// The other watchers of a header.
pub(crate) async fn list(pool: &Pool, header_object: &str) -> Result<Vec<Watcher>> {
    let operation = Operation::new().list_watchers();
    let Watchers(mut watchers) = directory::call(pool, header_object, operation).await?;
    let own = pool.cluster().addr();
    watchers.retain(|watcher| (watcher.addr.socket, watcher.addr.nonce) != (own.socket, own.nonce));
    Ok(watchers)
}

/// Refuses images that others have open.
pub(crate) async fn check_unwatched(pool: &Pool, header_object: &str, image: &str) -> Result<()> {
    let watchers = list(pool, header_object).await?;
    if watchers.is_empty() {
        return Ok(());
    }
    let addrs: Vec<_> = watchers
        .iter()
        .map(|watcher| watcher.addr.to_string())
        .collect();
    Err(Error::InUse {
        image: image.to_string(),
        watchers: addrs.join(", "),
    })
}
