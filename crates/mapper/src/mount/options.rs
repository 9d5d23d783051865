//! The options of `mount -o`, sorted into what the kernel takes as flags and what the file system takes as text.

use std::ffi::CString;
use std::io;

use rustix::mount::MountFlags;

use super::probe::Signature;
use crate::error::{Error, Result};

/// Mount options as the kernel takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlagsAndData {
    flags: MountFlags,
    data: Vec<String>,
}

impl MountFlagsAndData {
    /// Sorts options. An item may be several, separated by commas. What only matters to `mount` itself, like `_netdev`,
    /// is left out.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Self {
        let mut parsed = Self {
            flags: MountFlags::empty(),
            data: Vec::new(),
        };
        let options = options.iter().flat_map(|item| item.as_ref().split(','));
        for option in options.map(str::trim).filter(|option| !option.is_empty()) {
            if let Some((_, flag)) = SET.iter().find(|(name, _)| *name == option) {
                parsed.flags |= *flag;
            } else if let Some((_, flag)) = CLEAR.iter().find(|(name, _)| *name == option) {
                parsed.flags &= !*flag;
            } else if !IGNORED.contains(&option) && !option.starts_with("x-") {
                parsed.data.push(option.to_owned());
            }
        }
        parsed
    }

    /// Whether nothing is written through the mount.
    pub fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::RDONLY)
    }

    /// Has nothing written to the device, not even by replaying a journal.
    pub(super) fn make_read_only(&mut self, signature: Signature) {
        self.flags |= MountFlags::RDONLY;
        match signature.name {
            // Where the journal is clean, the file system is better checked against it.
            "ext3" | "ext4" if signature.needs_recovery => self.add_data("noload"),
            "xfs" => self.add_data("norecovery"),
            _ => {}
        }
    }

    pub(super) fn add_data(&mut self, option: &str) {
        if !self.data.iter().any(|there| there == option) {
            self.data.push(option.to_owned());
        }
    }

    pub(super) const fn flags(&self) -> MountFlags {
        self.flags
    }

    pub(super) fn data(&self) -> Result<CString> {
        CString::new(self.data.join(",")).map_err(|error| Error::System {
            action: "pass on mount options",
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })
    }
}

const SET: &[(&str, MountFlags)] = &[
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("lazytime", MountFlags::LAZYTIME),
];

const CLEAR: &[(&str, MountFlags)] = &[
    ("rw", MountFlags::RDONLY),
    ("suid", MountFlags::NOSUID),
    ("dev", MountFlags::NODEV),
    ("exec", MountFlags::NOEXEC),
    ("async", MountFlags::SYNCHRONOUS),
    ("atime", MountFlags::NOATIME),
    ("diratime", MountFlags::NODIRATIME),
    ("norelatime", MountFlags::RELATIME),
    ("nolazytime", MountFlags::LAZYTIME),
];

const IGNORED: &[&str] = &[
    "defaults", "_netdev", "auto", "noauto", "nofail", "user", "nouser",
];

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn ext4(needs_recovery: bool) -> Signature {
        Signature {
            name: "ext4",
            kind: Kind::FileSystem,
            needs_recovery,
        }
    }

    #[test]
    fn options_are_sorted_and_later_ones_win() {
        let parsed =
            MountFlagsAndData::parse(&["ro,noatime", "discard", "rw,_netdev,x-y", "data=journal"]);
        assert_eq!(parsed.flags(), MountFlags::NOATIME);
        assert_eq!(parsed.data().unwrap().as_c_str(), c"discard,data=journal");
    }

    #[test]
    fn a_dirty_journal_is_not_replayed_on_a_read_only_mount() {
        for (needs_recovery, data) in [(true, c"noload"), (false, c"")] {
            let mut parsed = MountFlagsAndData::parse(&["defaults"]);
            parsed.make_read_only(ext4(needs_recovery));
            assert!(parsed.is_read_only());
            assert_eq!(parsed.data().unwrap().as_c_str(), data);
        }
    }
}
