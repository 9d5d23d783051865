//! Options of the commands about one image, and of those that list.

use clap::{Args, Subcommand};

use crate::output::{Format, Style};
use crate::size::parse_image_size;

/// The image by separate options. Positional arguments come on top of it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ImageOptions {
    /// Pool.
    #[arg(short, long)]
    pub(crate) pool: Option<String>,

    /// Namespace.
    #[arg(long)]
    pub(crate) namespace: Option<String>,

    /// Image, with or without its pool and namespace.
    #[arg(long)]
    pub(crate) image: Option<String>,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatOptions {
    /// Form of the output.
    #[arg(long, hide_possible_values = false)]
    pub(crate) format: Option<Format>,

    /// Spread JSON and XML over lines.
    #[arg(long)]
    pub(crate) pretty_format: bool,
}

impl FormatOptions {
    /// The style, if there is such a thing.
    pub(crate) fn style(self) -> crate::exit::Outcome<Style> {
        let format = self.format.unwrap_or(Format::Plain);
        if self.pretty_format && format == Format::Plain {
            return Err(crate::output::pretty_plain());
        }
        Ok(Style {
            format,
            is_pretty: self.pretty_format,
        })
    }
}

/// `orbd info`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Info {
    /// Image or snapshot: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-or-snap-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// Image, by its id.
    #[arg(long)]
    pub(crate) image_id: Option<String>,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd ls`.
#[derive(Clone, Debug, Args)]
pub(crate) struct List {
    /// Pool: POOL[/NAMESPACE].
    #[arg(value_name = "pool-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    /// Show sizes, parents, snapshots and locks too.
    #[arg(short, long)]
    pub(crate) long: bool,

    /// Pool.
    #[arg(short, long)]
    pub(crate) pool: Option<String>,

    /// Namespace.
    #[arg(long)]
    pub(crate) namespace: Option<String>,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd rm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remove {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Do not show progress.
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// `orbd mv`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Rename {
    /// The image and its new name: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_names = ["source-image-spec", "dest-image-spec"], num_args = 0..=2)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Pool of the new name.
    #[arg(long)]
    pub(crate) dest_pool: Option<String>,

    /// Namespace of the new name.
    #[arg(long)]
    pub(crate) dest_namespace: Option<String>,

    /// New name.
    #[arg(long)]
    pub(crate) dest: Option<String>,
}

/// `orbd resize`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Resize {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// New size: a number of MiB, or with B, K, M, G, T.
    #[arg(short, long, value_parser = image_size, allow_hyphen_values = true)]
    pub(crate) size: Option<u64>,

    /// Allow the image to shrink, which destroys what is beyond its new end.
    #[arg(long)]
    pub(crate) allow_shrink: bool,

    /// Do not show progress.
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// `orbd feature`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Feature {
    /// Turn features of an image off.
    Disable(FeatureChange),
    /// Turn features of an image on.
    Enable(FeatureChange),
}

/// Which features of which image.
#[derive(Clone, Debug, Args)]
pub(crate) struct FeatureChange {
    /// Image, [POOL/[NAMESPACE/]]IMAGE, and features, separated by spaces or commas.
    #[arg(value_names = ["image-spec", "features"], num_args = 0..)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,
}

/// `orbd image-meta`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImageMeta {
    /// Print the value of a key.
    Get(MetaKey),
    /// List keys and values.
    #[command(visible_alias = "ls")]
    List(MetaList),
    /// Remove a key and its value.
    #[command(visible_alias = "rm")]
    Remove(MetaKey),
    /// Set the value of a key.
    Set(MetaSet),
}

/// `orbd image-meta list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetaList {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd image-meta get` and `remove`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetaKey {
    /// Image, [POOL/[NAMESPACE/]]IMAGE, and key.
    #[arg(value_names = ["image-spec", "key"], num_args = 0..=2)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,
}

/// `orbd image-meta set`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MetaSet {
    /// Image, [POOL/[NAMESPACE/]]IMAGE, key and value.
    #[arg(value_names = ["image-spec", "key", "value"], num_args = 0..=3)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,
}

/// `orbd snap`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Snap {
    /// List the snapshots of an image.
    #[command(visible_alias = "ls")]
    List(SnapList),
}

/// `orbd snap ls`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SnapList {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Image, by its id.
    #[arg(long)]
    pub(crate) image_id: Option<String>,

    /// Show those of all namespaces, not the user's alone.
    #[arg(short, long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Status {
    /// Image: [POOL/[NAMESPACE/]]IMAGE.
    #[arg(value_name = "image-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

pub(super) fn image_size(text: &str) -> Result<u64, &'static str> {
    parse_image_size(text).ok_or("not a size")
}
