//! `orbd` and upstream's `rbd` side by side on a real cluster: where one only looks, both must print the
//! same; where one changes something, the other must find it.
//!
//! Needs the packages that `minicluster` starts clusters from, and `rbd` itself.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use minicluster::{Cluster, Release};
use serde_json::Value;
use support::side_by_side::{
    all_work, orbd, orbd_command, rbd, same_failure, same_output, start, words,
};

/// What `rbd info` says of an image, without what differs from image to image.
fn shape(cluster: &Cluster, image: &str) -> Value {
    let info = rbd(cluster, &["info", image, "--format", "json"]);
    assert_eq!(info.code, 0, "{image}: {}", info.stderr);
    let mut info: Value = serde_json::from_str(&info.stdout).unwrap();
    let members = info.as_object_mut().unwrap();
    for key in [
        "name",
        "id",
        "block_name_prefix",
        "create_timestamp",
        "access_timestamp",
        "modify_timestamp",
    ] {
        assert!(members.remove(key).is_some(), "{image} has no {key}");
    }
    info
}

#[test]
fn commands_that_look_print_what_rbd_prints() {
    let cluster = start();
    all_work(
        &cluster,
        rbd,
        &[
            "create --size 10 --image-feature layering plain",
            "create --size 10G all",
            "create --size 1T --image-feature layering --stripe-unit 64K --stripe-count 5 --data-pool data striped",
            "create --size 1001B --object-size 64K --image-feature layering odd",
            "create --size 0 --image-feature layering zero",
            "snap create plain@first",
            "snap create plain@second",
            "snap protect plain@second",
            "snap limit set --limit 7 plain",
            "clone plain@second clone",
            "namespace create rbd/space",
            "create --size 3 --image-feature layering rbd/space/inner",
            "group create rbd/grp",
            "group image add rbd/grp plain",
            "group snap create rbd/grp@gs",
            "image-meta set plain key value",
            "image-meta set plain other value",
            "image-meta set zero only one",
            "lock add odd me",
            "lock add --shared tag zero me",
        ],
    );
    for image in [
        "plain",
        "all",
        "striped",
        "odd",
        "zero",
        "clone",
        "rbd/space/inner",
    ] {
        same_output(&cluster, &format!("info {image}"));
        same_output(&cluster, &format!("snap ls {image}"));
        same_output(&cluster, &format!("snap ls --all {image}"));
        same_output(&cluster, &format!("image-meta list {image}"));
        same_output(&cluster, &format!("status {image}"));
    }
    for line in [
        "info plain@first",
        "info plain --snap second",
        "info --pool rbd --image clone",
        "info --namespace space inner",
        "ls",
        "ls -l",
        "ls rbd/space",
        "ls -l rbd/space",
        "ls data",
        "-p data ls --long",
    ] {
        same_output(&cluster, line);
    }
    let value = orbd(&cluster, &["image-meta", "get", "plain", "key"]);
    assert_eq!(value.stdout, "value\n");
    cluster.destroy().unwrap();
}

