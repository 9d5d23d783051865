//! Where placement groups are, while the cluster changes everything that decides about it: our map,
//! kept up by what the monitors send, against the release's own `osdmaptool` on the same epoch.

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use denc::{OsdId, PoolId};
use minicluster::{Cluster, Daemon, Release};
use rados::osdmap::{OsdSet, PgId};
use serde_json::json;

use crate::support;

/// The item that CRUSH has for "none", as `osdmaptool` prints it.
const NONE: i32 = 0x7fff_ffff;

/// A cluster whose map is changed, and a client of it.
struct Ground {
    cluster: Cluster,
    client: rados::Cluster,
    dir: tempfile::TempDir,
    epochs: usize,
    pgs: usize,
}

impl Ground {
    async fn new(mons: usize, osds: usize) -> Self {
        let builder = support::cluster(osds).mons(mons).mgr(true);
        let cluster = builder.start().unwrap();
        let client = support::connect(&cluster).await;
        Self {
            cluster,
            client,
            dir: tempfile::tempdir().unwrap(),
            epochs: 0,
            pgs: 0,
        }
    }

    fn release(&self) -> Release {
        self.cluster.release()
    }

    fn ceph(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.cluster.ceph(&words).unwrap();
    }

    /// Does what `line` says, and compares.
    async fn after(&mut self, line: &str) {
        self.ceph(line);
        self.compare(line).await;
    }

    /// Compares all placement groups of the newest map.
    async fn compare(&mut self, what: &str) {
        self.client.update_osdmap().await.unwrap();
        let map = self.client.osdmap();
        let file = self.dir.path().join("map");
        let file = file.to_str().unwrap();
        let epoch = map.epoch().0;
        let getmap = json!({"prefix": "osd getmap", "epoch": epoch});
        let answer = self.client.monitor_command(&getmap, Bytes::new()).await;
        std::fs::write(file, answer.unwrap().data).unwrap();
        let expected = dumped(&self.cluster, file);
        let all: u32 = map.pools().map(|(_, pool)| pool.pg_num).sum();
        assert_eq!(expected.len(), all as usize, "{what}");
        for (pg, expected) in &expected {
            let found = map.placement(*pg);
            let found = [
                printed(&found.up, found.up_primary),
                printed(&found.acting, found.acting_primary),
            ];
            assert_eq!(&found, expected, "{pg:?} of epoch {epoch} after {what}");
        }
        self.epochs += 1;
        self.pgs += expected.len();
    }

    fn json(&self, line: &str) -> serde_json::Value {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.cluster.ceph_json(&words).unwrap()
    }

    fn pool(&self, name: &str) -> PoolId {
        let map = self.client.osdmap();
        map.pool_by_name(name).unwrap()
    }

    fn done(&self) {
        println!(
            "{}: {} placement groups of {} epochs compared",
            self.release(),
            self.pgs,
            self.epochs
        );
    }
}

fn printed(osds: &OsdSet, primary: Option<OsdId>) -> (Vec<i32>, i32) {
    let osds = osds.iter().map(|osd| osd.map_or(NONE, |osd| osd.0));
    (osds.collect(), primary.map_or(-1, |osd| osd.0))
}

