//! Keys for the daemons and the administrator.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::launcher::Launcher;
use crate::{Daemon, Error};

/// One entity of a keyring file, as text.
pub(crate) struct Entry {
    text: String,
}

impl Entry {
    /// Makes a key by the release's own tool, so that it is of the type the release wants.
    pub(crate) fn generate(
        launcher: &Launcher,
        entity: &str,
        caps: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let key = launcher.run("ceph-authtool", &["--gen-print-key"], |_| {})?;
        let mut text = format!("[{entity}]\n\tkey = {}\n", key.trim());
        for (service, allowed) in caps {
            text.push_str(&format!("\tcaps {service} = \"{allowed}\"\n"));
        }
        Ok(Self { text })
    }

    pub(crate) fn monitor(launcher: &Launcher) -> Result<Self, Error> {
        Self::generate(launcher, "mon.", &[("mon", "allow *")])
    }

    pub(crate) fn administrator(launcher: &Launcher) -> Result<Self, Error> {
        let all = [
            ("mon", "allow *"),
            ("mgr", "allow *"),
            ("osd", "allow *"),
            ("mds", "allow *"),
        ];
        Self::generate(launcher, "client.admin", &all)
    }

    pub(crate) fn daemon(launcher: &Launcher, daemon: Daemon) -> Result<Self, Error> {
        let entity = daemon.to_string();
        let caps = match daemon {
            Daemon::Mon(_) => return Self::monitor(launcher),
            Daemon::Mgr => [
                ("mon", "allow profile mgr"),
                ("osd", "allow *"),
                ("mds", "allow *"),
            ],
            Daemon::Osd(_) => [
                ("mon", "allow profile osd"),
                ("mgr", "allow profile osd"),
                ("osd", "allow *"),
            ],
        };
        Self::generate(launcher, &entity, &caps)
    }
}

/// Writes a keyring file that only its owner can read.
pub(crate) fn write(path: &Path, entries: &[&Entry]) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::file(path))?;
    for entry in entries {
        file.write_all(entry.text.as_bytes())
            .map_err(Error::file(path))?;
    }
    Ok(())
}