#[test]
fn failures_have_the_words_and_the_status_of_rbd() {
    let cluster = start();
    all_work(
        &cluster,
        rbd,
        &[
            "create --size 10 --image-feature layering a",
            "create --size 10 --image-feature layering b",
            "create --size 10 --image-feature layering kept",
            "snap create kept@s",
        ],
    );
    for line in [
        "create --size 10 a",
        "create --size 10 nopool/x",
        "create --size 10 rbd/nospace/x",
        "create --size 10 --data-pool nopool x",
        "create --size 10 --object-size 2K x",
        "create --size 10 --object-size 64M x",
        "create --size 10 --stripe-unit 64K x",
        "create --size 10 --stripe-count 4 x",
        "create --size 10 --stripe-unit 3000 --stripe-count 2 x",
        "create --size 10 --image-feature object-map x",
        "create --size 10 --image-feature bogus x",
        "create x",
        "info nosuch",
        "info nopool/x",
        "info a@nosuch",
        "info --image-id 1234",
        "info",
        "info a --pretty-format",
        "ls nopool",
        "snap ls nosuch",
        "image-meta list nosuch",
        "image-meta set a",
        "mv nosuch c",
        "mv a b",
        "mv a data/a",
        "resize --size 10 a",
        "resize --size 5 a",
        "resize --size 5 nosuch",
        "feature enable a layering",
        "feature enable a object-map",
        "feature disable a exclusive-lock",
        "feature enable a bogus",
        "feature enable a",
        "rm nosuch",
        "rm kept",
        "export nosuch x.img",
        "export a /nonexistent/x.img",
        "export a",
        "import /nonexistent/x.img x",
        "import /tmp x",
        "bench --io-type read nosuch",
        "bench a",
        "status nosuch",
        "unmap rbd/nosuch",
        "unmap /dev/null",
    ] {
        same_failure(&cluster, line);
    }
    if cluster.release() >= Release::Pacific {
        // Before, the kernel was asked for a device first, and for the image then.
        same_failure(&cluster, "map nosuch");
    }
    for line in ["image-meta get a nosuch", "image-meta remove a nosuch"] {
        let (ours, theirs) = (orbd(&cluster, &words(line)), rbd(&cluster, &words(line)));
        assert_eq!((ours.code, theirs.code), (2, 2), "{line}");
    }
    let outcome = orbd(&cluster, &["--id", "nobody", "ls"]);
    assert_ne!(outcome.code, 0);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    cluster.destroy().unwrap();
}

#[test]
fn what_orbd_makes_rbd_would_have_made() {
    let cluster = start();
    for (index, options) in [
        "--size 10 --image-feature layering",
        "--size 3G --object-size 64K --image-feature layering",
        "--size 100 --order 25 --image-feature layering",
        "--size 100 --object-size 3M --image-feature layering",
        "--size 100 --stripe-unit 64K --stripe-count 5 --image-feature layering",
        "--size 100 --stripe-unit 4M --stripe-count 1 --image-feature layering",
        "--size 100 --data-pool data --image-feature layering,deep-flatten",
        "--size 100 --data-pool rbd --image-feature layering",
        "--size 1000B --image-feature layering,exclusive-lock,object-map",
        "--size 100 --image-shared --image-feature layering,exclusive-lock",
        "--size 100 --rbd-default-features 61 --rbd_default_order=20",
        "--size 100 --rbd_default_features layering,exclusive-lock --image-shared",
        "--size 100 --rbd_default_features 1 --rbd_default_data_pool data",
        "--size 100 --rbd_default_features 1 --rbd_default_stripe_unit 65536 --rbd_default_stripe_count 3",
    ]
    .into_iter()
    .enumerate()
    {
        let (ours, theirs) = (format!("ours{index}"), format!("theirs{index}"));
        all_work(&cluster, orbd, &[&format!("create {options} {ours}")]);
        all_work(&cluster, rbd, &[&format!("create {options} {theirs}")]);
        assert_eq!(shape(&cluster, &ours), shape(&cluster, &theirs), "{options}");
    }
    all_work(&cluster, orbd, &["create --size 10 default"]);
    all_work(&cluster, rbd, &["create --size 10 defaults"]);
    assert_eq!(shape(&cluster, "default"), shape(&cluster, "defaults"));
    cluster.destroy().unwrap();
}

