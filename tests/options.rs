//! Options that the cluster keeps for its clients (`ceph config set client ...`).

use minicluster::{Cluster, Daemon, Mode};
use rados::config::{Builder, Config, ConnectionMode, Origin};
use rados::{Errno, Peer};

use crate::support;

/// What `ceph.conf` says, and lines for clients.
fn builder(cluster: &Cluster, lines: &str) -> Builder {
    let path = cluster.dir().join(format!("with-{}.conf", lines.len()));
    let text = std::fs::read_to_string(cluster.conf_path()).unwrap();
    std::fs::write(&path, format!("{text}\n[client]\n{lines}\n")).unwrap();
    Config::builder()
        .conf(path.to_str().unwrap())
        .option("keyring", cluster.keyring_path().to_str().unwrap())
}

async fn connect(builder: Builder) -> rados::Cluster {
    let config = builder.load().unwrap();
    rados::Cluster::connect(config).await.unwrap()
}

fn set(cluster: &Cluster, who: &str, option: &str, value: &str) {
    cluster
        .ceph(&["config", "set", who, option, value, "--force"])
        .unwrap();
}

fn order(ours: &rados::Cluster) -> u8 {
    ours.config().rbd_defaults().unwrap().order
}

/// Waits until everything the monitor had to say before now has been heard.
async fn catch_up(ours: &rados::Cluster) {
    let fsid = serde_json::json!({"prefix": "fsid"});
    ours.monitor_command(&fsid, Default::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_nearest_source_of_an_option_wins() {
    let cluster = support::cluster(0).start().unwrap();
    assert_eq!(order(&connect(builder(&cluster, "")).await), 22);

    // The monitors know which of their sections are for whom.
    for (who, value, expected) in [
        ("global", "12", 12),
        ("client", "13", 13),
        ("osd", "14", 13),
        ("client.other", "15", 13),
        ("client.admin", "16", 16),
    ] {
        set(&cluster, who, "rbd_default_order", value);
        let ours = connect(builder(&cluster, "")).await;
        assert_eq!(order(&ours), expected, "after {who}");
        let value = ours.config().value("rbd_default_order").unwrap();
        assert_eq!(value.origin, Origin::Monitors);
    }

    let in_file = builder(&cluster, "rbd_default_order = 17");
    assert_eq!(order(&connect(in_file.clone()).await), 17);
    let in_environment = in_file.environment(rados::config::Environment {
        variables: [("CEPH_ARGS".into(), "--rbd-default-order 18".into())].into(),
        ..Default::default()
    });
    assert_eq!(order(&connect(in_environment.clone()).await), 18);
    let explicit = in_environment.option("rbd_default_order", "19");
    assert_eq!(order(&connect(explicit).await), 19);

    let words = ["--no-mon-config".to_string()];
    let (declined, _) = builder(&cluster, "").arguments(words).unwrap();
    let ours = connect(declined).await;
    assert_eq!(order(&ours), 22);
    set(&cluster, "client", "rbd_default_features", "1");
    catch_up(&ours).await;
    assert!(ours.config().value("rbd_default_features").is_none());
}

/// `client/rack:NAME` is for clients on the machines that are there by the CRUSH map, for which a
/// client says on which one it is.
#[tokio::test]
async fn options_can_be_for_clients_of_one_place() {
    let cluster = support::cluster(0).start().unwrap();
    for line in [
        "add-bucket here host",
        "add-bucket ours rack",
        "move here rack=ours",
    ] {
        let words = ["osd", "crush"].into_iter().chain(line.split(' '));
        cluster.ceph(&words.collect::<Vec<_>>()).unwrap();
    }
    set(&cluster, "client/rack:ours", "rbd_default_order", "13");
    for (host, expected) in [("here", 13), ("there", 22)] {
        let environment = rados::config::Environment {
            host: host.to_string(),
            ..Default::default()
        };
        let ours = connect(builder(&cluster, "").environment(environment)).await;
        assert_eq!(order(&ours), expected, "{host}");
    }
}

#[tokio::test]
async fn options_change_while_a_client_is_connected() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = connect(builder(&cluster, "")).await;
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", "x").await.unwrap();

    set(&cluster, "client", "rbd_default_order", "23");
    set(&cluster, "client", "rados_osd_op_timeout", "2");
    catch_up(&ours).await;
    assert_eq!(order(&ours), 23);
    cluster.pause_daemon(Daemon::Osd(0)).unwrap();
    let write = pool.write_full("o", "y");
    let write = tokio::time::timeout(std::time::Duration::from_secs(60), write);
    let error = write.await.expect("the timeout counts").unwrap_err();
    assert_eq!(error.errno(), Errno::ETIMEDOUT, "{error}");
    cluster.resume_daemon(Daemon::Osd(0)).unwrap();

    cluster
        .ceph(&["config", "rm", "client", "rbd_default_order"])
        .unwrap();
    catch_up(&ours).await;
    assert_eq!(order(&ours), 22);
}

/// Not for want of trying: the monitors do not check what is forced upon them, and their own ideas
/// of what is possible are wider.
#[tokio::test]
async fn what_makes_no_sense_is_not_obeyed() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    for (option, value) in [
        ("rbd_default_order", "40"),
        ("rbd_default_stripe_count", "2"),
        ("ms_client_mode", "plain"),
        ("ms_mon_client_mode", ""),
        ("mon_client_ping_interval", "0"),
        ("mon_client_ping_timeout", "0"),
        ("client_mount_timeout", "0"),
        ("objecter_inflight_ops", "0"),
        ("objecter_inflight_op_bytes", "0"),
        ("auth_client_required", "none"),
        ("there_is_no_such_option", "x"),
    ] {
        set(&cluster, "client", option, value);
    }
    let ours = connect(builder(&cluster, "")).await;
    let defaults = ours.config().rbd_defaults().unwrap();
    assert_eq!((defaults.order, defaults.stripe_count), (22, 2));
    let pool = ours.pool("data").await.unwrap();
    pool.write_full("o", vec![1; 100_000]).await.unwrap();

    set(&cluster, "client", "rbd_default_order", "20");
    set(&cluster, "client", "rbd_default_order", "41");
    catch_up(&ours).await;
    assert_eq!(order(&ours), 20, "the last that made sense");
    pool.write_full("o", "y").await.unwrap();
}

/// How bytes are to be protected is known before the first one goes to an OSD, and the connection
/// over which the options came is replaced if it should have been another one.
#[tokio::test]
async fn the_modes_of_connections_are_settled_first() {
    use ConnectionMode::{Crc, Secure};
    let cluster = support::cluster(1).mode(Mode::Default).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let modes = async || {
        let ours = connect(builder(&cluster, "")).await;
        let pool = ours.pool("data").await.unwrap();
        pool.write_full("o", "x").await.unwrap();
        let connections = ours.connections();
        let peers: Vec<Peer> = connections.iter().map(|it| it.peer).collect();
        assert_eq!(peers, [Peer::Monitor, Peer::Osd(denc::OsdId(0))]);
        (connections[0].mode, connections[1].mode)
    };
    assert_eq!(modes().await, (Secure, Crc));
    set(&cluster, "client", "ms_client_mode", "secure");
    assert_eq!(modes().await, (Secure, Secure));
    set(&cluster, "client", "ms_mon_client_mode", "crc");
    assert_eq!(modes().await, (Crc, Secure));
}
