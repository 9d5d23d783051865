//! The releases of Ceph that a cluster can be of.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;

use crate::packages::{self, CLUSTER};
use crate::{Error, roots};

/// A release of Ceph, older ones less than newer ones.
///
/// Those of [`Release::ALL`] can be had on any machine; of the others only the one that this
/// machine's own packages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Release {
    /// 14.2, of Debian 11 (bullseye).
    Nautilus,
    /// 15.2.
    Octopus,
    /// 16.2, of Debian 12 (bookworm).
    Pacific,
    /// 17.2.
    Quincy,
    /// 18.2, of Debian 13 (trixie).
    Reef,
    /// 19.2.
    Squid,
    /// 20.2, of Debian 14 (forky).
    Tentacle,
}

impl Release {
    /// The releases that some Debian has, oldest first.
    pub const ALL: [Self; 4] = [Self::Nautilus, Self::Pacific, Self::Reef, Self::Tentacle];

    /// Its name in lower case, as Ceph has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nautilus => "nautilus",
            Self::Octopus => "octopus",
            Self::Pacific => "pacific",
            Self::Quincy => "quincy",
            Self::Reef => "reef",
            Self::Squid => "squid",
            Self::Tentacle => "tentacle",
        }
    }

    /// Its number: the first part of its versions.
    #[must_use]
    pub fn major(self) -> u32 {
        match self {
            Self::Nautilus => 14,
            Self::Octopus => 15,
            Self::Pacific => 16,
            Self::Quincy => 17,
            Self::Reef => 18,
            Self::Squid => 19,
            Self::Tentacle => 20,
        }
    }

    /// The Debian that has it.
    pub(crate) fn suite(self) -> Option<&'static str> {
        match self {
            Self::Nautilus => Some("bullseye"),
            Self::Pacific => Some("bookworm"),
            Self::Reef => Some("trixie"),
            Self::Tentacle => Some("forky"),
            Self::Octopus | Self::Quincy | Self::Squid => None,
        }
    }

    /// What this machine's own packages are, if they are installed.
    ///
    /// # Errors
    ///
    /// [`Error::Output`] when they are of a release not known here.
    pub fn host() -> Result<Option<Self>, Error> {
        const PROGRAM: &str = "ceph-mon";
        // Asked for by every cluster that is started; it may only change from nothing.
        static HOST: OnceLock<Release> = OnceLock::new();
        if let Some(release) = HOST.get() {
            return Ok(Some(*release));
        }
        if !packages::is_program_there(PROGRAM) {
            return Ok(None);
        }
        let output = Command::new(PROGRAM)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Spawn {
                program: PROGRAM.into(),
                source,
            })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match Self::of_version(&text) {
            Some(release) => Ok(Some(*HOST.get_or_init(|| release))),
            None => Err(Error::Output {
                command: format!("{PROGRAM} --version"),
                output: text,
            }),
        }
    }

    /// The release of clusters that are not asked to be of any: the one that the environment
    /// variable [`Release::VARIABLE`] names, or else that of this machine's own packages, which are
    /// installed if they are missing.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when the variable names no release, and as [`packages::ensure`] and
    /// [`Release::host`].
    pub fn default_of_tests() -> Result<Self, Error> {
        if let Some(name) = std::env::var_os(Self::VARIABLE).filter(|name| !name.is_empty()) {
            let name = name.to_string_lossy();
            return name.parse().map_err(|_| {
                Error::Unsupported(format!("{}={name}: no such release", Self::VARIABLE))
            });
        }
        packages::ensure(CLUSTER)?;
        Self::host()?.ok_or_else(|| Error::Unsupported("no Ceph on the search path".into()))
    }

    /// The environment variable that chooses the release of clusters.
    pub const VARIABLE: &str = "ORBD_TEST_RELEASE";

    /// Sees to it that the programs of this release are there: installs this machine's packages, or
    /// makes the root directory of another system that has them, once, which takes some minutes.
    /// Returns that root, or nothing when the release is this machine's own.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] and [`Error::RootNeeded`] when this process may not do that,
    /// [`Error::Unsupported`] for a release that cannot be had, and [`Error::Command`] with what
    /// went wrong otherwise.
    pub fn ensure(self) -> Result<Option<PathBuf>, Error> {
        if Self::host()? == Some(self) {
            packages::ensure(CLUSTER)?;
            Ok(None)
        } else {
            roots::ensure(self).map(Some)
        }
    }

    /// Whether [`Release::ensure`] has nothing to do.
    ///
    /// # Errors
    ///
    /// As [`Release::host`].
    pub fn is_there(self) -> Result<bool, Error> {
        Ok(Self::host()? == Some(self) || roots::find(self).is_some())
    }

    /// Reads what the programs print: `ceph version 16.2.15 (COMMIT) pacific (stable)`.
    fn of_version(text: &str) -> Option<Self> {
        let version = text.trim().strip_prefix("ceph version ")?;
        let major: u32 = version.split('.').next()?.parse().ok()?;
        EVERY.into_iter().find(|release| release.major() == major)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a release.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no release of Ceph has this name")]
pub struct UnknownRelease;

impl FromStr for Release {
    type Err = UnknownRelease;

    fn from_str(name: &str) -> Result<Self, UnknownRelease> {
        let is_it = |release: &Self| release.name() == name;
        EVERY.into_iter().find(is_it).ok_or(UnknownRelease)
    }
}

const EVERY: [Release; 7] = [
    Release::Nautilus,
    Release::Octopus,
    Release::Pacific,
    Release::Quincy,
    Release::Reef,
    Release::Squid,
    Release::Tentacle,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_by_what_the_programs_print() {
        let of = Release::of_version;
        let debian =
            "ceph version 16.2.15 (618f440892089921c3e944a991122ddc44e60516) pacific (stable)\n";
        assert_eq!(of(debian), Some(Release::Pacific));
        assert_eq!(
            of("ceph version 20.2.4 (x) tentacle (stable)"),
            Some(Release::Tentacle)
        );
        assert_eq!(of("ceph version 99.0.0 (x) future (dev)"), None);
        assert_eq!(of("ceph: command not found"), None);
    }

    #[test]
    fn names_are_read_back_and_ordered_by_age() {
        for release in EVERY {
            assert_eq!(release.to_string().parse::<Release>().unwrap(), release);
        }
        assert!("Pacific".parse::<Release>().is_err());
        assert!(
            EVERY
                .windows(2)
                .all(|pair| pair[0] < pair[1] && pair[0].major() < pair[1].major())
        );
        assert!(Release::ALL.iter().all(|release| release.suite().is_some()));
    }
}
