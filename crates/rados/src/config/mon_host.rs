//! Where the monitors are: `mon_host` in all the forms people write it
//! (ceph: src/mon/MonMap.cc, `init_with_hosts`; doc/rados/configuration/msgr2.rst).
//!
//! | written | candidates, in the order to try |
//! |---|---|
//! | `host` | v2 at 3300, v1 at 6789 |
//! | `host:3300` | v2 at 3300 |
//! | `host:6789` | v2 at 6789, v2 at 3300, v1 at 6789 |
//! | `host:1234` | v2 at 1234, v1 at 1234 |
//! | `v2:host`, `v2:host:1234` | v2 at 3300, at 1234 |
//! | `v1:host`, `v1:host:1234` | v1 at 6789, at 1234 |
//! | `[v2:host:1,v1:host:2]` | one monitor with all of these |
//!
//! 6789 is messenger v1's port, but monitors of clusters that never spoke v1 may be bound to it with
//! v2, and a monitor found at 6789 by name has v2 at 3300 as a rule. An address may end in `/nonce`.
//! IPv6 addresses are written `::1`, `[::1]`, `[::1]:3300`, `v2:[::1]:3300/0`. Items are separated
//! by commas, blanks or semicolons.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The addresses at which one monitor may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonHost {
    /// The monitor's name, where a section `[mon.NAME]` gave the address.
    pub name: Option<String>,
    /// Where it may be, in the order to try. Not empty.
    pub candidates: Vec<Candidate>,
}

impl MonHost {
    /// A monitor at a host of which no more than a port may be known.
    #[cfg(feature = "dns")]
    pub(crate) fn at(host: Host, port: Option<u16>) -> Self {
        Self {
            name: None,
            candidates: guess(None, &host, port.filter(|port| *port != 0), 0),
        }
    }
}

/// One place where a monitor may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// What is spoken there.
    pub protocol: Protocol,
    /// The machine.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// The nonce, 0 unless written.
    pub nonce: u32,
}

/// A version of the messenger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Messenger v1, which this client does not speak.
    V1,
    /// Messenger v2.
    V2,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// By address.
    Ip(IpAddr),
    /// By name, or by an IPv6 address with a zone: for the resolver. A name may stand for several
    /// monitors.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) if name.contains(':') => write!(f, "[{name}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// As Ceph's tools print it: `v2:127.0.0.1:3300/0`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::V1 => "v1",
            Protocol::V2 => "v2",
        };
        write!(f, "{protocol}:{}:{}/{}", self.host, self.port, self.nonce)
    }
}

/// The port where monitors speak messenger v2.
pub const V2_PORT: u16 = 3300;
/// The port where monitors speak messenger v1.
pub const V1_PORT: u16 = 6789;

/// The part of a list that is no address, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadAddress {
    pub(super) item: String,
    pub(super) expected: &'static str,
}

/// The monitors of a `mon_host`.
pub(super) fn parse(text: &str) -> Result<Vec<MonHost>, BadAddress> {
    items(text)?.into_iter().map(monitor).collect()
}

