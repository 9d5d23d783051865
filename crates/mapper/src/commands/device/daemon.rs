//! The daemon behind a mapped image: this program again, with orders through a pipe.
//!
//! Whatever it has of threads begins after it has become a daemon, the runtime included.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use mapper::control::{Control, Stop};
use mapper::daemon::Daemon;
use mapper::device::image::ImageDevice;
use mapper::device::{BlockDevice, Ledger, Tally};
use mapper::image_probe::ImageProbe;
use mapper::kernel::{AttachOptions, Attachment, DeviceBackend, DeviceType, Identity};
use mapper::serving::{Ended, Masters, Served, Signals, serve_until_stopped};
use mapper::state::{Claim, MappedSpec, Mapping, ProcessId, Registry};
use rbd::Image;
use serde::{Deserialize, Serialize};

use super::failure;
use super::image_end::close_image;
use super::image_size::ImageSize;
use crate::args::global::Global;
use crate::args::lock::LockOptions;
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
    pub(super) lock: LockOptions,
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
    let runtime = match crate::commands::runtime() {
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
    // A thread may still wait for the kernel, which nobody has to wait for.
    runtime.shutdown_background();
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
    image: Image,
    attachment: A,
    served: Arc<Served<ImageDevice, ImageProbe>>,
    masters: Masters,
    size: ImageSize,
    /// Goes last: others may map the image again as soon as it is gone.
    claim: Claim,
}

impl Mapped<<DeviceType as DeviceBackend>::Attachment> {
    async fn new(orders: Orders) -> Outcome<Self> {
        let what = "map failed";
        let failed = |error: mapper::Error| failure(what, &error);
        let image = open(&orders).await?;
        let device = ImageDevice::new(image.clone()).map_err(|error| {
            Failure::rbd(what, &error).hint("or map it for reading only with --read-only")
        })?;
        orders.lock.settle(&image, what).await?;
        let ledger = Ledger::new(Arc::new(device));
        let device_type = match orders.device_type {
            Some(device_type) => device_type,
            None => DeviceType::best().await,
        };
        let spec = spec(&image);
        let identifier = spec.to_string();
        let registry = Registry::open(Some(orders.registry)).map_err(failed)?;
        let process = ProcessId::current().map_err(failed)?;
        let mapping = Mapping {
            process,
            spec,
            device_type,
            is_read_only: ledger.is_read_only(),
            device: None,
            mount_point: None,
            identifier: Some(identifier.clone()),
            identity: Identity::default(),
            log_file: Some(orders.log_file),
        };
        let mut claim = registry.claim(mapping, false).map_err(failed)?;
        let options = AttachOptions {
            is_read_only: ledger.is_read_only(),
            identifier: Some(identifier),
            ..AttachOptions::default()
        };
        let served = Arc::new(Served::new(ledger.clone(), ImageProbe::new(image.clone())));
        let masters = Masters {
            signals: Signals::new().map_err(failed)?,
            control: Control::listen(&registry.socket(process), Arc::clone(&served))
                .map_err(failed)?,
        };
        // From here on, so that no change is missed.
        let size = ImageSize::follow(&image);
        let mut attachment = device_type
            .attach(Arc::new(ledger), &options)
            .await
            .map_err(failed)?;
        let noted = claim.update(|mapping| {
            mapping.device = Some(attachment.path().to_owned());
            mapping.identity = attachment.identity();
        });
        if let Err(error) = noted {
            detach(&mut attachment).await?;
            return Err(failed(error));
        }
        Ok(Self {
            image,
            attachment,
            served,
            masters,
            size,
            claim,
        })
    }

    /// Says that it is ready, and serves until it is told to stop.
    async fn serve(mut self, daemon: Daemon, is_blank_wanted: bool) -> Outcome {
        let mapping = self.claim.mapping();
        let ready = Ready {
            device: self.attachment.path().to_owned(),
            process: mapping.process,
            spec: mapping.spec.clone(),
            is_blank: is_blank_wanted && is_blank(&self.image).await,
        };
        if let Err(error) = daemon.ready(ready) {
            // Nobody knows of the device, so nobody would ever give it up.
            tracing::warn!(%error, "the command is gone");
            return detach(&mut self.attachment).await;
        }
        let ended = serve_until_stopped(
            &mut self.attachment,
            &self.served,
            &mut self.masters,
            self.size.changes(),
        )
        .await;
        let dropped = match ended {
            Ok(Ended::Stopped(dropped)) => dropped,
            Ok(Ended::Disconnected) => Tally::default(),
            Err(error) => {
                self.masters.control.close().await;
                return Err(failure("serving failed", &error));
            }
        };
        tracing::info!(%dropped, "no longer mapped");
        let closed = close_image(&self.image, &dropped).await;
        self.masters.control.close().await;
        closed
    }
}

async fn open(orders: &Orders) -> Outcome<Image> {
    let what = "map failed";
    // Files named in the orders are relative to where the command was given.
    let entered = std::env::set_current_dir(&orders.directory);
    entered.map_err(|error| Failure::io(what, &error))?;
    let session = Session::new(orders.global.clone(), orders.overrides.clone())?;
    let is_snapshot = orders.location.snap.is_some();
    let options = orders.lock.open_options(orders.is_read_only, is_snapshot);
    let image = session.open(&orders.location, options).await?;
    // Not to keep a file system busy.
    std::env::set_current_dir("/").map_err(|error| Failure::io(what, &error))?;
    Ok(image)
}

/// Gives up a device that nobody knows of.
async fn detach(attachment: &mut impl Attachment) -> Outcome {
    let detached = attachment.detach(Stop::FORCED.patience, true).await;
    detached.map_err(|error| failure("cannot give the device up", &error))
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