#[test]
fn what_orbd_changes_rbd_finds_changed() {
    let cluster = start();
    all_work(
        &cluster,
        orbd,
        &[
            "create --size 10 --image-feature layering a",
            "mv a b",
            "resize --size 20 b",
            "image-meta set b key value",
            "feature enable b exclusive-lock",
        ],
    );
    assert_eq!(rbd(&cluster, &["ls"]).stdout, "b\n");
    let info = shape(&cluster, "b");
    assert_eq!(info["size"], 20 << 20);
    assert_eq!(info["features"][1], "exclusive-lock");
    assert_eq!(
        rbd(&cluster, &["image-meta", "get", "b", "key"]).stdout,
        "value\n"
    );
    all_work(
        &cluster,
        orbd,
        &[
            "feature disable b exclusive-lock",
            "resize --size 5 --allow-shrink b",
            "image-meta remove b key",
        ],
    );
    let info = shape(&cluster, "b");
    assert_eq!(info["size"], 5 << 20);
    assert_eq!(info["features"][1], Value::Null);
    assert_eq!(rbd(&cluster, &["image-meta", "get", "b", "key"]).code, 2);
    let removed = orbd(&cluster, &["rm", "b"]);
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert!(
        removed
            .stderr
            .ends_with("\rRemoving image: 100% complete...done.\n")
    );
    assert_eq!(rbd(&cluster, &["ls"]).stdout, "");
    assert_eq!(
        cluster.rados(&["-p", "rbd", "ls"]).unwrap().trim(),
        "rbd_directory"
    );
    cluster.destroy().unwrap();
}

