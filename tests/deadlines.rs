//! Limits on how long operations and commands may take, when they are set.

use std::time::Duration;

use minicluster::{Cluster, Daemon};
use rados::config::Config;
use rados::{Errno, Error};

use crate::support;

/// Connects with an option besides those of the configuration file.
async fn connect(cluster: &Cluster, option: &str, value: &str) -> rados::Cluster {
    let config = Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", cluster.keyring_path().to_str().unwrap())
        .option(option, value)
        .load()
        .unwrap();
    rados::Cluster::connect(config).await.unwrap()
}

/// What is limited must not be waited for endlessly if it is not.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let ended = tokio::time::timeout(limit, future).await;
    ended.expect("this was to end within seconds")
}

#[tokio::test]
async fn an_operation_on_a_silent_osd_ends_in_time() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = connect(&cluster, "rados_osd_op_timeout", "2").await;
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", "before").await.unwrap();

    cluster.pause_daemon(Daemon::Osd(0)).unwrap();
    let error = soon(pool.write_full("o", "late")).await.unwrap_err();
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
    assert_eq!(
        error.to_string(),
        "data/o: osd.0 has not answered within 2 s"
    );

    // The answer that comes after all is for nobody; the connection goes on.
    cluster.resume_daemon(Daemon::Osd(0)).unwrap();
    pool.write_full("p", "after").await.unwrap();
    assert_eq!(pool.read("o", 0, 100).await.unwrap(), "late");
    assert_eq!(pool.read("p", 0, 100).await.unwrap(), "after");
}

#[tokio::test]
async fn an_operation_that_must_wait_ends_in_time() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = connect(&cluster, "rados_osd_op_timeout", "2").await;
    let patient = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    let patient = patient.pool("data").await.unwrap();
    pool.write_full("o", "x").await.unwrap();

    cluster.ceph(&["osd", "set", "pause"]).unwrap();
    ours.update_osdmap().await.unwrap();
    patient.cluster().update_osdmap().await.unwrap();
    let waiting = tokio::spawn(async move { patient.read("o", 0, 100).await });
    let error = soon(pool.read("o", 0, 100)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "data/o: there was no OSD to send the operation to within 2 s"
    );
    assert!(
        !waiting.is_finished(),
        "there is no limit unless one is set"
    );
    cluster.ceph(&["osd", "unset", "pause"]).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), "x");
    ours.update_osdmap().await.unwrap();
    assert_eq!(pool.read("o", 0, 100).await.unwrap(), "x");
}

#[tokio::test]
async fn a_command_to_a_silent_monitor_ends_in_time() {
    let cluster = support::cluster(0).start().unwrap();
    let ours = connect(&cluster, "rados_mon_op_timeout", "2").await;
    let fsid = serde_json::json!({"prefix": "fsid"});
    ours.monitor_command(&fsid, Default::default())
        .await
        .unwrap();

    cluster.pause_daemon(Daemon::Mon(0)).unwrap();
    let error = soon(ours.monitor_command(&fsid, Default::default())).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
    assert_eq!(
        error.to_string(),
        "the monitor command \"fsid\" did not end within 2 s"
    );

    cluster.resume_daemon(Daemon::Mon(0)).unwrap();
    let answer = soon(ours.monitor_command(&fsid, Default::default())).await;
    let answer = answer.unwrap();
    assert_eq!(answer.data.trim_ascii(), cluster.fsid().as_bytes());
}
