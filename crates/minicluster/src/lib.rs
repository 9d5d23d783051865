//! Starts a throwaway real Ceph cluster from installed packages.
//!
//! The daemons are the distribution's own `ceph-mon`, `ceph-mgr` and `ceph-osd`, bound to loopback,
//! with all their files in one directory. A [`Cluster`] owns its processes: dropping it kills them
//! and removes the directory, and the same happens when the process that started it dies in any
//! way, by `SIGKILL` too.
//!
//! ```no_run
//! use minicluster::{Auth, Cluster, Mode, Store};
//!
//! # fn main() -> Result<(), minicluster::Error> {
//! let cluster = Cluster::builder()
//!     .osds(3)
//!     .store(Store::Memstore)
//!     .auth(Auth::Cephx)
//!     .mode(Mode::Crc)
//!     .start()?;
//! cluster.create_pool("rbd", 8)?;
//! cluster.rbd(&["create", "--size", "64M", "rbd/image"])?;
//! println!("connect to {} with {}", cluster.mon_host(), cluster.keyring_path().display());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod address;
mod admin_socket;
mod bootstrap;
mod builder;
mod ciphers;
mod cluster;
mod conf;
mod error;
mod inside;
mod keyring;
mod launcher;
mod layout;
mod logs;
pub mod packages;
mod process;
mod release;
mod roots;
mod state;

pub use address::MonPorts;
pub use builder::{Auth, Builder, Mode, Store};
pub use ciphers::KeyType;
pub use cluster::{Cluster, Daemon};
pub use error::Error;
pub use release::{Release, UnknownRelease};
