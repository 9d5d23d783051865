//! How much may be in flight at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::op::Budget;
use crate::{Error, Result};

/// Operations in flight (ceph: `objecter_inflight_ops`).
const OPERATIONS: u32 = 1024;
/// Bytes of input in flight, in KiB (ceph: `objecter_inflight_op_bytes`).
const KIBIBYTES: u32 = 100 * 1024;

/// Makes submitters wait while too much is in flight.
#[derive(Debug)]
pub(super) struct Limits {
    operations: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: Arc::new(Semaphore::new(OPERATIONS as usize)),
            kibibytes: Arc::new(Semaphore::new(KIBIBYTES as usize)),
        }
    }
}

impl Limits {
    /// Waits until an operation with that much input may be in flight.
    ///
    /// One that is larger than the limit may be when nothing else is. Cancellation-safe.
    pub(super) async fn take(&self, input_len_bytes: usize) -> Result<Budget> {
        let kibibytes = u32::try_from(input_len_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let kibibytes = Arc::clone(&self.kibibytes).acquire_many_owned(kibibytes.min(KIBIBYTES));
        let operations = Arc::clone(&self.operations).acquire_owned();
        Ok(Budget {
            _operations: operations.await.map_err(|_| Error::ShutDown)?,
            _kibibytes: kibibytes.await.map_err(|_| Error::ShutDown)?,
        })
    }

    /// Nobody may submit any more.
    pub(super) fn close(&self) {
        self.operations.close();
        self.kibibytes.close();
    }
}
