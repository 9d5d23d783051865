//! What the workload is put on.

use bytes::Bytes;

/// A block device. Offsets and lengths are in bytes, multiples of a block.
pub(super) trait Device: Send + Sync + 'static {
    fn read(&self, offset: u64, len: u64) -> impl Future<Output = anyhow::Result<Vec<u8>>> + Send;

    fn write(&self, offset: u64, data: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Afterwards it is zeros.
    fn zero(&self, offset: u64, len: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Afterwards each block is zeros or what it was.
    fn discard(&self, offset: u64, len: u64) -> impl Future<Output = anyhow::Result<()>> + Send;

    fn flush(&self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Whether an operation failed because the cluster takes nothing more from this client.
    fn is_refusal(error: &anyhow::Error) -> bool;

    fn close(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}
