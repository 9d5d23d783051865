//! Options of the commands about an image's lock.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::image::{FormatOptions, ImageOptions};

/// `orbd lock`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Lock {
    /// Lock an image.
    Add(LockAdd),
    /// List the locks on an image.
    #[command(visible_alias = "ls")]
    List(LockList),
    /// Take a lock away, and shut out the client that has it.
    #[command(visible_alias = "rm")]
    Remove(LockRemove),
}

/// `orbd lock add`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LockAdd {
    /// Image, [POOL/[NAMESPACE/]]IMAGE, and a name for the lock.
    #[arg(value_names = ["image-spec", "lock-id"], num_args = 0..=2)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Share the lock with those who say the same.
    #[arg(long, value_name = "tag")]
    pub(crate) shared: Option<String>,
}

/// `orbd lock ls`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LockList {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd lock rm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LockRemove {
    /// Image, [POOL/[NAMESPACE/]]IMAGE, name of the lock and client that has it, as `lock ls` shows them.
    #[arg(value_names = ["image-spec", "lock-id", "locker"], num_args = 0..=3)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,
}

/// How the lock of an image that is about to be written is dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
pub(crate) struct LockOptions {
    /// Take the image's lock at once, and do not give it up to others who ask for it.
    #[arg(long)]
    pub(crate) exclusive: bool,

    /// Take the image's lock for reading, too.
    #[arg(long)]
    pub(crate) lock_on_read: bool,

    /// Seconds to wait for a lock that somebody else has; for ever unless told, or if 0.
    #[arg(long, value_name = "seconds")]
    pub(crate) lock_timeout: Option<u32>,
}
