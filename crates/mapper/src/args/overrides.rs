//! Options of the configuration given on the command line: `--rbd-default-order 20`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Names, with underscores, and values, in the order in which they were typed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overrides(pub(crate) Vec<(String, String)>);

/// The names alone: a value may be a key.
impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Names of options begin with the part of Ceph they are for.
const PREFIXES: &[&str] = &[
    "auth_",
    "client_",
    "crush_",
    "debug_",
    "err_to_",
    "keyring_",
    "log_",
    "mon_",
    "ms_",
    "objecter_",
    "osd_",
    "public_",
    "rados_",
    "rbd_",
];

/// Options that do not.
const NAMES: &[&str] = &["admin_socket", "fsid", "host", "key", "run_dir"];

/// Options of the command line itself whose names look like these.
const OURS: &[&str] = &["mon_host"];

/// Takes `--name value` and `--name=value` out, up to a `--`.
///
/// # Errors
/// If a value is missing.
pub(super) fn take(args: Vec<String>) -> Result<(Vec<String>, Overrides), Failure> {
    let mut rest = Vec::with_capacity(args.len());
    let mut overrides = Overrides::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            rest.push(arg);
            rest.extend(args);
            break;
        }
        let (typed, value) = match arg.split_once('=') {
            Some((typed, value)) => (typed, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let Some(name) = typed.strip_prefix("--").and_then(option_name) else {
            rest.push(arg);
            continue;
        };
        let Some(value) = value.or_else(|| args.next()) else {
            return Err(Failure::usage(format_args!(
                "Option {typed} requires an argument."
            )));
        };
        overrides.0.push((name, value));
    }
    Ok((rest, overrides))
}

fn option_name(typed: &str) -> Option<String> {
    let name = typed.replace('-', "_");
    let is_option =
        NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (is_option && !OURS.contains(&name.as_str())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str) -> (String, Vec<(String, String)>) {
        let (rest, overrides) = take(line.split(' ').map(String::from).collect()).unwrap();
        (rest.join(" "), overrides.0)
    }

    #[test]
    fn options_of_the_configuration_are_taken_out_wherever_they_stand() {
        let (rest, overrides) = taken(
            "--rbd_default_order 20 create --size 1 --rbd-default-features=3 a --mon-host h --stripe-unit 4K",
        );
        assert_eq!(rest, "create --size 1 a --mon-host h --stripe-unit 4K");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            overrides,
            [
                pair("rbd_default_order", "20"),
                pair("rbd_default_features", "3")
            ]
        );
    }

    #[test]
    fn what_follows_two_dashes_is_left_alone() {
        assert_eq!(taken("ls -- --rbd-x y").0, "ls -- --rbd-x y");
    }

    #[test]
    fn a_missing_value_is_named() {
        let error = take(vec![String::from("--rbd-default-order")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Option --rbd-default-order requires an argument."
        );
        assert_eq!(error.status(), 1);
    }
}
