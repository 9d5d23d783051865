//! Options of the commands about block devices and servers.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mapper::kernel::DeviceType;

use super::image::{FormatOptions, ImageOptions};
use super::lock::LockOptions;

/// `orbd device`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Device {
    /// List mapped images.
    #[command(visible_alias = "ls")]
    List(List),
    /// Map an image to a block device.
    Map(Map),
    /// Undo the mapping of an image.
    Unmap(Unmap),
}

/// `orbd device list`, `orbd showmapped`.
#[derive(Clone, Debug, Args)]
pub(crate) struct List {
    /// Only devices of this type.
    #[arg(short = 't', long, value_name = "type")]
    pub(crate) device_type: Option<DeviceType>,

    #[command(flatten)]
    pub(crate) format: FormatOptions,
}

/// `orbd map`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Map {
    /// Image or snapshot: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-or-snap-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// How the device is made; `nbd` where the kernel has its driver, unless told.
    #[arg(short = 't', long, value_name = "type")]
    pub(crate) device_type: Option<DeviceType>,

    /// Refuse writing.
    #[arg(long, visible_alias = "read_only")]
    pub(crate) read_only: bool,

    #[command(flatten)]
    pub(crate) lock: LockOptions,

    /// Options of the device, separated by commas: `ro`, `rw`, `exclusive`, `lock_on_read`, `lock_timeout=SECONDS`.
    #[arg(short, long)]
    pub(crate) options: Vec<String>,
}

/// `orbd unmap`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Unmap {
    /// Device, image or snapshot: /dev/nbd0, [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-or-snap-or-device-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// Only a device of this type.
    #[arg(short = 't', long, value_name = "type")]
    pub(crate) device_type: Option<DeviceType>,

    /// Options, separated by commas: `force`.
    #[arg(short, long)]
    pub(crate) options: Vec<String>,

    /// Give the device up even if it is in use or the cluster does not answer, and say what is lost.
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Seconds to wait until everything is written back (60), or by force, until any request is answered (10).
    #[arg(long, value_name = "seconds")]
    pub(crate) timeout: Option<u32>,
}

/// `orbd serve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// Image or snapshot: [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT].
    #[arg(value_name = "image-or-snap-spec", num_args = 0..=1)]
    pub(crate) specs: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// Unix socket to listen on.
    #[arg(long, value_name = "path")]
    pub(crate) socket: Option<PathBuf>,

    /// Address and port to listen on.
    #[arg(long, value_name = "address")]
    pub(crate) tcp: Option<String>,

    /// Refuse writing.
    #[arg(long)]
    pub(crate) read_only: bool,

    #[command(flatten)]
    pub(crate) lock: LockOptions,

    /// Name of the export; the image's unless told. The default export is always served.
    #[arg(long, value_name = "name")]
    pub(crate) export_name: Option<String>,

    /// Seconds that requests under way may take when the server is told to end (60).
    #[arg(long, value_name = "seconds")]
    pub(crate) stop_timeout: Option<u32>,
}

/// `orbd mount`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Mount {
    /// Image or snapshot, [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT], and the directory.
    #[arg(value_names = ["image-or-snap-spec", "directory"], num_args = 0..=2)]
    pub(crate) words: Vec<String>,

    #[command(flatten)]
    pub(crate) image: ImageOptions,

    /// Snapshot.
    #[arg(long)]
    pub(crate) snap: Option<String>,

    /// How the device is made; `nbd` where the kernel has its driver, unless told.
    #[arg(short = 't', long, value_name = "type")]
    pub(crate) device_type: Option<DeviceType>,

    /// Mount read-only.
    #[arg(long)]
    pub(crate) read_only: bool,

    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

/// `orbd umount`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Umount {
    /// Where it is mounted.
    #[arg(value_name = "directory", num_args = 0..=1)]
    pub(crate) words: Vec<String>,

    /// Unmount even if files are open or the cluster does not answer, and say what is lost.
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Seconds to wait until everything is written back (60), or by force, until any request is answered (10).
    #[arg(long, value_name = "seconds")]
    pub(crate) timeout: Option<u32>,
}
