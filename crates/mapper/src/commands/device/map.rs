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
    let is_read_only = args.read_only || options_say_read_only(&args.options)?;
    let request = MapRequest {
        location,
        is_read_only,
        device_type: args.device_type,
        is_blank_wanted: false,
    };
    let ready = request.map(session).await?;
    print_text(&format!("{}\n", ready.device.display()))
}

/// Of the options that the kernel's own client takes, those that mean something here.
fn options_say_read_only(options: &[String]) -> Outcome<bool> {
    let mut is_read_only = false;
    for option in options.iter().flat_map(|list| list.split(',')) {
        match option {
            "ro" | "read_only" => is_read_only = true,
            "rw" => is_read_only = false,
            "" => {}
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
        let orders = Orders {
            global: global.clone(),
            overrides: overrides.clone(),
            directory,
            location: self.location,
            is_read_only: self.is_read_only,
            device_type: self.device_type,
            is_blank_wanted: self.is_blank_wanted,
            registry: registry.directory().to_owned(),
            log_file: log_file.clone(),
        };
        // A mount timeout of zero is none.
        let limit = match timeouts.mount {
            Duration::ZERO => Duration::MAX,
            mount => mount.saturating_add(ATTACH_LIMIT),
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
        let read_only = |text: &str| options_say_read_only(&[text.to_owned()]);
        assert!(read_only("ro").unwrap());
        assert!(!read_only("ro,rw").unwrap());
        assert_eq!(read_only("queue_depth=4").unwrap_err().status(), 22);
    }
}
