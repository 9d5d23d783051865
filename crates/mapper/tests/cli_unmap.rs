//! Giving devices up: with the cluster gone, with daemons that hang or are dead, with somebody using them; and what `device
//! list` says of them meanwhile.
//!
//! Needs the packages that `minicluster` starts clusters from, root, `/dev/fuse` and `/dev/loop-control`.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use minicluster::Release;
use support::close_without_waiting;
use support::kernel_device::KernelDevice;
use support::place::{Place, signal, tool};

const BLOCK: usize = 4096;
/// What nothing in these tests takes.
const LIMIT: Duration = Duration::from_secs(60);

fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn open(device: &KernelDevice) -> File {
    OpenOptions::new().write(true).open(device.path()).unwrap()
}

#[test]
fn a_device_without_its_cluster_is_given_up_by_force_and_not_otherwise() {
    let place = Place::new();
    place.works(&["create", "--size", "8", "disk"]);
    let device = place.map("disk");
    let written = open(&device);
    written.write_all_at(&[1; 4 * BLOCK], 0).unwrap();
    written.sync_all().unwrap();
    assert_eq!(place.state(), "attached");
    let (status, said) = place.fails(&["unmap", "disk"]);
    assert_eq!(status, 16, "{said}");
    assert!(
        said.contains(&format!("(process {})", std::process::id())),
        "{said}"
    );

    place.pause(true);
    assert_eq!(place.state(), "unreachable");
    written.write_all_at(&[2; 2 * BLOCK], 0).unwrap();
    close_without_waiting(written);
    let began = Instant::now();
    let (status, said) = place.fails(&["unmap", "--timeout", "6", "disk"]);
    assert_eq!(status, 110, "{said}");
    assert!(said.contains("8192 buffered bytes"), "{said}");
    assert!(said.contains("the cluster does not answer"), "{said}");
    assert!(said.contains("orbd unmap --force rbd/disk"), "{said}");
    assert!(began.elapsed() < LIMIT);
    assert!(device.is_there());
    assert_eq!(place.state(), "unreachable");

    // Nothing is lost by having tried.
    place.pause(false);
    until(|| place.state() == "attached");
    open(&device).sync_all().unwrap();
    assert!(
        place.exported("disk")[..2 * BLOCK]
            .iter()
            .all(|byte| *byte == 2)
    );

    place.pause(true);
    let written = open(&device);
    written.write_all_at(&[3; BLOCK], 0).unwrap();
    close_without_waiting(written);
    let began = Instant::now();
    let output = place.run(&["unmap", "--force", "--timeout", "1", "disk"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4096 buffered bytes"), "{said}");
    assert!(said.contains("may be lost"), "{said}");
    assert!(began.elapsed() < LIMIT);
    assert!(!device.is_there());
    place.assert_clean();
    place.pause(false);
    let exported = place.exported("disk");
    assert!(exported[BLOCK..2 * BLOCK].iter().all(|byte| *byte == 2));

    // Without anything to write there is nothing to wait for.
    let device = place.map("disk");
    place.pause(true);
    place.works(&["unmap", device.path()]);
    assert!(!device.is_there());
    place.assert_clean();
    place.pause(false);
    place.cluster.destroy().unwrap();
}

#[test]
fn a_daemon_that_is_told_to_end_writes_back_and_gives_its_device_up() {
    let place = Place::new();
    place.works(&["create", "--size", "8", "disk"]);
    let device = place.map("disk");
    let daemon = place.daemon();
    let written = open(&device);
    written.write_all_at(&[1; BLOCK], 0).unwrap();
    // Whoever has it open still gets what he writes written.
    signal(daemon, "TERM");
    until(|| place.log().contains("the device is not given up"));
    written.write_all_at(&[2; BLOCK], BLOCK as u64).unwrap();
    written.sync_all().unwrap();
    written.write_all_at(&[3; BLOCK], 2 * BLOCK as u64).unwrap();
    drop(written);
    assert_eq!(place.state(), "attached");
    signal(daemon, "TERM");
    until(|| place.works(&["device", "list"]).is_empty());
    assert!(!device.is_there());
    place.assert_clean();
    let exported = place.exported("disk");
    for number in 0..3_u8 {
        let start = usize::from(number) * BLOCK;
        let block = &exported[start..start + BLOCK];
        assert!(block.iter().all(|byte| *byte == number + 1), "{number}");
    }
    place.cluster.destroy().unwrap();
}

#[test]
fn a_daemon_that_hangs_or_is_dead_is_told_and_cleaned_up_after() {
    let place = Place::new();
    place.works(&["create", "--size", "8", "disk"]);
    let device = place.map("disk");
    let daemon = place.daemon();
    signal(daemon, "STOP");
    assert_eq!(place.state(), "hung");
    let (status, said) = place.fails(&["unmap", "disk"]);
    assert_eq!(status, 110, "{said}");
    assert!(
        said.contains(&format!("process {daemon}) does not answer")),
        "{said}"
    );
    let output = place.run(&["unmap", "-o", "force", "disk"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("is killed"), "{said}");
    assert!(!device.is_there());
    place.assert_clean();

    let device = place.map("disk");
    signal(place.daemon(), "KILL");
    until(|| place.state() == "dead");
    place.works(&["unmap", device.path()]);
    assert!(!device.is_there());
    place.assert_clean();

    // A dead one does not keep the image from being mapped again, and is found after that.
    place.map("disk");
    signal(place.daemon(), "KILL");
    until(|| place.state() == "dead");
    place.map("disk");
    place.works(&["unmap", "disk"]);
    place.works(&["unmap", "disk"]);
    place.assert_clean();
    place.cluster.destroy().unwrap();
}

#[test]
fn a_killed_daemon_has_lost_nothing_that_was_flushed() {
    let place = Place::new();
    let blocks = 1024_u64;
    for round in 0..3_u32 {
        place.works(&["create", "--size", "4", "disk"]);
        let device = place.map("disk");
        let daemon = place.daemon();
        let mut flushed = vec![0_u64; 1024];
        let file = open(&device);
        let mut pending = Vec::new();
        let mut unmap = place.command(&["unmap", "disk"]);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(700 + u64::from(round) * 400));
            signal(daemon, "KILL");
            // The NBD driver keeps requests that are under way until then.
            until(|| unmap.status().unwrap().success());
        });
        for number in 1.. {
            // Scattered, and each block is written again and again.
            let block = number * 0x9e37_79b9 % blocks;
            let data = number.to_le_bytes().repeat(BLOCK / 8);
            if file.write_all_at(&data, block * BLOCK as u64).is_err() {
                break;
            }
            pending.push((usize::try_from(block).unwrap(), number));
            if number % 7 == 0 {
                if file.sync_all().is_err() {
                    break;
                }
                for (block, number) in pending.drain(..) {
                    flushed[block] = number;
                }
            }
        }
        drop(file);
        killer.join().unwrap();
        assert!(!device.is_there());
        place.assert_clean();
        let exported = place.exported("disk");
        let mut compared = 0;
        for (block, number) in flushed
            .iter()
            .enumerate()
            .filter(|(_, number)| **number > 0)
        {
            let start = block * BLOCK;
            let there = u64::from_le_bytes(exported[start..start + 8].try_into().unwrap());
            assert!(
                there >= *number,
                "round {round}, block {block}: {there} < {number}"
            );
            let whole = there.to_le_bytes().repeat(BLOCK / 8);
            assert!(
                exported[start..start + BLOCK] == whole,
                "round {round}, block {block}"
            );
            compared += 1;
        }
        println!("round {round}: {compared} blocks compared");
        assert!(compared > 0);
        place.works(&["rename", "disk", &format!("killed-{round}")]);
    }
    place.cluster.destroy().unwrap();
}

