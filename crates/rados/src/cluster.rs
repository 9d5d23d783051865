//! A connection to a cluster.

use std::sync::Arc;
use std::time::Duration;

use buffers::BufferPool;
use bytes::Bytes;
use denc::{EntityAddr, Epoch, GlobalId, PoolId, Uuid};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::Config;
use crate::messenger::Messenger;
use crate::mon::{MonClient, Status, Wishes};
use crate::monmap::MonMap;
use crate::objecter::Objecter;
use crate::osdmap::OsdMap;
use crate::{Error, Pool, Result};

/// A connection to a cluster: its monitors, its maps, its OSDs. Cheap to clone.
///
/// The connection ends when the last clone, and everything made from it, is gone, or with
/// [`shut_down`](Self::shut_down).
#[derive(Clone, Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    messenger: Arc<Messenger>,
    objecter: Arc<Objecter>,
    monitors: Arc<MonClient>,
    /// The task of the monitor client.
    task: AbortHandle,
}

impl Cluster {
    /// Connects: finds a monitor, authenticates, and gets the maps and the options that the cluster
    /// keeps for this client, unless [the configuration](Config::uses_monitor_options) says that they
    /// do not count.
    ///
    /// # Errors
    /// [`Error::NoMonitor`] or [`Error::TimedOut`] after `client_mount_timeout`; [`Error::AuthRefused`] at once if the
    /// monitors do not accept the user or its key; [`Error::Config`] if it is not known where the
    /// monitors are or who we are.
    ///
    /// # Cancellation
    /// Dropping the future ends the attempt and leaves nothing behind.
    pub async fn connect(config: Config) -> Result<Self> {
        let messenger = Messenger::from_config(&config)?;
        Self::with_messenger(config, messenger).await
    }

    pub(crate) async fn with_messenger(config: Config, messenger: Messenger) -> Result<Self> {
        let timeouts = config.timeouts()?;
        let messenger = Arc::new(messenger);
        let wishes = Arc::new(Wishes::default());
        let objecter = Arc::new(Objecter::new(Arc::clone(&messenger), Arc::clone(&wishes)));
        objecter.set_timeout(timeouts.osd_op);
        objecter.set_options(config.objecter_options()?);
        let monitors = Arc::new(
            MonClient::new(
                Arc::clone(&messenger),
                Arc::clone(&objecter),
                wishes,
                &config,
            )
            .await?,
        );
        let task = tokio::spawn(Arc::clone(&monitors).run()).abort_handle();
        let inner = Arc::new(Inner {
            messenger,
            objecter: Arc::clone(&objecter),
            monitors,
            task,
        });
        inner.wait_until_ready(timeouts.mount).await?;
        objecter.set_limits(inner.monitors.config().in_flight_limits()?);
        Ok(Self { inner })
    }

    /// The configuration: that it was connected with, and the options that the cluster keeps for
    /// this client now.
    pub fn config(&self) -> Arc<Config> {
        self.inner.monitors.config()
    }

    /// What its connections read into. Whoever reads what is to be written to the cluster, from sockets
    /// for example, may use the same buffers, which are trimmed when they have not been used for a while.
    pub fn buffers(&self) -> &BufferPool {
        &self.inner.messenger.buffers
    }

    /// The cluster's id.
    pub fn fsid(&self) -> Uuid {
        self.inner.messenger.fsid().unwrap_or_default()
    }

    /// The number the monitors gave to this client instance.
    pub fn global_id(&self) -> GlobalId {
        self.inner.messenger.global_id()
    }

    /// The address and nonce by which watches, locks and the blocklist know this client instance.
    pub fn addr(&self) -> EntityAddr {
        self.inner.messenger.addr()
    }

    /// The current monitor map.
    pub fn monmap(&self) -> Option<MonMap> {
        self.inner.monitors.monmap()
    }

    /// The current OSD map.
    pub fn osdmap(&self) -> Arc<OsdMap> {
        self.inner
            .objecter
            .map()
            .expect("connect has waited for the first map, and none is ever taken away")
    }

