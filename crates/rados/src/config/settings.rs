//! The options this client obeys, by topic, with the defaults of Ceph 16.

use std::time::Duration;

use super::option::words;
use super::{Config, ConfigError, OptionValue, SizeBytes, Value};

/// How to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// With a key.
    Cephx,
    /// Not at all.
    None,
}

/// What protects the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionMode {
    /// Checksums against accidents.
    Crc,
    /// Encryption.
    Secure,
}

/// What new images look like unless said otherwise (`rbd_default_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbdDefaults {
    /// The pool of images that are named without one.
    pub pool: String,
    /// The binary logarithm of the object size in bytes.
    pub order: u8,
    /// Feature bits.
    pub features: u64,
    /// The stripe unit, 0 for the object size.
    pub stripe_unit: SizeBytes,
    /// The number of objects a stripe spans, 0 for 1.
    pub stripe_count: u64,
    /// The pool for the data, if another one than for the header.
    pub data_pool: Option<String>,
    /// The format of the header: 1 or 2.
    pub format: u8,
}

/// How much may be in flight at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlightLimits {
    /// Operations on objects (`objecter_inflight_ops`).
    pub operations: u64,
    /// What they carry (`objecter_inflight_op_bytes`).
    pub bytes: SizeBytes,
}

/// How long to wait for whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// How long to try to reach the cluster at first, 0 for as long as it takes
    /// (`client_mount_timeout`).
    pub mount: Duration,
    /// How long an operation on an object may take; `None` is for ever (`rados_osd_op_timeout`).
    pub osd_op: Option<Duration>,
    /// The same for questions to monitors (`rados_mon_op_timeout`).
    pub mon_op: Option<Duration>,
    /// After how long without a sign of life a watch is lost (`osd_client_watch_timeout`).
    pub watch: Duration,
    /// How long to try one set of monitors before another (`mon_client_hunt_interval`).
    pub hunt_interval: Duration,
    /// By what that time is multiplied after each failure (`mon_client_hunt_interval_backoff`).
    pub hunt_backoff: f64,
    /// The most it is multiplied by (`mon_client_hunt_interval_max_multiple`).
    pub hunt_max_multiple: f64,
    /// How many monitors to try at once (`mon_client_hunt_parallel`).
    pub hunt_parallel: u64,
    /// How often to ask whether the monitor is there (`mon_client_ping_interval`).
    pub mon_ping_interval: Duration,
    /// How long it may stay silent, 0 for ever (`mon_client_ping_timeout`).
    pub mon_ping_timeout: Duration,
}

impl Config {
    /// The methods of authentication that may be used, the preferred one first
    /// (`auth_client_required`, or the older `auth_supported` where set).
    ///
    /// # Errors
    /// [`ConfigError::Value`] if one is not known.
    pub fn auth_methods(&self) -> Result<Vec<AuthMethod>, ConfigError> {
        let set = |name| {
            self.value(name)
                .filter(|value| !value.text.is_empty())
                .map(|value| (name, value))
        };
        let Some((name, value)) = set("auth_supported").or_else(|| set("auth_client_required"))
        else {
            return Ok(vec![AuthMethod::Cephx, AuthMethod::None]);
        };
        let method = |word: &str| match word {
            "cephx" => Some(AuthMethod::Cephx),
            "none" => Some(AuthMethod::None),
            _ => None,
        };
        list(name, &value, method, "a list of cephx and none")
    }

    /// The modes for connections to OSDs and managers, the preferred one first (`ms_client_mode`).
    ///
    /// # Errors
    /// [`ConfigError::Value`] if one is not known.
    pub fn client_modes(&self) -> Result<Vec<ConnectionMode>, ConfigError> {
        let defaults = [ConnectionMode::Crc, ConnectionMode::Secure];
        self.modes("ms_client_mode", defaults)
    }

    /// The modes for connections to monitors, the preferred one first (`ms_mon_client_mode`).
    ///
    /// # Errors
    /// [`ConfigError::Value`] if one is not known.
    pub fn mon_client_modes(&self) -> Result<Vec<ConnectionMode>, ConfigError> {
        let defaults = [ConnectionMode::Secure, ConnectionMode::Crc];
        self.modes("ms_mon_client_mode", defaults)
    }

