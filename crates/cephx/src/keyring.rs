//! Keyrings: files with the keys of users (ceph: src/auth/KeyRing.cc).
//!
//! ```text
//! [client.admin]
//!     key = AQ...==
//!     caps mon = "allow *"
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;

use denc::AuthEntityName;

use crate::ini::{self, Setting, SyntaxError};
use crate::{CryptoKey, Error};

/// The users of a keyring file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    users: BTreeMap<AuthEntityName, User>,
}

/// What a keyring says about one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The key, if the keyring has one.
    pub key: Option<CryptoKey>,
    /// What the user may do, by kind of daemon. Only a copy: what counts is what the monitors know.
    pub caps: BTreeMap<String, String>,
}

/// A text that is no keyring, or does not hold what was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// A line that does not belong into such a file.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A key without a user: the contents of a key file, or a section that lacks its heading.
    #[error("this is a bare key without a `[client.NAME]` heading, so a key file, not a keyring")]
    BareKey,
    /// A heading that is not the name of a user.
    #[error("line {line}: expected a user such as [client.admin], found [{found}]")]
    Heading {
        /// The line, counted from 1.
        line: usize,
        /// The heading.
        found: String,
    },
    /// A setting that keyrings do not have. It is not repeated: the padding of a key looks like the
    /// sign between a name and its value.
    #[error("line {line}: expected `key = ...` or `caps TYPE = ...`")]
    Setting {
        /// The line, counted from 1.
        line: usize,
    },
    /// A key that is none.
    #[error("line {line}: the key of {user} is not usable: {source}")]
    Key {
        /// The line, counted from 1.
        line: usize,
        /// Whose key it is.
        user: AuthEntityName,
        /// What is wrong with it.
        source: Error,
    },
    /// The user is not in the keyring.
    #[error("there is no [{user}] in it{}", others(.found))]
    NoUser {
        /// Who was looked for.
        user: AuthEntityName,
        /// Who is there.
        found: Vec<AuthEntityName>,
    },
    /// The user is in the keyring, but without a key.
    #[error("[{user}] has no key in it")]
    NoKey {
        /// Who was looked for.
        user: AuthEntityName,
    },
}

impl Keyring {
    /// The users in it.
    pub fn users(&self) -> impl Iterator<Item = (&AuthEntityName, &User)> {
        self.users.iter()
    }

    /// The key of a user.
    ///
    /// # Errors
    /// [`KeyringError::NoUser`] or [`KeyringError::NoKey`].
    pub fn key(&self, name: &AuthEntityName) -> Result<&CryptoKey, KeyringError> {
        let user = self.users.get(name).ok_or_else(|| KeyringError::NoUser {
            user: name.clone(),
            found: self.users.keys().cloned().collect(),
        })?;
        user.key
            .as_ref()
            .ok_or_else(|| KeyringError::NoKey { user: name.clone() })
    }
}

impl FromStr for Keyring {
    type Err = KeyringError;

    fn from_str(text: &str) -> Result<Self, KeyringError> {
        let is_bare_key = || text.parse::<CryptoKey>().is_ok();
        let sections = ini::parse(text).map_err(|error| match error {
            _ if is_bare_key() => KeyringError::BareKey,
            error => error.into(),
        })?;
        let mut users: BTreeMap<AuthEntityName, User> = BTreeMap::new();
        for section in sections {
            if section.name.is_empty() {
                return Err(KeyringError::BareKey);
            }
            // Ceph passes over it too.
            if section.name == "global" {
                continue;
            }
            let Ok(name) = section.name.parse::<AuthEntityName>() else {
                return Err(KeyringError::Heading {
                    line: section.line,
                    found: section.name,
                });
            };
            let user = users.entry(name.clone()).or_default();
            for setting in section.settings {
                user.apply(&name, setting)?;
            }
        }
        Ok(Self { users })
    }
}

impl User {
    fn apply(&mut self, name: &AuthEntityName, setting: Setting) -> Result<(), KeyringError> {
        let Setting {
            name: what,
            value,
            line,
        } = setting;
        if what == "key" {
            let key = value.parse().map_err(|source| KeyringError::Key {
                line,
                user: name.clone(),
                source,
            })?;
            self.key = Some(key);
        } else if let Some(daemon) = what.strip_prefix("caps_") {
            self.caps.insert(daemon.to_string(), value.to_string());
        } else if what != "auid" {
            // `auid` was written before Ceph 13 and means nothing any more.
            return Err(KeyringError::Setting { line });
        }
        Ok(())
    }
}

