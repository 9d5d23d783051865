//! What has to be known about a cluster to take it up again from its directory.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::address::MonAddress;
use crate::launcher::Launcher;
use crate::layout::Layout;
use crate::{Error, Release, inside};

/// The facts that are fixed once a cluster is made.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) release: Release,
    /// Where the release is, if it is not this machine's own.
    pub(crate) root: Option<PathBuf>,
    pub(crate) fsid: String,
    pub(crate) mons: Vec<MonAddress>,
    pub(crate) osds: usize,
    pub(crate) mgr: bool,
    pub(crate) prefix: Vec<OsString>,
}

impl State {
    /// How programs of the cluster are run.
    pub(crate) fn launcher(&self, layout: &Layout) -> Result<Launcher, Error> {
        let inside = |root: &PathBuf| inside::namespace(root, layout.dir());
        Ok(Launcher {
            prefix: self.prefix.clone(),
            namespace: self.root.as_ref().map(inside).transpose()?,
        })
    }

    pub(crate) fn save(&self, layout: &Layout) -> Result<(), Error> {
        let address = |a: Option<SocketAddr>| a.map(|a| a.to_string());
        let value = json!({
            "release": self.release.name(),
            "root": self.root.as_ref().map(|root| root.to_string_lossy()),
            "fsid": self.fsid,
            "mons": self.mons.iter()
                .map(|m| json!({ "v2": address(m.v2), "v1": address(m.v1) }))
                .collect::<Vec<_>>(),
            "osds": self.osds,
            "mgr": self.mgr,
            "prefix": self.prefix.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>(),
        });
        let path = layout.state();
        fs::write(&path, format!("{value:#}\n")).map_err(Error::file(&path))
    }

    pub(crate) fn load(layout: &Layout) -> Result<Self, Error> {
        let path = layout.state();
        if !path.exists() {
            let problem = "no cluster here".to_owned();
            return Err(Error::Directory {
                path: layout.dir().into(),
                problem,
            });
        }
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        Self::from_json(&value).ok_or_else(|| Error::Directory {
            path,
            problem: "not the state of a cluster".to_owned(),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let address = |v: &Value| v.as_str().and_then(|s| s.parse().ok());
        let mons = value.get("mons")?.as_array()?;
        let prefix = value.get("prefix")?.as_array()?;
        Some(Self {
            release: value.get("release")?.as_str()?.parse().ok()?,
            root: value.get("root")?.as_str().map(Into::into),
            fsid: value.get("fsid")?.as_str()?.to_owned(),
            mons: mons
                .iter()
                .map(|m| {
                    Some(MonAddress {
                        v2: address(m.get("v2")?),
                        v1: address(m.get("v1")?),
                    })
                })
                .collect::<Option<_>>()?,
            osds: usize::try_from(value.get("osds")?.as_u64()?).ok()?,
            mgr: value.get("mgr")?.as_bool()?,
            prefix: prefix
                .iter()
                .map(|w| w.as_str().map(Into::into))
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        assert!(matches!(State::load(&layout), Err(Error::Directory { .. })));
        let v2: SocketAddr = "[::1]:3300".parse().unwrap();
        let state = State {
            release: Release::Reef,
            root: Some("/roots/trixie".into()),
            fsid: "a7f64266-0894-4f1e-a635-d0aeaca0e993".into(),
            mons: vec![MonAddress {
                v2: Some(v2),
                v1: None,
            }],
            osds: 3,
            mgr: true,
            prefix: ["ip", "netns", "exec", "x"].map(OsString::from).into(),
        };
        state.save(&layout).unwrap();
        let loaded = State::load(&layout).unwrap();
        assert_eq!((loaded.release, &loaded.root), (state.release, &state.root));
        assert_eq!(loaded.fsid, state.fsid);
        assert_eq!(loaded.mons, state.mons);
        assert_eq!((loaded.osds, loaded.mgr), (3, true));
        assert_eq!(loaded.prefix, state.prefix);
        fs::write(layout.state(), "{}").unwrap();
        assert!(matches!(State::load(&layout), Err(Error::Directory { .. })));
    }
}