/// Splits at separators that are not within brackets.
fn items(text: &str) -> Result<Vec<&str>, BadAddress> {
    let mut depth = 0usize;
    let split = text.split(|next: char| {
        match next {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && SEPARATORS.contains(&next)
    });
    let items: Vec<&str> = split.filter(|item| !item.is_empty()).collect();
    match items.last() {
        Some(last) if depth > 0 => Err(bad(last, "the closing bracket is missing")),
        _ => Ok(items),
    }
}

fn monitor(item: &str) -> Result<MonHost, BadAddress> {
    let mut candidates = Vec::new();
    for address in group(item) {
        for candidate in candidates_of(address)? {
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
    }
    if candidates.is_empty() {
        return Err(bad(item, "expected an address within the brackets"));
    }
    Ok(MonHost {
        name: None,
        candidates,
    })
}

/// The addresses within `[...]`, or the one address that `item` is.
fn group(item: &str) -> Vec<&str> {
    let inside = item
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inside| !is_v6(inside) && !inside.starts_with(']'));
    match inside {
        Some(inside) => inside
            .split(SEPARATORS)
            .filter(|address| !address.is_empty())
            .collect(),
        None => vec![item],
    }
}

fn candidates_of(address: &str) -> Result<Vec<Candidate>, BadAddress> {
    let lower = address.get(..3).map(str::to_ascii_lowercase);
    let (wish, rest) = match (lower.as_deref(), address.get(3..)) {
        (Some("v1:"), Some(rest)) => (Some(Protocol::V1), rest),
        (Some("v2:"), Some(rest)) => (Some(Protocol::V2), rest),
        _ => (None, address.strip_prefix("any:").unwrap_or(address)),
    };
    let (place, nonce) = match rest.split_once('/') {
        Some((place, nonce)) => {
            let nonce = nonce.parse();
            (
                place,
                nonce.map_err(|_| bad(address, "expected a number behind the slash"))?,
            )
        }
        None => (rest, 0),
    };
    let (host, port) = host_and_port(place).map_err(|expected| bad(address, expected))?;
    Ok(guess(wish, &host, port, nonce))
}

/// What may be spoken where, as far as it is not said.
fn guess(wish: Option<Protocol>, host: &Host, port: Option<u16>, nonce: u32) -> Vec<Candidate> {
    let candidate = |protocol, port| Candidate {
        protocol,
        host: host.clone(),
        port,
        nonce,
    };
    let v1 = |port| candidate(Protocol::V1, port);
    let v2 = |port| candidate(Protocol::V2, port);
    match (wish, port) {
        (Some(Protocol::V1), port) => vec![v1(port.unwrap_or(V1_PORT))],
        (Some(Protocol::V2), port) => vec![v2(port.unwrap_or(V2_PORT))],
        (None, None) => vec![v2(V2_PORT), v1(V1_PORT)],
        (None, Some(V2_PORT)) => vec![v2(V2_PORT)],
        (None, Some(V1_PORT)) => vec![v2(V1_PORT), v2(V2_PORT), v1(V1_PORT)],
        (None, Some(port)) => vec![v2(port), v1(port)],
    }
}

/// A port of 0 is as good as none, as Ceph takes it too.
fn host_and_port(place: &str) -> Result<(Host, Option<u16>), &'static str> {
    if is_v6(place) {
        return Ok((host(place)?, None));
    }
    let (name, port) = match place.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((ip, "")) => (ip, None),
            Some((ip, port)) => (ip, Some(port.strip_prefix(':').ok_or(EXPECTED)?)),
            None => return Err("the closing bracket is missing"),
        },
        None => match place.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (place, None),
        },
    };
    if place.starts_with('[') && !is_v6(name) {
        return Err("expected an IPv6 address within the brackets");
    }
    let port = match port {
        Some(port) => Some(
            port.parse::<u16>()
                .map_err(|_| "expected a port between 1 and 65535")?,
        ),
        None => None,
    };
    Ok((host(name)?, port.filter(|port| *port != 0)))
}

fn host(name: &str) -> Result<Host, &'static str> {
    if let Ok(ip) = name.parse() {
        return Ok(Host::Ip(ip));
    }
    let is_name_char = |next: char| next.is_ascii_alphanumeric() || "-._".contains(next);
    let looks_like_v4 = name
        .chars()
        .all(|next| next.is_ascii_digit() || next == '.');
    let is_name = !name.is_empty() && !looks_like_v4 && name.chars().all(is_name_char);
    if is_name || is_v6(name) {
        return Ok(Host::Name(name.to_string()));
    }
    Err(EXPECTED)
}

