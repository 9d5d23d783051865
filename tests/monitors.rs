//! Three monitors that fall silent, lose their quorum and restart, and tickets, keys and rights that
//! change under a running client.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use minicluster::{Cluster, Daemon, Store};
use rados::Errno;
use rados::config::Config;
use serde_json::json;

use crate::support;

/// How long a client may take to get over a fault.
const LIMIT: Duration = Duration::from_secs(120);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(LIMIT, future).await;
    ended.expect("this was to end")
}

/// Asks a monitor, and waits for the newest map.
async fn ask(ours: &rados::Cluster) {
    let command = json!({"prefix": "osd pool ls", "format": "json"});
    let answer = soon(ours.monitor_command(&command, Bytes::new())).await;
    assert_eq!(answer.unwrap().data.trim_ascii(), b"[\"data\"]");
    soon(ours.update_osdmap()).await.unwrap();
}

/// The monitor that a client is connected to.
fn connected(ours: &rados::Cluster, cluster: &Cluster) -> Daemon {
    let connections = ours.connections();
    let monitor = connections
        .iter()
        .find(|connection| connection.peer == rados::Peer::Monitor)
        .unwrap();
    let socket = monitor.addrs.v2().unwrap().socket;
    let monmap = ours.monmap().unwrap();
    let mut names = monmap.monitors.iter();
    let found = names.position(|(_, addrs)| addrs.v2().unwrap().socket == socket);
    let monitors = cluster.daemons().into_iter();
    monitors
        .filter(|daemon| matches!(daemon, Daemon::Mon(_)))
        .nth(found.unwrap())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_monitors_and_lost_quorums_are_got_over() {
    let cluster = support::cluster(1).mons(3).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let identity = ours.global_id();
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", "before").await.unwrap();

    // The one we are connected to stops in its tracks. OSDs need no monitors.
    let stopped = connected(&ours, &cluster);
    cluster.pause_daemon(stopped).unwrap();
    soon(pool.write_full("o", "stopped")).await.unwrap();
    ask(&ours).await;
    assert_ne!(connected(&ours, &cluster), stopped);
    cluster.resume_daemon(stopped).unwrap();

    // The quorum is lost for a while. What is ordered meanwhile is done afterwards. Questions might be
    // answered by who has not noticed yet.
    for mon in [0, 1] {
        cluster.kill_daemon(Daemon::Mon(mon)).unwrap();
    }
    let ordering = tokio::spawn({
        let ours = ours.clone();
        let command = json!({"prefix": "config-key set", "key": "without", "val": "quorum"});
        async move { ours.monitor_command(&command, Bytes::new()).await }
    });
    soon(pool.write_full("o", "without")).await.unwrap();
    assert!(!ordering.is_finished());
    for mon in [0, 1] {
        // The first has nobody to form a quorum with yet but the third.
        cluster.start_daemon(Daemon::Mon(mon)).unwrap();
    }
    soon(ordering).await.unwrap().unwrap();
    ask(&ours).await;

    // All go and come back, each in its turn.
    for mon in [0, 1, 2] {
        cluster.kill_daemon(Daemon::Mon(mon)).unwrap();
    }
    soon(pool.write_full("o", "alone")).await.unwrap();
    std::thread::scope(|scope| {
        for mon in [2, 1, 0] {
            let cluster = &cluster;
            scope.spawn(move || cluster.start_daemon(Daemon::Mon(mon)).unwrap());
        }
    });
    ask(&ours).await;
    assert_eq!(ours.global_id(), identity);
    assert_eq!(soon(pool.read("o", 0, 0)).await.unwrap(), "alone");
}

fn config(cluster: &Cluster, keyring: &Path) -> Config {
    Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", keyring.to_str().unwrap())
        .id("app")
        .load()
        .unwrap()
}

/// Services take tickets when a connection begins, so that one is made over and over, by killing the
/// OSD, for longer than any ticket lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_and_service_keys_that_last_seconds_are_renewed() {
    let cluster = support::cluster(1)
        .conf("auth_service_ticket_ttl = 6")
        .conf("auth_mon_ticket_ttl = 12")
        // An OSD that is killed must have its placement groups afterwards.
        .store(Store::Bluestore)
        .start()
        .unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let identity = ours.global_id();
    let pool = ours.pool("data").await.unwrap();
    let began = tokio::time::Instant::now();
    let mut writes = 0;
    while began.elapsed() < Duration::from_secs(25) {
        cluster.kill_daemon(Daemon::Osd(0)).unwrap();
        cluster.start_daemon(Daemon::Osd(0)).unwrap();
        let name = format!("o{writes}");
        soon(pool.write_full(&name, name.clone())).await.unwrap();
        assert_eq!(soon(pool.read(&name, 0, 0)).await.unwrap(), name);
        writes += 1;
    }
    assert!(writes > 2);
    assert_eq!(ours.global_id(), identity, "another client now");
}

/// An OSD that has let a client in does not ask again; it does when it has been restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_rights_or_is_deleted_is_told_so() {
    let cluster = support::cluster(1)
        .conf("auth_service_ticket_ttl = 6")
        .conf("auth_mon_ticket_ttl = 12")
        // An OSD that is killed must have its placement groups afterwards.
        .store(Store::Bluestore)
        .start()
        .unwrap();
    cluster.create_pool("data", 8).unwrap();
    let caps = [("mon", "allow r"), ("osd", "allow rw pool=data")];
    let keyring = cluster.create_user("client.app", &caps).unwrap();
    let ours = rados::Cluster::connect(config(&cluster, &keyring))
        .await
        .unwrap();
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", "x").await.unwrap();
    let restart = || {
        cluster.kill_daemon(Daemon::Osd(0)).unwrap();
        cluster.start_daemon(Daemon::Osd(0)).unwrap();
    };

    let read_only = [
        "auth",
        "caps",
        "client.app",
        "mon",
        "allow r",
        "osd",
        "allow r",
    ];
    cluster.ceph(&read_only).unwrap();
    // Once a ticket has been asked for that says so.
    let refused = soon(async {
        loop {
            restart();
            match pool.write_full("p", "x").await {
                Ok(()) => {}
                Err(error) => break error,
            }
        }
    });
    let error = refused.await;
    println!("{error}");
    assert_eq!(error.errno(), Errno::EPERM);

    cluster.ceph(&["auth", "del", "client.app"]).unwrap();
    let refused = soon(async {
        loop {
            restart();
            match pool.read("o", 0, 0).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    });
    let error = refused.await;
    println!("{error}");
    assert!(
        [Errno::EACCES, Errno::EPERM].contains(&error.errno()),
        "{error:?}"
    );
}
