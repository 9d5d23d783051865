//! `orbd mount` and `orbd umount`: from an image to a mounted file system, and back.

use std::path::{Path, PathBuf};

use mapper::control::Stop;
use mapper::mount::{MountOptions, MountPoint, Mounted};
use mapper::state::{Mapping, Query, Registry};
use rados::Errno;

use super::daemon::Ready;
use super::failure;
use super::give_up::{give_up, stop};
use super::map::MapRequest;
use crate::args::device::{Mount, Umount};
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::output::print_text;
use crate::session::Session;

/// Maps an image and mounts the file system on it. If that fails, the image is unmapped again.
pub(crate) async fn run(args: Mount, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.words);
    let location = locate(
        args.image,
        args.snap,
        &mut positionals,
        Wanted::IMAGE_OR_SNAP,
    )?;
    let directory = directory(&mut positionals)?;
    let is_read_only = args.read_only || location.snap.is_some();
    let request = MapRequest {
        location,
        is_read_only,
        lock: args.lock,
        device_type: args.device_type,
        is_blank_wanted: !is_read_only,
    };
    let registry = open_registry("mount failed")?;
    let ready = request.map(session).await?;
    match mount(&registry, &ready, &directory, is_read_only).await {
        Ok(mounted) => print_text(&format!(
            "{} on {} type {}{}\n",
            ready.device.display(),
            mounted.directory.display(),
            mounted.fs_type,
            if mounted.is_new { " (new)" } else { "" }
        )),
        Err(failed) => {
            if let Err(failure) = unmap(&registry, &ready).await {
                eprintln!("orbd: {failure}");
            }
            Err(failed)
        }
    }
}

async fn mount(
    registry: &Registry,
    ready: &Ready,
    directory: &Path,
    is_read_only: bool,
) -> Outcome<Mounted> {
    let failed = |error: mapper::Error| failure("mount failed", &error);
    let options = MountOptions {
        is_read_only,
        may_format: !is_read_only,
        is_never_written: ready.is_blank,
        ..MountOptions::default()
    };
    let mounted = mapper::mount::mount(&ready.device, directory, &options)
        .await
        .map_err(failed)?;
    let noted = registry.set_mount_point(ready.process, Some(directory.to_owned()));
    if let Err(error) = noted {
        // Without the note `umount` would not find what to unmap.
        if let Err(error) = mapper::mount::unmount(directory, Stop::GRACEFUL.patience).await {
            eprintln!("orbd: {}", failure("unmount failed", &error));
        }
        return Err(failed(error));
    }
    Ok(mounted)
}

async fn unmap(registry: &Registry, ready: &Ready) -> Outcome {
    let failed = |error: mapper::Error| failure("unmap failed", &error);
    for mapping in registry
        .find(&Query::Device(ready.device.clone()))
        .map_err(failed)?
    {
        if mapping.process == ready.process {
            give_up(registry, &mapping, Stop::GRACEFUL).await?;
        }
    }
    Ok(())
}

/// Unmounts what was mounted at a directory and unmaps its image. What has been undone already, by
/// other programs or by force, is no obstacle.
pub(crate) async fn undo(args: Umount) -> Outcome {
    let stop = stop(args.force, args.timeout);
    let mut positionals = Positionals::new(args.words);
    let directory = directory(&mut positionals)?;
    let registry = open_registry("umount failed")?;
    let mapping = find(&registry, &directory)?;
    let unmounted = unmount(&directory, stop).await;
    if unmounted.is_ok() && mapping.is_alive() {
        registry
            .set_mount_point(mapping.process, None)
            .map_err(|error| failure("umount failed", &error))?;
    }
    match unmounted {
        Err(failure) if !stop.is_forced => return Err(failure),
        // What the kernel waits for is failed by giving the device up.
        _ => give_up(&registry, &mapping, stop).await?,
    }
    match unmounted {
        Ok(()) => Ok(()),
        Err(_) => unmount_lazily(&directory),
    }
}

/// Unmounts what is mounted at a directory, if anything is.
async fn unmount(directory: &Path, stop: Stop) -> Outcome {
    let what = "umount failed";
    let failed = |error: mapper::Error| failure(what, &error);
    if MountPoint::at(directory).map_err(failed)?.is_none() {
        return Ok(());
    }
    match mapper::mount::unmount(directory, stop.patience).await {
        Err(error @ mapper::Error::TimedOut { .. }) => {
            Err(failed(error).hint("to give up what is not written: orbd umount --force"))
        }
        unmounted => unmounted.map_err(failed),
    }
}

/// Takes a file system out of the tree; it goes with the last of those who use it.
fn unmount_lazily(directory: &Path) -> Outcome {
    let failed = |error: mapper::Error| failure("umount failed", &error);
    if MountPoint::at(directory).map_err(failed)?.is_none() {
        return Ok(());
    }
    mapper::mount::unmount_lazily(directory).map_err(failed)
}

fn find(registry: &Registry, directory: &Path) -> Outcome<Mapping> {
    registry
        .find(&Query::MountPoint(directory.to_owned()))
        .map_err(|error| failure("umount failed", &error))?
        .into_iter()
        .next()
        .ok_or_else(|| {
            Failure::plain(
                Errno::EINVAL,
                format_args!("{}: not mounted by orbd", directory.display()),
            )
        })
}

fn directory(positionals: &mut Positionals) -> Outcome<PathBuf> {
    let typed = positionals
        .take()
        .ok_or_else(|| Failure::invalid("directory was not specified"))?;
    std::fs::canonicalize(&typed).map_err(|error| Failure::io(typed, &error))
}

fn open_registry(what: &str) -> Outcome<Registry> {
    Registry::open(None).map_err(|error| failure(what, &error))
}
