//! Devices of the kernel, of the type that tests are run with.

use std::path::{Path, PathBuf};

use mapper::kernel::DeviceType;

/// The type of device that tests map: the one named by `ORBD_TEST_DEVICE_TYPE`, FUSE unless that is set.
pub(crate) fn device_type() -> DeviceType {
    match std::env::var("ORBD_TEST_DEVICE_TYPE") {
        Ok(name) => name.parse().unwrap(),
        Err(_) => DeviceType::Fuse,
    }
}

/// A device as it is now. Others may come later under the same path.
#[derive(Debug)]
pub(crate) struct KernelDevice {
    path: PathBuf,
    /// The kernel's own number, where it has one.
    diskseq: Option<String>,
    /// The thread that attached it, where the kernel tells: of an NBD device that is connected.
    attached_by: Option<String>,
}

impl KernelDevice {
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let diskseq = Self::sysfs(&path, "diskseq");
        let attached_by = Self::sysfs(&path, "pid");
        Self {
            path,
            diskseq,
            attached_by,
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Whether there is something behind it.
    pub(crate) fn is_there(&self) -> bool {
        let behind = ["loop/backing_file", "pid"];
        behind
            .iter()
            .any(|name| Self::sysfs(&self.path, name).is_some())
            && Self::sysfs(&self.path, "diskseq") == self.diskseq
            && Self::sysfs(&self.path, "pid") == self.attached_by
    }

    fn sysfs(path: &Path, name: &str) -> Option<String> {
        let directory = Path::new("/sys/block").join(path.file_name()?);
        std::fs::read_to_string(directory.join(name)).ok()
    }
}
