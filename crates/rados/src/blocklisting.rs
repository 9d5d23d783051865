//! The blocklist: fencing other clients, and being fenced.

use std::time::Duration;

use bytes::Bytes;
use denc::EntityAddr;
use serde_json::json;

use crate::{Cluster, Errno, Error, Result};

impl Cluster {
    /// Blocklists a client by its address and nonce: from then on no OSD carries out anything that
    /// it sends, be it under way already. It ends after `expire`, or after
    /// `mon_osd_blocklist_default_expire`, one hour, of the monitors.
    ///
    /// Waits for the OSD map that says so: whatever this client submits afterwards carries its epoch,
    /// and no OSD that has carried that out carries out anything of the other client's.
    ///
    /// # Errors
    /// [`Error::Command`] if the monitors refuse, [`Error::ShutDown`] if the connection ends before.
    ///
    /// # Cancellation
    /// Dropping the future leaves it open whether the client is blocklisted.
    pub async fn blocklist(&self, addr: &EntityAddr, expire: Option<Duration>) -> Result<()> {
        match self.blocklist_as("blocklist", addr, expire).await {
            // Monitors before Pacific know the command by another name only.
            Err(unknown) if unknown.errno() == Errno::EINVAL => {
                match self.blocklist_as("blacklist", addr, expire).await {
                    Err(error) if error.errno() == Errno::EINVAL => return Err(unknown),
                    result => result?,
                }
            }
            result => result?,
        }
        self.update_osdmap().await
    }

    async fn blocklist_as(
        &self,
        list: &str,
        addr: &EntityAddr,
        expire: Option<Duration>,
    ) -> Result<()> {
        let operation = format!("{list}op");
        let mut command = json!({
            "prefix": format!("osd {list}"),
            operation: "add",
            "addr": addr.to_string(),
        });
        if let (Some(expire), Some(arguments)) = (expire, command.as_object_mut()) {
            arguments.insert("expire".to_string(), expire.as_secs_f64().into());
        }
        self.monitor_command(&command, Bytes::new()).await.map(drop)
    }

    /// Whether the cluster has blocklisted this client. It stays so, even if it is taken off the list:
    /// what others have done meanwhile is not known to it.
    pub fn is_blocklisted(&self) -> bool {
        *self.objecter().blocklisting().borrow()
    }

    /// Waits until the cluster has blocklisted this client, for which it may have to wait for ever.
    /// Gives the error with which everything fails from then on.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn wait_blocklisted(&self) -> Error {
        let mut blocklisting = self.objecter().blocklisting();
        match blocklisting
            .wait_for(|is_blocklisted| *is_blocklisted)
            .await
        {
            Ok(_) => self.objecter().blocklisted(),
            Err(_) => Error::ShutDown,
        }
    }
}
