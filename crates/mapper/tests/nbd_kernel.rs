//! Devices attached through the kernel's NBD driver.
//!
//! Needs root and the driver. Where there is none, every test says that it was skipped, unless
//! `ORBD_REQUIRE_NBD` is set, as it is where the driver must be there.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use mapper::Error;
use mapper::device::memory::{MemoryDevice, Operation};
use mapper::kernel::{
    AttachOptions, Attachment, DeviceBackend, DeviceType, NbdAttachment, NbdBackend, Orphan,
};
use support::{MIB, succeed};

const LIMIT: Duration = Duration::from_secs(60);

async fn has_driver() -> bool {
    let has_driver = NbdBackend::is_available().await;
    if !has_driver {
        assert!(
            std::env::var_os("ORBD_REQUIRE_NBD").is_none(),
            "there is no nbd driver"
        );
        eprintln!("SKIPPED: this kernel has no nbd driver");
    }
    has_driver
}

async fn attach(device: &MemoryDevice, options: &AttachOptions) -> NbdAttachment {
    NbdBackend
        .attach(Arc::new(device.clone()), options)
        .await
        .unwrap()
}

fn path(attachment: &NbdAttachment) -> &str {
    attachment.path().to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_lives_on_it() {
    if !has_driver().await {
        return;
    }
    let device = MemoryDevice::new(128 * MIB);
    let mut attached = attach(&device, &AttachOptions::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let (mount, file) = (dir.path().to_str().unwrap(), dir.path().join("file"));
    succeed("mkfs.ext4", &["-q", "-m0", path(&attached)]).await;
    succeed("mount", &[path(&attached), mount]).await;
    let busy = attached.detach(LIMIT, false).await;
    assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
    let contents = vec![0x5a; 20 << 20];
    std::fs::write(&file, &contents).unwrap();
    device.take_operations();
    std::fs::File::open(&file).unwrap().sync_all().unwrap();
    let operations = device.take_operations();
    let is_durable = |operation: &Operation| {
        matches!(
            operation,
            Operation::Flush | Operation::Write { is_fua: true, .. }
        )
    };
    assert!(operations.iter().any(is_durable));
    succeed("umount", &[mount]).await;
    attached.detach(LIMIT, false).await.unwrap();
    attached.ended().await;

    device.lose_unflushed();
    let mut attached = attach(&device, &AttachOptions::default()).await;
    succeed("e2fsck", &["-fn", path(&attached)]).await;
    succeed("mount", &["-o", "ro", path(&attached), mount]).await;
    assert!(std::fs::read(&file).unwrap() == contents);
    succeed("umount", &[mount]).await;
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fio_finds_what_it_wrote() {
    if !has_driver().await {
        return;
    }
    let device = MemoryDevice::new(64 * MIB);
    let options = AttachOptions {
        connections: 3,
        ..AttachOptions::default()
    };
    let mut attached = attach(&device, &options).await;
    for block in ["4k-4k", "512-131072", "4m-4m"] {
        let file = format!("--filename={}", path(&attached));
        let block = format!("--bsrange={block}");
        let args = [
            "--name=verify",
            "--ioengine=libaio",
            &file,
            "--rw=randwrite",
            &block,
            "--size=16m",
            "--iodepth=32",
            "--direct=1",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--randseed=1",
            "--verify_state_save=0",
        ];
        let said = succeed("fio", &args).await;
        assert!(said.contains("err= 0"), "{said}");
    }
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn discards_reach_the_device_and_sizes_the_kernel() {
    if !has_driver().await {
        return;
    }
    let device = MemoryDevice::new(16 * MIB);
    let options = AttachOptions {
        identifier: Some("some image".to_owned()),
        sector_bytes: 4096,
        ..AttachOptions::default()
    };
    let mut attached = attach(&device, &options).await;
    succeed("blkdiscard", &["-o", "0", "-l", "65536", path(&attached)]).await;
    assert!(device.take_operations().contains(&Operation::Discard {
        offset: 0,
        len: 65536
    }));
    let sector = succeed("blockdev", &["--getss", path(&attached)]).await;
    assert_eq!(sector.trim(), "4096");
    device.resize(20 * MIB);
    attached.resize(20 * MIB).await.unwrap();
    let size = succeed("blockdev", &["--getsize64", path(&attached)]).await;
    assert_eq!(size.trim(), (20 * MIB).to_string());
    attached.detach(LIMIT, false).await.unwrap();
}

/// With several connections the driver would give up the one on which a request takes long, and with the last of them the
/// request.
#[tokio::test(flavor = "multi_thread")]
async fn requests_may_take_as_long_as_they_like() {
    if !has_driver().await {
        return;
    }
    let device = MemoryDevice::new(MIB);
    let options = AttachOptions {
        connections: 2,
        ..AttachOptions::default()
    };
    let mut attached = attach(&device, &options).await;
    let name = attached.path().file_name().unwrap().to_str().unwrap();
    let limit = std::fs::read_to_string(format!("/sys/block/{name}/queue/io_timeout")).unwrap();
    let limit = Duration::from_millis(limit.trim().parse().unwrap());
    assert!(limit > Duration::from_secs(14 * 24 * 3600), "{limit:?}");
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_device_takes_no_writes() {
    if !has_driver().await {
        return;
    }
    let device = MemoryDevice::new(MIB);
    device.set_contents(0, b"frozen");
    device.set_read_only(true);
    let mut attached = attach(&device, &AttachOptions::default()).await;
    let read_only = succeed("blockdev", &["--getro", path(&attached)]).await;
    assert_eq!(read_only.trim(), "1");
    assert!(
        std::fs::read(attached.path())
            .unwrap()
            .starts_with(b"frozen")
    );
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_can_be_released() {
    if !has_driver().await {
        return;
    }
    let device = MemoryDevice::new(MIB);
    let attached = attach(&device, &AttachOptions::default()).await;
    let path = attached.path().to_owned();
    let size = |path: &std::path::Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        std::fs::read_to_string(format!("/sys/block/{name}/size")).unwrap()
    };
    assert_eq!(size(&path).trim(), "2048");
    let orphan = Orphan {
        path: &path,
        identity: attached.identity(),
        identifier: None,
    };
    let release = || DeviceType::Nbd.release_orphan(&orphan, false, LIMIT);
    release().await.unwrap();
    attached.ended().await;
    // Once more does no harm.
    release().await.unwrap();
}
