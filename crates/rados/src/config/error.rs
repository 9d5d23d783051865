//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use cephx::KeyringError;
use cephx::ini::SyntaxError;
use denc::AuthEntityName;

use super::Origin;

/// Why there is no usable configuration: which file, option or place, and what was expected of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// None of the configuration files that were named exists.
    #[error("there is no configuration file at {}", paths(.tried))]
    NoFile {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// A configuration file with a line that means nothing.
    #[error("{}: {source}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line and what was expected there.
        source: SyntaxError,
    },
    /// A user name that is none.
    #[error("{name:?} from {origin} is not a user name: expected TYPE.ID such as client.admin")]
    Name {
        /// What was given.
        name: String,
        /// Where.
        origin: Origin,
    },
    /// A command line option without its value.
    #[error("{option} from {origin} lacks its value")]
    ValueMissing {
        /// The option.
        option: String,
        /// Where it stands.
        origin: Origin,
    },
    /// An option whose value is not of its kind.
    #[error("{option} = {value:?} from {origin} is not usable: expected {expected}")]
    Value {
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// Where it was set.
        origin: Origin,
        /// What it should be.
        expected: &'static str,
    },
    /// A monitor address that is none.
    #[error("{item:?} in {option} from {origin} is no monitor address: {expected}")]
    MonAddress {
        /// The option that lists monitors.
        option: String,
        /// The part of it that cannot be read.
        item: String,
        /// Where it was set.
        origin: Origin,
        /// What was expected.
        expected: &'static str,
    },
    /// Nothing says where the monitors are.
    #[error("no monitor is known: mon_host is not set, neither by an option nor in {}{}", places(.file), in_dns(.dns))]
    NoMonitors {
        /// The configuration file, or where one was looked for.
        file: Vec<PathBuf>,
        /// The name of the service that was looked up in DNS, and why that gave none; `None` if it was
        /// not looked up.
        dns: Option<(String, String)>,
    },
    /// A key that is none.
    #[error("{place} does not hold a usable key: {source}")]
    Key {
        /// The option or file that should hold it.
        place: String,
        /// What is wrong with it.
        source: cephx::Error,
    },
    /// A file that should be a keyring and is none.
    #[error("{} is not a keyring: {source}", .path.display())]
    Keyring {
        /// The file.
        path: PathBuf,
        /// The line and what was expected there.
        source: KeyringError,
    },
    /// No file has a key for the user.
    #[error("no key for {name}{}", misses(.tried))]
    NoKey {
        /// The user.
        name: AuthEntityName,
        /// Where a key was looked for, and why it was not there.
        tried: Vec<(PathBuf, KeyMiss)>,
    },
}

/// Why a keyring did not have a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyMiss {
    /// The file cannot be read.
    #[error("{0}")]
    Read(io::Error),
    /// The user is not in it.
    #[error("{0}")]
    User(KeyringError),
}

fn paths(paths: &[PathBuf]) -> String {
    let texts: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    texts.join(", ")
}

fn places(files: &[PathBuf]) -> String {
    match files {
        [] => "a configuration file".to_string(),
        files => paths(files),
    }
}

fn in_dns(dns: &Option<(String, String)>) -> String {
    match dns {
        Some((name, reason)) => format!(", and DNS has no monitors at {name}: {reason}"),
        None => String::new(),
    }
}

fn misses(tried: &[(PathBuf, KeyMiss)]) -> String {
    if tried.is_empty() {
        return ", and no keyring to look into is configured".to_string();
    }
    let mut text = String::from(": tried ");
    for (index, (path, miss)) in tried.iter().enumerate() {
        let separator = if index > 0 { "; " } else { "" };
        let _ = fmt::Write::write_fmt(
            &mut text,
            format_args!("{separator}{} ({miss})", path.display()),
        );
    }
    text
}
