//! `orbd serve`, `map` and `mount` on a real cluster: what goes through the device is found by `rbd`.
//!
//! Needs the packages that `minicluster` starts clusters from, `qemu-img`, and for devices root, `/dev/fuse` and
//! `/dev/loop-control`; or, with `ORBD_TEST_DEVICE_TYPE=nbd`, the kernel's NBD driver.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::path::Path;

use mapper::kernel::DeviceType;
use minicluster::{Cluster, Store};
use support::kernel_device::device_type;
use support::place::{Place, Server, contents, tool};

#[test]
fn what_clients_write_is_in_the_image() {
    let place = Place::new();
    let source = contents(12 << 20);
    std::fs::write(place.path("source"), &source).unwrap();
    place.works(&["create", "--size", "12", "--object-size", "1M", "a"]);
    let socket = place.path("socket");
    let (server, address) = Server::start(place.command(&["serve", "a", "--socket", &socket]));
    assert_eq!(address, format!("nbd+unix:///?socket={socket}"));
    let written = [
        "convert",
        "-n",
        "-f",
        "raw",
        "-O",
        "raw",
        &place.path("source"),
        &address,
    ];
    tool("qemu-img", &written);
    let (second, tcp) =
        Server::start(place.command(&["serve", "a", "--tcp", "127.0.0.1:0", "--read-only"]));
    tool(
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "raw",
            &tcp,
            &place.path("read"),
        ],
    );
    assert!(std::fs::read(place.path("read")).unwrap() == source);
    server.stop();
    second.stop();
    assert!(!Path::new(&socket).exists());
    place
        .cluster
        .rbd(&["export", "--no-progress", "a", &place.path("exported")])
        .unwrap();
    assert!(std::fs::read(place.path("exported")).unwrap() == source);
    place.cluster.destroy().unwrap();
}

#[test]
fn images_that_must_not_be_written_are_served_for_reading_only() {
    let place = Place::new();
    place
        .cluster
        .rbd(&[
            "create",
            "--size",
            "4",
            "--image-feature",
            "layering,exclusive-lock,journaling",
            "mapped",
        ])
        .unwrap();
    let socket = place.path("socket");
    let (status, said) = place.fails(&["serve", "mapped", "--socket", &socket]);
    assert_eq!(status, 30, "{said}");
    assert!(
        said.contains("feature disable rbd/mapped journaling"),
        "{said}"
    );
    assert!(said.contains("--read-only"), "{said}");
    let (server, address) =
        Server::start(place.command(&["serve", "mapped", "--socket", &socket, "--read-only"]));
    let info = tool(
        "qemu-img",
        &["info", "--output", "json", "-f", "raw", &address],
    );
    assert!(info.contains("\"virtual-size\": 4194304"), "{info}");
    server.stop();
    place.cluster.destroy().unwrap();
}

