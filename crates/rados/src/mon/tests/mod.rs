//! The monitor client with monitors whose words are the test's, over real sockets.
//!
//! Time passes only when [`pass`] says so, or when nothing else is left to do.

mod cuts;
mod peer;
mod sessions;
mod tickets;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denc::Decode;
use futures_util::FutureExt;

use self::peer::{Conn, Monitor, Quorum};
use super::{MonClient, Wishes};
use crate::config::Config;
use crate::messenger::Messenger;
use crate::objecter::Objecter;

/// A client of monitors. Ends with the test.
struct Client {
    monitors: Arc<MonClient>,
    task: tokio::task::AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// A client that knows where `monitors` are and shows `key`.
    async fn start(monitors: &[&Monitor], key: &cephx::CryptoKey) -> Self {
        let hosts: Vec<String> = monitors
            .iter()
            .map(|monitor| format!("v2:{}", monitor.addr.socket.unwrap()))
            .collect();
        let config = Config::builder()
            .without_file()
            .option("mon_host", hosts.join(","))
            .option("key", key.to_base64().to_string())
            .option("ms_mon_client_mode", "crc");
        let config = config.load().unwrap();
        let messenger = Arc::new(Messenger::from_config(&config).unwrap());
        let wishes = Arc::new(Wishes::default());
        let objecter = Arc::new(Objecter::new(Arc::clone(&messenger), Arc::clone(&wishes)));
        let client = MonClient::new(messenger, objecter, wishes, &config);
        let monitors = Arc::new(client.await.unwrap());
        let task = tokio::spawn(Arc::clone(&monitors).run()).abort_handle();
        Self { monitors, task }
    }

    /// Asks which map is the newest, beside the test.
    fn ask(&self) -> tokio::task::JoinHandle<denc::Epoch> {
        let monitors = Arc::clone(&self.monitors);
        tokio::spawn(async move { monitors.newest_osdmap().await.unwrap() })
    }
}

/// Lets time pass.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Whoever connects first, or `None` for those that nobody connects to while that happens.
async fn whoever_is_asked(monitors: &[Monitor]) -> (usize, Conn) {
    let accepting = monitors
        .iter()
        .map(|monitor| monitor.accept().boxed_local());
    let (conn, at, _) = futures_util::future::select_all(accepting).await;
    (at, conn)
}

/// The maps of a live cluster as a message that has the first one as a whole, and the epoch of that.
fn first_osdmap() -> (Bytes, u32) {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/osdmap/pacific.fulls");
    let fulls: Vec<Bytes> = Vec::decode_all("maps", &std::fs::read(dir).unwrap()).unwrap();
    let map = crate::osdmap::OsdMap::decode_all("map", &fulls[0]).unwrap();
    let mut front = denc::Writer::new();
    front.put(&peer::FSID).u32(0).u32(1);
    front.put(&map.epoch()).blob(&fulls[0]);
    (front.freeze(), map.epoch().0)
}