    fn modes(
        &self,
        name: &'static str,
        defaults: [ConnectionMode; 2],
    ) -> Result<Vec<ConnectionMode>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(defaults.to_vec());
        };
        let mode = |word: &str| match word {
            "crc" => Some(ConnectionMode::Crc),
            "secure" => Some(ConnectionMode::Secure),
            _ => None,
        };
        list(name, &value, mode, "a list of crc and secure")
    }

    /// What new images look like.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if an option is not of its type.
    pub fn rbd_defaults(&self) -> Result<RbdDefaults, ConfigError> {
        let Order(order) = self.parsed("rbd_default_order", Order(22))?;
        let FeatureBits(features) = self.parsed("rbd_default_features", FeatureBits(61))?;
        let Format(format) = self.parsed("rbd_default_format", Format(2))?;
        let data_pool = self.parsed("rbd_default_data_pool", String::new())?;
        Ok(RbdDefaults {
            pool: self.parsed("rbd_default_pool", "rbd".to_string())?,
            order,
            features,
            stripe_unit: self.parsed("rbd_default_stripe_unit", SizeBytes(0))?,
            stripe_count: self.parsed("rbd_default_stripe_count", 0)?,
            data_pool: (!data_pool.is_empty()).then_some(data_pool),
            format,
        })
    }

    /// How much may be in flight at a time.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if an option is not of its type.
    pub fn in_flight_limits(&self) -> Result<InFlightLimits, ConfigError> {
        Ok(InFlightLimits {
            operations: self.parsed("objecter_inflight_ops", 1024)?,
            bytes: self.parsed("objecter_inflight_op_bytes", SizeBytes(100 << 20))?,
        })
    }

    /// How long to wait for whom.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if an option is not of its type.
    pub fn timeouts(&self) -> Result<Timeouts, ConfigError> {
        let seconds = |name, default| self.parsed(name, Duration::from_secs(default));
        let limit = |name| Ok(Some(seconds(name, 0)?).filter(|limit| !limit.is_zero()));
        Ok(Timeouts {
            mount: seconds("client_mount_timeout", 300)?,
            osd_op: limit("rados_osd_op_timeout")?,
            mon_op: limit("rados_mon_op_timeout")?,
            watch: seconds("osd_client_watch_timeout", 30)?,
            hunt_interval: seconds("mon_client_hunt_interval", 3)?,
            hunt_backoff: self.parsed("mon_client_hunt_interval_backoff", 1.5)?,
            hunt_max_multiple: self.parsed("mon_client_hunt_interval_max_multiple", 10.0)?,
            hunt_parallel: self.parsed("mon_client_hunt_parallel", 3)?,
            mon_ping_interval: seconds("mon_client_ping_interval", 10)?,
            mon_ping_timeout: seconds("mon_client_ping_timeout", 30)?,
        })
    }
}