#[test]
fn the_lock_is_kept_handed_over_or_waited_for_as_told() {
    let place = Place::new();
    let features = ["--image-feature", "layering,exclusive-lock"];
    place
        .cluster
        .rbd(&[&["create", "--size", "4", "disk"], &features[..]].concat())
        .unwrap();
    place.works(&[
        "create",
        "--size",
        "4",
        "--image-feature",
        "layering",
        "plain",
    ]);
    for options in ["exclusive", "lock_on_read"] {
        let map = [
            "map",
            "--device-type",
            device_type().name(),
            "-o",
            options,
            "plain",
        ];
        let (status, said) = place.fails(&map);
        assert_eq!(status, 22, "{said}");
        assert!(
            said.contains("exclusive-lock feature is not enabled"),
            "{said}"
        );
    }

    // One that keeps the lock: upstream's writer is refused, and so is another of ours.
    let socket = place.path("socket");
    let (server, address) =
        Server::start(place.command(&["serve", "disk", "--socket", &socket, "--exclusive"]));
    let status = place.works(&["status", "disk"]);
    assert!(status.contains("Lock owner: client."), "{status}");
    let bench = ["bench", "--io-type", "write", "--io-total", "4K", "disk"];
    assert!(place.cluster.rbd(&bench).is_err());
    let map = [
        "map",
        "--device-type",
        device_type().name(),
        "-o",
        "exclusive,lock_timeout=5",
        "disk",
    ];
    let (status, said) = place.fails(&map);
    assert_eq!(status, 30, "{said}");
    server.stop();
    let status = place.works(&["status", "disk"]);
    assert!(!status.contains("Lock owner"), "{status}");

    // One that gives it up when asked to, and takes it again.
    let (server, _) = Server::start(place.command(&["serve", "disk", "--socket", &socket]));
    std::fs::write(place.path("source"), contents(4 << 20)).unwrap();
    let source = place.path("source");
    let write = ["convert", "-n", "-f", "raw", "-O", "raw", &source, &address];
    tool("qemu-img", &write);
    place.cluster.rbd(&bench).unwrap();
    tool("qemu-img", &write);
    server.stop();
    assert!(place.exported("disk") == contents(4 << 20));

    // For reading, too.
    let device = place.works(&[
        "map",
        "--device-type",
        device_type().name(),
        "--lock-on-read",
        "disk",
    ]);
    let input = format!("if={}", device.trim_end());
    tool(
        "dd",
        &[&input, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"],
    );
    let status = place.works(&["status", "disk"]);
    assert!(status.contains("Lock owner: client."), "{status}");
    place.works(&["unmap", "disk"]);
    place.assert_clean();
    place.cluster.destroy().unwrap();
}

#[test]
fn an_image_becomes_a_file_system_and_keeps_its_files() {
    let place = Place::new();
    place.works(&["create", "--size", "64", "disk"]);
    let directory = place.path("mnt");
    std::fs::create_dir(&directory).unwrap();
    let mount = [
        "mount",
        "--device-type",
        device_type().name(),
        "disk",
        &directory,
    ];
    let mounted = place.works(&mount);
    assert!(
        mounted.ends_with(&format!(" on {directory} type ext4 (new)\n")),
        "{mounted}"
    );
    std::fs::write(format!("{directory}/hello"), "hello ceph").unwrap();

    let listed = place.works(&["device", "list", "--format", "json"]);
    assert!(listed.contains("\"name\":\"disk\""), "{listed}");
    let (status, said) = place.fails(&["map", "--device-type", device_type().name(), "disk"]);
    assert_eq!(status, 16, "{said}");
    let (status, said) = place.fails(&["unmap", "disk"]);
    assert_eq!(status, 16, "{said}");
    assert!(said.contains(&directory), "{said}");

    place.works(&["umount", &directory]);
    assert_eq!(place.works(&["device", "list"]), "");
    assert!(!Path::new(&format!("{directory}/hello")).exists());

    let mounted = place.works(&mount);
    assert!(mounted.ends_with(" type ext4\n"), "{mounted}");
    let kept = std::fs::read_to_string(format!("{directory}/hello")).unwrap();
    assert_eq!(kept, "hello ceph");
    place.works(&["umount", &directory]);
    let (ours, theirs) = (place.path("ours"), place.path("theirs"));
    place.works(&["export", "--no-progress", "disk", &ours]);
    place
        .cluster
        .rbd(&["export", "--no-progress", "disk", &theirs])
        .unwrap();
    assert!(std::fs::read(&ours).unwrap() == std::fs::read(theirs).unwrap());
    tool("e2fsck", &["-fn", &ours]);
    place.cluster.destroy().unwrap();
}

#[test]
fn a_device_goes_as_it_came() {
    let place = Place::new();
    place.works(&["create", "--size", "8", "disk"]);
    let device = place.works(&["map", "--device-type", device_type().name(), "rbd/disk"]);
    let device = device.trim_end();
    let kind = match device_type() {
        DeviceType::Nbd => "/dev/nbd",
        _ => "/dev/loop",
    };
    assert!(device.starts_with(kind), "{device}");
    let source = contents(8 << 20);
    std::fs::write(place.path("source"), &source).unwrap();
    let (from, to) = (
        format!("if={}", place.path("source")),
        format!("of={device}"),
    );
    tool("dd", &[&from, &to, "bs=1M", "conv=fsync,notrunc"]);
    place.works(&["unmap", device]);
    assert_eq!(place.works(&["showmapped"]), "");
    place
        .cluster
        .rbd(&["export", "--no-progress", "disk", &place.path("exported")])
        .unwrap();
    assert!(std::fs::read(place.path("exported")).unwrap() == source);
    // Neither mappings nor logs are left.
    place.assert_clean();
    let (status, said) = place.fails(&["map", "--device-type", device_type().name(), "nosuch"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.starts_with("orbd: "), "{said}");
    place.cluster.destroy().unwrap();
}

/// The memory of a process, in KiB: `RssAnon` is what it has allocated and uses now, `VmHWM` the most so far with all of the program.
fn memory_kib(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |line: &str| Some(line.strip_prefix(which)?.strip_prefix(':')?.to_owned());
    let line = status.lines().find_map(value);
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Writes and verifies with `fio` at depth 32, and has `rbd export` and `nbdcopy` read the same.
fn verify_served_image(place: &Place, create: &[&str]) {
    place.works(&[&["create", "rbd/load", "--size", "64M"], create].concat());
    let socket = place.path("load.sock");
    let command = place.command(&["serve", "rbd/load", "--socket", &socket]);
    let (server, _) = Server::start(command);
    let uri = format!("nbd+unix:///load?socket={socket}");
    tool("nbdinfo", &[&uri]);
    let idle = memory_kib(server.0.id(), "RssAnon");
    for (pattern, block, bytes) in [
        ("randwrite", "4k", "4m"),
        ("randwrite", "64k", "16m"),
        ("write", "4m", "64m"),
    ] {
        let job = [
            "--name=verify".to_owned(),
            "--ioengine=nbd".to_owned(),
            format!("--uri={uri}"),
            format!("--rw={pattern}"),
            format!("--bs={block}"),
            format!("--io_size={bytes}"),
            "--size=64m".to_owned(),
            "--iodepth=32".to_owned(),
            "--verify=crc32c".to_owned(),
            "--verify_fatal=1".to_owned(),
            "--do_verify=1".to_owned(),
            "--fsync=64".to_owned(),
            "--verify_state_save=0".to_owned(),
        ];
        let job: Vec<&str> = job.iter().map(String::as_str).collect();
        tool("fio", &job);
    }
    let peak = memory_kib(server.0.id(), "VmHWM");
    println!("{create:?}: {idle} KiB idle, {peak} KiB at most");
    assert!(idle < 8 << 10, "{create:?}: {idle} KiB");
    assert!(peak < 300 << 10, "{create:?}: {peak} KiB");
    let (ours, theirs) = (place.path("copied"), place.path("exported"));
    tool("nbdcopy", &[&uri, &ours]);
    server.stop();
    place
        .cluster
        .rbd(&["export", "--no-progress", "rbd/load", &theirs])
        .unwrap();
    assert!(
        std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap(),
        "{create:?}"
    );
    std::fs::remove_file(&theirs).unwrap();
    place.works(&["rm", "--no-progress", "rbd/load"]);
}

#[test]
fn fio_verifies_images_of_every_layout() {
    let place = Place::new();
    for create in [
        &[][..],
        &["--stripe-unit", "64K", "--stripe-count", "5"],
        &["--object-size", "64K"],
        &["--object-size", "32M"],
    ] {
        verify_served_image(&place, create);
    }
}

#[test]
fn fio_verifies_an_image_with_its_data_in_an_erasure_coded_pool() {
    let cluster = Cluster::builder()
        .mons(1)
        .osds(3)
        .mgr(false)
        .store(Store::Bluestore);
    let cluster = cluster.start().unwrap();
    cluster.create_pool("rbd", 8).unwrap();
    let profile = ["osd", "erasure-code-profile", "set", "small", "k=2", "m=1"];
    cluster
        .ceph(&[&profile[..], &["crush-failure-domain=osd"]].concat())
        .unwrap();
    for command in [
        &[
            "osd", "pool", "create", "parts", "8", "8", "erasure", "small",
        ][..],
        &["osd", "pool", "set", "parts", "allow_ec_overwrites", "true"],
        &["osd", "pool", "application", "enable", "parts", "rbd"],
    ] {
        cluster.ceph(command).unwrap();
    }
    let place = Place::with(cluster);
    verify_served_image(&place, &["--data-pool", "parts"]);
}
