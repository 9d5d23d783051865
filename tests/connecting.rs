//! Finding the monitors and being let in, and what is said when that fails.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use minicluster::{Cluster, Daemon, MonPorts};
use rados::config::{Builder, Config};
use rados::{Errno, Error};

use crate::support;

/// The configuration for a monitor address and a keyring, and nothing else.
fn explicit(cluster: &Cluster, mon_host: &str) -> Builder {
    Config::builder()
        .without_file()
        .option("mon_host", mon_host)
        .option("keyring", cluster.keyring_path().to_str().unwrap())
        .option("client_mount_timeout", "5")
}

async fn failure(builder: Builder) -> Error {
    let connected = match builder.load() {
        Ok(config) => rados::Cluster::connect(config).await,
        Err(error) => Err(error.into()),
    };
    match connected {
        Ok(_) => panic!("connected although that should not be possible"),
        Err(error) => {
            println!("{error}");
            error
        }
    }
}

/// `IP:PORT` of the monitor's messenger v2.
fn v2_address(cluster: &Cluster) -> String {
    let mon_host = cluster.mon_host();
    let (_, rest) = mon_host.split_once("v2:").unwrap();
    rest.split([',', '/', ']']).next().unwrap().to_string()
}

/// A port of loopback where nobody listens.
fn unused_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn refusals_name_the_user_and_the_monitor() {
    let cluster = support::cluster(1).start().unwrap();
    let mon_host = v2_address(&cluster);
    let other_key = "AQBAuwFq7jEDNhAAqzjFHJ1nVbpjfRcB0jFNXQ==";

    let error = failure(explicit(&cluster, &mon_host).option("key", other_key)).await;
    assert!(matches!(error, Error::AuthRefused { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::EACCES);
    let text = error.to_string();
    assert!(
        text.contains("client.admin") && text.contains(&mon_host),
        "{text}"
    );
    assert!(!text.contains(other_key), "a key is shown");

    let unknown = explicit(&cluster, &mon_host)
        .option("key", other_key)
        .id("nobody");
    let error = failure(unknown).await;
    assert!(matches!(error, Error::AuthRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("client.nobody"), "{error}");

    let error = failure(explicit(&cluster, &mon_host).option("ms_mon_client_mode", "secure")).await;
    assert!(error.to_string().contains("crc"), "{error}");
}

#[tokio::test]
async fn a_keyring_must_be_one() {
    let cluster = support::cluster(1).start().unwrap();
    let mon_host = v2_address(&cluster);
    let conf = cluster.conf_path();
    let not_a_keyring = conf.to_str().unwrap();
    let error = failure(explicit(&cluster, &mon_host).option("keyring", not_a_keyring)).await;
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    assert!(error.to_string().contains(not_a_keyring), "{error}");

    let error = failure(explicit(&cluster, &mon_host).option("keyring", "/nonexistent/ring")).await;
    assert!(error.to_string().contains("/nonexistent/ring"), "{error}");

    let error = failure(explicit(&cluster, &mon_host).id("nobody")).await;
    assert!(error.to_string().contains("client.nobody"), "{error}");
}

#[tokio::test]
async fn unreachable_monitors_are_listed_with_what_happened() {
    let cluster = support::cluster(1).start().unwrap();
    let (first, second) = (unused_address(), unused_address());
    let limit = "2";
    let hosts = format!("v2:{first},v2:{second}");
    let nobody = explicit(&cluster, &hosts).option("client_mount_timeout", limit);
    let error = failure(nobody).await;
    assert!(matches!(error, Error::NoMonitor { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
    let text = error.to_string();
    assert!(text.contains(&first) && text.contains(&second), "{text}");
    assert!(text.contains("refused"), "{text}");

    // One that answers is enough.
    let hosts = format!("v2:{first},v2:{second},v2:{}", v2_address(&cluster));
    let config = explicit(&cluster, &hosts).load().unwrap();
    rados::Cluster::connect(config).await.unwrap();
}

#[tokio::test]
async fn what_answers_must_be_a_monitor() {
    let cluster = support::cluster(1).start().unwrap();
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = garbage.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = garbage.accept() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let error =
        failure(explicit(&cluster, &format!("v2:{address}")).option("client_mount_timeout", "2"))
            .await;
    let text = error.to_string();
    assert!(text.contains(&address) && text.contains("HTTP"), "{text}");
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let cluster = support::cluster(1).start().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let builder = explicit(&cluster, &format!("v2:{address}"))
        .option("client_mount_timeout", "2")
        .option("mon_client_hunt_interval", "0.5");
    let error = failure(builder).await;
    assert!(matches!(error, Error::NoMonitor { .. }), "{error:?}");
    assert!(error.to_string().contains(&address), "{error}");
}

/// People give the old port without a thought; whoever speaks v1 there speaks v2 at 3300.
#[tokio::test]
async fn port_6789_is_enough() {
    let both = support::cluster(1)
        .mon_ports(MonPorts::Standard)
        .ip([127, 0, 21, 1].into());
    let both = both.start().unwrap();
    let only_v2 = support::cluster(1)
        .mon_ports(MonPorts::V2At6789)
        .ip([127, 0, 21, 2].into());
    let only_v2 = only_v2.start().unwrap();
    for (cluster, ip) in [(&both, "127.0.21.1"), (&only_v2, "127.0.21.2")] {
        for mon_host in [
            format!("{ip}:6789"),
            ip.to_string(),
            format!("v2:{ip}:6789"),
        ] {
            let config = explicit(cluster, &mon_host).load().unwrap();
            let ours = rados::Cluster::connect(config).await.unwrap();
            assert_eq!(ours.fsid().to_string(), cluster.fsid(), "{mon_host}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_and_osds_may_be_at_ipv6_addresses() {
    let builder = support::cluster(1).ip(Ipv6Addr::LOCALHOST.into());
    let cluster = builder.start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let address = v2_address_of_ipv6(&cluster);
    for mon_host in [
        cluster.mon_host(),
        address.clone(),
        format!("v2:{address}/0"),
    ] {
        let config = explicit(&cluster, &mon_host).load().unwrap();
        let ours = rados::Cluster::connect(config).await.unwrap();
        let pool = ours.pool("data").await.unwrap();
        pool.write_full("object", mon_host.clone()).await.unwrap();
        let read = cluster.rados(&["-p", "data", "get", "object", "-"]);
        assert_eq!(read.unwrap(), mon_host);
        assert!(ours.addr().socket.unwrap().is_ipv6());
    }
}

/// `[IP]:PORT` of the monitor's messenger v2.
fn v2_address_of_ipv6(cluster: &Cluster) -> String {
    let mon_host = cluster.mon_host();
    let (_, rest) = mon_host.split_once("v2:").unwrap();
    let (ip, rest) = rest.split_once("]:").unwrap();
    let port = rest.split([',', '/', ']']).next().unwrap();
    format!("{ip}]:{port}")
}

#[tokio::test]
async fn a_monitor_that_speaks_only_v1_is_told_from_one_that_is_away() {
    let cluster = support::cluster(1)
        .mon_ports(MonPorts::V1Only)
        .start()
        .unwrap();
    let mon_host = cluster.mon_host();
    let (_, rest) = mon_host.split_once("v1:").unwrap();
    let v1 = rest.split([',', '/', ']']).next().unwrap();
    let builder = explicit(&cluster, &format!("v2:{v1}")).option("client_mount_timeout", "2");
    let text = failure(builder).await.to_string();
    assert!(
        text.contains("messenger v1")
            && text.contains("ceph mon enable-msgr2")
            && text.contains("ms_bind_msgr2"),
        "{text}"
    );
    assert!(
        text.contains("127.0.0.1:3300"),
        "the default port was tried as well: {text}"
    );
}

#[tokio::test]
async fn another_monitor_is_found_when_one_dies() {
    let cluster = support::cluster(1).mons(3).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let pool = ours.pool("data").await.unwrap();
    for number in 0..3 {
        let mon = Daemon::Mon(number);
        cluster.kill_daemon(mon).unwrap();
        // Commands need a monitor in quorum; this one waits until there is one.
        let fsid = serde_json::json!({"prefix": "fsid"});
        let status = ours.monitor_command(&fsid, Default::default());
        let status = tokio::time::timeout(LIMIT, status).await.unwrap().unwrap();
        assert!(!status.data.is_empty());
        pool.write_full("o", "x").await.unwrap();
        cluster.start_daemon(mon).unwrap();
    }
}

/// A keyring may be on a file system that hangs when the client wants to know whether it has another
/// key by now. Here it is a pipe: who opens it for writing learns that it is being read, and whoever
/// reads it waits.
#[tokio::test]
async fn a_keyring_that_hangs_keeps_nobody_from_the_monitors() {
    let cluster = support::cluster(0).start().unwrap();
    let keyring = cluster
        .create_user("client.app", &[("mon", "allow r")])
        .unwrap();
    let builder = explicit(&cluster, &v2_address(&cluster)).id("app");
    let config = builder.option("keyring", keyring.to_str().unwrap()).load();
    let ours = rados::Cluster::connect(config.unwrap()).await.unwrap();
    let identity = ours.global_id();

    let saved = cluster.dir().join("saved");
    let saved = saved.to_str().unwrap();
    let auth = |args: &[&str]| cluster.ceph(&[&["auth"], args].concat()).unwrap();
    auth(&["get", "client.app", "-o", saved]);
    auth(&["del", "client.app"]);
    std::fs::remove_file(&keyring).unwrap();
    let made = Command::new("mkfifo").arg(&keyring).status().unwrap();
    assert!(made.success());
    cluster.kill_daemon(Daemon::Mon(0)).unwrap();
    cluster.start_daemon(Daemon::Mon(0)).unwrap();
    let opened = tokio::task::spawn_blocking(move || std::fs::File::create(&keyring));
    let opened = tokio::time::timeout(LIMIT, opened).await.unwrap();
    let hanging = opened.unwrap().unwrap();

    auth(&["import", "-i", saved]);
    let fsid = serde_json::json!({"prefix": "fsid"});
    let answer = ours.monitor_command(&fsid, Default::default());
    let answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
    assert_eq!(answer.data.trim_ascii(), cluster.fsid().as_bytes());
    assert_eq!(ours.global_id(), identity);
    drop(hanging);
}

#[tokio::test]
async fn commands_and_caps_fail_with_their_errno() {
    let cluster = support::cluster(1).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    cluster.create_pool("forbidden", 8).unwrap();
    let ours = support::connect(&cluster).await;
    let error = ours.pool("missing").await.unwrap_err();
    assert_eq!(error.to_string(), "no pool \"missing\"");
    let wrong = serde_json::json!({"prefix": "no such command"});
    let error = ours
        .monitor_command(&wrong, Default::default())
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Errno::EINVAL, "{error}");

    let caps = [("mon", "allow r"), ("osd", "allow rw pool=data")];
    let keyring = cluster.create_user("client.limited", &caps).unwrap();
    let config = explicit(&cluster, &v2_address(&cluster)).id("limited");
    let config = config
        .option("keyring", keyring.to_str().unwrap())
        .load()
        .unwrap();
    let limited = rados::Cluster::connect(config).await.unwrap();
    let data = limited.pool("data").await.unwrap();
    data.write_full("o", "x").await.unwrap();
    let forbidden = limited.pool("forbidden").await.unwrap();
    let error = forbidden.write_full("o", "x").await.unwrap_err();
    assert_eq!(error.errno(), Errno::EPERM);
    println!("{error}");
    let blocked = serde_json::json!({"prefix": "osd pool create", "pool": "mine"});
    let error = limited
        .monitor_command(&blocked, Default::default())
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Errno::EACCES, "{error}");
    println!("{error}");
}

/// How long a client may take to get over a fault.
const LIMIT: Duration = Duration::from_secs(60);
