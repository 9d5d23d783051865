//! Which images are mapped on this machine, by whom, and where.
//!
//! Each mapping has a file of its own, `/run/orbd/PID.json`, written by the daemon that serves it and named for its process. It
//! goes with the daemon; if the daemon dies without cleaning up, the file stays behind and is recognised as
//! [stale](Mapping::is_alive) by the process being gone (or being another one of the same number).
//!
//! Whoever changes anything holds the lock on the file `lock` in the same directory, for as short as it takes.

mod process;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use process::ProcessId;

use crate::control;
use crate::error::{Error, Result};
use crate::kernel::{DeviceType, Identity, Orphan};

/// What a mapping is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MappedSpec {
    /// The cluster's id.
    pub cluster: String,
    /// The pool's name.
    pub pool: String,
    /// The namespace, empty for the default one.
    #[serde(default)]
    pub namespace: String,
    /// The image's name.
    pub image: String,
    /// The snapshot's name, if it is one.
    #[serde(default)]
    pub snapshot: Option<String>,
}

impl std::fmt::Display for MappedSpec {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/", self.pool)?;
        if !self.namespace.is_empty() {
            write!(formatter, "{}/", self.namespace)?;
        }
        formatter.write_str(&self.image)?;
        match &self.snapshot {
            Some(snapshot) => write!(formatter, "@{snapshot}"),
            None => Ok(()),
        }
    }
}

/// A mapping, as its file tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The daemon.
    pub process: ProcessId,
    /// What is mapped.
    pub spec: MappedSpec,
    /// How it is mapped.
    pub device_type: DeviceType,
    /// Whether it is mapped read-only.
    pub is_read_only: bool,
    /// The device; none until it is ready.
    #[serde(default)]
    pub device: Option<PathBuf>,
    /// Where `orbd mount` mounted it.
    #[serde(default)]
    pub mount_point: Option<PathBuf>,
    /// The name the kernel knows the mapping by, where it can.
    #[serde(default)]
    pub identifier: Option<String>,
    /// What tells the device from others that come later under the same path.
    #[serde(default)]
    pub identity: Identity,
    /// Where the daemon writes its log.
    #[serde(default)]
    pub log_file: Option<PathBuf>,
}

impl Mapping {
    /// Whether the daemon is there.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Waits until the daemon has ended, and says whether it has.
    ///
    /// **Cancellation:** safe.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn wait(&self, limit: Duration) -> Result<bool> {
        self.process.wait(limit).await
    }

    /// Kills the daemon, and says whether it has ended within a time.
    ///
    /// **Cancellation:** it dies nevertheless.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn kill(&self, limit: Duration) -> Result<bool> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(limit).await
    }

    /// The device as one without a daemon; none if there is none yet.
    pub fn orphan(&self) -> Option<Orphan<'_>> {
        Some(Orphan {
            path: self.device.as_deref()?,
            identifier: self.identifier.as_deref(),
            identity: self.identity,
        })
    }
}

/// What is asked for: a device, a mount point, or an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// A device like `/dev/nbd0`, or a partition of it.
    Device(PathBuf),
    /// Where it is mounted.
    MountPoint(PathBuf),
    /// What is mapped. An empty cluster is any.
    Spec(MappedSpec),
}

impl Query {
    fn matches(&self, mapping: &Mapping) -> bool {
        match self {
            Self::Device(path) => mapping
                .device
                .as_deref()
                .is_some_and(|device| is_device_or_part(device, path)),
            Self::MountPoint(path) => mapping.mount_point.as_ref() == Some(path),
            Self::Spec(spec) => {
                let cluster = match spec.cluster.is_empty() {
                    true => &mapping.spec.cluster,
                    false => &spec.cluster,
                };
                *cluster == mapping.spec.cluster
                    && MappedSpec {
                        cluster: cluster.clone(),
                        ..spec.clone()
                    } == mapping.spec
            }
        }
    }
}

/// Whether `path` is `device` or, as `/dev/nbd0p1` is of `/dev/nbd0`, a partition of it.
fn is_device_or_part(device: &Path, path: &Path) -> bool {
    let (Some(device), Some(path)) = (device.to_str(), path.to_str()) else {
        return device == path;
    };
    match path.strip_prefix(device) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('p')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())),
        None => false,
    }
}

/// The directory of the mappings' files.
#[derive(Clone, Debug)]
pub struct Registry {
    directory: PathBuf,
}

