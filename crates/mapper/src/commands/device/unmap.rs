//! `orbd unmap`: has a daemon give its device up.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use mapper::mount::MountPoint;
use mapper::state::{MappedSpec, Mapping, Query, Registry};
use rados::Errno;

use super::failure;
use super::give_up::{give_up, stop};
use crate::args::device::Unmap;
use crate::args::image::ImageOptions;
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::session::Session;

/// Undoes the mapping of an image.
pub(crate) async fn run(args: Unmap, session: &Session) -> Outcome {
    let stop = stop(args.force || is_forced(&args.options)?, args.timeout);
    let target = Target::resolve(args.specs, args.image, args.snap)?;
    let registry = Registry::open(None).map_err(|error| failure("unmap failed", &error))?;
    let query = target.query(session)?;
    let mapping = registry
        .find(&query)
        .map_err(|error| failure("unmap failed", &error))?
        .into_iter()
        .find(|mapping| {
            args.device_type
                .is_none_or(|device_type| device_type == mapping.device_type)
        })
        .ok_or_else(|| target.not_mapped())?;
    if !stop.is_forced
        && let Some(device) = &mapping.device
    {
        refuse_mounted(device)?;
    }
    give_up(&registry, &mapping, stop).await?;
    if stop.is_forced {
        warn_of_use(&mapping);
    }
    Ok(())
}

fn is_forced(options: &[String]) -> Outcome<bool> {
    let mut is_forced = false;
    for option in options.iter().flat_map(|list| list.split(',')) {
        match option {
            "force" => is_forced = true,
            "" => {}
            _ => {
                return Err(Failure::invalid(format_args!(
                    "unknown unmap option '{option}'"
                )));
            }
        }
    }
    Ok(is_forced)
}

fn refuse_mounted(device: &Path) -> Outcome {
    let mounted = match MountPoint::of(device) {
        Ok(mounted) => mounted,
        // A device that is not there is not mounted.
        Err(mapper::Error::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        Err(error) => return Err(failure("unmap failed", &error)),
    };
    match mounted.first() {
        None => Ok(()),
        Some(mounted) => Err(Failure::errno(
            format_args!(
                "unmap failed: {} is mounted at {}",
                device.display(),
                mounted.path.display()
            ),
            Errno::EBUSY,
        )
        .hint(format_args!(
            "unmount it first: orbd umount {}",
            mounted.path.display()
        ))),
    }
}

/// Says where a device is still mounted that was given up by force: there it fails everything.
fn warn_of_use(mapping: &Mapping) {
    let Some(device) = &mapping.device else {
        return;
    };
    // A device that cannot be looked at is not mounted.
    for mounted in MountPoint::of(device).unwrap_or_default() {
        eprintln!(
            "orbd: {} fails everything from now on and is still mounted at {path}; to take it away: umount -l {path}",
            device.display(),
            path = mounted.path.display()
        );
    }
}

/// What is to be unmapped.
#[derive(Debug)]
enum Target {
    Device(PathBuf),
    Image(Location),
}

impl Target {
    fn resolve(specs: Vec<String>, options: ImageOptions, snap: Option<String>) -> Outcome<Self> {
        if options.image.is_none()
            && let Some(path) = specs.first().filter(|spec| spec.starts_with('/'))
        {
            let is_block = std::fs::metadata(path)
                .is_ok_and(|metadata| metadata.file_type().is_block_device());
            if !is_block {
                return Err(Failure::invalid(format_args!(
                    "'{path}' is not a block device"
                )));
            }
            return Ok(Self::Device(PathBuf::from(path)));
        }
        let mut positionals = Positionals::new(specs);
        let wanted = Wanted {
            is_image_needed: false,
            ..Wanted::IMAGE_OR_SNAP
        };
        let location = locate(options, snap, &mut positionals, wanted)?;
        if location.image.is_empty() {
            return Err(Failure::invalid(
                "unmap requires either image name or device path",
            ));
        }
        Ok(Self::Image(location))
    }

    fn query(&self, session: &Session) -> Outcome<Query> {
        Ok(match self {
            Self::Device(path) => Query::Device(path.clone()),
            Self::Image(location) => Query::Spec(MappedSpec {
                // Which one it is would have to be asked there, and it may not answer.
                cluster: String::new(),
                pool: match &location.pool {
                    Some(pool) => pool.clone(),
                    None => session.defaults()?.pool,
                },
                namespace: location.namespace.clone(),
                image: location.image.clone(),
                snapshot: location.snap.clone(),
            }),
        })
    }

    fn not_mapped(&self) -> Failure {
        match self {
            Self::Device(path) => {
                Failure::invalid(format_args!("{}: not a mapped device", path.display()))
            }
            Self::Image(location) => {
                Failure::invalid(format_args!("{location}: not a mapped image or snapshot"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;

    #[test]
    fn what_is_no_target_is_refused_as_by_rbd() {
        let cases = Recording::load("change");
        for case in ["unmap nothing", "unmap not a device"] {
            let recording = Recording::find(&cases, case);
            let specs = recording.args[1..].to_vec();
            let failure = Target::resolve(specs, ImageOptions::default(), None).unwrap_err();
            assert_eq!(failure.status(), recording.code, "{case}");
            let said = recording.stderr.lines().next().unwrap();
            assert_eq!(said, format!("rbd: {failure}"), "{case}");
        }
        let recording = Recording::find(&cases, "unmap not mapped");
        let specs = recording.args[1..].to_vec();
        let target = Target::resolve(specs, ImageOptions::default(), None).unwrap();
        let said = recording.stderr.lines().next().unwrap();
        assert_eq!(said, format!("rbd: {}", target.not_mapped()));
    }
}