/// Whether it is an IPv6 address, with or without a zone.
fn is_v6(text: &str) -> bool {
    let (ip, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_zone = !zone.is_empty() && zone.chars().all(|next| next.is_ascii_alphanumeric());
    is_zone && ip.parse::<Ipv6Addr>().is_ok()
}

fn bad(item: &str, expected: &'static str) -> BadAddress {
    BadAddress {
        item: item.to_string(),
        expected,
    }
}

const SEPARATORS: [char; 6] = [',', ' ', ';', '\t', '\n', '\r'];
const EXPECTED: &str = "expected [v1:|v2:]HOST[:PORT][/NONCE], IPv6 in brackets";

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates joined by commas, monitors by semicolons.
    fn show(text: &str) -> String {
        let monitors = parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let monitors: Vec<String> = monitors
            .iter()
            .map(|monitor| {
                let all: Vec<String> = monitor
                    .candidates
                    .iter()
                    .map(Candidate::to_string)
                    .collect();
                all.join(",")
            })
            .collect();
        monitors.join("; ")
    }

    #[test]
    fn each_form_has_its_candidates() {
        for (text, expected) in [
            ("a", "v2:a:3300/0,v1:a:6789/0"),
            ("1.2.3.4", "v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0"),
            ("a:3300", "v2:a:3300/0"),
            ("a:6789", "v2:a:6789/0,v2:a:3300/0,v1:a:6789/0"),
            ("a:1234", "v2:a:1234/0,v1:a:1234/0"),
            ("a:0", "v2:a:3300/0,v1:a:6789/0"),
            (
                "a.b-c.example:1234/5",
                "v2:a.b-c.example:1234/5,v1:a.b-c.example:1234/5",
            ),
            ("v2:a", "v2:a:3300/0"),
            ("v1:a", "v1:a:6789/0"),
            ("v2:1.2.3.4:6789/7", "v2:1.2.3.4:6789/7"),
            ("V2:a:1", "v2:a:1/0"),
            ("any:a:1234", "v2:a:1234/0,v1:a:1234/0"),
            ("v1", "v2:v1:3300/0,v1:v1:6789/0"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn ipv6_is_bare_or_in_brackets() {
        let both = "v2:[::1]:3300/0,v1:[::1]:6789/0";
        for (text, expected) in [
            ("::1", both),
            ("[::1]", both),
            ("[[::1]]", both),
            ("[::1]:3300", "v2:[::1]:3300/0"),
            ("v2:[fd00::1]:3300/0", "v2:[fd00::1]:3300/0"),
            ("v2:fd00::1", "v2:[fd00::1]:3300/0"),
            ("[v2:[::1]:3300/0,v1:[::1]:6789/0]", both),
            ("v2:[fe80::1%eth0]:3300", "v2:[fe80::1%eth0]:3300/0"),
        ] {
            assert_eq!(show(text), expected, "{text}");
        }
    }

    #[test]
    fn brackets_join_addresses_of_one_monitor() {
        assert_eq!(
            show("[v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0]"),
            "v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0"
        );
        assert_eq!(
            show("[v2:a:1,v1:a:2] ; [v2:b:1 v1:b:2],c:3300\t[d]"),
            "v2:a:1/0,v1:a:2/0; v2:b:1/0,v1:b:2/0; v2:c:3300/0; v2:d:3300/0,v1:d:6789/0"
        );
    }

    #[test]
    fn separators_may_be_mixed_and_repeated() {
        for text in ["v2:a,v2:b", "v2:a v2:b", "v2:a; v2:b", " v2:a ,, v2:b\n"] {
            assert_eq!(show(text), "v2:a:3300/0; v2:b:3300/0", "{text:?}");
        }
        assert_eq!(show(" , ; "), "");
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (text, item) in [
            ("a,b:c", "b:c"),
            ("a:70000", "a:70000"),
            ("a:", "a:"),
            (":3300", ":3300"),
            ("v2:", "v2:"),
            ("a/x", "a/x"),
            ("[v2:a:1,v1:a:2", "[v2:a:1,v1:a:2"),
            ("[v2:a:1,v1:]", "v1:"),
            ("[]", "[]"),
            ("[a]:3300", "[a]:3300"),
            ("[::1]3300", "[::1]3300"),
            ("1.2.3", "1.2.3"),
            ("300.1.1.1", "300.1.1.1"),
            ("::1::", "::1::"),
            ("http://a", "http://a"),
            ("v2:[::1", "v2:[::1"),
            ("ä", "ä"),
        ] {
            assert_eq!(parse(text).unwrap_err().item, item, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String, near in "[v12:\\[\\],; /.a%-]{0,24}") {
            let _ = parse(&text);
            let _ = parse(&near);
        }
    }
}
