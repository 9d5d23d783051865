//! Options of the objecter.

use std::time::Duration;

use super::{Config, ConfigError, OptionValue};
use crate::ReadPolicy;
use crate::osdmap::CrushLocation;

/// How operations on objects are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjecterOptions {
    /// Whether writes fail with `ENOSPC` or `EDQUOT` when cluster or pool are full, instead of waiting
    /// until there is room (`abort_on_full`; the kernel's rbd has an option of that name).
    pub abort_on_full: bool,
    /// Which OSD is read from, unless an operation says otherwise (`rados_replica_read_policy`).
    pub read_policy: ReadPolicy,
    /// Where this client is, for [`ReadPolicy::Localize`] (`crush_location`; unless set, on the host
    /// of its name).
    pub crush_location: CrushLocation,
    /// How soon an attempt to connect to an OSD is followed by another.
    pub connect_backoff: ConnectBackoff,
}

/// How soon an attempt to connect is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectBackoff {
    /// After the first one that failed (`ms_initial_backoff`). Doubled after each further one.
    pub initial: Duration,
    /// The longest (`ms_max_backoff`).
    pub max: Duration,
}

impl Default for ConnectBackoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// How operations on objects are sent.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if an option is not of its type.
    pub fn objecter_options(&self) -> Result<ObjecterOptions, ConfigError> {
        let ConnectBackoff { initial, max } = ConnectBackoff::default();
        let Seconds(initial) = self.parsed("ms_initial_backoff", Seconds(initial))?;
        let Seconds(max) = self.parsed("ms_max_backoff", Seconds(max))?;
        let mut crush_location = self.parsed("crush_location", CrushLocation::default())?;
        if crush_location == CrushLocation::default() {
            crush_location = CrushLocation::of_host(self.host());
        }
        Ok(ObjecterOptions {
            abort_on_full: self.parsed("abort_on_full", false)?,
            read_policy: self.parsed("rados_replica_read_policy", ReadPolicy::Primary)?,
            crush_location,
            connect_backoff: ConnectBackoff { initial, max },
        })
    }

    /// Which OSD the contents of images are read from (`rbd_read_from_replica_policy`).
    ///
    /// # Errors
    /// [`ConfigError::Value`] if it is none of those there are.
    pub fn rbd_read_policy(&self) -> Result<ReadPolicy, ConfigError> {
        self.parsed("rbd_read_from_replica_policy", ReadPolicy::Primary)
    }
}

impl OptionValue for ReadPolicy {
    const EXPECTED: &'static str = "default, balance or localize";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "default" => Some(Self::Primary),
            "balance" => Some(Self::Balance),
            "localize" => Some(Self::Localize),
            _ => None,
        }
    }
}

impl OptionValue for CrushLocation {
    const EXPECTED: &'static str = "a list of type=name, as in \"root=default host=a\"";

    fn parse(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// A number of seconds, fractions allowed.
#[derive(Clone, Copy)]
struct Seconds(Duration);

impl OptionValue for Seconds {
    const EXPECTED: &'static str = "a number of seconds";

    fn parse(text: &str) -> Option<Self> {
        let seconds: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Environment;
    use super::*;

    fn options(name: &str, value: &str) -> Result<ObjecterOptions, ConfigError> {
        let environment = Environment {
            host: "a".to_string(),
            ..Environment::default()
        };
        let builder = Config::builder().without_file().environment(environment);
        builder.option(name, value).load()?.objecter_options()
    }

    #[test]
    fn the_defaults_are_those_of_ceph() {
        let options = options("crush_location", "").unwrap();
        assert_eq!(
            options,
            ObjecterOptions {
                crush_location: CrushLocation::parse("host=a root=default").unwrap(),
                ..ObjecterOptions::default()
            }
        );
    }

    #[test]
    fn what_is_set_is_obeyed_or_refused() {
        assert!(options("abort_on_full", "true").unwrap().abort_on_full);
        let backoff = options("ms_initial_backoff", "0.5")
            .unwrap()
            .connect_backoff;
        assert_eq!(backoff.initial, Duration::from_millis(500));
        let policy =
            |text| Ok::<_, ConfigError>(options("rados_replica_read_policy", text)?.read_policy);
        assert_eq!(policy("balance").unwrap(), ReadPolicy::Balance);
        assert_eq!(policy("localize").unwrap(), ReadPolicy::Localize);
        assert_eq!(policy("default").unwrap(), ReadPolicy::Primary);
        for (name, value) in [
            ("rados_replica_read_policy", "nearest"),
            ("crush_location", "here"),
            ("ms_max_backoff", "-1"),
            ("abort_on_full", "yes"),
        ] {
            let error = options(name, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} = {value:?}")), "{error}");
        }
        let config = Config::builder()
            .without_file()
            .option("rbd_read_from_replica_policy", "balance");
        let policy = config.load().unwrap().rbd_read_policy().unwrap();
        assert_eq!(policy, ReadPolicy::Balance);
    }
}
