//! The first revision of messenger v2, which servers before 14.2.10 speak. Later ones still do, with
//! a client that offers nothing newer.

use minicluster::{Mode, Store};
use msgr2::{ConnectionMode, ProtocolFeatures, Revision};

use super::{config, release};
use crate::Cluster;
use crate::messenger::Messenger;

const POOL: &str = "first";

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_exchanged_with_checksums_and_encrypted() {
    let Some(release) = release() else {
        return;
    };
    let daemons = minicluster::Cluster::builder()
        .release(release)
        .mgr(false)
        .store(Store::Memstore)
        .mode(Mode::Default)
        .start()
        .unwrap();
    daemons.create_pool(POOL, 8).unwrap();
    for (mode, expected) in [
        ("crc", ConnectionMode::CRC),
        ("secure", ConnectionMode::SECURE),
    ] {
        let options = [("ms_mon_client_mode", mode), ("ms_client_mode", mode)];
        let config = config(&daemons, &options);
        let mut messenger = Messenger::from_config(&config).unwrap();
        messenger.protocol = ProtocolFeatures(0);
        let cluster = Cluster::with_messenger(config, messenger).await.unwrap();
        let pool = cluster.pool(POOL).await.unwrap();
        for len in [0, 1, 47, 48, 49, 4096, 1 << 20] {
            let contents = vec![b'x'; len];
            let name = format!("{mode}-{len}");
            pool.write_full(&name, contents.clone()).await.unwrap();
            assert!(pool.read(&name, 0, 0).await.unwrap() == contents, "{name}");
            let theirs = daemons.rados(&["get", "-p", POOL, &name, "-"]).unwrap();
            assert!(theirs.as_bytes() == contents, "{name} read by rados");
        }
        let links = cluster.objecter().links();
        let info = links.first().unwrap().info();
        assert_eq!(info.mode, expected);
        assert_eq!(info.revision, Revision::V2_0);
        cluster.shut_down();
    }
}
