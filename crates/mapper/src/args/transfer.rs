//! Options of the commands that move data.

use clap::{Args, ValueEnum};

use super::create::{CreationOptions, bytes};
use super::image::ImageOptions;

/// `orbd export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Export {
    /// Image or snapshot, [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT], and the file, `-` for stdout.
    #[arg(value_names = ["source-image-or-snap-spec", "path-name"], num_args = 0..=2)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// File, `-` for stdout.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) path: Option<String>,

    /// Do not show progress.
    #[arg(long)]
    pub(crate) no_progress: bool,

    /// Format of the file; 1, the bytes of the image, is the only one yet.
    #[arg(long, value_parser = ["1", "2"])]
    pub(crate) export_format: Option<String>,
}

/// `orbd import`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Import {
    /// The file, `-` for stdin, and the image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_names = ["path-name", "dest-image-spec"], num_args = 0..=2)]
    pub(crate) words: Vec<String>,

    /// File, `-` for stdin.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) path: Option<String>,

    /// Pool.
    #[arg(long)]
    pub(crate) dest_pool: Option<String>,

    /// Namespace.
    #[arg(long)]
    pub(crate) dest_namespace: Option<String>,

    /// Image.
    #[arg(long)]
    pub(crate) dest: Option<String>,

    #[command(flatten)]
    pub(crate) creation: CreationOptions,

    /// Runs of zeroes at least this long are left out: B, K, M; 4K unless told.
    #[arg(long, value_name = "size", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) sparse_size: Option<u64>,

    /// Do not show progress.
    #[arg(long)]
    pub(crate) no_progress: bool,

    /// Format of the file; 1, the bytes of the image, is the only one yet.
    #[arg(long, value_parser = ["1", "2"])]
    pub(crate) export_format: Option<String>,

    /// Pool.
    #[arg(short, long, hide = true)]
    pub(crate) pool: Option<String>,

    /// Image.
    #[arg(long, hide = true)]
    pub(crate) image: Option<String>,
}

/// `orbd bench`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// Image, or for reading a snapshot: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Size of each I/O: B, K, M, G, T; 4K unless told.
    #[arg(long, value_name = "size", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) io_size: Option<u64>,

    /// How many I/Os are in flight; 16 unless told.
    #[arg(long, value_name = "count", allow_hyphen_values = true)]
    pub(crate) io_threads: Option<u32>,

    /// Bytes to read or write in all: B, K, M, G, T; 1G unless told.
    #[arg(long, value_name = "size", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) io_total: Option<u64>,

    /// Where the I/Os go; `seq` unless told.
    #[arg(long, value_name = "pattern")]
    pub(crate) io_pattern: Option<Pattern>,

    /// How many of 100 I/Os are reads in `readwrite`; 50 unless told.
    #[arg(long, value_name = "percent", allow_hyphen_values = true)]
    pub(crate) rw_mix_read: Option<u64>,

    /// What the I/Os do.
    #[arg(long, value_name = "type")]
    pub(crate) io_type: Option<IoType>,
}

/// Where the I/Os of a benchmark go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// Anywhere.
    Rand,
    /// One after the other from somewhere, for each of those in flight.
    Seq,
    /// One after the other from the start, for all of them together.
    FullSeq,
}

/// What the I/Os of a benchmark do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IoType {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Read and write.
    #[value(alias = "rw")]
    Readwrite,
}
