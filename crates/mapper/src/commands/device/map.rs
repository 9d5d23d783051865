//! `orbd map`: starts a daemon that makes an image a device of the kernel.

use std::path::Path;
use std::process;
use std::time::Duration;

use mapper::daemon::spawn;
use mapper::kernel::DeviceType;
use mapper::state::Registry;

use super::daemon::{Orders, Ready, SUBCOMMAND};
use super::failure;
use crate::args::device::Map;
use crate::args::lock::LockOptions;
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::output::print_text;
use crate::session::Session;

/// Maps an image and prints the device.
pub(crate) async fn run(args: Map, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(
        args.image,
        args.snap,
        &mut positionals,
        Wanted::IMAGE_OR_SNAP,
    )?;
    let mut lock = args.lock;
    let is_read_only = apply_options(&args.options, args.read_only, &mut lock)?;
    let request = MapRequest {
        location,
        is_read_only,
        lock,
        device_type: args.device_type,
        is_blank_wanted: false,
    };
    let ready = request.map(session).await?;
    print_text(&format!("{}\n", ready.device.display()))
}

/// Of the options that the kernel's own client takes, those that mean something here. Gives whether the device is for reading
/// only.
fn apply_options(
    options: &[String],
    mut is_read_only: bool,
    lock: &mut LockOptions,
) -> Outcome<bool> {
    for option in options.iter().flat_map(|list| list.split(',')) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match (name, value) {
            ("ro" | "read_only", None) => is_read_only = true,
            ("rw", None) => is_read_only = false,
            ("exclusive", None) => lock.exclusive = true,
            ("lock_on_read", None) => lock.lock_on_read = true,
            ("lock_timeout", Some(seconds)) => {
                let parsed = seconds.parse();
                lock.lock_timeout = Some(parsed.map_err(|_| {
                    Failure::invalid(format_args!("lock_timeout: '{seconds}' is not a number"))
                })?);
            }
            ("", None) => {}
            _ => {
                return Err(Failure::invalid(format_args!(
                    "unknown map option '{option}'"
                )));
            }
        }
    }
    Ok(is_read_only)
}

/// What is to be mapped, and how.
#[derive(Clone, Debug)]
pub(super) struct MapRequest {
    pub(super) location: Location,
    pub(super) is_read_only: bool,
    pub(super) lock: LockOptions,
    pub(super) device_type: Option<DeviceType>,
    /// Whether to find out if anything was ever written to the image.
    pub(super) is_blank_wanted: bool,
}

impl MapRequest {
    /// Starts the daemon and waits until its device is ready.
    pub(super) async fn map(self, session: &Session) -> Outcome<Ready> {
        let what = "map failed";
        let registry = Registry::open(None).map_err(|error| failure(what, &error))?;
        let log_file = registry
            .directory()
            .join(format!("map-{}.log", process::id()));
        let timeouts = session.timeouts()?;
        let (global, overrides) = session.options();
        let directory = std::env::current_dir().map_err(|error| Failure::io(what, &error))?;
        let lock_limit = self.lock.timeout().unwrap_or_default();
        let orders = Orders {
            global: global.clone(),
            overrides: overrides.clone(),
            directory,
            location: self.location,
            is_read_only: self.is_read_only,
            lock: self.lock,
            device_type: self.device_type,
            is_blank_wanted: self.is_blank_wanted,
            registry: registry.directory().to_owned(),
            log_file: log_file.clone(),
        };
        // A mount timeout of zero is none.
        let limit = match timeouts.mount {
            Duration::ZERO => Duration::MAX,
            mount => mount
                .saturating_add(ATTACH_LIMIT)
                .saturating_add(lock_limit),
        };
        let ready = spawn(&[SUBCOMMAND], &orders, Some(&log_file), limit).await;
        if ready.is_err() {
            discard_log(&log_file);
        }
        ready.map_err(|error| failure(what, &error))
    }
}

fn discard_log(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "the log stays");
    }
}

/// How long the kernel may take, once the image is open.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_option_counts_and_unknown_ones_are_refused() {
        let apply = |text: &str, lock: &mut LockOptions| {
            apply_options(&[text.to_owned()], false, lock).map_err(|failure| failure.status())
        };
        let mut lock = LockOptions::default();
        assert_eq!(apply("ro", &mut lock), Ok(true));
        assert_eq!(apply("ro,rw", &mut lock), Ok(false));
        assert_eq!(lock, LockOptions::default());
        assert_eq!(
            apply("exclusive,lock_on_read,lock_timeout=7", &mut lock),
            Ok(false)
        );
        let wanted = LockOptions {
            exclusive: true,
            lock_on_read: true,
            lock_timeout: Some(7),
        };
        assert_eq!(lock, wanted);
        for unknown in ["queue_depth=4", "lock_timeout", "lock_timeout=x", "ro=1"] {
            assert_eq!(apply(unknown, &mut lock), Err(22), "{unknown}");
        }
    }
}
