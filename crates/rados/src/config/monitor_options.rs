//! Options that the cluster keeps for its clients (`ceph config set client ...`), which the monitors
//! send to each one, sections and masks already resolved
//! (ceph: doc/rados/configuration/ceph-conf.rst; `md_config_t::set_mon_vals`).

use std::collections::BTreeMap;

use super::{Config, ConfigError, Origin};

impl Config {
    /// Whether options kept by the monitors count. They do unless the option `mon_config` is false,
    /// which is what `--no-mon-config` on a command line or in `CEPH_ARGS` says.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if that option is neither true nor false.
    pub fn uses_monitor_options(&self) -> Result<bool, ConfigError> {
        self.parsed(MON_CONFIG, true)
    }

    /// Takes over the options that the cluster keeps for this client, all of them: those that were
    /// kept and are not among these are not set any more.
    ///
    /// Options that say how to find the monitors and who this client is are left out: they have been
    /// used when the monitors are heard. A value that is not of its option's kind is complained of in
    /// the log, and what the monitors said before, or the default, stays. What only others obey is
    /// kept without being looked at.
    pub fn set_monitor_options(&mut self, options: BTreeMap<String, String>) {
        let options = options
            .into_iter()
            .map(|(name, text)| (cephx::ini::normalize_name(&name), text))
            .filter(|(name, _)| !BEFORE_MONITORS.contains(&name.as_str()))
            .collect();
        let mut before = std::mem::replace(&mut self.monitor_options, options);
        while let Some(error) = self.unusable_monitor_option() {
            let ConfigError::Value { option, .. } = &error else {
                return;
            };
            tracing::warn!(%error, "an option is not taken from the monitors");
            match before.remove(option) {
                Some(text) => self.monitor_options.insert(option.clone(), text),
                None => self.monitor_options.remove(option),
            };
        }
    }

    /// The first option of the monitors that this client would obey if it could.
    fn unusable_monitor_option(&self) -> Option<ConfigError> {
        let outcomes = [
            self.client_modes().err(),
            self.mon_client_modes().err(),
            self.timeouts().err(),
            self.in_flight_limits().err(),
            self.objecter_options().err(),
            self.rbd_read_policy().err(),
            self.rbd_defaults().err(),
        ];
        outcomes.into_iter().flatten().find(|error| {
            matches!(
                error,
                ConfigError::Value {
                    origin: Origin::Monitors,
                    ..
                }
            )
        })
    }
}

/// Whether the monitors' options are wanted; not an option of Ceph's, but of its command lines.
const MON_CONFIG: &str = "mon_config";

/// Options that have been used before the monitors have anything to say. Ceph's monitors refuse to
/// keep most of them (`no_mon_update`); how to authenticate is decided by whoever holds the key.
const BEFORE_MONITORS: [&str; 10] = [
    "auth_client_required",
    "auth_supported",
    "fsid",
    "host",
    "key",
    "keyfile",
    "keyring",
    MON_CONFIG,
    "mon_dns_srv_name",
    "mon_host",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConnectionMode;

    fn config(options: &[(&str, &str)]) -> Config {
        let builder = Config::builder().without_file();
        let builder = options.iter().fold(builder, |builder, (name, value)| {
            builder.option(name, *value)
        });
        builder.load().unwrap()
    }

    fn set(config: &mut Config, options: &[(&str, &str)]) {
        let options = options.iter();
        config.set_monitor_options(
            options
                .map(|(name, text)| (name.to_string(), text.to_string()))
                .collect(),
        );
    }

    #[test]
    fn values_that_mean_nothing_change_nothing() {
        let mut config = config(&[]);
        set(
            &mut config,
            &[
                ("rbd_default_order", "40"),
                ("rbd_default_features", "3"),
                ("ms_client_mode", "plain"),
                ("rados_osd_op_timeout", "soon"),
                ("objecter_inflight_ops", "-1"),
                ("no_such_option", "\u{0}"),
            ],
        );
        let rbd = config.rbd_defaults().unwrap();
        assert_eq!((rbd.order, rbd.features), (22, 3));
        assert_eq!(config.client_modes().unwrap()[0], ConnectionMode::Crc);
        assert_eq!(config.timeouts().unwrap().osd_op, None);
        assert_eq!(config.in_flight_limits().unwrap().operations, 1024);
    }

    #[test]
    fn the_last_value_that_meant_something_stays() {
        let mut config = config(&[]);
        let order = |config: &Config| config.rbd_defaults().unwrap().order;
        set(&mut config, &[("rbd_default_order", "23")]);
        set(&mut config, &[("rbd_default_order", "40")]);
        assert_eq!(order(&config), 23);
        set(&mut config, &[("rbd_default_order", "41")]);
        assert_eq!(order(&config), 23);
        set(&mut config, &[]);
        assert_eq!(order(&config), 22);
    }

    #[test]
    fn a_value_that_is_overruled_is_nobodys_concern() {
        let mut config = config(&[("rbd_default_order", "24")]);
        set(&mut config, &[("rbd_default_order", "40")]);
        assert_eq!(config.rbd_defaults().unwrap().order, 24);
    }

    #[test]
    fn an_error_of_somebody_else_is_not_the_monitors() {
        let mut config = config(&[("rbd_default_order", "99")]);
        set(&mut config, &[("rbd_default_features", "3")]);
        assert!(config.rbd_defaults().is_err());
        assert_eq!(*config.value("rbd_default_features").unwrap().text, "3");
    }

    #[test]
    fn who_we_are_is_not_for_the_monitors_to_say() {
        let mut config = config(&[]);
        let options = BEFORE_MONITORS.map(|name| (name, "x"));
        set(&mut config, &options);
        for (name, _) in options {
            assert!(config.value(name).is_none(), "{name}");
        }
    }

    #[test]
    fn they_can_be_declined() {
        assert!(config(&[]).uses_monitor_options().unwrap());
        let words = ["--no-mon-config", "map"].map(str::to_string);
        let (builder, rest) = Config::builder().arguments(words).unwrap();
        assert_eq!(rest, ["map"]);
        let config = builder.without_file().load().unwrap();
        assert!(!config.uses_monitor_options().unwrap());
    }
}
