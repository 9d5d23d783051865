//! A real cluster, and on it an image full of data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use minicluster::{Cluster, KeyType, Mode, Release};
use tempfile::TempDir;

use super::cell::{Place, Protection, Store};
use super::fio::{self, Victim};
use super::server::{self, Program, Server};

/// Where everything is measured.
pub(super) struct Ground {
    pub(super) cluster: Cluster,
    pub(super) place: Place,
    /// For sockets.
    dir: TempDir,
}

impl Ground {
    /// Starts a cluster of one OSD and one replica: what is compared are clients.
    pub(super) fn start(place: Place, release: Option<Release>) -> anyhow::Result<Self> {
        let mut builder = Cluster::builder()
            .osds(1)
            .osd_bytes(OSD_BYTES)
            .store(match place.store {
                Store::Memstore => minicluster::Store::Memstore,
                Store::Bluestore => minicluster::Store::Bluestore,
            })
            .mode(match place.protection {
                Protection::Crc => Mode::Crc,
                Protection::Secure => Mode::Secure,
            })
            .conf("osd_pool_default_size = 1")
            // Otherwise an object is a list of what was ever written, which gets longer and longer.
            .conf("memstore_page_set = true");
        if let Some(release) = release {
            builder = builder.release(release);
        }
        let release = release.map_or_else(Release::default_of_tests, Ok)?;
        if release >= Release::Tentacle {
            // This machine's librbd has to get in, too.
            builder = builder.key_type(KeyType::Aes);
        }
        let cluster = builder.start()?;
        cluster.create_pool(POOL, PGS)?;
        let dir = tempfile::Builder::new().prefix("orbd-bench-").tempdir()?;
        Ok(Self {
            cluster,
            place,
            dir,
        })
    }

    /// Creates an image of upstream's default kind and writes all of its first bytes, through librbd.
    pub(super) fn make_image(&self, image: &str, bytes: u64, filled: u64) -> anyhow::Result<()> {
        let size = format!("{}M", bytes >> 20);
        self.cluster
            .rbd(&["create", "--size", &size, &format!("{POOL}/{image}")])?;
        let server = Server::start(&Program::Qemu, self, image, Caching::Off)?;
        let options = fio::filling(Victim::Nbd(server.socket()), filled);
        fio::run(Command::new("fio"), &options, |_| {}).context("filling the image")?;
        server.stop()
    }

    /// A path for a socket that nobody has yet.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lets a program of this machine find the cluster.
    pub(super) fn set_environment(&self, command: &mut Command) {
        command.env("CEPH_CONF", self.conf());
        for name in ["CEPH_ARGS", "CEPH_KEYRING", "CEPH_KEY"] {
            command.env_remove(name);
        }
    }

    pub(super) fn conf(&self) -> PathBuf {
        self.cluster.conf_path()
    }

    /// A configuration file that says whether clients cache, and that they then read ahead as long as they
    /// are used: they would cease after a while, for it is meant for booting.
    pub(super) fn conf_with(&self, caching: Caching) -> anyhow::Result<PathBuf> {
        let text = fs::read_to_string(self.conf())?;
        let is_on = server::is_on(caching);
        let path = self.dir().join(format!("cache-{is_on}.conf"));
        let mut options = format!("[global]\nrbd_cache = {is_on}");
        if caching == Caching::On {
            options.push_str("\nrbd_readahead_disable_after_bytes = 0");
        }
        let text = text.replacen("[global]", &options, 1);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The directory for what is made while measuring.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Whether the client may keep data in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    Off,
    On,
}

pub(super) const POOL: &str = "rbd";
/// The image under load.
pub(super) const IMAGE: &str = "bench";
/// All of it is filled, and load goes everywhere in it.
pub(super) const IMAGE_BYTES: u64 = 1 << 30;
const OSD_BYTES: u64 = 4 << 30;
const PGS: u32 = 8;
