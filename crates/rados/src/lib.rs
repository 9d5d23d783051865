//! A RADOS client: configuration, monitors, OSD maps, and operations on objects.
//!
//! [`Cluster::connect`] finds the monitors, [`Cluster::pool`] opens a pool, and
//! [`Pool::execute`] carries out an [`Operation`] on one of its objects.
//!
//! ```no_run
//! use rados::{Cluster, config::Config};
//!
//! # async fn example() -> rados::Result<()> {
//! let cluster = Cluster::connect(Config::from_environment()?).await?;
//! let pool = cluster.pool("rbd").await?;
//! pool.write_full("greeting", "hello ceph").await?;
//! assert_eq!(pool.read("greeting", 0, 5).await?, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! Where to read on: `objecter` sees operations through map changes and
//! failures, `mon` keeps in touch with the monitors, [`osdmap`] knows where objects are.
#![forbid(unsafe_code)]

mod auth;
mod barrier;
#[cfg(feature = "bench")]
pub mod bench;
mod blocklisting;
mod cluster;
pub mod config;
mod connections;
mod decode_any;
#[cfg(test)]
#[path = "../../denc/testdata/dencoder.rs"]
mod dencoder;
mod errno;
mod error;
mod features;
mod listing;
mod messenger;
mod mon;
mod monmap;
mod msg;
mod objecter;
#[cfg(test)]
mod on_clusters;
mod op;
pub mod osdmap;
mod pool;
mod read_policy;
#[cfg(test)]
mod relay;
mod snap_set;
#[cfg(test)]
mod vectors;
mod watch;
mod watchers;

pub use cluster::{Cluster, CommandOutput};
pub use connections::{Connection, Peer};
#[doc(hidden)]
pub use decode_any::decode_any;
pub use errno::Errno;
pub use error::{Attempts, Error};
pub use listing::{ListedObject, Objects};
pub use monmap::MonMap;
pub use op::{OpCode, Operation, Reply, SnapContext, SparseRead, Stat, StepResult};
pub use pool::Pool;
pub use read_policy::ReadPolicy;
pub use snap_set::{CloneInfo, SnapSet};
pub use watch::{
    Notification, NotifyAnswer, NotifyAnswers, NotifyReply, Watch, WatchHandler, WatchValidity,
    WatcherId,
};
pub use watchers::{Watcher, Watchers};

/// What operations give.
pub type Result<T, E = Error> = core::result::Result<T, E>;
