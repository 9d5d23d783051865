//! What is agreed on with real daemons: features, and how the bytes of a connection are protected.

use minicluster::{Cluster, Mode, Release};
use rados::config::{Config, ConnectionMode};
use rados::{Errno, Peer};
use serde_json::Value;

use crate::support;

/// The groups of clients that the monitors see: feature bits, release, how many.
fn clients(cluster: &Cluster) -> Vec<(String, String, u64)> {
    let features = cluster.ceph_json(&["features"]).unwrap();
    let groups = features.get("client").and_then(Value::as_array).unwrap();
    let text = |group: &Value, name: &str| group[name].as_str().unwrap().to_string();
    groups
        .iter()
        .map(|it| {
            let count = it["num"].as_u64().unwrap();
            (text(it, "features"), text(it, "release"), count)
        })
        .collect()
}

/// `ceph features` counts itself among the clients.
#[tokio::test]
async fn we_are_of_the_same_release_as_the_clusters_own_clients() {
    let cluster = support::cluster(0).start().unwrap();
    let alone = clients(&cluster);
    let [(theirs, release, 1)] = alone.as_slice() else {
        panic!("{alone:?}");
    };
    let _ours = support::connect(&cluster).await;
    let mut both = clients(&cluster);
    println!("{both:?}");
    both.retain(|(features, ..)| features != theirs);
    let [(_, ours, 1)] = both.as_slice() else {
        panic!("{both:?}");
    };
    assert_eq!(ours, release);
}

/// Upmaps are what `luminous` is required for; later releases add nothing that clients must know.
#[tokio::test]
async fn clusters_that_require_new_clients_let_us_in() {
    let cluster = support::cluster(3).start().unwrap();
    cluster.create_pool("data", 8).unwrap();
    let early = support::connect(&cluster).await;
    for release in ["luminous", cluster.release().name()] {
        let force = "--yes-i-really-mean-it";
        let command = ["osd", "set-require-min-compat-client", release, force];
        cluster.ceph(&command).unwrap();
        early.update_osdmap().await.unwrap();
        let late = support::connect(&cluster).await;
        for ours in [&early, &late] {
            let pool = ours.pool("data").await.unwrap();
            pool.write_full(release, release).await.unwrap();
        }
    }
    // Nobody who is connected is in the way, so that force is not needed for this one.
    cluster
        .ceph(&["osd", "set-require-min-compat-client", "luminous"])
        .unwrap();
}

/// What daemons accept, what the client wants, and what comes of it.
struct Case {
    /// `ms_mon_client_mode` and `ms_client_mode`.
    wanted: (&'static str, &'static str),
    /// The modes of the connections to a monitor and an OSD; `None` for no connection.
    agreed: (Option<ConnectionMode>, Option<ConnectionMode>),
}

const fn case(
    mon: &'static str,
    osd: &'static str,
    agreed: (Option<ConnectionMode>, Option<ConnectionMode>),
) -> Case {
    Case {
        wanted: (mon, osd),
        agreed,
    }
}

async fn check(cluster: &Cluster, cases: &[Case]) {
    cluster.create_pool("data", 8).unwrap();
    for Case { wanted, agreed } in cases {
        println!("{wanted:?}");
        let config = Config::builder()
            .without_file()
            .option("mon_host", cluster.mon_host())
            .option("keyring", cluster.keyring_path().to_str().unwrap())
            .option("ms_mon_client_mode", wanted.0)
            .option("ms_client_mode", wanted.1)
            .option("rados_osd_op_timeout", "3")
            .load()
            .unwrap();
        let connected = rados::Cluster::connect(config).await;
        let (ours, mon) = match (connected, agreed.0) {
            (Ok(ours), Some(mon)) => (ours, mon),
            (Err(error), None) => {
                let text = error.to_string();
                assert!(text.contains(wanted.0), "{wanted:?}: {text}");
                continue;
            }
            (outcome, _) => panic!("{wanted:?}: {outcome:?}"),
        };
        let pool = ours.pool("data").await.unwrap();
        let written = pool.write_full("o", "x").await;
        if agreed.1.is_some() {
            written.unwrap();
        } else {
            let error = written.unwrap_err();
            assert_eq!(error.errno(), Errno::ETIMEDOUT, "{wanted:?}: {error}");
        }
        let mode = |wanted: fn(&Peer) -> bool| {
            let connections = ours.connections();
            let found = connections.iter().find(|it| wanted(&it.peer));
            found.map(|it| it.mode)
        };
        let modes = (
            mode(|peer| *peer == Peer::Monitor),
            mode(|peer| matches!(peer, Peer::Osd(_))),
        );
        assert_eq!(modes, (Some(mon), agreed.1), "{wanted:?}");
    }
}

const CRC: Option<ConnectionMode> = Some(ConnectionMode::Crc);
const SECURE: Option<ConnectionMode> = Some(ConnectionMode::Secure);

/// With both sides willing the client's preference counts.
#[tokio::test]
async fn daemons_that_accept_both_modes_use_the_clients_favourite() {
    let cluster = support::cluster(1).mode(Mode::Default).start().unwrap();
    let cases = [
        case("secure crc", "crc secure", (SECURE, CRC)),
        case("crc secure", "secure crc", (CRC, SECURE)),
        case("crc", "crc", (CRC, CRC)),
        case("secure", "secure", (SECURE, SECURE)),
    ];
    check(&cluster, &cases).await;
}

#[tokio::test]
async fn daemons_that_insist_on_encryption_get_it_or_nothing() {
    let cluster = support::cluster(1).mode(Mode::Secure).start().unwrap();
    let cases = [
        case("secure crc", "crc secure", (SECURE, SECURE)),
        case("crc secure", "crc secure", (SECURE, SECURE)),
        case("secure", "crc", (SECURE, None)),
        case("crc", "crc", (None, None)),
    ];
    check(&cluster, &cases).await;
}

#[tokio::test]
async fn daemons_that_do_not_encrypt_are_refused_by_who_insists() {
    let cluster = support::cluster(1).mode(Mode::Crc).start().unwrap();
    let cases = [
        case("secure crc", "crc secure", (CRC, CRC)),
        case("secure crc", "secure crc", (CRC, CRC)),
        case("crc", "secure", (CRC, None)),
        case("secure", "secure", (None, None)),
    ];
    check(&cluster, &cases).await;
}

/// Monitors and OSDs may be of different minds.
#[tokio::test]
async fn monitors_and_osds_are_asked_for_different_modes() {
    if Release::default_of_tests().unwrap() < Release::Pacific {
        println!(
            "SKIPPED: OSDs of this release do not come to terms with such monitors themselves"
        );
        return;
    }
    let cluster = support::cluster(1)
        .mode(Mode::Default)
        .conf("ms_service_mode = secure")
        .conf("ms_mon_service_mode = crc")
        .conf("ms_cluster_mode = secure")
        .conf("ms_mon_cluster_mode = crc");
    let cluster = cluster.start().unwrap();
    let cases = [
        case("secure crc", "crc secure", (CRC, SECURE)),
        case("crc", "crc", (CRC, None)),
        case("secure", "secure", (None, None)),
    ];
    check(&cluster, &cases).await;
}
