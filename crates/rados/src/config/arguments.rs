//! Options as they are typed: `--mon-host a --id b`, from a command line or from `CEPH_ARGS`.

use zeroize::Zeroizing;

use super::{ConfigError, Origin};

/// Options that have been told apart. What comes later counts. Not to be printed: one may be a key.
#[derive(Clone, Default)]
pub(super) struct Arguments {
    /// Configuration files, the first that exists counts.
    pub(super) conf: Option<String>,
    pub(super) cluster: Option<String>,
    /// The full name of the user, `client.` already added to a bare id.
    pub(super) name: Option<String>,
    /// Name and value of the others.
    pub(super) options: Vec<(String, Zeroizing<String>)>,
    /// What is not an option.
    pub(super) rest: Vec<String>,
}

impl Arguments {
    /// Takes them from words. An option without a value is a switch: `--x` is `x = true`, `--no-x`
    /// is `x = false`. Behind `--` there are no options.
    pub(super) fn parse(
        words: impl IntoIterator<Item = String>,
        origin: &Origin,
    ) -> Result<Self, ConfigError> {
        let mut arguments = Self::default();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                arguments.rest.extend(words);
                break;
            }
            let Some(option) = Typed::new(&word) else {
                arguments.rest.push(word);
                continue;
            };
            let value = match option.value {
                Some(value) => Some(value.to_string()),
                None if SWITCHES.contains(&option.name.as_str()) => None,
                None => words.next_if(|next| Typed::new(next).is_none()),
            };
            let needs_value = option.is_short || ALIASES.iter().any(|it| it.0 == option.name);
            if needs_value && value.is_none() {
                return Err(ConfigError::ValueMissing {
                    option: word,
                    origin: origin.clone(),
                });
            }
            arguments.apply(&option.name, value);
        }
        Ok(arguments)
    }

    /// Takes an option by its name, with `_` between words.
    fn apply(&mut self, name: &str, value: Option<String>) {
        let name = ALIASES
            .iter()
            .find(|(alias, _)| *alias == name)
            .map_or(name, |(_, name)| name);
        match (name, value) {
            ("conf", value) => self.conf = value,
            ("cluster", value) => self.cluster = value,
            ("name", value) => self.name = value,
            ("id", value) => self.name = value.map(|id| format!("client.{id}")),
            (name, Some(value)) => self.push(name, value),
            (name, None) => match name.strip_prefix("no_") {
                Some(name) => self.push(name, "false".to_string()),
                None => self.push(name, "true".to_string()),
            },
        }
    }

    /// Adds an option that comes after those that are there.
    pub(super) fn push(&mut self, name: &str, value: String) {
        self.options.push((name.to_string(), Zeroizing::new(value)));
    }
}

/// A word that is an option.
struct Typed<'a> {
    name: String,
    value: Option<&'a str>,
    is_short: bool,
}

impl<'a> Typed<'a> {
    fn new(word: &'a str) -> Option<Self> {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            return (!name.is_empty()).then(|| Self {
                name: cephx::ini::normalize_name(name),
                value,
                is_short: false,
            });
        }
        // Negative numbers are values.
        let short = word.strip_prefix('-')?;
        let mut letters = short.chars();
        let letter = letters.next().filter(char::is_ascii_alphabetic)?;
        let value = letters.as_str();
        Some(Self {
            name: letter.to_string(),
            value: (!value.is_empty()).then_some(value),
            is_short: true,
        })
    }
}

/// What never takes the next word for its value.
const SWITCHES: [&str; 2] = ["mon_config", "no_mon_config"];

/// Other spellings, and all options that cannot be switches.
const ALIASES: [(&str, &str); 14] = [
    ("c", "conf"),
    ("conf", "conf"),
    ("cluster", "cluster"),
    ("n", "name"),
    ("name", "name"),
    ("i", "id"),
    ("id", "id"),
    ("user", "id"),
    ("m", "mon_host"),
    ("mon_host", "mon_host"),
    ("k", "keyring"),
    ("keyring", "keyring"),
    ("K", "keyfile"),
    ("keyfile", "keyfile"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ConfigError> {
        let words = line.split_whitespace().map(str::to_string);
        Arguments::parse(words, &Origin::Explicit)
    }

    fn options(line: &str) -> Vec<(String, Zeroizing<String>)> {
        parse(line).unwrap().options
    }

    fn pair(name: &str, value: &str) -> (String, Zeroizing<String>) {
        (name.to_string(), Zeroizing::new(value.to_string()))
    }

    #[test]
    fn spellings_are_the_same() {
        for line in [
            "-m a",
            "-ma",
            "--mon-host a",
            "--mon_host=a",
            "--mon-host=a",
        ] {
            assert_eq!(options(line), [pair("mon_host", "a")], "{line}");
        }
        for line in [
            "--id x",
            "--user x",
            "-i x",
            "-n client.x",
            "--name=client.x",
        ] {
            let name = parse(line).unwrap().name;
            assert_eq!(name.as_deref(), Some("client.x"), "{line}");
        }
        assert_eq!(
            options("-k a -K b"),
            [pair("keyring", "a"), pair("keyfile", "b")]
        );
    }

    #[test]
    fn options_without_value_are_switches() {
        assert_eq!(
            options("--rbd-cache --no-rbd-x --rbd-y=no --z -1"),
            [
                pair("rbd_cache", "true"),
                pair("rbd_x", "false"),
                pair("rbd_y", "no"),
                pair("z", "-1")
            ]
        );
        for line in ["--mon-host", "-m --id x", "-c"] {
            assert!(
                matches!(parse(line), Err(ConfigError::ValueMissing { .. })),
                "{line}"
            );
        }
    }

    #[test]
    fn other_words_are_left() {
        let arguments = parse("map --pool p image -- --id x").unwrap();
        assert_eq!(arguments.rest, ["map", "image", "--id", "x"]);
        assert_eq!(arguments.name, None);
    }
}
