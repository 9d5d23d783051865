//! Locks, differences, usage and object maps, side by side with upstream's `rbd` on a real cluster.
//!
//! Needs the packages that `minicluster` starts clusters from, and `rbd` itself.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use minicluster::{Cluster, Release};
use serde_json::Value;
use support::side_by_side::{
    Outcome, all_work, orbd, rbd, same_failure, same_output, start, words,
};

/// The locks on an image: names and clients.
fn locks(cluster: &Cluster, image: &str) -> Vec<(String, String)> {
    let listed = rbd(cluster, &["lock", "ls", image, "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let text = |lock: &Value, name: &str| lock[name].as_str().unwrap().to_owned();
    let listed = listed.as_array().unwrap().iter();
    listed
        .map(|lock| (text(lock, "id"), text(lock, "locker")))
        .collect()
}

#[test]
fn locks_are_upstreams() {
    let cluster = start();
    all_work(
        &cluster,
        rbd,
        &[
            "create --size 10 --image-feature layering one",
            "create --size 10 --image-feature layering many",
            "create --size 10 --image-feature layering none",
            "lock add one mine",
            "lock add many first --shared tag",
        ],
    );
    all_work(&cluster, orbd, &["lock add many second --shared tag"]);
    for image in ["one", "many", "none"] {
        same_output(&cluster, &format!("lock ls {image}"));
        same_output(&cluster, &format!("lock list --image {image}"));
    }
    assert_eq!(locks(&cluster, "many").len(), 2);
    for line in [
        "lock add one other",
        "lock add one other --shared tag",
        "lock add many other",
        "lock add many third --shared another",
        "lock add one",
        "lock add",
        "lock add nosuch mine",
        "lock add one@snap mine",
        "lock rm one mine client.1",
        "lock rm one mine client",
        "lock rm one other client.1",
        "lock rm one mine",
        "lock rm one",
        "lock rm nosuch mine client.1",
        "lock ls nosuch",
        "lock ls",
    ] {
        same_failure(&cluster, line);
    }
    // Each takes away what the other has put there.
    for (id, locker) in locks(&cluster, "many") {
        all_work(&cluster, orbd, &[&format!("lock rm many {id} {locker}")]);
    }
    assert!(locks(&cluster, "many").is_empty());
    all_work(&cluster, orbd, &["lock add many ours"]);
    let [(id, locker)] = locks(&cluster, "many").try_into().unwrap();
    assert_eq!(id, "ours");
    all_work(&cluster, rbd, &[&format!("lock remove many {id} {locker}")]);
    assert!(locks(&cluster, "many").is_empty());
    cluster.destroy().unwrap();
}

/// As [`same_output`], where both print the same on stderr, too.
fn same_words(cluster: &Cluster, line: &str) {
    same_output(cluster, line);
    let said = |outcome: Outcome| outcome.stderr;
    let ours = said(orbd(cluster, &words(line)));
    let theirs = said(rbd(cluster, &words(line)));
    assert_eq!(ours, theirs, "{line}");
}

#[test]
fn differences_and_usage_are_upstreams() {
    let cluster = start();
    let random = cluster.dir().join("random");
    let bytes: Vec<u8> = (0..9_000_000_u32)
        .map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    std::fs::write(&random, bytes).unwrap();
    let random = random.to_str().unwrap();
    let lines = [
        format!("import --no-progress --image-feature layering {random} plain"),
        format!(
            "import --no-progress --image-feature layering --stripe-unit 64K --stripe-count 3 --object-size 1M {random} striped"
        ),
        format!("import --no-progress {random} all"),
        "create --size 3G --image-feature layering empty".to_owned(),
        "namespace create rbd/space".to_owned(),
        format!("import --no-progress --image-feature layering {random} rbd/space/inner"),
    ];
    let mut setup: Vec<String> = lines.to_vec();
    for image in ["plain", "striped", "all"] {
        setup.push(format!("snap create {image}@one"));
        setup.push(format!(
            "bench --io-type write --io-size 4K --io-total 64K --io-pattern rand {image}"
        ));
        setup.push(format!("snap create {image}@two"));
        setup.push(format!(
            "bench --io-type write --io-size 64K --io-total 256K {image}"
        ));
    }
    let setup: Vec<&str> = setup.iter().map(String::as_str).collect();
    all_work(&cluster, rbd, &setup);
    // 14.2 tells the pieces of stripes object by object.
    let is_old = cluster.release() < Release::Pacific;
    let images = ["plain", "striped", "all"].into_iter();
    for image in images.filter(|image| !is_old || *image != "striped") {
        for line in [
            "diff IMAGE",
            "diff IMAGE --whole-object",
            "diff IMAGE@one",
            "diff IMAGE --from-snap one",
            "diff IMAGE --from-snap one --whole-object",
            "diff IMAGE@two --from-snap one",
            "diff --image IMAGE --snap two --from-snap one --whole-object",
            "diff IMAGE@one --from-snap one",
        ] {
            same_output(&cluster, &line.replace("IMAGE", image));
        }
    }
    same_output(&cluster, "diff empty");
    same_output(&cluster, "diff rbd/space/inner");
    // What 14.2 prints has no ids, and totals at other places.
    if !is_old {
        for line in [
            "du",
            "du plain",
            "du all",
            "disk-usage striped --exact",
            "du all@one",
            "du all@two",
            "du all@two --from-snap one",
            "du all --from-snap one",
            "du all@one --from-snap one",
            "du all --exact",
            "du all --merge-snapshots",
            "du --merge-snapshots",
            "du empty",
            "du rbd/space/inner",
            "du --pool rbd --namespace space",
            "du --pool data",
        ] {
            same_words(&cluster, line);
        }
    }
    for line in [
        "diff nosuch",
        "diff plain@nosuch",
        "diff plain --from-snap nosuch",
        "diff plain@one --from-snap two",
        "diff",
        "diff plain striped",
        "du nosuch",
        "du plain@nosuch",
        "du plain --from-snap nosuch",
        "du plain@one --from-snap two",
        "du plain striped",
        "du --pool nopool",
    ] {
        same_failure(&cluster, line);
    }
    cluster.destroy().unwrap();
}

#[test]
fn object_maps_are_checked_and_rebuilt_as_by_upstream() {
    let cluster = start();
    all_work(
        &cluster,
        rbd,
        &[
            "create --size 40M all",
            "create --size 4M --image-feature layering plain",
            "bench --io-type write --io-threads 1 --io-size 64K --io-total 1M all",
            "snap create all@one",
        ],
    );
    for line in [
        "object-map check all",
        "object-map check all@one",
        "object-map rebuild all",
        "object-map rebuild all@one",
    ] {
        let [mut ours, theirs] = [orbd, rbd].map(|run| run(&cluster, &words(line)));
        // The map is not valid while it is made anew, which is logged.
        if let Some((logged, said)) = ours.stderr.split_once('\n')
            && logged.contains("WARN")
        {
            ours.stderr = said.to_owned();
        }
        assert_eq!(ours, theirs, "{line}");
    }
    let quiet = orbd(&cluster, &words("object-map check --no-progress all"));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    for line in [
        "object-map check plain",
        "object-map check nosuch",
        "object-map check all@nosuch",
        "object-map check",
        "object-map rebuild plain",
        "object-map rebuild nosuch",
        "object-map rebuild all@nosuch",
    ] {
        same_failure(&cluster, line);
    }
    // An object that the map does not know of.
    let info = rbd(&cluster, &words("info all --format json"));
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    let prefix = info["block_name_prefix"].as_str().unwrap();
    let stray = format!("{prefix}.{:016x}", 9);
    let conf = cluster.conf_path();
    let conf = conf.to_str().unwrap();
    cluster.rados(&["-p", "rbd", "put", &stray, conf]).unwrap();
    let found = orbd(&cluster, &words("object-map check --no-progress all"));
    assert_eq!(found.code, 0, "{}", found.stderr);
    assert!(
        found.stderr.contains("wrong about 1 object"),
        "{}",
        found.stderr
    );
    assert_eq!(flags(&cluster), ["object map invalid", "fast diff invalid"]);
    let rebuilt = orbd(&cluster, &words("object-map rebuild --no-progress all"));
    assert_eq!(rebuilt.code, 0, "{}", rebuilt.stderr);
    assert!(flags(&cluster).is_empty());
    let sound = orbd(&cluster, &words("object-map check --no-progress all"));
    assert_eq!((sound.code, sound.stderr.as_str()), (0, ""));
    let checked = rbd(&cluster, &words("object-map check --no-progress all"));
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(flags(&cluster).is_empty());
    cluster.destroy().unwrap();
}

/// What is wrong with the image `all`.
#[expect(
    clippy::indexing_slicing,
    reason = "JSON gives null for what is not there"
)]
fn flags(cluster: &Cluster) -> Vec<String> {
    let info = rbd(cluster, &words("info all --format json"));
    let info: Value = serde_json::from_str(&info.stdout).unwrap();
    let flags = info["flags"].as_array().unwrap().iter();
    flags
        .map(|flag| flag.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_owner_of_an_automatic_lock_is_told() {
    let cluster = start();
    all_work(
        &cluster,
        rbd,
        &["create --size 10 --image-feature layering,exclusive-lock a"],
    );
    let mut bench = cluster.command("rbd");
    bench.args(words(
        "bench --io-type write --io-size 4K --io-threads 1 --io-total 1T a",
    ));
    let mut bench = bench.stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut owner = String::new();
    for _ in 0..300 {
        let status = orbd(&cluster, &["status", "a", "--format", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        if let Some(client) = status["lock_owner"]["client"].as_str() {
            owner = client.to_owned();
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let locked = locks(&cluster, "a");
    let plain = orbd(&cluster, &["status", "a"]);
    bench.kill().unwrap();
    bench.wait().unwrap();
    assert_eq!(locked.first().unwrap().1, owner);
    assert!(
        plain.stdout.contains(&format!("Lock owner: {owner} at ")),
        "{}",
        plain.stdout
    );
    cluster.destroy().unwrap();
}
