//! What `dencoder.py` recorded: bytes that Ceph has encoded, and what Ceph reads in them.

use std::fmt::Debug;

use denc::{Decode, EntityAddr, EntityAddrVec, UTime};
use serde_json::Value;

/// One line of the record.
pub(crate) struct Vector {
    /// Which example of the tool's, or which file, and for which release it was encoded.
    pub(crate) label: String,
    pub(crate) release: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) says: Value,
}

/// All vectors of a type; there must be some.
pub(crate) fn vectors(lines: &str, wanted: &str) -> Vec<Vector> {
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let vectors: Vec<_> = lines
        .filter(|line: &Value| line["type"] == wanted)
        .map(|mut line| {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let release = text("for");
            let digits = text("bytes");
            Vector {
                label: format!("{wanted}, {} for {release}", text("from")),
                release,
                bytes: (0..digits.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                    .collect(),
                says: line["says"].take(),
            }
        })
        .collect();
    assert!(!vectors.is_empty(), "no vectors of {wanted}");
    vectors
}

impl Vector {
    /// Decodes the bytes, and checks that they are refused when they are cut anywhere.
    pub(crate) fn decode<T: Decode + Debug>(&self) -> T {
        for len in 0..self.bytes.len() {
            let cut = T::decode_all("cut", &self.bytes[..len]);
            assert!(cut.is_err(), "{} cut at {len}: {cut:?}", self.label);
        }
        T::decode_all("vector", &self.bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.label))
    }

    /// As [`decode`](Self::decode), for what is in an envelope: the bytes are cut a second time, and
    /// the envelope is told, so that the fields themselves come to an end too early. Where only
    /// something is missing that nobody reads, the value must be the same.
    pub(crate) fn decode_enveloped<T: Decode + Debug + PartialEq>(&self) -> T {
        let whole: T = self.decode();
        let mut refused = 0;
        for len in ENVELOPE..self.bytes.len() {
            let mut cut = self.bytes[..len].to_vec();
            let inside = u32::try_from(len - ENVELOPE).unwrap();
            cut[2..ENVELOPE].copy_from_slice(&inside.to_le_bytes());
            match T::decode_all("cut", &cut) {
                Ok(found) => assert_eq!(found, whole, "{} cut at {len}", self.label),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0, "{} has no fields", self.label);
        whole
    }
}

/// Whether an address is the one that was printed.
#[track_caller]
pub(crate) fn assert_addr(found: &EntityAddr, says: &Value) {
    assert_eq!(format!("{:?}", found.kind), says["type"].as_str().unwrap());
    assert_eq!(found.nonce, says["nonce"]);
    let socket = found
        .socket
        .map_or_else(|| ":".to_owned(), |socket| socket.to_string());
    assert_eq!(socket, says["addr"].as_str().unwrap());
}

/// Whether addresses are those that were printed.
#[track_caller]
pub(crate) fn assert_addrs(found: &EntityAddrVec, says: &Value) {
    let says = says["addrvec"].as_array().unwrap();
    assert_eq!(found.0.len(), says.len());
    for (found, says) in found.iter().zip(says) {
        assert_addr(found, says);
    }
}

/// A time as it is printed: seconds within the first ten years, then a date in UTC; both with
/// microseconds.
pub(crate) fn printed_time(time: UTime) -> String {
    let micros = time.nanoseconds / 1000;
    if time.seconds < 10 * 365 * DAY {
        return format!("{}.{micros:06}", time.seconds);
    }
    let mut days = time.seconds / DAY;
    let mut year = 1970;
    // Until 2099.
    let is_leap = |year: u32| year.is_multiple_of(4);
    while days >= 365 + u32::from(is_leap(year)) {
        days -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u32::from(is_leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let of_day = time.seconds % DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let day = days + 1;
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

const DAY: u32 = 86_400;
/// Version, oldest version that understands it, length.
const ENVELOPE: usize = 1 + 1 + 4;