    /// Waits until the client's OSD map is at least `epoch`.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the connection ends before.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn wait_for_osdmap(&self, epoch: Epoch) -> Result<()> {
        let mut epochs = self.inner.objecter.epochs();
        epochs
            .wait_for(|current| *current >= epoch)
            .await
            .map_err(|_| Error::ShutDown)?;
        Ok(())
    }

    /// The pools' numbers and names, ordered by number.
    pub fn pools(&self) -> Vec<(PoolId, String)> {
        let map = self.osdmap();
        let named = map
            .pools()
            .filter_map(|(id, _)| Some((id, map.pool_name(id)?.to_string())));
        named.collect()
    }

    /// Opens a pool by name. Asks the monitors for their newest map before it says there is none.
    ///
    /// # Errors
    /// [`Error::NoSuchPool`].
    ///
    /// # Cancellation
    /// Safe.
    pub async fn pool(&self, name: &str) -> Result<Pool> {
        if self.osdmap().pool_by_name(name).is_none() {
            self.update_osdmap().await?;
        }
        match self.osdmap().pool_by_name(name) {
            Some(id) => Ok(Pool::new(self.clone(), id, name)),
            None => Err(Error::NoSuchPool {
                name: name.to_string(),
            }),
        }
    }

    /// Opens a pool by number. Asks the monitors for their newest map before it says there is none.
    ///
    /// # Errors
    /// [`Error::PoolGone`].
    ///
    /// # Cancellation
    /// Safe.
    pub async fn pool_by_id(&self, id: PoolId) -> Result<Pool> {
        if self.osdmap().pool_name(id).is_none() {
            self.update_osdmap().await?;
        }
        match self.osdmap().pool_name(id) {
            Some(name) => Ok(Pool::new(self.clone(), id, name)),
            None => Err(Error::PoolGone { pool: id }),
        }
    }

    /// Waits until the client has the OSD map that is the monitors' newest now.
    ///
    /// # Errors
    /// [`Error::ShutDown`] if the connection ends before.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn update_osdmap(&self) -> Result<()> {
        let newest = self.inner.monitors.newest_osdmap().await?;
        self.wait_for_osdmap(newest).await
    }

    /// Sends a command to the monitors: JSON with a `prefix`, and input data.
    ///
    /// # Errors
    /// [`Error::Command`] if it fails or is refused; [`Error::TimedOut`] if there is no answer within
    /// `rados_mon_op_timeout`, where that is set.
    ///
    /// # Cancellation
    /// Dropping the future forgets the command, which may be carried out all the same.
    pub async fn monitor_command(
        &self,
        command: &serde_json::Value,
        input: Bytes,
    ) -> Result<CommandOutput> {
        self.inner.monitors.command(command, input).await
    }

    /// Ends the connection. Operations in flight fail with [`Error::ShutDown`].
    pub fn shut_down(&self) {
        self.inner.shut_down();
    }

    pub(crate) fn monitors(&self) -> &MonClient {
        &self.inner.monitors
    }

    #[cfg(test)]
    pub(crate) fn messenger(&self) -> &Messenger {
        &self.inner.messenger
    }

    pub(crate) fn objecter(&self) -> &Arc<Objecter> {
        &self.inner.objecter
    }
}

impl Inner {
    /// Waits for a monitor, its map, the options it keeps for us and the first OSD map. There is no
    /// limit if it is zero.
    async fn wait_until_ready(&self, limit: Duration) -> Result<()> {
        let mut status = self.monitors.status();
        let mut epochs = self.objecter.epochs();
        let mut is_configured = self.monitors.is_configured();
        let ready = async {
            loop {
                if let Status::Refused(error) = &*status.borrow_and_update() {
                    return Err(error.clone());
                }
                let is_settled = *is_configured.borrow_and_update();
                let has_maps =
                    *epochs.borrow_and_update() > Epoch(0) && self.monitors.monmap().is_some();
                // The options may have ended the session over which they came.
                let has_monitor = self.monitors.connection().is_some();
                if is_settled && has_maps && has_monitor {
                    return Ok(());
                }
                tokio::select! {
                    changed = status.changed() => changed.map_err(|_| Error::ShutDown)?,
                    changed = epochs.changed() => changed.map_err(|_| Error::ShutDown)?,
                    changed = is_configured.changed() => changed.map_err(|_| Error::ShutDown)?,
                }
            }
        };
        if limit.is_zero() {
            return ready.await;
        }
        match timeout(limit, ready).await {
            Ok(outcome) => outcome,
            Err(_) => Err(match &*self.monitors.status().borrow() {
                Status::Hunting(attempts) => Error::NoMonitor {
                    waited: limit,
                    attempts: attempts.clone(),
                },
                _ => Error::TimedOut {
                    what: "getting the cluster's maps and options from its monitors".to_string(),
                    limit,
                },
            }),
        }
    }

    fn shut_down(&self) {
        self.task.abort();
        self.monitors.shut_down();
        self.objecter.shut_down();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// What a monitor command gave.
#[derive(Clone, Debug, Default)]
pub struct CommandOutput {
    /// What it says to people.
    pub status: String,
    /// What it says to programs.
    pub data: Bytes,
}
