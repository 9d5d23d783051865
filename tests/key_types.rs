//! Both types of keys, on releases that know both: tentacle and later.

use std::time::Duration;

use bytes::Bytes;
use minicluster::{Cluster, Daemon, KeyType, Mode, Release, Store};
use rados::config::Config;
use rados::{Errno, Error};
use serde_json::json;

use crate::support;

const TYPES: [KeyType; 2] = [KeyType::Aes, KeyType::Aes256k];
const LIMIT: Duration = Duration::from_secs(60);
const CAPS: [(&str, &str); 2] = [("mon", "allow *"), ("osd", "allow *")];

/// Whether the release that is tested has both types; says so if not.
fn has_both() -> bool {
    let release = Release::default_of_tests().unwrap();
    if release < Release::Tentacle {
        println!("SKIPPED: {release} has aes keys only");
    }
    release >= Release::Tentacle
}

fn config(cluster: &Cluster, id: &str, keyring: &std::path::Path) -> Config {
    let builder = Config::builder()
        .conf(cluster.conf_path().to_str().unwrap())
        .option("keyring", keyring.to_str().unwrap())
        .id(id);
    builder.load().unwrap()
}

/// What we write upstream reads, by a client of its own.
async fn write_and_compare(cluster: &Cluster, ours: &rados::Cluster, name: &str) {
    let pool = ours.pool("rbd").await.unwrap();
    let data = format!("written as {name}");
    pool.write_full(name, Bytes::from(data.clone()))
        .await
        .unwrap();
    assert_eq!(
        cluster.rados(&["get", "-p", "rbd", name, "-"]).unwrap(),
        data
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_may_have_the_newer_type_alone() {
    if !has_both() {
        return;
    }
    let started = support::cluster(1).key_type(KeyType::Aes256k).start();
    let cluster = started.unwrap();
    cluster.create_pool("rbd", 8).unwrap();
    let ours = support::connect(&cluster).await;
    write_and_compare(&cluster, &ours, "admin").await;

    // A key that was made when both were allowed.
    let set = |name: &str, value: &str| cluster.ceph(&["mon", "set", name, value]).unwrap();
    set("auth_allowed_ciphers", "aes,aes256k");
    cluster
        .ceph(&[
            "config",
            "set",
            "mon",
            "mon_auth_allow_insecure_key",
            "true",
        ])
        .unwrap();
    let old = cluster
        .create_user_with_key("client.old", &CAPS, KeyType::Aes)
        .unwrap();
    let ours = rados::Cluster::connect(config(&cluster, "old", &old))
        .await
        .unwrap();
    write_and_compare(&cluster, &ours, "old").await;
    ours.shut_down();

    set("auth_allowed_ciphers", "aes256k");
    let refused = rados::Cluster::connect(config(&cluster, "old", &old)).await;
    let error = refused.unwrap_err();
    println!("{error}");
    assert!(matches!(error, Error::AuthRefused { .. }), "{error:?}");
    assert_eq!(error.errno(), Errno::EACCES);
    assert!(error.to_string().contains("key of type aes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_services_may_have_either_type() {
    if !has_both() {
        return;
    }
    for service in TYPES {
        let builder = support::cluster(1)
            .mode(if service == KeyType::Aes {
                Mode::Crc
            } else {
                Mode::Secure
            })
            .both_key_types(true)
            .service_key_type(service);
        let cluster = builder.start().unwrap();
        cluster.create_pool("rbd", 8).unwrap();
        for user in TYPES {
            let id = user.name();
            let entity = format!("client.{id}");
            let keyring = cluster.create_user_with_key(&entity, &CAPS, user).unwrap();
            let ours = rados::Cluster::connect(config(&cluster, id, &keyring))
                .await
                .unwrap();
            write_and_compare(&cluster, &ours, id).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_change_its_type_under_a_running_client() {
    if !has_both() {
        return;
    }
    let builder = support::cluster(1)
        .both_key_types(true)
        .store(Store::Bluestore);
    let cluster = builder.start().unwrap();
    cluster.create_pool("rbd", 8).unwrap();
    let keyring = cluster
        .create_user_with_key("client.app", &CAPS, KeyType::Aes)
        .unwrap();
    let ours = rados::Cluster::connect(config(&cluster, "app", &keyring))
        .await
        .unwrap();
    write_and_compare(&cluster, &ours, "before").await;
    let identity = ours.global_id();

    for to in [KeyType::Aes256k, KeyType::Aes] {
        let before = std::fs::read(&keyring).unwrap();
        let key_type = ["--key-type", to.name()];
        cluster
            .ceph(&[&["auth", "rotate", "client.app"], &key_type[..]].concat())
            .unwrap();
        let path = keyring.to_str().unwrap();
        cluster
            .ceph(&["auth", "get", "client.app", "-o", path])
            .unwrap();
        assert!(std::fs::read(&keyring).unwrap() != before, "not rotated");
        // The tickets at hand go on serving ...
        write_and_compare(&cluster, &ours, to.name()).await;
        // ... until the client has to prove itself again.
        cluster.kill_daemon(Daemon::Mon(0)).unwrap();
        cluster.start_daemon(Daemon::Mon(0)).unwrap();
        let command = json!({"prefix": "osd pool ls", "format": "json"});
        let answer = ours.monitor_command(&command, Bytes::new());
        let answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
        let pools: serde_json::Value = serde_json::from_slice(&answer.data).unwrap();
        assert_eq!(pools, json!(["rbd"]));
        assert_eq!(ours.global_id(), identity, "another client now");
        write_and_compare(&cluster, &ours, &format!("{} again", to.name())).await;
    }
}