/// What `osdmaptool` says of a map: up and acting sets with their primaries.
fn dumped(cluster: &Cluster, file: &str) -> BTreeMap<PgId, [(Vec<i32>, i32); 2]> {
    let mut command = if cluster.release() < Release::Pacific {
        // That of nautilus crashes over placement groups with a hole; this machine's does not.
        Command::new("osdmaptool")
    } else {
        cluster.command("osdmaptool")
    };
    let output = command
        .args([file, "--test-map-pgs-dump-all"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // `1.0 raw ([1,0,2], p1) up ([1,0,2], p1) acting ([1,0,2], p1)`
    let line = |line: &str| {
        let (pg, rest) = line.split_once(" raw (")?;
        let (pool, seed) = pg.split_once('.')?;
        let pg = PgId {
            pool: PoolId(pool.parse().unwrap()),
            seed: u32::from_str_radix(seed, 16).unwrap(),
        };
        let (_, rest) = rest.split_once(") up (")?;
        let (up, acting) = rest.split_once(") acting (")?;
        Some((pg, [up, acting].map(set)))
    };
    text.lines().filter_map(line).collect()
}

/// `[1,0,2], p1`, with or without a parenthesis behind it.
fn set(text: &str) -> (Vec<i32>, i32) {
    let (osds, primary) = text.trim_end_matches(')').split_once("], p").unwrap();
    let osds = osds.trim_start_matches('[').split(',');
    let osds = osds.filter(|osd| !osd.is_empty() && *osd != "NONE");
    (
        osds.map(|osd| osd.parse().unwrap()).collect(),
        primary.parse().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_the_map_moves_us_as_it_moves_the_cluster() {
    let mut ground = Ground::new(1, 6).await;
    topology(&mut ground).await;
    pools_and_rules(&mut ground).await;
    weights(&mut ground).await;
    exceptions(&mut ground).await;
    for profile in ["legacy", "bobtail", "firefly", "hammer", "optimal"] {
        ground.after(&format!("osd crush tunables {profile}")).await;
    }
    if ground.release() >= Release::Tentacle {
        pools_that_old_clients_cannot_read(&mut ground).await;
    }
    pg_num(&mut ground).await;
    ground.cluster.kill_daemon(Daemon::Osd(5)).unwrap();
    ground.after("osd down 5").await;
    ground.after("osd out 5").await;
    ground.after("osd purge 5 --yes-i-really-mean-it").await;
    ground.done();
    assert!(ground.pgs > 1000, "{}", ground.pgs);
}

/// Two racks, three hosts with two OSDs each.
async fn topology(ground: &mut Ground) {
    for rack in 0..2 {
        ground.ceph(&format!("osd crush add-bucket r{rack} rack root=default"));
    }
    for osd in 0..6 {
        let place = format!("root=default rack=r{} host=h{}", osd / 4, osd / 2);
        ground
            .after(&format!("osd crush set osd.{osd} 1.0 {place}"))
            .await;
    }
}

async fn pools_and_rules(ground: &mut Ground) {
    for osd in 0..6 {
        ground.ceph(&format!("osd crush rm-device-class osd.{osd}"));
        let class = if osd % 2 == 0 { "ssd" } else { "hdd" };
        ground.ceph(&format!("osd crush set-device-class {class} osd.{osd}"));
    }
    ground.ceph("osd crush rule create-replicated fast default host ssd");
    ground.ceph("osd crush rule create-replicated racks default rack");
    ground.ceph("osd crush rule create-simple first default osd firstn");
    ground.ceph("osd erasure-code-profile set parts k=2 m=1 crush-failure-domain=host");
    ground.ceph(
        "osd erasure-code-profile set slow k=2 m=1 crush-device-class=hdd crush-failure-domain=osd",
    );
    ground
        .after("osd pool create plain 32 32 replicated replicated_rule")
        .await;
    ground
        .after("osd pool create fast 16 16 replicated fast")
        .await;
    ground
        .after("osd pool create racks 16 16 replicated racks")
        .await;
    ground
        .after("osd pool create first 16 16 replicated first")
        .await;
    ground
        .after("osd pool create parts 16 16 erasure parts")
        .await;
    ground
        .after("osd pool create slow 16 16 erasure slow")
        .await;
    ground.after("osd pool set plain size 2").await;
}

async fn weights(ground: &mut Ground) {
    ground.after("osd reweight 1 0.4").await;
    ground.after("osd crush reweight osd.2 0.5").await;
    ground.after("osd primary-affinity 0 0.25").await;
    ground.after("osd out 4").await;
    ground.after("osd in 4").await;
    // What the balancer does.
    ground.after("osd crush weight-set create-compat").await;
    ground
        .after("osd crush weight-set reweight-compat osd.3 0.3")
        .await;
    if ground.release() < Release::Pacific {
        ground.ceph("osd set-require-min-compat-client luminous");
    }
    ground.after("osd crush weight-set create fast flat").await;
    ground
        .after("osd crush weight-set reweight fast osd.0 0.2")
        .await;
    ground
        .after("osd crush weight-set create parts positional")
        .await;
    ground
        .after("osd crush weight-set reweight parts osd.1 0.9 0.1 0.5")
        .await;
    ground.after("osd crush weight-set rm fast").await;
}

/// Several OSDs of a host for one placement group, by a rule of several steps; and shards that cannot
/// be primary. Monitors refuse clients that do not know such rules, are not made to as long as one is
/// connected, and tell those that do not know such shards of none.
async fn pools_that_old_clients_cannot_read(ground: &mut Ground) {
    ground.ceph("osd set-require-min-compat-client squid");
    let domains =
        "crush-failure-domain=host crush-num-failure-domains=2 crush-osds-per-failure-domain=2";
    let profile = "osd erasure-code-profile set pairs k=2 m=2 plugin=jerasure";
    ground.ceph(&format!("{profile} technique=reed_sol_van {domains}"));
    ground
        .after("osd pool create pairs 16 16 erasure pairs")
        .await;
    let late = support::connect(&ground.cluster).await;
    let pool = late.pool("pairs").await.unwrap();
    ground
        .after("osd pool set pairs allow_ec_optimizations true")
        .await;
    let id = ground.pool("pairs");
    let pairs = PgId { pool: id, seed: 0 };
    let up = ground.client.osdmap().placement(pairs).up;
    let up: Vec<String> = up
        .iter()
        .rev()
        .flatten()
        .map(|it| it.0.to_string())
        .collect();
    assert_eq!(up.len(), 4);
    let temp = format!("osd pg-temp {}.0 {}", id.0, up.join(" "));
    ground.after(&temp).await;
    let map = ground.client.osdmap();
    let (_, described) = map.pools().find(|(it, _)| *it == id).unwrap();
    assert!(described.is_nonprimary(1), "{described:?}");
    for number in 0..32 {
        let name = format!("object {number}");
        pool.write_full(&name, name.clone()).await.unwrap();
    }
    for number in 0..32 {
        let name = format!("object {number}");
        let theirs = ground.cluster.rados(&["get", "-p", "pairs", &name, "-"]);
        assert_eq!(theirs.unwrap(), name);
    }
}

/// What places single placement groups elsewhere.
async fn exceptions(ground: &mut Ground) {
    let plain = ground.pool("plain").0;
    let (from, _, to) = first_last_other(ground, plain, 0);
    ground
        .after(&format!("osd pg-upmap-items {plain}.0 {from} {to}"))
        .await;
    let (first, _, other) = first_last_other(ground, plain, 1);
    ground
        .after(&format!("osd pg-upmap {plain}.1 {other} {first}"))
        .await;
    let (first, _, other) = first_last_other(ground, plain, 2);
    ground
        .after(&format!("osd pg-temp {plain}.2 {other} {first}"))
        .await;
    let (_, last, _) = first_last_other(ground, plain, 3);
    ground
        .after(&format!("osd primary-temp {plain}.3 {last}"))
        .await;
    ground
        .after(&format!("osd rm-pg-upmap-items {plain}.0"))
        .await;
    if ground.release() >= Release::Reef {
        ground.ceph("osd set-require-min-compat-client reef");
        let (_, last, _) = first_last_other(ground, plain, 4);
        ground
            .after(&format!("osd pg-upmap-primary {plain}.4 {last}"))
            .await;
        let map = ground.client.osdmap();
        let pg = PgId {
            pool: PoolId(plain),
            seed: 4,
        };
        assert_eq!(map.placement(pg).up_primary, Some(OsdId(last)));
        ground
            .after(&format!("osd rm-pg-upmap-primary {plain}.4"))
            .await;
    }
}

/// The first and the last OSD of a placement group, and one that has nothing of it.
fn first_last_other(ground: &Ground, pool: i64, seed: u32) -> (i32, i32, i32) {
    let pool = PoolId(pool);
    let up = ground.client.osdmap().placement(PgId { pool, seed }).up;
    let of = |osd: Option<&Option<OsdId>>| osd.unwrap().unwrap().0;
    let other = (0..6).find(|osd| !up.contains(&Some(OsdId(*osd))));
    (of(up.first()), of(up.last()), other.unwrap())
}

/// Placement groups are split and merged step by step; every map on the way is compared.
async fn pg_num(ground: &mut Ground) {
    // Merging takes many maps for each placement group.
    for wanted in [40, 37, 39] {
        ground.ceph(&format!("osd pool set plain pg_num {wanted}"));
        let mut epoch = ground.client.osdmap().epoch();
        loop {
            ground.compare(&format!("pg_num {wanted}")).await;
            let map = ground.client.osdmap();
            let pool = map
                .pools()
                .find(|(id, _)| map.pool_name(*id) == Some("plain"));
            if pool.is_some_and(|(_, pool)| pool.pg_num == wanted) {
                break;
            }
            epoch = denc::Epoch(epoch.0.max(map.epoch().0) + 1);
            let next = ground.client.wait_for_osdmap(epoch);
            tokio::time::timeout(LIMIT, next).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stretched_cluster_is_placed_as_it_says() {
    if Release::default_of_tests().unwrap() < Release::Pacific {
        println!("SKIPPED: this release knows no stretch mode");
        return;
    }
    let mut ground = Ground::new(3, 4).await;
    for osd in 0..4 {
        let place = format!("root=default datacenter=d{} host=h{osd}", osd / 2);
        ground.ceph(&format!("osd crush set osd.{osd} 1.0 {place}"));
    }
    let text = stretch_rule(&ground);
    let path = |name: &str| ground.dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("crush.txt"), text).unwrap();
    let mut compile = ground.cluster.command("crushtool");
    let output = compile
        .args(["-c", &path("crush.txt"), "-o", &path("crush")])
        .output();
    assert!(output.unwrap().status.success());
    ground.ceph(&format!("osd setcrushmap -i {}", path("crush")));
    ground
        .after("osd pool create plain 16 16 replicated stretch_rule")
        .await;
    ground.ceph("mon set election_strategy connectivity");
    for (mon, datacenter) in [("a", "d0"), ("b", "d1"), ("c", "d2")] {
        ground.ceph(&format!("mon set_location {mon} datacenter={datacenter}"));
    }
    ground
        .after("mon enable_stretch_mode c stretch_rule datacenter")
        .await;
    let plain = ground.pool("plain").0;
    let (first, last, _) = first_last_other(&ground, plain, 0);
    assert_ne!(first / 2, last / 2, "both copies in one place");
    // One place is lost: the pool becomes degraded, with fewer copies, and lives on.
    for osd in [2, 3] {
        ground.cluster.kill_daemon(Daemon::Osd(osd)).unwrap();
        ground.after(&format!("osd down {osd}")).await;
    }
    ground.compare("the loss of a datacenter").await;
    assert!(ground.json("osd dump")["stretch_mode"]["stretch_mode_enabled"] == true);
    ground.done();
}

/// The CRUSH map of a cluster in words, with a rule that takes two hosts from both places.
fn stretch_rule(ground: &Ground) -> String {
    let path = |name: &str| ground.dir.path().join(name).to_str().unwrap().to_owned();
    ground.ceph(&format!("osd getcrushmap -o {}", path("old")));
    let mut decompile = ground.cluster.command("crushtool");
    let output = decompile
        .args(["-d", &path("old"), "-o", &path("old.txt")])
        .output();
    assert!(output.unwrap().status.success());
    let text = std::fs::read_to_string(path("old.txt")).unwrap();
    let steps = ["d0", "d1"].map(|datacenter| {
        format!(
            "    step take {datacenter}\n    step chooseleaf firstn 2 type host\n    step emit\n"
        )
    });
    let sizes = if ground.release() < Release::Quincy {
        "    min_size 1\n    max_size 10\n"
    } else {
        ""
    };
    let rule = format!(
        "rule stretch_rule {{\n    id 1\n    type replicated\n{sizes}{}}}\n",
        steps.concat()
    );
    text.replace("# end crush map", &format!("{rule}\n# end crush map"))
}

const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