impl Registry {
    /// The registry in a directory, which is made if need be; in `$ORBD_RUN_DIR` or else `/run/orbd` if none is given.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(directory: Option<PathBuf>) -> Result<Self> {
        let directory = directory
            .or_else(|| std::env::var_os("ORBD_RUN_DIR").map(PathBuf::from))
            .unwrap_or_else(|| DEFAULT_DIRECTORY.into());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(Error::path("make the directory", &directory))?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All mappings, stale ones included, in no particular order. Files that make no sense are left out.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Mapping>> {
        let failed = || Error::path::<io::Error>("list", &self.directory);
        let mut mappings = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match std::fs::read(&path) {
                Ok(text) => match serde_json::from_slice(&text) {
                    Ok(mapping) => mappings.push(mapping),
                    Err(error) => warn!(path = %path.display(), %error, "no mapping's file"),
                },
                // Unmapped just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::path("read", path)(error)),
            }
        }
        Ok(mappings)
    }

    /// The mappings that match; those of living daemons first.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn find(&self, query: &Query) -> Result<Vec<Mapping>> {
        let mut found = self.list()?;
        found.retain(|mapping| query.matches(mapping));
        found.sort_by_key(|mapping| !mapping.is_alive());
        Ok(found)
    }

    /// Registers a mapping of this process, before there is a device, so that nobody else maps the same meanwhile.
    ///
    /// # Errors
    /// If the same is mapped already, unless `may_repeat`; or if the file cannot be written.
    pub fn claim(&self, mapping: Mapping, may_repeat: bool) -> Result<Claim> {
        let _lock = self.lock()?;
        if !may_repeat {
            let query = Query::Spec(mapping.spec.clone());
            let same = self.find(&query)?.into_iter().find(Mapping::is_alive);
            if let Some(same) = same {
                return Err(Error::AlreadyMapped {
                    spec: Box::new(same.spec),
                    device: same.device,
                });
            }
        }
        self.write(&mapping)?;
        Ok(Claim {
            registry: self.clone(),
            mapping,
        })
    }

    /// Notes or forgets where a mapping is mounted.
    ///
    /// # Errors
    /// If the mapping is no longer there, or its file cannot be written.
    pub fn set_mount_point(&self, process: ProcessId, mount_point: Option<PathBuf>) -> Result<()> {
        self.update(process, |mapping| mapping.mount_point = mount_point)
            .map(drop)
    }

    /// Removes what a daemon left behind that died.
    ///
    /// # Errors
    /// If the daemon is alive, or the file cannot be removed.
    pub fn remove_stale(&self, mapping: &Mapping) -> Result<()> {
        let _lock = self.lock()?;
        if mapping.is_alive() {
            return Err(Error::Busy {
                device: self.file_of(mapping.process),
            });
        }
        // The number may have been given to another daemon in the meantime.
        match self.read(mapping.process) {
            Ok(there) if there.process == mapping.process => {}
            _ => return Ok(()),
        }
        remove(&self.socket(mapping.process))?;
        if let Some(log_file) = &mapping.log_file {
            remove(log_file)?;
        }
        self.remove(mapping.process)
    }

    fn update(&self, process: ProcessId, change: impl FnOnce(&mut Mapping)) -> Result<Mapping> {
        let _lock = self.lock()?;
        let mut mapping = self.read(process)?;
        if mapping.process != process {
            return Err(Error::Path {
                action: "find the mapping of",
                path: self.file_of(process),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        change(&mut mapping);
        self.write(&mapping)?;
        Ok(mapping)
    }

    fn read(&self, process: ProcessId) -> Result<Mapping> {
        let path = self.file_of(process);
        let text = std::fs::read(&path).map_err(Error::path("read", &path))?;
        serde_json::from_slice(&text).map_err(Error::path("understand", path))
    }

    /// Writes a file so that it is there completely or not at all.
    fn write(&self, mapping: &Mapping) -> Result<()> {
        let path = self.file_of(mapping.process);
        let new = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            serde_json::to_writer(&mut file, mapping)?;
            file.flush()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(Error::path("write", &path))
    }

    fn remove(&self, process: ProcessId) -> Result<()> {
        remove(&self.file_of(process))
    }

    /// Where the daemon of a mapping [listens](crate::control).
    pub fn socket(&self, process: ProcessId) -> PathBuf {
        control::socket(&self.directory, process)
    }

    fn file_of(&self, process: ProcessId) -> PathBuf {
        self.directory.join(format!("{}.json", process.pid()))
    }

    /// Keeps others from changing anything until the result is dropped.
    fn lock(&self) -> Result<File> {
        let path = self.directory.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::path("open", &path))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(Error::path("lock", path))?;
        Ok(file)
    }
}

/// A registered mapping of this process. Dropping it removes the file.
#[derive(Debug)]
pub struct Claim {
    registry: Registry,
    mapping: Mapping,
}

impl Claim {
    /// The mapping as it was last written here.
    pub const fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Changes the mapping's file. What others have changed in it meanwhile is kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn update(&mut self, change: impl FnOnce(&mut Mapping)) -> Result<()> {
        self.mapping = self.registry.update(self.mapping.process, change)?;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let removed = self
            .registry
            .lock()
            .and_then(|_lock| self.registry.remove(self.mapping.process));
        if let Err(error) = removed {
            warn!(%error, "a mapping's file stays behind");
        }
    }
}

/// Removes a file, which may be gone already.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::path("remove", path)(error))
        }
        _ => Ok(()),
    }
}

const DEFAULT_DIRECTORY: &str = "/run/orbd";

#[cfg(test)]
mod tests;
