//! Options that the cluster keeps for its clients: `orbd create` makes of them what `rbd create` does.
//!
//! Needs the packages that `minicluster` starts clusters from, and `rbd` itself.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::process::Command;

use minicluster::{Cluster, Release, Store};
use serde_json::Value;

/// A cluster and the number of images made so far.
struct Bench {
    cluster: Cluster,
    images: usize,
}

impl Bench {
    fn start() -> Self {
        let builder = Cluster::builder().mons(1).osds(1).mgr(false);
        let cluster = builder.store(Store::Memstore).start().unwrap();
        for pool in ["rbd", "other"] {
            cluster.create_pool(pool, 8).unwrap();
        }
        Self { cluster, images: 0 }
    }

    fn ceph(&self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.cluster.ceph(&words).unwrap();
    }

    /// Makes an image with a program and gives what `rbd info` says of its layout.
    fn layout(&mut self, mut program: Command, pool: &str, args: &[&str]) -> (Value, Value, Value) {
        self.images += 1;
        let name = format!("image-{}", self.images);
        program.args(["create", "--size", "8M", &name]).args(args);
        let output = program.output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        assert_eq!(complaint, "", "it is done without noise");
        let spec = format!("{pool}/{name}");
        let info = self.cluster.rbd(&["info", "--format", "json", &spec]);
        let info = info.unwrap_or_else(|error| panic!("{program:?}: {error}"));
        let info: Value =
            serde_json::from_str(&info).unwrap_or_else(|error| panic!("{info}: {error}"));
        let field = |name: &str| info.get(name).cloned().unwrap_or_default();
        (field("order"), field("features"), field("stripe_count"))
    }

    fn orbd(&self) -> Command {
        let mut orbd = Command::new(env!("CARGO_BIN_EXE_orbd"));
        orbd.env("CEPH_CONF", self.cluster.conf_path());
        for name in ["CEPH_ARGS", "CEPH_KEYRING"] {
            orbd.env_remove(name);
        }
        orbd
    }

    /// What both programs make, which must be the same, as object order and number of features.
    fn both(&mut self, pool: &str, args: &[&str]) -> (u64, usize) {
        let mut upstreams = self.cluster.command("rbd");
        upstreams.env("CEPH_ARGS", "--log-to-stderr=false --err-to-stderr=false");
        if self.cluster.release() < Release::Pacific {
            // It may look for a pool before its other thread has set what the monitors have sent
            // (`MonClient::handle_config` of 14.2).
            upstreams.args(["--pool", pool]);
        }
        let theirs = self.layout(upstreams, pool, args);
        let ours = self.layout(self.orbd(), pool, args);
        assert_eq!(ours, theirs);
        let features = ours.1.as_array().unwrap().len();
        (ours.0.as_u64().unwrap(), features)
    }
}

#[test]
fn new_images_are_what_the_monitors_say_unless_somebody_nearer_does() {
    let mut bench = Bench::start();
    bench.ceph("config set client rbd_default_features 1");
    assert_eq!(bench.both("rbd", &[]), (22, 1));
    bench.ceph("config set client.admin rbd_default_order 23");
    bench.ceph("config set client.somebody rbd_default_order 24");
    assert_eq!(bench.both("rbd", &[]), (23, 1));
    bench.ceph("config set global rbd_default_pool other");
    assert_eq!(bench.both("other", &[]), (23, 1));

    // Upstream's clients do not heed this; its daemons do.
    let declined = ["--no-mon-config", "--image-feature", "layering"];
    let (order, ..) = bench.layout(bench.orbd(), "rbd", &declined);
    assert_eq!(order, 22);
    let typed = [
        "--rbd-default-order",
        "21",
        "--image-feature",
        "layering,exclusive-lock",
    ];
    assert_eq!(bench.both("other", &typed), (21, 2));

    let conf = bench.cluster.conf_path();
    let text = std::fs::read_to_string(&conf).unwrap();
    let nearer = format!("{text}\n[client]\nrbd_default_order = 20\n");
    std::fs::write(&conf, nearer).unwrap();
    assert_eq!(bench.both("other", &[]), (20, 1));
}

/// Monitors keep what is forced upon them, and what newer clients understand.
#[test]
fn what_the_monitors_say_and_nobody_understands_changes_nothing() {
    let mut bench = Bench::start();
    bench.ceph("config set client option_of_another_release 1 --force");
    bench.ceph("config set client rbd_default_features 1");
    assert_eq!(bench.both("rbd", &[]), (22, 1));
}
