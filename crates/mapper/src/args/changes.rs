//! Options of the commands about what is stored of images, and what changed.

use clap::{Args, Subcommand};

use super::image::{FormatOptions, ImageOptions};

/// `orbd diff`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Diff {
    /// Image or snapshot: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-or-snap-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// Snapshot to compare with; without one, everything that is stored is listed.
    #[arg(long, value_name = "snapshot")]
    pub(crate) from_snap: Option<String>,

    /// List whole objects of which anything changed.
    #[arg(long)]
    pub(crate) whole_object: bool,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd du`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiskUsage {
    /// Image or snapshot, [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]; all images of the pool unless told.
    #[arg(value_name = "image-or-snap-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// Only what came after this snapshot.
    #[arg(long, value_name = "snapshot")]
    pub(crate) from_snap: Option<String>,

    /// Count what is stored, not whole objects; takes long.
    #[arg(long)]
    pub(crate) exact: bool,

    /// Count an image's snapshots with it.
    #[arg(long)]
    pub(crate) merge_snapshots: bool,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd object-map`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ObjectMap {
    /// Compare the object map with the objects.
    Check(ObjectMapTarget),
    /// Make the object map anew from the objects.
    Rebuild(ObjectMapTarget),
}

/// Of which version of an image.
#[derive(Clone, Debug, Args)]
pub(crate) struct ObjectMapTarget {
    /// Image or snapshot: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-or-snap-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// Do not show progress.
    #[arg(long)]
    pub(crate) no_progress: bool,
}
