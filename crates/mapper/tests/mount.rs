//! From a device to a mounted file system and back, on devices in memory.
//!
//! Needs root, `/dev/fuse` and `/dev/loop-control`; or, with `ORBD_TEST_DEVICE_TYPE=nbd`, the kernel's NBD driver.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mapper::Error;
use mapper::device::memory::{MemoryDevice, Operation};
use mapper::kernel::{AnyAttachment, AttachOptions, Attachment, DeviceBackend};
use mapper::mount::{MountOptions, MountPoint, mount, unmount};
use support::kernel_device::device_type;
use support::{MIB, succeed};

const LIMIT: Duration = Duration::from_secs(20);

async fn attach(device: &MemoryDevice, is_read_only: bool) -> AnyAttachment {
    let options = AttachOptions {
        is_read_only,
        ..AttachOptions::default()
    };
    device_type()
        .attach(Arc::new(device.clone()), &options)
        .await
        .unwrap()
}

fn formatting() -> MountOptions {
    MountOptions {
        may_format: true,
        options: vec!["noatime,discard".to_owned()],
        ..MountOptions::default()
    }
}

fn read_only() -> MountOptions {
    MountOptions {
        is_read_only: true,
        ..MountOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_device_is_formatted_once() {
    let device = MemoryDevice::new(128 * MIB);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hello");
    for is_new in [true, false] {
        let mut attached = attach(&device, false).await;
        let mounted = mount(attached.path(), dir.path(), &formatting())
            .await
            .unwrap();
        assert_eq!((mounted.is_new, mounted.fs_type), (is_new, "ext4"));
        let at = MountPoint::at(dir.path()).unwrap().unwrap();
        assert_eq!(at.source, attached.path());
        assert_eq!(MountPoint::of(attached.path()).unwrap(), [at]);
        if is_new {
            std::fs::write(&file, "hello ceph\n").unwrap();
        } else {
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello ceph\n");
        }
        unmount(dir.path(), LIMIT).await.unwrap();
        attached.detach(LIMIT, false).await.unwrap();
        device.lose_unflushed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_there_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for offset in [0, 5000, MIB - 1, 15 * MIB, 16 * MIB - 1] {
        let device = MemoryDevice::new(16 * MIB);
        device.set_contents(offset, &[1]);
        let mut attached = attach(&device, false).await;
        let refused = mount(attached.path(), dir.path(), &formatting()).await;
        assert!(
            matches!(refused, Err(Error::NotMountable { .. })),
            "{offset}: {refused:?}"
        );
        attached.detach(LIMIT, false).await.unwrap();
        let writes =
            |op: &Operation| matches!(op, Operation::Write { .. } | Operation::WriteZeroes { .. });
        assert!(!device.take_operations().iter().any(writes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_formatted_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let device = MemoryDevice::new(16 * MIB);
    let mut attached = attach(&device, false).await;
    let forbidden = MountOptions {
        is_read_only: true,
        ..formatting()
    };
    for options in [MountOptions::default(), forbidden] {
        let refused = mount(attached.path(), dir.path(), &options).await;
        assert!(
            matches!(refused, Err(Error::NotMountable { .. })),
            "{refused:?}"
        );
    }
    let nowhere = mount(attached.path(), Path::new("/nowhere"), &formatting()).await;
    assert!(matches!(nowhere, Err(Error::Path { .. })));
    attached.detach(LIMIT, false).await.unwrap();
    assert_eq!(device.contents(0, 16 << 20), vec![0; 16 << 20]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_file_system_is_not_unmounted() {
    let device = MemoryDevice::new(64 * MIB);
    let dir = tempfile::tempdir().unwrap();
    let mut attached = attach(&device, false).await;
    mount(attached.path(), dir.path(), &formatting())
        .await
        .unwrap();
    // Not a file of this process: children that other tests are just starting would have it open, too.
    let mut user = std::process::Command::new("sleep")
        .arg("1000")
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let refused = unmount(dir.path(), LIMIT).await;
    user.kill().unwrap();
    user.wait().unwrap();
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    unmount(dir.path(), LIMIT).await.unwrap();
    assert!(
        unmount(dir.path(), LIMIT).await.is_err(),
        "nothing is mounted there any more"
    );
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dirty_file_system_is_repaired_unless_read_only() {
    let device = MemoryDevice::new(64 * MIB);
    let dir = tempfile::tempdir().unwrap();
    let mut attached = attach(&device, false).await;
    mount(attached.path(), dir.path(), &formatting())
        .await
        .unwrap();
    std::fs::write(dir.path().join("file"), "journalled").unwrap();
    std::fs::File::open(dir.path().join("file"))
        .unwrap()
        .sync_all()
        .unwrap();
    // What a dead machine leaves: the device as it is while the file system is mounted.
    let dirty = MemoryDevice::new(64 * MIB);
    dirty.set_contents(0, &device.contents(0, 64 << 20));
    unmount(dir.path(), LIMIT).await.unwrap();
    attached.detach(LIMIT, false).await.unwrap();

    let mut attached = attach(&dirty, true).await;
    mount(attached.path(), dir.path(), &read_only())
        .await
        .unwrap();
    assert!(std::fs::write(dir.path().join("other"), "x").is_err());
    unmount(dir.path(), LIMIT).await.unwrap();
    attached.detach(LIMIT, false).await.unwrap();

    let mut attached = attach(&dirty, false).await;
    mount(attached.path(), dir.path(), &MountOptions::default())
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(dir.path().join("file")).unwrap(),
        "journalled"
    );
    unmount(dir.path(), LIMIT).await.unwrap();
    succeed("e2fsck", &["-fn", attached.path().to_str().unwrap()]).await;
    attached.detach(LIMIT, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_system_is_not_mounted() {
    let device = MemoryDevice::new(64 * MIB);
    let dir = tempfile::tempdir().unwrap();
    let mut attached = attach(&device, false).await;
    mount(attached.path(), dir.path(), &formatting())
        .await
        .unwrap();
    unmount(dir.path(), LIMIT).await.unwrap();
    attached.detach(LIMIT, false).await.unwrap();
    // All but the first superblock is gone: nothing that is repaired without asking.
    device.set_contents(4096, &vec![0xa5; 24 << 20]);
    let mut attached = attach(&device, false).await;
    let refused = mount(attached.path(), dir.path(), &MountOptions::default()).await;
    assert!(
        matches!(
            refused,
            Err(Error::Tool {
                program: "e2fsck",
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(MountPoint::of(attached.path()).unwrap().is_empty());
    attached.detach(LIMIT, false).await.unwrap();
}
