//! An image as a block device of the kernel's, by our own library, for a file system.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mapper::device::image::ImageDevice;
use mapper::kernel::{AttachOptions, Attachment, DeviceBackend, LoopBackend};
use mapper::serving::Signals;

use super::image;

/// Begun by the harness.
#[derive(Args)]
pub(crate) struct Task {
    /// The file that gets the device's path, once there is a device.
    #[arg(long)]
    ready: PathBuf,
    #[command(flatten)]
    image: image::Arguments,
}

/// Serves until it is told to stop by a signal.
pub(crate) fn run(task: &Task) -> anyhow::Result<ExitCode> {
    super::log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let (image, _) = image::open(&task.image, true).await?;
        let image = image.into_image();
        let device = Arc::new(ImageDevice::new(image.clone())?);
        let mut attached = LoopBackend
            .attach(device, &AttachOptions::default())
            .await?;
        // Whoever finds the file finds all of it.
        let begun = task.ready.with_extension("begun");
        std::fs::write(&begun, attached.path().as_os_str().as_encoded_bytes())?;
        std::fs::rename(&begun, &task.ready)?;
        tokio::select! {
            _ = signals.next() => attached.detach(LIMIT, false).await?,
            () = attached.ended() => {}
        }
        image.close().await?;
        anyhow::Ok(())
    })?;
    // What the runtime still holds is not worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// How long the device may take to write back what is not written yet.
const LIMIT: Duration = Duration::from_secs(60);
