//! What is mounted where.
//!
//! Source: linux, `Documentation/filesystems/proc.rst`, section 3.5.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A mounted file system, as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Where it is mounted.
    pub path: PathBuf,
    /// What part of the file system is seen there.
    pub root: PathBuf,
    /// The file system's type.
    pub fs_type: String,
    /// What it was mounted from, mostly a device.
    pub source: PathBuf,
    /// Whether this mount is read-only.
    pub is_read_only: bool,
}

impl MountPoint {
    /// All that are mounted, in the order of mounting.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let path = "/proc/self/mountinfo";
        let text = std::fs::read(path).map_err(Error::path("read", path))?;
        Ok(Self::parse(&text))
    }

    /// Those that a text like that of `/proc/self/mountinfo` tells of. Lines that make no sense are left out.
    pub fn parse(text: &[u8]) -> Vec<Self> {
        text.split(|byte| *byte == b'\n')
            .filter_map(parse_line)
            .collect()
    }

    /// What is mounted at a directory; the uppermost if there are several.
    ///
    /// # Errors
    /// If the directory is not there, or `/proc` cannot be read.
    pub fn at(directory: &Path) -> Result<Option<Self>> {
        let path = directory
            .canonicalize()
            .map_err(Error::path("find", directory))?;
        let mounts = Self::all()?;
        Ok(mounts.into_iter().rev().find(|mount| mount.path == path))
    }

    /// Where a device is mounted.
    ///
    /// # Errors
    /// If the device is not there, or `/proc` cannot be read.
    pub fn of(device: &Path) -> Result<Vec<Self>> {
        let status = rustix::fs::stat(device).map_err(Error::path("look at", device))?;
        let number = (
            rustix::fs::major(status.st_rdev),
            rustix::fs::minor(status.st_rdev),
        );
        let mut mounts = Self::all()?;
        mounts.retain(|mount| mount.device == number);
        Ok(mounts)
    }
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw`, where the seventh field may be missing or
/// be several.
fn parse_line(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let (root, path, options) = (fields.next()?, fields.next()?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    let (fs_type, source) = (fields.next()?, fields.next()?);
    Some(MountPoint {
        device: (major.parse().ok()?, minor.parse().ok()?),
        path: unescape(path),
        root: unescape(root),
        fs_type: String::from_utf8_lossy(fs_type).into_owned(),
        source: unescape(source),
        is_read_only: options
            .split(|byte| *byte == b',')
            .any(|option| option == b"ro"),
    })
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.first_chunk::<3>().and_then(|digits| {
            let digits = str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match (first, code) {
            (b'\\', Some(code)) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_any_number_of_optional_fields() {
        let text = b"22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
            40 22 43:0 /sub /mnt/a\\040b\\134 ro,noatime - xfs /dev/nbd0 ro\n\
            41 22 0:5 / /x rw master:1 propagate_from:2 - tmpfs tmpfs rw\n\
            nonsense\n";
        let mounts = MountPoint::parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!(
            mounts[1],
            MountPoint {
                device: (43, 0),
                path: "/mnt/a b\\".into(),
                root: "/sub".into(),
                fs_type: "xfs".into(),
                source: "/dev/nbd0".into(),
                is_read_only: true,
            }
        );
        assert_eq!(mounts[2].fs_type, "tmpfs");
        assert!(!mounts[0].is_read_only);
    }

    #[test]
    fn proc_is_mounted_at_proc() {
        let mount = MountPoint::at(Path::new("/proc")).unwrap().unwrap();
        assert_eq!(mount.fs_type, "proc");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(text: Vec<u8>) {
            MountPoint::parse(&text);
        }
    }
}
