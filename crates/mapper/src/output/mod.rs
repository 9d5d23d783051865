//! What commands print on stdout: tables and lines for people, JSON and XML for programs.

mod json;
mod table;
mod time;
mod value;
mod xml;

use std::io::{self, Write};

use rados::Errno;

pub(crate) use table::{Align, Table};
pub(crate) use time::{Clock, Timestamp};
pub(crate) use value::{Document, Value};

use crate::exit::{Failure, Outcome};

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Plain,
    /// JSON.
    Json,
    /// XML.
    Xml,
}

/// The form of what is printed, and whether it is spread over lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) is_pretty: bool,
}

impl Style {
    /// The style of a recording whose name ends in `suffix`.
    #[cfg(test)]
    pub(crate) fn recorded(suffix: &str) -> Self {
        Self {
            format: match suffix {
                "" => Format::Plain,
                " json" | " json pretty" => Format::Json,
                _ => Format::Xml,
            },
            is_pretty: suffix.ends_with("pretty"),
        }
    }
}

/// What a command has to say, in whatever form is asked for.
pub(crate) trait Report {
    /// For people.
    fn plain(&self, clock: &Clock) -> String;

    /// For programs; nothing if there the command prints nothing.
    fn document(&self, clock: &Clock) -> Option<Document>;
}

/// The report as text.
pub(crate) fn render(report: &impl Report, style: Style, clock: &Clock) -> String {
    let render = match style.format {
        Format::Plain => return report.plain(clock),
        Format::Json => json::render,
        Format::Xml => xml::render,
    };
    report
        .document(clock)
        .map(|document| render(&document, style.is_pretty))
        .unwrap_or_default()
}

/// Prints a report on stdout, with times in the local time zone.
pub(crate) fn print(report: &impl Report, style: Style) -> Outcome {
    print_text(&render(report, style, &Clock::local()))
}

/// Prints text on stdout. A reader that has gone away is no failure.
pub(crate) fn print_text(text: &str) -> Outcome {
    print_bytes(&[text.as_bytes()])
}

/// As [`print_text`], bytes one behind the other.
pub(crate) fn print_bytes(parts: &[&[u8]]) -> Outcome {
    let mut out = io::stdout().lock();
    let written = parts.iter().try_for_each(|part| out.write_all(part));
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write to stdout", &error))
        }
        _ => Ok(()),
    }
}

/// The failure of a format that needs another.
pub(crate) fn pretty_plain() -> Failure {
    Failure::plain(
        Errno::EINVAL,
        "--pretty-format only works when --format is json or xml",
    )
}
