//! The daemon behind a mapped image: this program again, with orders through a pipe.
//!
//! Whatever it has of threads begins after it has become a daemon, the runtime included.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use mapper::daemon::{Daemon, Signals, serve_until_stopped};
use mapper::device::image::ImageDevice;
use mapper::kernel::{AttachOptions, Attachment, DeviceBackend, DeviceType};
use mapper::state::{MappedSpec, Mapping, ProcessId, Registry};
use rbd::{Image, OpenOptions};
use serde::{Deserialize, Serialize};

use super::{DETACH_LIMIT, failure};
use crate::args::global::Global;
use crate::args::overrides::Overrides;
use crate::exit::{Failure, Outcome};
use crate::location::Location;
use crate::session::Session;

/// What the program is started with to become a daemon.
pub(crate) const SUBCOMMAND: &str = "internal-map-daemon";

/// What the daemon is to do. May hold a key.
#[derive(Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) global: Global,
    pub(super) overrides: Overrides,
    /// Where the command was given: paths are relative to it.
    pub(super) directory: PathBuf,
    pub(super) location: Location,
    pub(super) is_read_only: bool,
    pub(super) device_type: Option<DeviceType>,
    /// Whether to find out if anything was ever written to the image.
    pub(super) is_blank_wanted: bool,
    pub(super) registry: PathBuf,
    pub(super) log_file: PathBuf,
}

/// What the command learns when the device is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The device.
    pub(super) device: PathBuf,
    /// The daemon.
    pub(super) process: ProcessId,
    /// What is mapped.
    pub(super) spec: MappedSpec,
    /// Whether nothing was ever written to the image. False if that was not asked for, or would have
    /// taken long to find out.
    pub(super) is_blank: bool,
}

/// Becomes the daemon and serves to the end.
pub(crate) fn run() -> ExitCode {
    let (daemon, orders) = match Daemon::start::<Orders>() {
        Ok(started) => started,
        Err(error) => {
            eprintln!("orbd: {SUBCOMMAND} is for orbd's own use: {error}");
            return ExitCode::FAILURE;
        }
    };
    crate::commands::log_to_stderr();
    let runtime = match crate::commands::runtime(true) {
        Ok(runtime) => runtime,
        Err(failure) => {
            daemon.failed(failure.to_string(), failure.status());
            return ExitCode::FAILURE;
        }
    };
    let log_file = orders.log_file.clone();
    let ended = runtime.block_on(serve(daemon, orders));
    // What is still written to the log keeps it open, without a name.
    if let Err(error) = std::fs::remove_file(&log_file) {
        tracing::debug!(%error, "the log stays");
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("orbd: {failure}");
            ExitCode::from(failure.status())
        }
    }
}

async fn serve(daemon: Daemon, orders: Orders) -> Outcome {
    let is_blank_wanted = orders.is_blank_wanted;
    match Mapped::new(orders).await {
        Ok(mapped) => mapped.serve(daemon, is_blank_wanted).await,
        Err(failure) => {
            daemon.failed(failure.to_string(), failure.status());
            Ok(())
        }
    }
}

/// An image attached to the kernel, and registered.
struct Mapped<A> {
    device: Arc<ImageDevice>,
    attachment: A,
    claim: mapper::state::Claim,
    signals: Signals,
}

