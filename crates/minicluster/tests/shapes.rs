//! The kinds of clusters that can be asked for, each proved by what the cluster says of itself.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use std::net::{IpAddr, Ipv6Addr, TcpListener};

use minicluster::{Auth, Cluster, Daemon, Error, Mode, MonPorts, Store};
use serde_json::Value;

#[test]
fn three_monitors_and_three_osds() {
    let cluster = Cluster::builder()
        .mons(3)
        .osds(3)
        .store(Store::Bluestore)
        .start()
        .unwrap();
    let status = cluster.ceph_json(&["quorum_status"]).unwrap();
    assert_eq!(status["quorum_names"], serde_json::json!(["a", "b", "c"]));
    cluster.wait_for_osds_up(3).unwrap();
    cluster.create_pool("p", 16).unwrap();
    let pool = cluster
        .ceph_json(&["osd", "pool", "get", "p", "size"])
        .unwrap();
    assert_eq!(pool["size"], 3);
    assert_eq!(osd_metadata(&cluster)["osd_objectstore"], "bluestore");

    // One of each can go and come back, and data written meanwhile is there.
    cluster.kill_daemon(Daemon::Mon(0)).unwrap();
    cluster.stop_daemon(Daemon::Osd(1)).unwrap();
    cluster.wait_for_osds_up(2).unwrap();
    let conf = cluster.conf_path();
    cluster
        .rados(&["-p", "p", "put", "o", conf.to_str().unwrap()])
        .unwrap();
    cluster.start_daemon(Daemon::Mon(0)).unwrap();
    cluster.start_daemon(Daemon::Osd(1)).unwrap();
    cluster.wait_for_osds_up(3).unwrap();
    let back = cluster.rados(&["-p", "p", "get", "o", "-"]).unwrap();
    assert_eq!(back, std::fs::read_to_string(conf).unwrap());
    cluster.wait_for_healthy().unwrap();
}

#[test]
fn without_authentication() {
    let cluster = Cluster::builder()
        .auth(Auth::None)
        .mgr(false)
        .start()
        .unwrap();
    cluster.create_pool("p", 8).unwrap();
    std::fs::remove_file(cluster.keyring_path()).unwrap();
    assert_eq!(cluster.rados(&["lspools"]).unwrap(), "p\n");
    let error = Cluster::builder()
        .auth(Auth::None)
        .mode(Mode::Secure)
        .start()
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}

#[test]
fn secure_mode_is_the_only_one() {
    let cluster = Cluster::builder()
        .mode(Mode::Secure)
        .mgr(false)
        .start()
        .unwrap();
    cluster.create_pool("p", 8).unwrap();
    // A client that wants checksums only is refused by monitors and served by nobody.
    let error = cluster
        .rados(&[
            "--ms_client_mode=crc",
            "--ms_mon_client_mode=crc",
            "lspools",
        ])
        .unwrap_err();
    assert!(matches!(error, Error::Command { .. }), "{error}");
}

#[test]
fn checksum_mode_is_the_only_one() {
    let cluster = Cluster::builder().mgr(false).start().unwrap();
    let error = cluster
        .rados(&[
            "--ms_client_mode=secure",
            "--ms_mon_client_mode=secure",
            "lspools",
        ])
        .unwrap_err();
    assert!(matches!(error, Error::Command { .. }), "{error}");
}

#[test]
fn standard_ports_side_by_side() {
    let builder = Cluster::builder().mon_ports(MonPorts::Standard).mgr(false);
    let one = builder.start().unwrap();
    let other = builder.start().unwrap();
    assert_ne!(one.mon_host(), other.mon_host());
    assert_ne!(one.fsid(), other.fsid());
    for cluster in [&one, &other] {
        assert_eq!(
            mon_address_types(cluster),
            [("v2".into(), 3300), ("v1".into(), 6789)]
        );
        let host = cluster.mon_host();
        // As an operator would write it: the host alone.
        let bare = host.trim_start_matches("[v2:").split(':').next().unwrap();
        let fsid = cluster.ceph(&["-m", bare, "fsid"]).unwrap();
        assert_eq!(fsid.trim(), cluster.fsid());
    }
}

#[test]
fn messenger_v2_alone_at_the_port_of_v1() {
    let cluster = Cluster::builder()
        .mon_ports(MonPorts::V2At6789)
        .mons(3)
        .mgr(false)
        .start()
        .unwrap();
    assert_eq!(mon_address_types(&cluster), [("v2".into(), 6789)]);
    cluster.create_pool("p", 8).unwrap();
    let osd = cluster.ceph_json(&["osd", "dump"]).unwrap()["osds"][0]["public_addrs"].clone();
    assert_eq!(types(&osd["addrvec"]), ["v2"]);
}

#[test]
fn messenger_v1_alone() {
    let cluster = Cluster::builder()
        .mon_ports(MonPorts::V1Only)
        .mgr(false)
        .start()
        .unwrap();
    cluster.create_pool("p", 8).unwrap();
    assert!(matches!(mon_address_types(&cluster).as_slice(), [(kind, _)] if kind == "v1"));
    let osd = cluster.ceph_json(&["osd", "dump"]).unwrap()["osds"][0]["public_addrs"].clone();
    assert_eq!(types(&osd["addrvec"]), ["v1"]);
}

#[test]
fn on_the_loopback_of_ipv6() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    TcpListener::bind((ip, 0)).expect("this test needs ::1");
    let cluster = Cluster::builder().ip(ip).mgr(false).start().unwrap();
    assert!(
        cluster.mon_host().starts_with("[v2:[::1]:"),
        "{}",
        cluster.mon_host()
    );
    cluster.create_pool("p", 8).unwrap();
}

fn osd_metadata(cluster: &Cluster) -> Value {
    cluster.ceph_json(&["osd", "metadata", "0"]).unwrap()
}

/// The first monitor's addresses in the monmap.
fn mon_address_types(cluster: &Cluster) -> Vec<(String, u16)> {
    let map = cluster.ceph_json(&["mon", "dump"]).unwrap();
    let addresses = map["mons"][0]["public_addrs"]["addrvec"]
        .as_array()
        .unwrap()
        .clone();
    let port = |a: &Value| {
        a["addr"]
            .as_str()
            .unwrap()
            .rsplit_once(':')
            .unwrap()
            .1
            .parse()
            .unwrap()
    };
    addresses
        .iter()
        .map(|a| (a["type"].as_str().unwrap().to_owned(), port(a)))
        .collect()
}

fn types(addrvec: &Value) -> Vec<&str> {
    addrvec
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["type"].as_str().unwrap())
        .collect()
}
