//! The NBD server, as clients see it that other people wrote: libnbd's tools, qemu's and fio.

mod support;

use std::collections::BTreeSet;

use mapper::device::memory::{MemoryDevice, Operation};
use mapper::device::{BlockDevice, Limits};
use serde_json::Value;
use support::{MIB, TestServer, succeed};

/// Noise that is the same every time.
fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&(seed >> 13).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_sees_the_exports() {
    let limits = Limits {
        minimum_bytes: 512,
        preferred_bytes: 65536,
        maximum_bytes: 4 << 20,
        ..Limits::default()
    };
    let server = TestServer::start(MemoryDevice::new(5 * MIB).with_limits(limits)).await;
    for uri in [server.uri("disk"), server.tcp_uri("disk"), server.uri("")] {
        let info = succeed("nbdinfo", &["--json", &uri]).await;
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["protocol"], "newstyle-fixed");
        assert_eq!(info["structured"], true);
        let export = &info["exports"][0];
        assert_eq!(export["export-size"], 5 * MIB);
        assert_eq!(export["description"], "the disk export");
        assert_eq!(export["is_read_only"], false);
        for can in [
            "can_cache",
            "can_df",
            "can_fast_zero",
            "can_flush",
            "can_fua",
            "can_multi_conn",
            "can_trim",
            "can_zero",
        ] {
            assert_eq!(export[can], true, "{can}");
        }
        assert_eq!(export["block_size_minimum"], 512);
        assert_eq!(export["block_size_preferred"], 65536);
        assert_eq!(export["block_size_maximum"], 4 << 20);
        assert_eq!(export["contexts"], serde_json::json!(["base:allocation"]));
    }
    let list = succeed("nbdinfo", &["--json", "--list", &server.uri("")]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let exports = list["exports"].as_array().unwrap();
    let of = |key: &str| -> Vec<_> { exports.iter().map(|export| export[key].clone()).collect() };
    assert_eq!(of("export-name"), ["disk", "frozen"]);
    assert_eq!(of("is_read_only"), [false, true]);
    assert_eq!(of("can_trim"), [true, false]);
    assert_eq!(of("export-size"), [5 * MIB, MIB]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdinfo_maps_the_holes() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    server.disk.set_contents(65536, &[1; 8192]);
    let map = succeed("nbdinfo", &["--map", "--json", &server.uri("disk")]).await;
    let map: Vec<Value> = serde_json::from_str(&map).unwrap();
    let extents: Vec<_> = map
        .iter()
        .map(|extent| {
            (
                extent["offset"].as_u64(),
                extent["length"].as_u64(),
                extent["type"].as_u64(),
            )
        })
        .collect();
    let extent = |offset, length, kind| (Some(offset), Some(length), Some(kind));
    assert_eq!(
        extents,
        [
            extent(0, 65536, 3),
            extent(65536, 8192, 0),
            extent(65536 + 8192, MIB - 65536 - 8192, 3)
        ]
    );
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdcopy_copies_both_ways_sparsely() {
    let server = TestServer::start(MemoryDevice::new(16 * MIB)).await;
    let (source, copy) = (server.file("source"), server.file("copy"));
    let mut data = vec![0; 16 << 20];
    data[3 << 20..5 << 20].copy_from_slice(&noise(2 << 20, 1));
    data[(9 << 20) + 777..][..12345].copy_from_slice(&noise(12345, 2));
    std::fs::write(&source, &data).unwrap();
    succeed("nbdcopy", &["--flush", &source, &server.uri("disk")]).await;
    assert!(server.disk.contents(0, data.len()) == data);
    assert!(server.disk.take_operations().contains(&Operation::Flush));
    let extents = server.disk.block_status(0, 16 * MIB).await.unwrap();
    assert!(extents.iter().any(|extent| extent.is_hole));
    succeed("nbdcopy", &[&server.tcp_uri("disk"), &copy]).await;
    assert!(std::fs::read(&copy).unwrap() == data);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_img_converts_and_compares() {
    let server = TestServer::start(MemoryDevice::new(32 * MIB)).await;
    let (raw, qcow2, back) = (
        server.file("raw"),
        server.file("qcow2"),
        server.file("back"),
    );
    let mut data = noise(32 << 20, 3);
    data[8 << 20..20 << 20].fill(0);
    std::fs::write(&raw, &data).unwrap();
    let uri = server.uri("disk");
    succeed(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", &raw, &qcow2],
    )
    .await;
    succeed(
        "qemu-img",
        &["convert", "-n", "-f", "qcow2", "-O", "raw", &qcow2, &uri],
    )
    .await;
    assert!(server.disk.contents(0, data.len()) == data);
    succeed(
        "qemu-img",
        &["compare", "-f", "raw", "-F", "raw", &raw, &uri],
    )
    .await;
    succeed(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "raw", &uri, &back],
    )
    .await;
    assert!(std::fs::read(&back).unwrap() == data);
    let info = succeed("qemu-img", &["info", "--output=json", "-f", "raw", &uri]).await;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["virtual-size"], 32 * MIB);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_io_sets_the_flags_it_was_told() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let commands = [
        "write -P 0x61 0 64k",
        "write -f -P 0x62 64k 4k",
        "write -z 4k 4k",
        "write -z -u 8k 4k",
        "write -z -n -u 12k 4k",
        "discard 128k 64k",
        "flush",
        "read -P 0x61 0 4k",
        "read -P 0 4k 12k",
        "read -P 0x62 64k 4k",
    ];
    let uri = server.uri("disk");
    let mut args = vec!["-f", "raw", "-t", "none", &uri];
    for command in &commands {
        args.extend(["-c", command]);
    }
    let said = succeed("qemu-io", &args).await;
    assert!(!said.contains("Pattern verification failed"), "{said}");
    let operations = server.disk.take_operations();
    let modes: Vec<_> = operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::WriteZeroes { mode, .. } => Some((mode.may_unmap, mode.is_fast)),
            _ => None,
        })
        .collect();
    assert_eq!(modes, [(false, false), (true, false), (true, true)]);
    assert!(operations.contains(&Operation::Write {
        offset: 65536,
        len: 4096,
        is_fua: true
    }));
    assert!(operations.contains(&Operation::Write {
        offset: 0,
        len: 65536,
        is_fua: false
    }));
    assert!(operations.contains(&Operation::Discard {
        offset: 128 << 10,
        len: 64 << 10
    }));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_nbd_lists_the_exports() {
    let server = TestServer::start(MemoryDevice::new(MIB)).await;
    let list = succeed(
        "qemu-nbd",
        &["--list", "-k", server.socket.to_str().unwrap()],
    )
    .await;
    let names: BTreeSet<_> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("export: "))
        .collect();
    assert_eq!(names, BTreeSet::from(["'disk'", "'frozen'"]), "{list}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fio_finds_what_it_wrote() {
    for (block, size) in [("4k-4k", "24m"), ("512-131072", "32m"), ("4m-4m", "64m")] {
        let server = TestServer::start(MemoryDevice::new(64 * MIB)).await;
        let uri = format!("--uri={}", server.tcp_uri("disk"));
        let block = format!("--bsrange={block}");
        let size = format!("--size={size}");
        let said = succeed(
            "fio",
            &[
                "--name=verify",
                "--ioengine=nbd",
                &uri,
                "--rw=randwrite",
                &block,
                &size,
                "--iodepth=32",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--fsync=64",
                "--randseed=1",
                "--verify_state_save=0",
            ],
        )
        .await;
        assert!(said.contains("err= 0"), "{said}");
        let operations = server.disk.take_operations();
        let reads = operations
            .iter()
            .filter(|op| matches!(op, Operation::Read { .. }));
        assert!(reads.count() > 8, "it did read back");
        server.finish().await;
    }
}
