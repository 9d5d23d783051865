//! Load through our crate `rados`.

use bytes::Bytes;
use orbd_bench_rados_crate::{Load, Objects, POOL, run};
use ours::config::Config;
use ours::{Cluster, Pool};

struct Ours(Pool);

impl Objects for Ours {
    async fn write(&self, name: &str, data: Bytes) -> anyhow::Result<()> {
        Ok(self.0.write_full(name, data).await?)
    }

    async fn read(&self, name: &str, bytes: usize) -> anyhow::Result<Bytes> {
        Ok(self.0.read(name, 0, bytes as u64).await?)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let load = Load::from_arguments()?;
    let cluster = Cluster::connect(Config::from_environment()?).await?;
    run(load, Ours(cluster.pool(POOL).await?)).await?;
    cluster.shut_down();
    Ok(())
}
