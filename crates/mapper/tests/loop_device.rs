//! Devices attached through FUSE and loop, used by the kernel's file systems and other people's programs.
//!
//! Needs root, `/dev/fuse` and `/dev/loop-control`.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use mapper::Error;
use mapper::device::DeviceError;
use mapper::device::memory::{MemoryDevice, Operation};
use mapper::kernel::{AttachOptions, Attachment, DeviceBackend, LoopAttachment, LoopBackend};
use support::{MIB, run, succeed};

const LIMIT: Duration = Duration::from_secs(20);

async fn attach(device: &MemoryDevice) -> LoopAttachment {
    attach_with(device, &AttachOptions::default()).await
}

async fn attach_with(device: &MemoryDevice, options: &AttachOptions) -> LoopAttachment {
    LoopBackend
        .attach(Arc::new(device.clone()), options)
        .await
        .unwrap()
}

fn path(attachment: &LoopAttachment) -> &str {
    attachment.path().to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_lives_on_it() {
    let device = MemoryDevice::new(128 * MIB);
    let mut attached = attach(&device).await;
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
    assert!(device.take_operations().contains(&Operation::Flush));
    succeed("umount", &[mount]).await;
    attached.detach(LIMIT, false).await.unwrap();

    // Another day, another device node, the same bytes; and nothing needs the flushing of anything any more.
    device.lose_unflushed();
    let mut attached = attach(&device).await;
    succeed("e2fsck", &["-fn", path(&attached)]).await;
    succeed("mount", &["-o", "ro", path(&attached), mount]).await;
    assert!(std::fs::read(&file).unwrap() == contents);
    succeed("umount", &[mount]).await;
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fio_finds_what_it_wrote() {
    let device = MemoryDevice::new(64 * MIB);
    let mut attached = attach(&device).await;
    let name = attached.path().file_name().unwrap().to_str().unwrap();
    let direct = std::fs::read_to_string(format!("/sys/block/{name}/loop/dio")).unwrap();
    assert_eq!(direct.trim(), "1", "there is one page cache, not two");
    for (block, direct) in [
        ("4k-4k", "1"),
        ("512-131072", "1"),
        ("4m-4m", "1"),
        ("4k-64k", "0"),
    ] {
        let file = format!("--filename={}", path(&attached));
        let (block, direct) = (format!("--bsrange={block}"), format!("--direct={direct}"));
        let args = [
            "--name=verify",
            "--ioengine=libaio",
            &file,
            "--rw=randwrite",
            &block,
            "--size=32m",
            "--iodepth=32",
            &direct,
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
async fn discards_and_zeroes_reach_the_device() {
    let device = MemoryDevice::new(16 * MIB);
    device.set_contents(0, &[1; 1 << 20]);
    let mut attached = attach(&device).await;
    device.take_operations();
    succeed("blkdiscard", &["-o", "0", "-l", "65536", path(&attached)]).await;
    succeed(
        "blkdiscard",
        &["-z", "-o", "131072", "-l", "65536", path(&attached)],
    )
    .await;
    let zeroes: Vec<_> = device
        .take_operations()
        .into_iter()
        .filter_map(|operation| match operation {
            Operation::WriteZeroes { offset, len, mode } => Some((offset, len, mode.may_unmap)),
            _ => None,
        })
        .collect();
    assert_eq!(zeroes, [(0, 65536, true), (131072, 65536, false)]);
    assert_eq!(device.contents(65535, 2), [0, 1].as_slice());
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_device_takes_no_writes() {
    let device = MemoryDevice::new(MIB);
    device.set_contents(0, b"frozen");
    let options = AttachOptions {
        is_read_only: true,
        ..AttachOptions::default()
    };
    let mut attached = attach_with(&device, &options).await;
    let read_only = succeed("blockdev", &["--getro", path(&attached)]).await;
    assert_eq!(read_only.trim(), "1");
    assert!(std::fs::write(attached.path(), b"x").is_err());
    assert!(
        std::fs::read(attached.path())
            .unwrap()
            .starts_with(b"frozen")
    );
    attached.detach(LIMIT, false).await.unwrap();
    assert_eq!(device.contents(0, 6), "frozen");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_device_reach_the_program() {
    let device = MemoryDevice::new(MIB);
    let mut attached = attach(&device).await;
    device.set_fault(|operation| {
        matches!(operation, Operation::Flush | Operation::Write { .. })
            .then(|| DeviceError::new(rustix::io::Errno::IO, "as the test wants it"))
    });
    let output = format!("of={}", path(&attached));
    let args = [
        "if=/dev/zero",
        &output,
        "bs=4k",
        "count=1",
        "oflag=direct",
        "conv=fsync",
    ];
    assert!(!run("dd", &args).await.status.success());
    device.clear_fault();
    succeed("dd", &args).await;
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_size_is_seen() {
    let device = MemoryDevice::new(MIB);
    let mut attached = attach(&device).await;
    device.resize(3 * MIB);
    attached.resize(3 * MIB).await.unwrap();
    let size = succeed("blockdev", &["--getsize64", path(&attached)]).await;
    assert_eq!(size.trim(), (3 * MIB).to_string());
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_device_is_given_up_by_force() {
    let device = MemoryDevice::new(MIB);
    let mut attached = attach(&device).await;
    device.hold(true);
    let started = device.started();
    let input = format!("if={}", path(&attached));
    let reader = tokio::spawn(async move {
        run(
            "dd",
            &[&input, "of=/dev/null", "bs=4k", "count=1", "iflag=direct"],
        )
        .await
    });
    device.wait_started(started + 1).await;
    attached
        .detach(Duration::from_millis(300), true)
        .await
        .unwrap();
    assert!(!reader.await.unwrap().status.success());
    attached.ended().await;
}
