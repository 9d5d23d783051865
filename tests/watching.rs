//! Watching objects: being seen by Ceph's tools, and being told what they have to say.

use std::sync::Arc;

use bytes::Bytes;
use minicluster::{Daemon, Store};
use rados::{Notification, Operation, WatchHandler, Watchers};
use tokio::sync::mpsc;

use crate::support;

struct Recorder(mpsc::UnboundedSender<Option<Bytes>>);

impl WatchHandler for Recorder {
    fn notified(&self, notification: Notification) -> Bytes {
        self.0.send(Some(notification.payload)).unwrap();
        Bytes::from_static(b"answer")
    }

    fn missed(&self) {
        self.0.send(None).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_seen_notified_and_survives_its_osd() {
    let cluster = support::cluster(1).store(Store::Bluestore).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", "x").await.unwrap();
    let (sender, mut events) = mpsc::unbounded_channel();
    let watch = pool.watch("o", Arc::new(Recorder(sender))).await.unwrap();

    let rados = |args: &[&str]| {
        let output = cluster
            .command("rados")
            .args(["-p", "data"])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let client = format!("client.{}", ours.global_id());
    let listed = rados(&["listwatchers", "o"]);
    assert!(listed.contains(&client), "{listed}");
    assert!(listed.contains(&watch.cookie().to_string()), "{listed}");
    let reply = pool
        .execute("o", Operation::new().list_watchers())
        .await
        .unwrap();
    let watchers: Watchers = reply.decode(0, "watchers").unwrap();
    assert_eq!(watchers.0.len(), 1);
    assert_eq!(watchers.0[0].addr.nonce, ours.addr().nonce);

    let answered = rados(&["notify", "o", "hello"]);
    assert!(answered.contains("answer"), "{answered}");
    let payload = events.recv().await.unwrap().unwrap();
    assert!(payload.ends_with(b"hello"), "{payload:?}");

    cluster.kill_daemon(Daemon::Osd(0)).unwrap();
    cluster.start_daemon(Daemon::Osd(0)).unwrap();
    cluster.wait_for_osds_up(1).unwrap();
    assert_eq!(
        events.recv().await.unwrap(),
        None,
        "what may have been missed is reported"
    );
    let listed = rados(&["listwatchers", "o"]);
    assert!(listed.contains(&client), "{listed}");

    watch.end().await.unwrap();
    assert_eq!(rados(&["listwatchers", "o"]), "");
}
