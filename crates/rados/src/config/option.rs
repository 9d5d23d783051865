//! Options: what a name was set to, by whom, and what it means
//! (ceph: src/common/options.cc; the values it takes: `Option::parse_value`).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// Who set an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The cluster, which keeps options with the monitors.
    Monitors,
    /// A line of a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The section in it.
        section: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// The command line, or the program itself.
    Explicit,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Monitors => f.write_str("the monitors"),
            Self::File {
                path,
                section,
                line,
            } => write!(f, "{} line {line} [{section}]", path.display()),
            Self::Environment(variable) => write!(f, "the environment variable {variable}"),
            Self::Explicit => f.write_str("the command line"),
        }
    }
}

/// What an option was set to.
#[derive(Clone)]
pub struct Value {
    /// The text, metavariables replaced.
    pub text: Zeroizing<String>,
    /// Who set it.
    pub origin: Origin,
}

/// Without the text, which may be a key.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(from {})", self.origin)
    }
}

/// A type that options have.
///
/// Values that Ceph ignores because it cannot read them are refused here: an option that is set and
/// has no effect is worse than an error.
pub trait OptionValue: Sized {
    /// What is expected, for error messages.
    const EXPECTED: &'static str;

    /// Reads a value; `None` if it is not of this type.
    fn parse(text: &str) -> Option<Self>;
}

impl OptionValue for String {
    const EXPECTED: &'static str = "a text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_string())
    }
}

/// `true`, `false`, or a number, of which only zero is false. Ceph has no `yes` or `on`.
impl OptionValue for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("true") {
            return Some(true);
        }
        if text.eq_ignore_ascii_case("false") {
            return Some(false);
        }
        text.parse::<i64>().ok().map(|number| number != 0)
    }
}

/// A count; `K`, `M`, `G`, `T`, `P`, `E` behind it are powers of 1000.
impl OptionValue for u64 {
    const EXPECTED: &'static str = "a number, possibly with K, M, G, T, P or E";

    fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match split_prefix(text) {
            Some((number, exponent)) => (number, exponent),
            None => (text, 0),
        };
        scale(number, 1000, exponent)
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeBytes(pub u64);

/// A size; `K`, `Ki`, `KB` and so on behind it are powers of 1024.
impl OptionValue for SizeBytes {
    const EXPECTED: &'static str = "a size in bytes, possibly with K, M, G, T, P or E";

    fn parse(text: &str) -> Option<Self> {
        let text = match text.strip_suffix('B') {
            Some(rest) => rest,
            None => match text.strip_suffix('i') {
                Some(rest) if split_prefix(rest).is_some() => rest,
                Some(_) => return None,
                None => text,
            },
        };
        let (number, exponent) = match split_prefix(text) {
            Some((number, exponent)) => (number, exponent),
            None => (text, 0),
        };
        scale(number, 1024, exponent).map(Self)
    }
}

/// Seconds, or numbers with units: `90`, `1m 30s`, `2 hours`, and the fractions of a second that some
/// of Ceph's intervals have: `0.5`.
impl OptionValue for Duration {
    const EXPECTED: &'static str = "seconds, or a time such as 1m 30s";

    fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|next: char| next.is_ascii_digit() || next == '.')
            && text
                .chars()
                .all(|next| next.is_ascii_digit() || next == '.')
        {
            return Self::try_from_secs_f64(text.parse().ok()?).ok();
        }
        let mut total = Self::ZERO;
        let mut rest = text.trim();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let end = rest.find(|next: char| !next.is_ascii_digit())?;
            let (number, behind) = rest.split_at(end);
            let behind = behind.trim_start();
            let end = behind
                .find(|next: char| !next.is_ascii_alphabetic())
                .unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(end);
            let seconds = number
                .parse::<u64>()
                .ok()?
                .checked_mul(unit_seconds(unit)?)?;
            total = total.checked_add(Self::from_secs(seconds))?;
            rest = behind.trim_start();
        }
        Some(total)
    }
}

/// A factor such as 1.5.
impl OptionValue for f64 {
    const EXPECTED: &'static str = "a number such as 1.5";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }
}

/// The words of a list, separated by commas, blanks or semicolons.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ', ';', '\t'])
        .filter(|word| !word.is_empty())
}

/// A number and the exponent that its last letter stands for.
fn split_prefix(text: &str) -> Option<(&str, u32)> {
    let letter = text.chars().next_back()?;
    let exponent = match letter {
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        'P' => 5,
        'E' => 6,
        _ => return None,
    };
    Some((text.strip_suffix(letter)?, exponent))
}

fn scale(number: &str, base: u64, exponent: u32) -> Option<u64> {
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(base.checked_pow(exponent)?)
}

/// The length of a unit of time (ceph: src/common/ceph_time.cc, `parse_timespan`).
fn unit_seconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hr" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "wk" | "week" | "weeks" => 7 * 86_400,
        "mo" | "month" | "months" => 30 * 86_400,
        "y" | "yr" | "year" | "years" => 365 * 86_400,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // The values are those that `ceph-conf --show-config-value` of 16.2.15 prints for options of
    // these types; `None` is where it kept the default.

    #[test]
    fn truths_are_read_as_ceph_does() {
        for (text, expected) in [
            ("true", Some(true)),
            ("TRUE", Some(true)),
            ("1", Some(true)),
            ("2", Some(true)),
            ("-1", Some(true)),
            ("false", Some(false)),
            ("0", Some(false)),
            ("yes", None),
            ("off", None),
            ("t", None),
            ("", None),
        ] {
            assert_eq!(bool::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn counts_have_decimal_and_sizes_binary_prefixes() {
        for (text, count, size) in [
            ("4096", Some(4096), Some(4096)),
            ("4K", Some(4000), Some(4096)),
            ("4Ki", None, Some(4096)),
            ("4KB", None, Some(4096)),
            ("1M", Some(1_000_000), Some(1 << 20)),
            ("1T", Some(1_000_000_000_000), Some(1 << 40)),
            ("1E", Some(1_000_000_000_000_000_000), Some(1 << 60)),
            ("4B", None, Some(4)),
            ("4KiB", None, None),
            ("4k", None, None),
            ("4 K", None, None),
            ("0x10", None, None),
            ("-1", None, None),
            ("4.5M", None, None),
            ("", None, None),
            ("K", None, None),
            ("99E", None, None),
        ] {
            assert_eq!(u64::parse(text), count, "{text}");
            assert_eq!(SizeBytes::parse(text), size.map(SizeBytes), "{text}");
        }
    }

    #[test]
    fn times_may_have_units() {
        for (text, expected) in [
            ("5", Some(5)),
            ("5s", Some(5)),
            ("5 s", Some(5)),
            ("5seconds", Some(5)),
            ("1m", Some(60)),
            ("1 min", Some(60)),
            ("1m 30s", Some(90)),
            ("2h", Some(7200)),
            ("1hr", Some(3600)),
            ("1d", Some(86_400)),
            ("1w", Some(604_800)),
            ("1mo", Some(2_592_000)),
            ("5ms", None),
            ("-1", None),
            ("abc", None),
            ("5 5", None),
            ("", None),
        ] {
            assert_eq!(
                Duration::parse(text),
                expected.map(Duration::from_secs),
                "{text}"
            );
        }
        assert_eq!(Duration::parse("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(Duration::parse("1.2.3"), None);
    }

    #[test]
    fn values_are_not_printed() {
        let value = Value {
            text: Zeroizing::new("hunter2".into()),
            origin: Origin::Explicit,
        };
        assert_eq!(format!("{value:?}"), "Value(from the command line)");
    }
}
