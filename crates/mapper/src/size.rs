//! Sizes as people type them and as they are printed.
//!
//! Both follow upstream's tools to the letter, oddities included: scripts depend on them
//! (ceph: src/common/strtol.cc, `strict_iec_cast`; src/include/types.h, `byte_u_t`).

use std::fmt;

/// Reads a number of bytes with an optional suffix: `B`, or `K`, `M`, `G`, `T`, `P`, `E` (powers of
/// 1024), each with one character more after it at will (`Ki`, `MB`).
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let digits_end = text
        .find(|c: char| !matches!(c, '0'..='9' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let shift = match (unit.len(), unit.chars().next()) {
        (0, _) => 0,
        (1 | 2, _) if unit == "Bi" => return None,
        (1 | 2, Some('B')) => 0,
        (1 | 2, Some('K')) => 10,
        (1 | 2, Some('M')) => 20,
        (1 | 2, Some('G')) => 30,
        (1 | 2, Some('T')) => 40,
        (1 | 2, Some('P')) => 50,
        (1 | 2, Some('E')) => 60,
        _ => return None,
    };
    let number: i64 = number.parse().ok()?;
    u64::try_from(number).ok()?.checked_mul(1 << shift)
}

/// Reads the size of an image: as [`parse_bytes`], but a number that ends in a digit counts MiB.
pub(crate) fn parse_image_size(text: &str) -> Option<u64> {
    let size = parse_bytes(text)?;
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        size.checked_mul(1 << 20)
    } else {
        Some(size)
    }
}

/// A number of bytes, printed with the largest unit that leaves it at 1 or more: `1.5 GiB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut whole, mut index) = (self.0, 0_u32);
        while whole >= 1024 && index < 6 {
            whole >>= 10;
            index += 1;
        }
        let unit = match index {
            0 => "B",
            1 => "KiB",
            2 => "MiB",
            3 => "GiB",
            4 => "TiB",
            5 => "PiB",
            _ => "EiB",
        };
        let multiple = 1_u64 << (10 * index);
        if self.0.is_multiple_of(multiple) {
            return f.pad(&format!("{whole} {unit}"));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "at most two decimals are printed"
        )]
        let value = self.0 as f64 / multiple as f64;
        // As many decimals as fit into seven characters, unit included.
        let text = (0..=2)
            .rev()
            .map(|decimals| format!("{value:.decimals$} {unit}"))
            .find(|text| text.len() <= 7)
            .unwrap_or_else(|| format!("{value:.0} {unit}"));
        f.pad(&text)
    }
}

/// A number as C's `%g` prints it: six significant digits, no trailing zeroes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct General(pub(crate) f64);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&general(self.0))
    }
}

fn general(value: f64) -> String {
    const DIGITS: i32 = 6;
    if value.is_nan() {
        return String::from(if value.is_sign_negative() {
            "-nan"
        } else {
            "nan"
        });
    }
    if value.is_infinite() {
        return String::from(if value > 0.0 { "inf" } else { "-inf" });
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        trim_zeroes(&format!("{value:.decimals$}")).to_owned()
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!(
            "{}e{sign}{:02}",
            trim_zeroes(mantissa),
            exponent.unsigned_abs()
        )
    }
}

fn trim_zeroes(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;

    #[test]
    fn sizes_are_read_and_printed_as_by_rbd() {
        let cases = Recording::load("sizes");
        let mut read = 0;
        for case in cases.iter().filter(|case| case.args[0] == "create") {
            let typed = &case.args[4];
            let parsed = parse_image_size(typed);
            if case.code != 0 {
                assert_eq!(parsed, None, "{typed}");
                continue;
            }
            let json: serde_json::Value =
                serde_json::from_str(&Recording::find(&cases, &format!("{typed} bytes")).stdout)
                    .unwrap();
            assert_eq!(parsed, json["size"].as_u64(), "{typed}");
            let plain = &Recording::find(&cases, &format!("{typed} info")).stdout;
            let line = format!(
                "\tsize {} in {} objects\n",
                Bytes(parsed.unwrap()),
                json["objects"]
            );
            assert!(plain.contains(&line), "{line}: {plain}");
            read += 1;
        }
        assert!(read > 30);
    }

    #[test]
    fn numbers_print_as_in_the_recorded_benchmarks() {
        for (value, text) in [
            (42_666.666_666, "42666.7"),
            (1_777.777_77, "1777.78"),
            (750.0, "750"),
            (1356.294, "1356.29"),
            (1_336.4, "1336.4"),
            (f64::INFINITY, "inf"),
            (0.0, "0"),
            (0.000_012_345_678, "1.23457e-05"),
            (123_456_789.0, "1.23457e+08"),
            (999_999.96, "1e+06"),
            (0.5, "0.5"),
        ] {
            assert_eq!(General(value).to_string(), text);
        }
    }
}