#[test]
fn an_image_that_is_watched_is_not_removed() {
    let cluster = start();
    all_work(
        &cluster,
        rbd,
        &["create --size 1 --image-feature layering a"],
    );
    let mut watcher = cluster
        .command("rbd")
        .args(["watch", "a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says "press enter to exit..." when it watches.
    let mut byte = [0];
    std::io::Read::read_exact(watcher.stdout.as_mut().unwrap(), &mut byte).unwrap();
    same_failure(&cluster, "rm a");
    same_output(&cluster, "status a");
    let status = orbd(&cluster, &["status", "a"]).stdout;
    assert!(status.starts_with("Watchers:\n\twatcher="), "{status}");
    watcher.stdin.take().unwrap().write_all(b"\n").unwrap();
    watcher.wait().unwrap();
    all_work(&cluster, orbd, &["rm a"]);
    cluster.destroy().unwrap();
}

/// Bytes that differ from place to place, with holes.
fn contents() -> Vec<u8> {
    let mut bytes = vec![0; 13_000_000];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let is_hole = (1 << 20..6 << 20).contains(&index) || (9 << 20..11 << 20).contains(&index);
        if !is_hole {
            *byte = u8::try_from((index / 7 + index / 4096) % 251).unwrap() + 1;
        }
    }
    bytes
}

#[test]
fn images_come_out_as_they_went_in() {
    let cluster = start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let source = contents();
    std::fs::write(path("source"), &source).unwrap();
    for (image, options) in [
        ("ours", ""),
        ("sparse", "--sparse-size 64K --object-size 1M"),
        (
            "striped",
            "--stripe-unit 64K --stripe-count 5 --data-pool data",
        ),
    ] {
        let line = format!(
            "import {} {image} {options} --image-feature layering",
            path("source")
        );
        let imported = orbd(&cluster, &words(&line));
        assert_eq!(imported.code, 0, "{}", imported.stderr);
        assert!(
            imported
                .stderr
                .ends_with("\rImporting image: 100% complete...done.\n")
        );
        let (ours, theirs) = (
            path(&format!("{image}.ours")),
            path(&format!("{image}.theirs")),
        );
        let exported = orbd(&cluster, &["export", image, &ours]);
        assert_eq!(exported.code, 0, "{}", exported.stderr);
        assert!(
            exported
                .stderr
                .ends_with("\rExporting image: 100% complete...done.\n")
        );
        all_work(
            &cluster,
            rbd,
            &[&format!("export --no-progress {image} {theirs}")],
        );
        assert!(std::fs::read(&ours).unwrap() == source, "{image} by orbd");
        assert!(std::fs::read(&theirs).unwrap() == source, "{image} by rbd");
        let stored = std::fs::metadata(&ours).unwrap().blocks() * 512;
        assert!(stored < 10 << 20, "{image} has no holes: {stored}");
        assert_eq!(orbd(&cluster, &["export", image, &ours]).code, 17);
    }
    // The holes of 5 and 2 MiB are in no object.
    let info = shape(&cluster, "sparse");
    assert_eq!(info["objects"], 13);
    let objects = cluster.rados(&["-p", "rbd", "ls"]).unwrap();
    let id = rbd(&cluster, &["info", "sparse", "--format", "json"]).stdout;
    let id: Value = serde_json::from_str(&id).unwrap();
    let prefix = id["block_name_prefix"].as_str().unwrap();
    let stored = objects
        .lines()
        .filter(|name| name.starts_with(prefix))
        .count();
    assert_eq!(stored, 6);

    all_work(&cluster, rbd, &["snap create ours@s"]);
    all_work(
        &cluster,
        orbd,
        &["resize --size 1 --allow-shrink --no-progress ours"],
    );
    let snapshot = orbd_command(&cluster)
        .args(["export", "--no-progress", "ours@s", "-"])
        .output()
        .unwrap();
    assert!(snapshot.stdout == source, "the snapshot on stdout");

    let mut piped = orbd_command(&cluster)
        .args(["import", "--no-progress", "-", "piped"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(&source).unwrap();
    assert!(piped.wait().unwrap().success());
    let theirs = path("piped.theirs");
    all_work(
        &cluster,
        rbd,
        &[&format!("export --no-progress piped {theirs}")],
    );
    assert!(std::fs::read(theirs).unwrap() == source, "from stdin");

    // What could not be filled is not left behind.
    // Such files say that they are longer than they are.
    let line = "import /sys/kernel/uevent_seqnum shorter";
    let failed = orbd(&cluster, &words(line));
    assert!(
        failed.stderr.contains("the file ended"),
        "{}",
        failed.stderr
    );
    assert_eq!(rbd(&cluster, &["info", "shorter"]).code, 2);
    cluster.destroy().unwrap();
}

#[test]
fn thick_images_are_all_there() {
    let cluster = start();
    all_work(
        &cluster,
        orbd,
        &["create --size 10 --object-size 1M --thick-provision --no-progress thick"],
    );
    let objects = cluster.rados(&["-p", "rbd", "ls"]).unwrap();
    let stored = objects
        .lines()
        .filter(|name| name.starts_with("rbd_data."))
        .count();
    assert_eq!(stored, 10);
    cluster.destroy().unwrap();
}

#[test]
fn a_benchmark_counts_what_it_did() {
    let cluster = start();
    all_work(&cluster, orbd, &["create --size 16 a"]);
    for (options, heading, lines) in [
        ("--io-type write", "bench  type write io_size 65536 ", 3),
        (
            "--io-type read --io-pattern rand",
            "bench  type read io_size 65536 ",
            3,
        ),
        (
            "--io-type rw --io-pattern full-seq",
            "bench  type readwrite read:write=50:50 ",
            5,
        ),
    ] {
        let line = format!("bench {options} --io-size 64K --io-threads 4 --io-total 4M a");
        let outcome = orbd(&cluster, &words(&line));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(outcome.stdout.starts_with(heading), "{}", outcome.stdout);
        assert!(
            outcome.stdout.contains("   ops: 64   ops/sec: "),
            "{}",
            outcome.stdout
        );
        // Slow machines take more than a second, each of which has a line.
        let seconds = outcome
            .stdout
            .lines()
            .filter(|line| line.ends_with("iB/s") && line.starts_with("  "));
        assert_eq!(outcome.stdout.lines().count() - seconds.count(), lines);
    }
    let used = cluster.rados(&["-p", "rbd", "ls"]).unwrap();
    assert!(used.lines().any(|name| name.starts_with("rbd_data.")));
    cluster.destroy().unwrap();
}
