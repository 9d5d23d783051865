//! What integration tests share: a real cluster and connections of ours to it.

use minicluster::{Builder, Cluster, Store};
use rados::config::Config;

/// A cluster of one monitor and as many OSDs, in memory, without a manager.
pub(crate) fn cluster(osds: usize) -> Builder {
    Cluster::builder()
        .mons(1)
        .osds(osds)
        .mgr(false)
        .store(Store::Memstore)
}

/// The configuration of `client.admin` of a cluster.
pub(crate) fn config(cluster: &Cluster) -> Config {
    let conf = cluster.conf_path();
    let keyring = cluster.keyring_path();
    Config::builder()
        .conf(conf.to_str().unwrap())
        .option("keyring", keyring.to_str().unwrap())
        .load()
        .unwrap()
}

/// A connection as `client.admin`.
pub(crate) async fn connect(cluster: &Cluster) -> rados::Cluster {
    rados::Cluster::connect(config(cluster)).await.unwrap()
}
