//! Puts a configuration together from what was asked for, the environment and a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use denc::AuthEntityName;
use zeroize::Zeroizing;

use super::arguments::Arguments;
use super::file::ConfFile;
use super::variables::Variables;
use super::{Config, ConfigError, Environment, Given, Origin};

/// Collects what a [`Config`] is made of. What is not said is looked for in the usual places.
#[derive(Clone, Default)]
pub struct Builder {
    environment: Environment,
    /// What stands for the command line.
    arguments: Arguments,
    without_file: bool,
    /// What is in the file, instead of any file.
    text: Option<String>,
}

/// Without the options, of which one may be a key.
impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("conf", &self.arguments.conf)
            .field("cluster", &self.arguments.cluster)
            .field("name", &self.arguments.name)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Lets the environment take part; without this, no environment variable does.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Names the configuration file (`--conf`); several may be given with commas between them, of
    /// which the first that exists counts.
    #[must_use]
    pub fn conf(mut self, path: impl Into<String>) -> Self {
        self.arguments.conf = Some(path.into());
        self
    }

    /// Reads no configuration file at all.
    #[must_use]
    pub const fn without_file(mut self) -> Self {
        self.without_file = true;
        self
    }

    /// Takes the text for that of the configuration file, and looks for none: for fuzzing.
    #[doc(hidden)]
    #[must_use]
    pub fn conf_text(mut self, text: &str) -> Self {
        self.text = Some(text.to_string());
        self
    }

    /// Names the cluster (`--cluster`), which serves to find its files. Otherwise it has the name of
    /// the file given by [`conf`](Self::conf), or `ceph`.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.arguments.cluster = Some(name.into());
        self
    }

    /// Names the user (`--name`): `client.admin`, which is also the default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.arguments.name = Some(name.into());
        self
    }

    /// Names the user by the part behind `client.` (`--id`).
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        self.name(format!("client.{id}"))
    }

    /// Sets an option; again, the last one counts. `mon_host`, `keyring`, `keyfile` and `key` are
    /// options like any other.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<String>) -> Self {
        let name = cephx::ini::normalize_name(name);
        self.arguments.push(&name, value.into());
        self
    }

    /// Takes options as they are typed: `--mon-host a`, `--id=b`, `-k file`, `--any-option value`;
    /// gives back the words that are none.
    ///
    /// # Errors
    /// [`ConfigError::ValueMissing`].
    pub fn arguments(
        mut self,
        words: impl IntoIterator<Item = String>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let typed = Arguments::parse(words, &Origin::Explicit)?;
        self.arguments = overlay(self.arguments, typed.clone());
        Ok((self, typed.rest))
    }

    /// Finds and reads the configuration file and puts everything together.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read or has a line that means nothing, if a file that
    /// was named does not exist, or if the user's name is none.
    pub fn load(self) -> Result<Config, ConfigError> {
        let environment = &self.environment;
        let from_args = Arguments::parse(
            environment
                .get(ARGS)
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_string),
            &Origin::Environment(ARGS),
        )?;

        let mut given = BTreeMap::new();
        let mut give = |name: &str, text: &Zeroizing<String>, origin: &Origin| {
            let text = text.clone();
            let origin = origin.clone();
            given.insert(name.to_string(), Given { text, origin });
        };
        if let Some(paths) = environment.get(KEYRING) {
            give(
                "keyring",
                &Zeroizing::new(paths.to_string()),
                &Origin::Environment(KEYRING),
            );
        }
        for (name, text) in &from_args.options {
            give(name, text, &Origin::Environment(ARGS));
        }
        for (name, text) in &self.arguments.options {
            give(name, text, &Origin::Explicit);
        }

        let name = match (&self.arguments.name, &from_args.name) {
            (Some(name), _) => parse_name(name, Origin::Explicit)?,
            (None, Some(name)) => parse_name(name, Origin::Environment(ARGS))?,
            (None, None) => AuthEntityName::client("admin"),
        };
        let all = overlay(from_args, self.arguments);
        let cluster = all
            .cluster
            .or_else(|| all.conf.as_deref().and_then(cluster_of_file))
            .unwrap_or_else(|| "ceph".to_string());
        let variables = Variables::new(cluster, name, environment);

        let named = all
            .conf
            .or_else(|| environment.get(CONF).map(str::to_string));
        let searched = if self.without_file {
            Vec::new()
        } else if let Some(paths) = &named {
            paths_of(&variables.expand(paths))
        } else {
            usual_files(&variables.cluster, environment)
        };
        let file = match &self.text {
            Some(text) => Some(ConfFile::parse("ceph.conf".into(), text)?),
            None => ConfFile::find(&searched)?,
        };
        if file.is_none() && named.is_some() && !self.without_file {
            return Err(ConfigError::NoFile { tried: searched });
        }
        Ok(Config {
            variables,
            given,
            file,
            searched,
            monitor_options: BTreeMap::new(),
        })
    }
}

/// The arguments of `upper` over those of `lower`.
fn overlay(lower: Arguments, upper: Arguments) -> Arguments {
    Arguments {
        conf: upper.conf.or(lower.conf),
        cluster: upper.cluster.or(lower.cluster),
        name: upper.name.or(lower.name),
        options: [lower.options, upper.options].concat(),
        rest: Vec::new(),
    }
}

fn parse_name(name: &str, origin: Origin) -> Result<AuthEntityName, ConfigError> {
    name.parse().map_err(|_| ConfigError::Name {
        name: name.to_string(),
        origin,
    })
}

/// The cluster whose configuration is in a file `NAME.conf`.
fn cluster_of_file(paths: &str) -> Option<String> {
    let file = paths.rsplit('/').next()?;
    let (name, _) = file.split_once(".conf")?;
    (!name.is_empty()).then(|| name.to_string())
}

fn paths_of(list: &str) -> Vec<PathBuf> {
    list.split([',', ';'])
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

fn usual_files(cluster: &str, environment: &Environment) -> Vec<PathBuf> {
    let name = format!("{cluster}.conf");
    let mut files = vec![PathBuf::from("/etc/ceph").join(&name)];
    if let Some(home) = environment.home() {
        files.push(home.join(".ceph").join(&name));
    }
    files.push(PathBuf::from(name));
    files
}

const ARGS: &str = "CEPH_ARGS";
const CONF: &str = "CEPH_CONF";
const KEYRING: &str = "CEPH_KEYRING";
