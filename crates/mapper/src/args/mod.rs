//! What was typed: the command line as a value, not yet checked against the configuration.
//!
//! The options are upstream's `rbd` where it has the command. Reading them takes three steps:
//! options of the configuration are [taken out](overrides), the words of the command are
//! [moved to the front](order), where upstream does not insist on them, and clap does the rest.
//! What clap has to complain about is [said in upstream's words](complaint).

pub(crate) mod changes;
mod complaint;
pub(crate) mod create;
pub(crate) mod device;
pub(crate) mod global;
pub(crate) mod image;
pub(crate) mod lock;
mod order;
pub(crate) mod overrides;
pub(crate) mod transfer;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::exit::Failure;
use global::Global;
use overrides::Overrides;

/// Ceph block devices and their images.
#[derive(Debug, Parser)]
#[command(
    name = "orbd",
    version,
    disable_version_flag = true,
    propagate_version = false,
    about = "RBD images: create, inspect, copy, serve, map and mount them",
    after_help = "Every option of ceph.conf can be given as --NAME VALUE, with dashes or underscores."
)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure how fast an image is.
    Bench(transfer::Bench),
    /// Create an empty image.
    Create(create::Create),
    /// Images as block devices.
    #[command(subcommand)]
    Device(device::Device),
    /// List what of an image is stored, or has changed since a snapshot.
    Diff(changes::Diff),
    /// Show how much of images is stored.
    #[command(visible_alias = "du")]
    DiskUsage(changes::DiskUsage),
    /// Copy an image to a file.
    Export(transfer::Export),
    /// Features of an image.
    #[command(subcommand)]
    Feature(image::Feature),
    /// Metadata of an image.
    #[command(subcommand, name = "image-meta")]
    ImageMeta(image::ImageMeta),
    /// Make an image of a file.
    Import(transfer::Import),
    /// Show size, striping, features and more of an image.
    Info(image::Info),
    /// List the images of a pool.
    #[command(visible_alias = "ls")]
    List(image::List),
    /// Locks on an image.
    #[command(subcommand)]
    Lock(lock::Lock),
    /// Map an image to a block device.
    Map(device::Map),
    /// Map an image and mount the file system on it, making one if there is nothing on it.
    Mount(device::Mount),
    /// The map that says which objects of an image exist.
    #[command(subcommand)]
    ObjectMap(changes::ObjectMap),
    /// Remove an image.
    #[command(visible_alias = "rm")]
    Remove(image::Remove),
    /// Rename an image.
    #[command(visible_alias = "mv")]
    Rename(image::Rename),
    /// Grow or shrink an image.
    Resize(image::Resize),
    /// Serve an image to NBD clients.
    Serve(device::Serve),
    /// List mapped images.
    Showmapped(device::List),
    /// Snapshots of an image.
    #[command(subcommand)]
    Snap(image::Snap),
    /// Show who has an image open.
    Status(image::Status),
    /// Unmount what was mounted with `mount` and unmap its image.
    Umount(device::Umount),
    /// Undo the mapping of an image.
    Unmap(device::Unmap),
}

/// A command line that could be read.
#[derive(Debug)]
pub(crate) enum Request {
    /// Print this and be done: help, the version.
    Print(String),
    /// Do something.
    Run(Box<Invocation>),
}

/// What to do, and with which configuration.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) global: Global,
    pub(crate) overrides: Overrides,
    pub(crate) command: Command,
}

/// Reads a command line, without the name of the program.
///
/// # Errors
/// With exit status 1, in upstream's words.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let args = args
        .into_iter()
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| Failure::usage(format_args!("{arg:?} is not valid UTF-8")))
        })
        .collect::<Result<Vec<String>, Failure>>()?;
    let (args, overrides) = overrides::take(args)?;
    let root = Line::command();
    let args = order::command_first(&root, args);
    if args.iter().any(|arg| arg == "--") || !wants_version(&args) {
        let words = std::iter::once(String::from("orbd")).chain(args);
        let matches = match root.try_get_matches_from(words) {
            Ok(matches) => matches,
            Err(error) => return complaint::translate(&error),
        };
        let line =
            Line::from_arg_matches(&matches).map_err(|error| Failure::usage(error.to_string()))?;
        return Ok(match line.command {
            Some(command) => Request::Run(Box::new(Invocation {
                global: line.global,
                overrides,
                command,
            })),
            None => Request::Print(Line::command().render_help().to_string()),
        });
    }
    Ok(Request::Print(format!(
        "orbd {}\n",
        env!("CARGO_PKG_VERSION")
    )))
}

/// Upstream prints its version wherever the option stands.
fn wants_version(args: &[String]) -> bool {
    args.iter().any(|arg| arg == "--version" || arg == "-v")
}

#[cfg(test)]
mod tests;