fn others(found: &[AuthEntityName]) -> String {
    if found.is_empty() {
        return ", nor anyone else".to_string();
    }
    let names: Vec<String> = found.iter().map(|name| format!("[{name}]")).collect();
    format!(", only {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE_BY_CEPH: &str = include_str!("../testdata/keyring");
    const KEY: &str = "AQDoUwNrCDHEMhAA4f/lymn87nZe++dDU8YVjA==";

    fn parse(text: &str) -> Result<Keyring, KeyringError> {
        text.replace("KEY", KEY).parse()
    }

    fn message(text: &str) -> String {
        let error = parse(text).unwrap_err().to_string();
        assert!(!error.contains(&KEY[5..15]), "{error}");
        error
    }

    #[test]
    fn keyrings_of_ceph_are_read() {
        let keyring: Keyring = MADE_BY_CEPH.parse().unwrap();
        let names: Vec<String> = keyring.users().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["osd.0", "client.admin", "client.rbd.user"]);
        for (name, file) in [
            ("client.admin", include_str!("../testdata/client.admin.key")),
            (
                "client.rbd.user",
                include_str!("../testdata/client.rbd.user.key"),
            ),
        ] {
            let key = keyring.key(&name.parse().unwrap()).unwrap();
            assert_eq!(*key.to_base64(), file.trim());
            assert_eq!(&file.parse::<CryptoKey>().unwrap(), key);
        }
        let (_, admin) = keyring.users().nth(1).unwrap();
        assert_eq!(admin.caps["mon"], "allow *");
        assert_eq!(admin.caps["osd"], "allow rwx pool=\"a b\"");
    }

    /// As `ceph-authtool -l` reads them.
    #[test]
    fn odd_keyrings_are_read_as_ceph_does() {
        for text in [
            "[client.y]\nkey = KEY # c\n",
            "[client.y]\nkey = \"KEY\"\n",
            "[client.y] ; c\n  key=KEY\ncaps mon = allow x\nauid = 7\n",
            "[global]\nfoo = 7\n[client.y]\nkey = KEY\n",
            "[client.y]\nkey = AQD2l+FnAAAAABAAnDkTQvvPWG9pP1c7mD5VmA==\nkey = KEY\n",
            "[client.y]\r\nkey = KEY\r\n",
            "[client.z]\n[client.y]\nkey = KEY\n[client.y]\ncaps mon = \"a\"\n",
        ] {
            let keyring = parse(text).unwrap();
            let key = keyring.key(&AuthEntityName::client("y")).unwrap();
            assert_eq!(*key.to_base64(), KEY, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_keyring_says_where() {
        for (text, expected) in [
            (
                "[client.y]\nkey\n",
                "line 2: expected `[section]` or `name = value`",
            ),
            (
                "[client.y]\nkey KEY\n",
                "line 2: expected `key = ...` or `caps TYPE = ...`",
            ),
            ("[client.y\nkey = KEY\n", "line 1: expected `[section]`"),
            (
                "[y]\nkey = KEY\n",
                "line 1: expected a user such as [client.admin], found [y]",
            ),
            (
                "[client.y]\nkye = KEY\n",
                "line 2: expected `key = ...` or `caps TYPE = ...`",
            ),
            (
                "[client.y]\nkey = zzz\n",
                "line 2: the key of client.y is not usable",
            ),
            (
                "[client.y]\nkey = \n",
                "line 2: the key of client.y is not usable",
            ),
            ("KEY\n", "bare key"),
            ("key = KEY\n", "bare key"),
            ("<html>\n", "line 1: expected"),
            ("\u{7f}ELF\u{2}\n", "line 1: expected"),
        ] {
            let message = message(text);
            assert!(message.contains(expected), "{text:?} gave: {message}");
        }
    }

    #[test]
    fn who_is_missing_is_named_with_who_is_there() {
        let missing = |text: &str| {
            let keyring = parse(text).unwrap();
            keyring
                .key(&AuthEntityName::client("x"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            missing("[client.y]\nkey = KEY\n[client.z]\n"),
            "there is no [client.x] in it, only [client.y], [client.z]"
        );
        assert_eq!(missing(""), "there is no [client.x] in it, nor anyone else");
        assert_eq!(missing("[client.x]\n"), "[client.x] has no key in it");
    }
}
