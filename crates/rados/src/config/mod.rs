//! Where the cluster is and who we are: ceph.conf, environment, keyrings, options.
//!
//! An option is looked up in this order, the first that sets it counts:
//!
//! 1. options given to the [`Builder`], which stand for the command line,
//! 2. the environment: `CEPH_ARGS`, and `CEPH_KEYRING` for the option `keyring`,
//! 3. the configuration file: its section `[client.NAME]`, then `[client]`, then `[global]`,
//! 4. options that the cluster keeps for its clients (`ceph config set client ...`), which the
//!    monitors send while the client connects and whenever they change, unless `--no-mon-config` is
//!    among the options of 1 or 2,
//! 5. the default.
//!
//! The file is the one that was named, or the first that exists of those in `CEPH_CONF`, or of
//! `/etc/ceph/$cluster.conf`, `~/.ceph/$cluster.conf` and `./$cluster.conf`.
//!
//! ```no_run
//! use rados::config::{Config, Environment};
//!
//! let config = Config::builder()
//!     .environment(Environment::of_process())
//!     .id("admin")
//!     .load()?;
//! println!("{} at {:?}", config.name(), config.monitors()?);
//! let key = config.key()?;
//! # Ok::<(), rados::config::ConfigError>(())
//! ```

mod arguments;
mod builder;
mod compression;
mod environment;
mod error;
mod file;
mod keys;
mod mon_host;
mod monitor_options;
mod objecter;
mod option;
mod settings;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use denc::AuthEntityName;
use zeroize::Zeroizing;

pub use self::builder::Builder;
pub use self::environment::Environment;
pub use self::error::{ConfigError, KeyMiss};
pub use self::mon_host::{Candidate, Host, MonHost, Protocol, V1_PORT, V2_PORT};
pub use self::objecter::{ConnectBackoff, ObjecterOptions};
pub use self::option::{OptionValue, Origin, SizeBytes, Value};
pub use self::settings::{AuthMethod, ConnectionMode, InFlightLimits, RbdDefaults, Timeouts};

use self::file::ConfFile;
use self::variables::Variables;

/// Everything needed to find a cluster and authenticate to it.
#[derive(Clone, Debug)]
pub struct Config {
    variables: Variables,
    /// Options from the command line and the environment, by name, in one layer: where both set
    /// one, the environment's has been dropped.
    given: BTreeMap<String, Given>,
    file: Option<ConfFile>,
    /// Where the file was looked for.
    searched: Vec<PathBuf>,
    monitor_options: BTreeMap<String, String>,
}

/// An option with its text as it was given.
#[derive(Clone)]
struct Given {
    text: Zeroizing<String>,
    origin: Origin,
}

/// Without the text, which may be a key.
impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Given(from {})", self.origin)
    }
}

impl Config {
    /// The configuration that Ceph's own tools would use in this process.
    ///
    /// # Errors
    /// As [`Builder::load`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::builder()
            .environment(Environment::of_process())
            .load()
    }

    /// Starts to put a configuration together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The user.
    pub const fn name(&self) -> &AuthEntityName {
        &self.variables.name
    }

    /// The name of the cluster, which only serves to find its files.
    pub fn cluster(&self) -> &str {
        &self.variables.cluster
    }

    /// The host's name, as far as the environment takes part.
    pub(crate) fn host(&self) -> &str {
        &self.variables.host
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(ConfFile::path)
    }

    /// What an option is set to. Names may be written with `_`, `-` or blanks between words.
    pub fn value(&self, name: &str) -> Option<Value> {
        let name = cephx::ini::normalize_name(name);
        let (text, origin) = if let Some(given) = self.given.get(&name) {
            (given.text.as_str(), given.origin.clone())
        } else if let Some(found) = self.value_in_file(&name) {
            found
        } else {
            let text = self.monitor_options.get(&name)?;
            (text.as_str(), Origin::Monitors)
        };
        Some(Value {
            text: Zeroizing::new(self.variables.expand(text)),
            origin,
        })
    }

    fn value_in_file(&self, name: &str) -> Option<(&str, Origin)> {
        let user = self.variables.name.to_string();
        let kind = self.variables.name.kind.to_string();
        self.setting_in(&[&user, &kind, "global", NO_SECTION], name)
    }

    fn setting_in(&self, sections: &[&str], name: &str) -> Option<(&str, Origin)> {
        let file = self.file.as_ref()?;
        let (section, setting) = file.find_setting(sections, name)?;
        let origin = Origin::File {
            path: file.path().to_path_buf(),
            section: section.to_string(),
            line: setting.line,
        };
        Some((setting.value.as_str(), origin))
    }

    /// What an option is set to, as a value of its type; `None` if it is not set.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if the text is not of that type.
    pub fn get<T: OptionValue>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match T::parse(&value.text) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(value.unusable(name, T::EXPECTED)),
        }
    }

    fn parsed<T: OptionValue>(&self, name: &str, default: T) -> Result<T, ConfigError> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// The name under which DNS has SRV records of the monitors (`mon_dns_srv_name`), which count if
    /// there are no [`monitors`](Self::monitors); `None` if it is set to nothing.
    ///
    /// The option is the name of a service, possibly with a domain behind a `_`. Without a domain
    /// those of the resolver's search list are tried.
    pub fn monitor_service(&self) -> Option<String> {
        let name = match self.value("mon_dns_srv_name") {
            Some(value) => value.text.to_string(),
            None => "ceph-mon".to_string(),
        };
        let (service, domain) = match name.split_once('_') {
            Some((service, domain)) => (service, format!(".{domain}")),
            None => (name.as_str(), String::new()),
        };
        (!service.is_empty()).then(|| format!("_{service}._tcp{domain}"))
    }

    /// The monitors: those of `mon_host`, or else those with an address in a section `[mon.NAME]` of
    /// the file. Not empty.
    ///
    /// # Errors
    /// [`ConfigError::MonAddress`], or [`ConfigError::NoMonitors`] if nothing names one.
    pub fn monitors(&self) -> Result<Vec<MonHost>, ConfigError> {
        if let Some(Value { text, origin }) = self.value("mon_host") {
            let monitors = parse_monitors("mon_host", &text, &origin)?;
            if !monitors.is_empty() {
                return Ok(monitors);
            }
        }
        let sections = self
            .file
            .as_ref()
            .map_or_else(Vec::new, |file| file.sections_with("mon."));
        let mut monitors = Vec::new();
        for section in sections {
            let Some((text, origin)) = self.setting_in(&[section], "mon_addr") else {
                continue;
            };
            let text = self.variables.expand(text);
            for monitor in parse_monitors("mon_addr", &text, &origin)? {
                monitors.push(MonHost {
                    name: section.strip_prefix("mon.").map(str::to_string),
                    ..monitor
                });
            }
        }
        if monitors.is_empty() {
            return Err(ConfigError::NoMonitors {
                file: self.searched.clone(),
                dns: None,
            });
        }
        Ok(monitors)
    }
}

impl Value {
    fn unusable(&self, option: &str, expected: &'static str) -> ConfigError {
        ConfigError::Value {
            option: option.to_string(),
            value: self.text.to_string(),
            origin: self.origin.clone(),
            expected,
        }
    }
}

fn parse_monitors(option: &str, text: &str, origin: &Origin) -> Result<Vec<MonHost>, ConfigError> {
    mon_host::parse(text).map_err(|bad| ConfigError::MonAddress {
        option: option.to_string(),
        item: bad.item,
        origin: origin.clone(),
        expected: bad.expected,
    })
}

/// The name of the section of a file that is a single setting.
const NO_SECTION: &str = "";

#[cfg(test)]
mod tests;
