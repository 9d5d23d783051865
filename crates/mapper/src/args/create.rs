//! Options of the commands that create images.

use clap::Args;

use super::image::{ImageOptions, image_size};
use crate::size::parse_bytes;

/// `orbd create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Create {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Size: a number of MiB, or with B, K, M, G, T.
    #[arg(short, long, value_parser = image_size, allow_hyphen_values = true)]
    pub(crate) size: Option<u64>,

    #[command(flatten)]
    pub(crate) creation: CreationOptions,

    /// Allocate all of the image's storage.
    #[arg(long)]
    pub(crate) thick_provision: bool,

    /// Do not show progress.
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// How a new image is laid out.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CreationOptions {
    /// Image format; there is no other than 2.
    #[arg(long, value_name = "format", value_parser = ["1", "2"])]
    pub(crate) image_format: Option<String>,

    /// Image format 2.
    #[arg(long, hide = true)]
    pub(crate) new_format: bool,

    /// Logarithm of the object size.
    #[arg(long, hide = true, value_parser = clap::value_parser!(u8).range(12..=25), allow_hyphen_values = true)]
    pub(crate) order: Option<u8>,

    /// Size of the objects: B, K, M; from 4K to 32M.
    #[arg(long, value_name = "size", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) object_size: Option<u64>,

    /// Features of the image, repeated or separated by commas. The default is that of
    /// rbd_default_features: layering, exclusive-lock, object-map, fast-diff and deep-flatten.
    #[arg(long, value_name = "features")]
    pub(crate) image_feature: Vec<String>,

    /// For use by several clients at a time: none of the features that need an exclusive lock.
    #[arg(long)]
    pub(crate) image_shared: bool,

    /// Size of a stripe's pieces: B, K, M.
    #[arg(long, value_name = "size", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) stripe_unit: Option<u64>,

    /// Over how many objects a stripe goes.
    #[arg(long, value_name = "count")]
    pub(crate) stripe_count: Option<u64>,

    /// Pool for the data, where that is another one.
    #[arg(long, value_name = "pool")]
    pub(crate) data_pool: Option<String>,
}

pub(super) fn bytes(text: &str) -> Result<u64, &'static str> {
    parse_bytes(text).ok_or("not a size")
}