#[test]
fn a_file_system_without_its_cluster_is_unmounted_by_force() {
    let place = Place::new();
    place.works(&["create", "--size", "64", "disk"]);
    let directory = place.path("mnt");
    std::fs::create_dir(&directory).unwrap();
    place.mount("disk", &directory);
    let mut file = File::create(format!("{directory}/file")).unwrap();
    file.write_all(&[1; 64 << 10]).unwrap();
    file.sync_all().unwrap();

    place.pause(true);
    file.write_all(&[2; 64 << 10]).unwrap();
    let (status, said) = place.fails(&["umount", "--timeout", "2", &directory]);
    assert_eq!(status, 110, "{said}");
    assert!(said.contains("umount --force"), "{said}");
    assert!(is_mounted(&directory));

    // Somebody has a file open, and the cluster does not answer.
    let began = Instant::now();
    let output = place.run(&["umount", "--force", "--timeout", "2", &directory]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("given up without an answer"), "{said}");
    assert!(began.elapsed() < LIMIT);
    assert!(!is_mounted(&directory));
    place.assert_clean();
    drop(file);

    place.pause(false);
    place.mount("disk", &directory);
    let kept = std::fs::read(format!("{directory}/file")).unwrap();
    assert!(kept.len() >= 64 << 10 && kept[..64 << 10].iter().all(|byte| *byte == 1));

    // The same without anybody in the way, and with a daemon that has died.
    signal(place.daemon(), "KILL");
    until(|| place.state() == "dead");
    place.works(&["umount", &directory]);
    assert!(!is_mounted(&directory));
    place.assert_clean();
    place.mount("disk", &directory);
    place.works(&["umount", &directory]);
    place.cluster.destroy().unwrap();
}

