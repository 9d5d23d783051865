//! What commands do, a file for each: options are put together with the configuration first, then
//! the cluster is asked.

mod bench;
mod create;
pub(crate) mod device;
mod diff;
mod disk_usage;
mod export;
mod feature;
mod group;
mod image_meta;
mod import;
mod info;
mod list;
mod lock;
mod object_map;
mod remove;
mod rename;
mod resize;
mod snap_list;
mod sparse;
mod status;

use crate::args::device::Device;
use crate::args::image::Snap;
use crate::args::{Command, Invocation};
use crate::exit::{Failure, Outcome};
use crate::session::Session;

/// Carries out a command.
pub(crate) fn run(invocation: Invocation) -> Outcome {
    log_to_stderr();
    let session = Session::new(invocation.global, invocation.overrides)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(run_on(invocation.command, &session));
    // A thread may still wait for the kernel, which nobody has to wait for.
    runtime.shutdown_background();
    outcome
}

async fn run_on(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Bench(args) => bench::run(args, session).await,
        Command::Create(args) => create::run(args, session).await,
        Command::Device(Device::List(args)) | Command::Showmapped(args) => device::list(args).await,
        Command::Device(Device::Map(args)) | Command::Map(args) => device::map(args, session).await,
        Command::Device(Device::Unmap(args)) | Command::Unmap(args) => {
            device::unmap(args, session).await
        }
        Command::Diff(args) => diff::run(args, session).await,
        Command::DiskUsage(args) => disk_usage::run(args, session).await,
        Command::Export(args) => export::run(args, session).await,
        Command::Feature(args) => feature::run(args, session).await,
        Command::ImageMeta(args) => image_meta::run(args, session).await,
        Command::Import(args) => import::run(args, session).await,
        Command::Info(args) => info::run(args, session).await,
        Command::List(args) => list::run(args, session).await,
        Command::Lock(args) => lock::run(args, session).await,
        Command::Mount(args) => device::mount(args, session).await,
        Command::ObjectMap(args) => object_map::run(args, session).await,
        Command::Remove(args) => remove::run(args, session).await,
        Command::Rename(args) => rename::run(args, session).await,
        Command::Resize(args) => resize::run(args, session).await,
        Command::Serve(args) => device::serve(args, session).await,
        Command::Snap(Snap::List(args)) => snap_list::run(args, session).await,
        Command::Status(args) => status::run(args, session).await,
        Command::Umount(args) => device::umount(args).await,
    }
}

/// What a command runs on: this thread alone. Waking another one costs more than an I/O does otherwise,
/// and one thread keeps up with several gigabytes a second.
pub(crate) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))
}

/// Prints what is logged: warnings and errors, or what `ORBD_LOG` says (`debug`, `rados=trace,warn`).
pub(crate) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::WARN.into())
        .with_env_var("ORBD_LOG")
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    // Only one can be; a second call changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
