//! Which OSDs the contents of an image are read from (ceph: `ImageCtx::get_read_flags`).

use std::sync::Arc;

use rados::config::Config;
use rados::{Operation, ReadPolicy};

use crate::{Image, Result};

/// A policy, and the configuration by which it is that.
#[derive(Clone, Debug)]
pub(crate) struct KnownPolicy {
    config: Arc<Config>,
    policy: ReadPolicy,
}

impl Image {
    /// Sends an operation that reads data objects where it may go: that is the same for the image as it
    /// is now and for snapshots, unless nothing is said but what is for snapshots.
    ///
    /// # Errors
    /// If an option of the configuration is not of its type.
    pub(crate) fn read_from_replicas(&self, operation: Operation) -> Result<Operation> {
        let policy = self.read_policy()?;
        Ok(match policy {
            // Then the option for all operations counts.
            ReadPolicy::Primary => operation,
            policy => operation.read_from(policy),
        })
    }

    /// By the options as they are now.
    ///
    /// # Errors
    /// If an option of the configuration is not of its type.
    pub(crate) fn read_policy(&self) -> Result<ReadPolicy> {
        let config = self.pool().cluster().config();
        // What options say is only looked up when they may have changed.
        if let Some(known) = self.known_read_policy()
            && Arc::ptr_eq(&known.config, &config)
        {
            return Ok(known.policy);
        }
        let overrides = self.overrides();
        let policy = self.configured_read_policy()?;
        self.set_known_read_policy(&overrides, KnownPolicy { config, policy });
        Ok(policy)
    }

    fn configured_read_policy(&self) -> Result<ReadPolicy> {
        let policy = self.option(&["rbd_read_from_replica_policy"])?;
        let policy = policy.unwrap_or(ReadPolicy::Primary);
        if policy != ReadPolicy::Primary || self.snap().is_none() {
            return Ok(policy);
        }
        let of_snapshots = [
            ("rbd_balance_snap_reads", ReadPolicy::Balance),
            ("rbd_localize_snap_reads", ReadPolicy::Localize),
        ];
        for (option, policy) in of_snapshots {
            if self.option(&[option])? == Some(true) {
                return Ok(policy);
            }
        }
        Ok(ReadPolicy::Primary)
    }
}
