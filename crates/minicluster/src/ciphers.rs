//! The types of keys that a cluster has and accepts.

use crate::{Builder, Error, Release};

/// A type of cephx key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// The one that every release knows, of 128 bits.
    Aes,
    /// The one that tentacle has brought, of 256 bits.
    Aes256k,
}

impl KeyType {
    /// What Ceph calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::Aes256k => "aes256k",
        }
    }
}

/// What a cluster whose release knows both types makes of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ciphers {
    keys: KeyType,
    service: KeyType,
    both: bool,
}

impl Ciphers {
    /// Nothing for a release that knows one type only.
    pub(crate) fn of(options: &Builder, release: Release) -> Result<Option<Self>, Error> {
        if release < Release::Tentacle {
            let wanted = [options.key_type, options.service_key_type];
            if options.both_key_types || wanted.contains(&Some(KeyType::Aes256k)) {
                return Err(Error::Unsupported(format!("{release} has no aes256k keys")));
            }
            return Ok(None);
        }
        let keys = options.key_type.unwrap_or(KeyType::Aes256k);
        Ok(Some(Self {
            keys,
            service: options.service_key_type.unwrap_or(keys),
            both: options.both_key_types,
        }))
    }

    fn allows_aes(self) -> bool {
        self.both || self.keys == KeyType::Aes
    }

    pub(crate) fn authtool_args(self) -> [&'static str; 2] {
        ["--key-type", self.keys.name()]
    }

    pub(crate) fn monmaptool_args(self) -> [&'static str; 6] {
        let allowed = if self.both {
            "aes,aes256k"
        } else {
            self.keys.name()
        };
        [
            "--auth-allowed-ciphers",
            allowed,
            "--auth-service-cipher",
            self.service.name(),
            "--auth-preferred-cipher",
            self.keys.name(),
        ]
    }

    /// Lines for the configuration of the monitors.
    pub(crate) fn conf(self) -> &'static str {
        if self.allows_aes() {
            // Otherwise they make keys of this type only some seconds after they have started.
            "mon_auth_allow_insecure_key = true\n"
        } else {
            ""
        }
    }

    /// What the cluster would never be healthy for.
    pub(crate) fn unwanted_warnings(self) -> &'static [&'static str] {
        if self.allows_aes() || self.service == KeyType::Aes {
            &INSECURE
        } else {
            &[]
        }
    }
}

/// Warnings about the older type.
const INSECURE: [&str; 6] = [
    "AUTH_INSECURE_CLIENT_KEY_TYPE",
    "AUTH_INSECURE_KEYS_ALLOWED",
    "AUTH_INSECURE_KEYS_CREATABLE",
    "AUTH_INSECURE_ROTATING_SERVICE_KEY_TYPE",
    "AUTH_INSECURE_SERVICE_KEY_TYPE",
    "AUTH_INSECURE_SERVICE_TICKETS",
];
