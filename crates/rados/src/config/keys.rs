//! Where the user's key is: the options `key`, `keyfile` and `keyring`, the first that is set
//! (ceph: src/auth/KeyRing.cc, `from_ceph_context`).

use std::path::{Path, PathBuf};

use cephx::{CryptoKey, Keyring, KeyringError};

use super::option::words;
use super::{Config, ConfigError, KeyMiss, Value, file};

impl Config {
    /// The key of the user.
    ///
    /// The option `key` holds the key itself, `keyfile` the path of a file with nothing but the key,
    /// `keyring` the paths of keyrings; unless set, that is
    /// `/etc/ceph/$cluster.$name.keyring`, `/etc/ceph/$cluster.keyring`, `/etc/ceph/keyring`,
    /// `/etc/ceph/keyring.bin`. Keyrings are searched in order until one has the key; those that
    /// cannot be read or do not have the user are passed over.
    ///
    /// # Errors
    /// [`ConfigError::Key`], [`ConfigError::Keyring`] and [`ConfigError::Read`] for what cannot be
    /// used, [`ConfigError::NoKey`] with all the places tried if there is no key.
    pub fn key(&self) -> Result<CryptoKey, ConfigError> {
        let set = |name| self.value(name).filter(|value| !value.text.is_empty());
        if let Some(Value { text, origin }) = set("key") {
            return parse_key(&text, || format!("the option key from {origin}"));
        }
        if let Some(Value { text, .. }) = set("keyfile") {
            let path = PathBuf::from(text.as_str());
            let contents = file::read(&path).map_err(|source| {
                let path = path.clone();
                ConfigError::Read { path, source }
            })?;
            return parse_key(&contents, || format!("the key file {}", path.display()));
        }
        let paths = match set("keyring") {
            Some(Value { text, .. }) => words(&text).map(PathBuf::from).collect(),
            None => self.default_keyrings(),
        };
        self.search(&paths)
    }

    fn search(&self, paths: &[PathBuf]) -> Result<CryptoKey, ConfigError> {
        let mut tried = Vec::new();
        for path in paths {
            match self.look_into(path)? {
                Ok(key) => return Ok(key),
                Err(miss) => tried.push((path.clone(), miss)),
            }
        }
        Err(ConfigError::NoKey {
            name: self.name().clone(),
            tried,
        })
    }

    fn look_into(&self, path: &Path) -> Result<Result<CryptoKey, KeyMiss>, ConfigError> {
        let text = match file::read(path) {
            Ok(text) => text,
            Err(error) => return Ok(Err(KeyMiss::Read(error))),
        };
        let keyring: Keyring =
            text.parse()
                .map_err(|source: KeyringError| ConfigError::Keyring {
                    path: path.to_path_buf(),
                    source,
                })?;
        Ok(keyring.key(self.name()).cloned().map_err(KeyMiss::User))
    }

    fn default_keyrings(&self) -> Vec<PathBuf> {
        DEFAULT_KEYRINGS
            .iter()
            .map(|path| PathBuf::from(self.variables.expand(path)))
            .collect()
    }
}

fn parse_key(text: &str, place: impl FnOnce() -> String) -> Result<CryptoKey, ConfigError> {
    text.parse().map_err(|source| ConfigError::Key {
        place: place(),
        source,
    })
}

const DEFAULT_KEYRINGS: [&str; 4] = [
    "/etc/ceph/$cluster.$name.keyring",
    "/etc/ceph/$cluster.keyring",
    "/etc/ceph/keyring",
    "/etc/ceph/keyring.bin",
];

#[cfg(test)]
mod tests {
    use super::super::Builder;
    use super::*;

    const KEY: &str = "AQDoUwNrCDHEMhAA4f/lymn87nZe++dDU8YVjA==";
    const OTHER: &str = "AQD2l+FnAAAAABAAnDkTQvvPWG9pP1c7mD5VmA==";

    fn key_of(builder: Builder) -> Result<String, String> {
        let config = builder
            .without_file()
            .load()
            .map_err(|error| error.to_string())?;
        match config.key() {
            Ok(key) => Ok(key.to_base64().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_key_comes_before_the_key_file_before_the_keyrings() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("keyfile"), format!("{KEY}\n")).unwrap();
        std::fs::write(path("keyring"), format!("[client.admin]\nkey = {OTHER}\n")).unwrap();

        let builder = Config::builder().option("keyring", path("keyring"));
        assert_eq!(key_of(builder.clone()).unwrap(), OTHER);
        let builder = builder.option("keyfile", path("keyfile"));
        assert_eq!(key_of(builder.clone()).unwrap(), KEY);
        assert_eq!(key_of(builder.option("key", OTHER)).unwrap(), OTHER);
    }

    #[test]
    fn keyrings_without_the_user_are_passed_over_and_named_when_none_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("a"), format!("[client.other]\nkey = {OTHER}\n")).unwrap();
        std::fs::write(path("b"), format!("[client.x]\nkey = {KEY}\n")).unwrap();
        let list = format!("{}, {},{}", path("none"), path("a"), path("b"));
        let builder = Config::builder().option("keyring", list);
        assert_eq!(key_of(builder.clone().id("x")).unwrap(), KEY);
        assert_eq!(
            key_of(builder.id("y")).unwrap_err(),
            format!(
                "no key for client.y: tried {} (No such file or directory (os error 2)); \
                 {} (there is no [client.y] in it, only [client.other]); \
                 {} (there is no [client.y] in it, only [client.x])",
                path("none"),
                path("a"),
                path("b")
            )
        );
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, format!("[client.admin]\nkey {KEY}\n")).unwrap();
        let shown = path.display();
        for (option, value, expected) in [
            (
                "keyring",
                shown.to_string(),
                format!("{shown} is not a keyring: line 2: expected `key = ...`"),
            ),
            (
                "keyfile",
                shown.to_string(),
                format!("the key file {shown} does not hold a usable key: a key is base64 text"),
            ),
            (
                "keyfile",
                "/nonexistent".to_string(),
                "cannot read /nonexistent: No such file".to_string(),
            ),
            (
                "key",
                format!("{KEY}!"),
                "the option key from the command line does not hold a usable key".to_string(),
            ),
        ] {
            let error = key_of(Config::builder().option(option, value)).unwrap_err();
            assert!(error.starts_with(&expected), "{error}");
            assert!(!error.contains(&KEY[4..12]), "{error}");
        }
    }

    #[test]
    fn the_usual_places_carry_cluster_and_user() {
        let config = Config::builder()
            .cluster("backup")
            .id("x")
            .without_file()
            .load()
            .unwrap();
        assert_eq!(
            config.default_keyrings()[0],
            Path::new("/etc/ceph/backup.client.x.keyring")
        );
        assert_eq!(
            config.default_keyrings()[1],
            Path::new("/etc/ceph/backup.keyring")
        );
    }
}
