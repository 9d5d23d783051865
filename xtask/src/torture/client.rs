//! The client: a process of its own, so that it can be killed and stopped. It puts load on one image
//! and notes what it does.

mod device;
mod file;
mod image;
pub(crate) mod map;
mod nbd;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::AsyncReadExt;

use super::journal::{Entry, Journal};
use device::Device;
use workload::Workload;

/// Begun by the harness.
#[derive(Args)]
pub(crate) struct Task {
    /// Where to note what is done.
    #[arg(long)]
    journal: PathBuf,
    #[arg(long)]
    lane: u32,
    #[arg(long)]
    generation: u32,
    #[arg(long)]
    seed: u64,
    /// How many blocks the image has.
    #[arg(long)]
    blocks: u64,
    /// How many operations are under way at a time.
    #[arg(long)]
    jobs: u32,
    /// Change nothing for a while, again and again, so that others get the lock.
    #[arg(long)]
    in_turns: bool,
    /// Read everything once instead.
    #[arg(long)]
    read_back: bool,
    /// The socket of an NBD server, instead of an image of a cluster.
    #[arg(long)]
    nbd: Option<PathBuf>,
    /// A block device with a file system, or nothing yet, instead of an image of a cluster.
    #[arg(long, requires = "directory")]
    device: Option<PathBuf>,
    /// Where to mount the device.
    #[arg(long)]
    directory: Option<PathBuf>,
    #[command(flatten)]
    image: image::Arguments,
}

/// Works until its input ends.
pub(crate) fn run(task: &Task) -> anyhow::Result<ExitCode> {
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let journal = Journal::create(&task.journal)?;
        if let Some(socket) = &task.nbd {
            let device = nbd::Client::connect(socket).await?;
            opened(task, &journal, None)?;
            return drive(task, device, journal).await;
        }
        if let (Some(device), Some(directory)) = (&task.device, &task.directory) {
            let device =
                file::Mounted::open(device, directory, task.blocks, task.generation).await?;
            opened(task, &journal, None)?;
            return drive(task, device, journal).await;
        }
        let (device, address) = image::open(&task.image, !task.read_back).await?;
        opened(task, &journal, Some(address))?;
        drive(task, device, journal).await
    })?;
    // What the runtime still holds is not worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

/// Has the library say what it does: warnings and errors, or what `ORBD_LOG` asks for. It ends up in the
/// lane's log.
fn log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .with_env_var("ORBD_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

fn opened(task: &Task, journal: &Journal, address: Option<String>) -> std::io::Result<()> {
    journal.note(&Entry::Opened {
        generation: task.generation,
        address,
    })
}

async fn drive<D: Device>(task: &Task, device: D, journal: Journal) -> anyhow::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    let workload = Arc::new(Workload::new(
        device,
        journal,
        task.lane,
        task.generation,
        task.blocks,
        Arc::clone(&is_over),
    ));
    if task.read_back {
        workload.read_back().await?;
    } else {
        tokio::spawn(async move {
            let mut input = tokio::io::stdin();
            let mut byte = [0];
            // Nothing is ever sent; an error ends it as well.
            while input.read(&mut byte).await.is_ok_and(|count| count > 0) {}
            is_over.store(true, Ordering::Relaxed);
        });
        let mut seeds = fastrand::Rng::with_seed(task.seed ^ (u64::from(task.generation) << 32));
        if task.in_turns {
            let rng = seeds.fork();
            let workload = Arc::clone(&workload);
            // Ends with the runtime.
            tokio::spawn(async move { workload.take_turns(rng).await });
        }
        let jobs: Vec<_> = (0..task.jobs)
            .map(|_| {
                let rng = seeds.fork();
                let workload = Arc::clone(&workload);
                tokio::spawn(async move { workload.run(rng).await })
            })
            .collect();
        for job in jobs {
            job.await.context("a job panicked")??;
        }
    }
    workload.close().await
}
