//! Load through the published crate `rados`.

use bytes::Bytes;
use orbd_bench_rados_crate::{Load, Objects, POOL, run};
use theirs::IoCtx;

struct Theirs(IoCtx);

impl Objects for Theirs {
    async fn write(&self, name: &str, data: Bytes) -> anyhow::Result<()> {
        self.0.write_full(name, data).await?;
        Ok(())
    }

    async fn read(&self, name: &str, bytes: usize) -> anyhow::Result<Bytes> {
        Ok(self.0.read(name, 0, bytes as u64).await?.data)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let load = Load::from_arguments()?;
    let client = theirs::Client::builder()
        .config_file(Load::variable("CEPH_CONF")?)
        .keyring(Load::variable("CEPH_KEYRING")?)
        .build()
        .await?;
    run(load, Theirs(client.open_pool(POOL).await?)).await?;
    client.shutdown().await?;
    Ok(())
}
