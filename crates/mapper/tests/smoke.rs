//! The least that has to work on every release: an image is mounted, keeps its files, and is what
//! upstream sees.
//!
//! Needs root, `/dev/fuse` and `/dev/loop-control`.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::process::{Command, Output};

use minicluster::{Cluster, Store};

fn succeed(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{said}");
    String::from_utf8(stdout).unwrap()
}

#[test]
fn a_mounted_image_keeps_its_files() {
    let builder = Cluster::builder().mgr(false).store(Store::Memstore);
    let cluster = builder.start().unwrap();
    println!("{}", cluster.release());
    cluster.create_pool("rbd", 8).unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = |name| place.path().join(name).to_str().unwrap().to_owned();
    let orbd = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orbd"));
        command
            .args(args)
            .env("CEPH_CONF", cluster.conf_path())
            .env("ORBD_RUN_DIR", path("run"));
        for name in ["CEPH_ARGS", "CEPH_KEYRING", "CEPH_KEY"] {
            command.env_remove(name);
        }
        succeed(&mut command)
    };

    let directory = path("mnt");
    std::fs::create_dir(&directory).unwrap();
    let file = format!("{directory}/hello");
    orbd(&["create", "--size", "64", "disk"]);
    let mount = ["mount", "--device-type", "fuse", "disk", &directory];
    let mounted = orbd(&mount);
    assert!(mounted.ends_with(" type ext4 (new)\n"), "{mounted}");
    std::fs::write(&file, "hello ceph").unwrap();
    orbd(&["umount", &directory]);
    assert!(!std::fs::exists(&file).unwrap());

    let mounted = orbd(&mount);
    assert!(mounted.ends_with(" type ext4\n"), "{mounted}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello ceph");
    orbd(&["umount", &directory]);

    let (ours, theirs) = (path("ours"), path("theirs"));
    orbd(&["export", "--no-progress", "disk", &ours]);
    cluster
        .rbd(&["export", "--no-progress", "disk", &theirs])
        .unwrap();
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap());
    succeed(Command::new("e2fsck").args(["-fn", &theirs]));
}