fn is_mounted(directory: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.contains(&format!(" {directory} "))
}

#[test]
fn a_mounted_device_is_kept_unless_by_force() {
    let place = Place::new();
    place.works(&["create", "--size", "64", "disk"]);
    let directory = place.path("mnt");
    std::fs::create_dir(&directory).unwrap();
    place.mount("disk", &directory);
    std::fs::write(format!("{directory}/file"), [7; 64 << 10]).unwrap();
    let (status, said) = place.fails(&["unmap", "disk"]);
    assert_eq!(status, 16, "{said}");
    let output = place.run(&["unmap", "--force", "disk"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    // What was written is there, although nobody had asked for it to be flushed.
    assert!(!said.contains("may be lost"), "{said}");
    assert!(
        said.contains(&format!("still mounted at {directory}")),
        "{said}"
    );
    assert!(
        std::fs::write(format!("{directory}/other"), "x").is_err() || sync(&directory).is_err()
    );
    tool("umount", &["-l", &directory]);
    place.assert_clean();
    place.mount("disk", &directory);
    let kept = std::fs::read(format!("{directory}/file")).unwrap();
    assert_eq!(kept, [7; 64 << 10]);
    place.works(&["umount", &directory]);
    place.cluster.destroy().unwrap();
}

fn sync(directory: &str) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

#[test]
fn a_fenced_mapping_says_so_and_a_resized_one_is_seen_at_once() {
    let place = Place::new();
    place.works(&["create", "--size", "8", "disk"]);
    let device = place.map("disk");
    let size = || {
        tool("blockdev", &["--getsize64", device.path()])
            .trim()
            .to_owned()
    };
    assert_eq!(size(), "8388608");
    let resize = |size: &str| {
        let resize = [
            "resize",
            "--allow-shrink",
            "--no-progress",
            "--size",
            size,
            "disk",
        ];
        place.cluster.rbd(&resize).unwrap();
    };
    resize("16");
    until(|| size() == "16777216");
    open(&device).write_all_at(&[5; BLOCK], 12 << 20).unwrap();
    resize("14");
    until(|| size() == "14680064");
    open(&device).sync_all().unwrap();
    assert_eq!(place.exported("disk")[12 << 20], 5);

    let watchers = place.works(&["status", "disk", "--format", "json"]);
    let watchers: serde_json::Value = serde_json::from_str(&watchers).unwrap();
    let address = watchers["watchers"][0]["address"].as_str().unwrap();
    let blocklist = match place.cluster.release() {
        Release::Nautilus => "blacklist",
        _ => "blocklist",
    };
    place
        .cluster
        .ceph(&["osd", blocklist, "add", address])
        .unwrap();
    until(|| place.state() == "fenced");
    let file = open(&device);
    assert!(file.write_all_at(&[6; BLOCK], 0).is_err() || file.sync_all().is_err());
    // Nobody has asked for this to be written yet, so nobody knows that it cannot be.
    file.write_all_at(&[6; BLOCK], 0).unwrap();
    drop(file);
    let (status, said) = place.fails(&["unmap", "disk"]);
    assert_eq!(status, 5, "{said}");
    place.works(&["unmap", "--force", "disk"]);
    assert!(!device.is_there());
    place.assert_clean();
    place.cluster.destroy().unwrap();
}