impl Mapped<<DeviceType as DeviceBackend>::Attachment> {
    async fn new(orders: Orders) -> Outcome<Self> {
        let what = "map failed";
        // Files named in the orders are relative to where the command was given.
        let entered = std::env::set_current_dir(&orders.directory);
        entered.map_err(|error| Failure::io(what, &error))?;
        let session = Session::new(orders.global, orders.overrides)?;
        let options = OpenOptions {
            read_only: orders.is_read_only,
            watch: !orders.is_read_only && orders.location.snap.is_none(),
            ..OpenOptions::default()
        };
        let image = session.open(&orders.location, options).await?;
        // Not to keep a file system busy.
        std::env::set_current_dir("/").map_err(|error| Failure::io(what, &error))?;
        let spec = spec(&image);
        let device = ImageDevice::new(image).map_err(|error| {
            Failure::rbd(what, &error).hint("or map it for reading only with --read-only")
        })?;
        let device = Arc::new(device);
        let device_type = match orders.device_type {
            Some(device_type) => device_type,
            None => DeviceType::best().await,
        };
        let is_read_only = mapper::device::BlockDevice::is_read_only(&*device);
        let failed = |error: mapper::Error| failure(what, &error);
        let registry = Registry::open(Some(orders.registry)).map_err(failed)?;
        let identifier = spec.to_string();
        let mapping = Mapping {
            process: ProcessId::current().map_err(failed)?,
            spec,
            device_type,
            is_read_only,
            device: None,
            mount_point: None,
            identifier: Some(identifier.clone()),
            log_file: Some(orders.log_file),
        };
        let claim = registry.claim(mapping, false).map_err(failed)?;
        let options = AttachOptions {
            is_read_only,
            identifier: Some(identifier),
            ..AttachOptions::default()
        };
        let signals = Signals::new().map_err(failed)?;
        let attachment = device_type
            .attach(Arc::clone(&device), &options)
            .await
            .map_err(failed)?;
        let mut mapped = Self {
            device,
            attachment,
            claim,
            signals,
        };
        let path = mapped.attachment.path().to_owned();
        if let Err(error) = mapped.claim.update(|mapping| mapping.device = Some(path)) {
            mapped.detach().await?;
            return Err(failed(error));
        }
        Ok(mapped)
    }

    /// Gives up a device that nobody knows of.
    async fn detach(&mut self) -> Outcome {
        let detached = self.attachment.detach(DETACH_LIMIT, true).await;
        detached.map_err(|error| failure("cannot give the device up", &error))
    }

    /// Says that it is ready, and serves until it is told to stop.
    async fn serve(mut self, daemon: Daemon, is_blank_wanted: bool) -> Outcome {
        let failed = |error: mapper::Error| failure("serving failed", &error);
        let mapping = self.claim.mapping();
        let ready = Ready {
            device: self.attachment.path().to_owned(),
            process: mapping.process,
            spec: mapping.spec.clone(),
            is_blank: is_blank_wanted && is_blank(self.device.image()).await,
        };
        if let Err(error) = daemon.ready(ready) {
            // Nobody knows of the device, so nobody would ever give it up.
            tracing::warn!(%error, "the command is gone");
            return self.detach().await;
        }
        let ended =
            serve_until_stopped(&mut self.attachment, &mut self.signals, DETACH_LIMIT).await;
        tracing::info!(?ended, "no longer mapped");
        if let Err(error) = self.device.image().close().await {
            tracing::error!(%error, "the image cannot be closed");
        }
        ended.map(drop).map_err(failed)
    }
}

fn spec(image: &Image) -> MappedSpec {
    MappedSpec {
        cluster: image.pool().cluster().fsid().to_string(),
        pool: image.pool().name().to_owned(),
        namespace: image.pool().namespace().to_owned(),
        image: image.name().to_owned(),
        snapshot: image.snap().map(|snap| snap.name.clone()),
    }
}

/// Whether none of an image's objects exist. Not found out for large images.
async fn is_blank(image: &Image) -> bool {
    if image.object_count() > MAX_OBJECTS_LOOKED_AT {
        return false;
    }
    match image.extents(0, image.size_bytes()).await {
        Ok(extents) => extents.iter().all(|extent| !extent.allocated),
        Err(error) => {
            tracing::warn!(%error, "cannot see whether the image was ever written");
            false
        }
    }
}

/// As many can be asked for in a second or two.
const MAX_OBJECTS_LOOKED_AT: u64 = 4096;
