//! What is wrong with a command line, in upstream's words.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Request;
use crate::exit::Failure;

/// What clap refuses, or what it was asked to print.
pub(super) fn translate(error: &clap::Error) -> Result<Request, Failure> {
    let argument = text(error, ContextKind::InvalidArg);
    let option = option_name(&argument);
    Err(Failure::usage(match error.kind() {
        ErrorKind::DisplayHelp => {
            return Ok(Request::Print(error.render().to_string()));
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            format!("unrecognised option '{argument}'")
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => String::from("too many arguments"),
        ErrorKind::ArgumentConflict => {
            format!("option '{option}' cannot be specified more than once")
        }
        ErrorKind::InvalidValue
            if text(error, ContextKind::InvalidValue).is_empty()
                && CLUSTER_OPTIONS.contains(&option.as_str()) =>
        {
            format!("Option {option} requires an argument.")
        }
        ErrorKind::InvalidValue if text(error, ContextKind::InvalidValue).is_empty() => {
            format!("the required argument for option '{option}' is missing")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("the argument for option '{option}' is invalid")
        }
        ErrorKind::InvalidSubcommand => format!(
            "unknown command '{}'; see 'orbd help'",
            text(error, ContextKind::InvalidSubcommand)
        ),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            String::from("incomplete command; see 'orbd help'")
        }
        _ => error
            .to_string()
            .lines()
            .next()
            .map(|line| line.trim_start_matches("error: ").to_owned())
            .unwrap_or_default(),
    }))
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    }
}

/// From `--size <size>`, as clap shows it, and `-p, --pool <pool>`, the long name.
fn option_name(shown: &str) -> String {
    shown
        .split([' ', '=', ','])
        .find(|word| word.starts_with("--"))
        .unwrap_or(shown)
        .to_owned()
}

/// Upstream reads these before all others and has words of its own for them.
const CLUSTER_OPTIONS: &[&str] = &[
    "--cluster",
    "--conf",
    "--id",
    "--keyfile",
    "--keyring",
    "--mon-host",
    "--name",
];
