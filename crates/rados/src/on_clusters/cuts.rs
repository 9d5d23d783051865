//! Connections to real daemons that break anywhere: nothing is lost, done twice, or waits for ever.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use denc::OsdId;
use futures_util::stream::{FuturesUnordered, StreamExt};
use minicluster::Store;
use serde_json::json;

use super::{config, release};
use crate::messenger::Messenger;
use crate::relay::{Direction, Harm, Plan, Relay};
use crate::{Cluster, Operation};

/// Clients at the same time: most of the time is spent waiting until it may be tried again.
const LANES: usize = 64;
/// Longer than anything takes that comes to an end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cluster with one monitor and one OSD, and a pool.
fn start() -> Option<minicluster::Cluster> {
    let cluster = minicluster::Cluster::builder()
        .release(release()?)
        .mons(1)
        .osds(1)
        .mgr(false)
        .store(Store::Memstore)
        .start()
        .unwrap();
    cluster.create_pool("data", 8).unwrap();
    Some(cluster)
}

/// A client that reaches one daemon through a relay of its own.
struct Client {
    cluster: Cluster,
    relay: Relay,
}

impl Client {
    async fn connect(daemons: &minicluster::Cluster, socket: SocketAddr) -> Self {
        let relay = Relay::start(socket).await;
        let config = config(daemons, &[]);
        let mut messenger = Messenger::from_config(&config).unwrap();
        messenger.detours.insert(socket, relay.addr);
        let cluster = Cluster::with_messenger(config, messenger).await.unwrap();
        Self { cluster, relay }
    }
}

/// What is to happen to a connection on which so much is said each way: each byte counts.
fn plans(lengths: [u64; 2]) -> Vec<Plan> {
    let directions = Direction::BOTH.into_iter().zip(lengths);
    directions
        .flat_map(|(direction, len)| {
            (0..usize::try_from(len).unwrap()).map(move |after| {
                let bit = u8::try_from(after % 8).unwrap();
                Plan {
                    direction,
                    after,
                    harm: [Harm::Close, Harm::Reset, Harm::Flip(bit)][after % 3],
                }
            })
        })
        .collect()
}

/// Has everything that is planned happen, spread over clients, while each of them does something that
/// must succeed. Most plans must have struck: less may be said than when lengths were measured.
async fn break_anywhere(
    daemons: &minicluster::Cluster,
    socket: SocketAddr,
    work: impl AsyncFn(&Cluster, String),
) {
    let client = Client::connect(daemons, socket).await;
    let passed = || Direction::BOTH.map(|direction| client.relay.passed(direction));
    work(&client.cluster, "measured".to_string()).await;
    let before = passed();
    client.relay.end_connections();
    work(&client.cluster, "measured again".to_string()).await;
    let after = passed();
    let plans = plans([after[0] - before[0], after[1] - before[1]]);

    let lane = async |first: usize| {
        let Client { cluster, relay } = Client::connect(daemons, socket).await;
        for plan in plans.iter().skip(first).step_by(LANES) {
            relay.plan(*plan);
            relay.end_connections();
            let work = work(&cluster, format!("{plan:?}"));
            let ended = tokio::time::timeout(PATIENCE, work).await;
            ended.unwrap_or_else(|_| panic!("{plan:?} was not got over"));
        }
        assert!(cluster.objecter().is_idle());
        relay.struck()
    };
    let lanes: FuturesUnordered<_> = (0..LANES).map(lane).collect();
    let struck: u64 = lanes.collect::<Vec<_>>().await.iter().sum();
    println!("{struck} of {} plans struck", plans.len());
    assert!(struck * 10 > plans.len() as u64 * 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_osds_break_anywhere() {
    let Some(daemons) = start() else {
        return;
    };
    let direct = Cluster::connect(config(&daemons, &[])).await.unwrap();
    let map = direct.osdmap();
    let socket = map.osd_addrs(OsdId(0)).unwrap().v2().unwrap().socket;
    break_anywhere(&daemons, socket.unwrap(), async |ours, case| {
        let pool = ours.pool("data").await.unwrap();
        // What is done must not be done twice.
        for text in ["once ", "and again"] {
            let append = Operation::new().append(text);
            pool.execute(&case, append).await.unwrap();
        }
        let found = pool.read(&case, 0, 0).await.unwrap();
        assert_eq!(found, "once and again", "{case}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_monitors_break_anywhere() {
    let Some(daemons) = start() else {
        return;
    };
    let direct = Cluster::connect(config(&daemons, &[])).await.unwrap();
    let monitors = direct.monmap().unwrap().monitors;
    let socket = monitors.values().next().unwrap().v2().unwrap().socket;
    break_anywhere(&daemons, socket.unwrap(), async |ours, case| {
        let command = json!({"prefix": "fsid"});
        let fsid = ours.monitor_command(&command, Bytes::new());
        let fsid = fsid.await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(fsid.data.trim_ascii(), daemons.fsid().as_bytes(), "{case}");
    })
    .await;
}