/// Reads a list of words that are all known, and of which there is at least one.
fn list<T: PartialEq>(
    name: &str,
    value: &Value,
    known: impl Fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<Vec<T>, ConfigError> {
    let mut found = Vec::new();
    for word in words(&value.text) {
        let item = known(word).ok_or_else(|| value.unusable(name, expected))?;
        if !found.contains(&item) {
            found.push(item);
        }
    }
    if found.is_empty() {
        return Err(value.unusable(name, expected));
    }
    Ok(found)
}

/// The order of an image: objects of 4 KiB to 32 MiB.
#[derive(Clone, Copy)]
struct Order(u8);

impl OptionValue for Order {
    const EXPECTED: &'static str = "a number from 12 to 25";

    fn parse(text: &str) -> Option<Self> {
        let order = text.parse().ok()?;
        (12..=25).contains(&order).then_some(Self(order))
    }
}

#[derive(Clone, Copy)]
struct Format(u8);

impl OptionValue for Format {
    const EXPECTED: &'static str = "1 or 2";

    fn parse(text: &str) -> Option<Self> {
        let format = text.parse().ok()?;
        (1..=2).contains(&format).then_some(Self(format))
    }
}

/// Feature bits, as a number or by name (ceph: src/librbd/Features.cc).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FeatureBits(u64);

impl OptionValue for FeatureBits {
    const EXPECTED: &'static str = "a number, or a list of layering, striping, exclusive-lock, \
                                    object-map, fast-diff, deep-flatten, journaling, data-pool";

    fn parse(text: &str) -> Option<Self> {
        if let Ok(bits) = text.parse() {
            return Some(Self(bits));
        }
        let mut bits = 0;
        for word in text.split(',') {
            let (_, bit) = FEATURES.iter().find(|(name, _)| *name == word.trim())?;
            bits |= bit;
        }
        Some(Self(bits))
    }
}

const FEATURES: [(&str, u64); 8] = [
    ("layering", 1),
    ("striping", 2),
    ("exclusive-lock", 4),
    ("object-map", 8),
    ("fast-diff", 16),
    ("deep-flatten", 32),
    ("journaling", 64),
    ("data-pool", 128),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, value: &str) -> Config {
        let builder = Config::builder().without_file().option(name, value);
        builder.load().unwrap()
    }

    #[test]
    fn the_defaults_are_those_of_ceph() {
        let config = Config::builder().without_file().load().unwrap();
        let rbd = config.rbd_defaults().unwrap();
        assert_eq!(
            (rbd.pool.as_str(), rbd.order, rbd.features),
            ("rbd", 22, 61)
        );
        assert_eq!((rbd.stripe_count, rbd.data_pool, rbd.format), (0, None, 2));
        let timeouts = config.timeouts().unwrap();
        assert_eq!(timeouts.mount, Duration::from_secs(300));
        assert_eq!((timeouts.osd_op, timeouts.mon_op), (None, None));
        assert_eq!(timeouts.watch, Duration::from_secs(30));
        assert_eq!(timeouts.hunt_interval, Duration::from_secs(3));
        assert_eq!((timeouts.hunt_parallel, timeouts.hunt_backoff), (3, 1.5));
        use AuthMethod::{Cephx, None as Nothing};
        use ConnectionMode::{Crc, Secure};
        assert_eq!(config.auth_methods().unwrap(), [Cephx, Nothing]);
        assert_eq!(config.client_modes().unwrap(), [Crc, Secure]);
        assert_eq!(config.mon_client_modes().unwrap(), [Secure, Crc]);
    }

    #[test]
    fn lists_keep_their_order() {
        use ConnectionMode::{Crc, Secure};
        for (text, expected) in [
            ("crc", vec![Crc]),
            ("secure,crc", vec![Secure, Crc]),
            ("secure crc secure", vec![Secure, Crc]),
        ] {
            let modes = config("ms_client_mode", text).client_modes().unwrap();
            assert_eq!(modes, expected, "{text}");
        }
        let error = config("ms_client_mode", "crc,plain")
            .client_modes()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "ms_client_mode = \"crc,plain\" from the command line is not usable: \
             expected a list of crc and secure"
        );
        let none = config("auth_supported", "none").auth_methods().unwrap();
        assert_eq!(none, [AuthMethod::None]);
        assert!(
            config("auth_client_required", "gss")
                .auth_methods()
                .is_err()
        );
    }

    #[test]
    fn features_have_names_and_numbers() {
        for (text, expected) in [
            ("61", Some(61)),
            ("0", Some(0)),
            ("layering", Some(1)),
            ("layering,exclusive-lock", Some(5)),
            ("layering, exclusive-lock", Some(5)),
            ("bogus", None),
            ("layering+exclusive-lock", None),
            ("", None),
        ] {
            assert_eq!(
                FeatureBits::parse(text),
                expected.map(FeatureBits),
                "{text}"
            );
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (name, value) in [
            ("rbd_default_order", "26"),
            ("rbd_default_order", "22x"),
            ("rbd_default_format", "3"),
            ("rbd_default_stripe_unit", "4k"),
        ] {
            let error = config(name, value).rbd_defaults().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} = {value:?}")), "{error}");
        }
        let timeouts = config("rados_osd_op_timeout", "1m 30s").timeouts().unwrap();
        assert_eq!(timeouts.osd_op, Some(Duration::from_secs(90)));
    }
}
