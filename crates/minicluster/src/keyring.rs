//! Keys for the daemons and the administrator.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::ciphers::Ciphers;
use crate::launcher::Launcher;
use crate::{Daemon, Error};

/// Makes keys by the release's own tool.
#[derive(Clone, Copy)]
pub(crate) struct KeyMaker<'a> {
    pub(crate) launcher: &'a Launcher,
    pub(crate) ciphers: Option<Ciphers>,
}

/// One entity of a keyring file, as text.
pub(crate) struct Entry {
    text: String,
}

impl KeyMaker<'_> {
    fn entry(self, entity: &str, caps: &[(&str, &str)]) -> Result<Entry, Error> {
        let mut args = vec!["--gen-print-key"];
        args.extend(self.ciphers.iter().flat_map(|c| c.authtool_args()));
        let key = self.launcher.run("ceph-authtool", &args, |_| {})?;
        let mut text = format!("[{entity}]\n\tkey = {}\n", key.trim());
        for (service, allowed) in caps {
            text.push_str(&format!("\tcaps {service} = \"{allowed}\"\n"));
        }
        Ok(Entry { text })
    }

    pub(crate) fn monitor(self) -> Result<Entry, Error> {
        self.entry("mon.", &[("mon", "allow *")])
    }

    pub(crate) fn administrator(self) -> Result<Entry, Error> {
        let all = [
            ("mon", "allow *"),
            ("mgr", "allow *"),
            ("osd", "allow *"),
            ("mds", "allow *"),
        ];
        self.entry("client.admin", &all)
    }

    pub(crate) fn daemon(self, daemon: Daemon) -> Result<Entry, Error> {
        let caps = match daemon {
            Daemon::Mon(_) => return self.monitor(),
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
        self.entry(&daemon.to_string(), &caps)
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
