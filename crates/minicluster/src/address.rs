//! Where the monitors listen.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use crate::Error;

/// The ports of the monitors.
///
/// With the fixed ports, every monitor has an address of its own: the one asked for and those that
/// follow it, or, when none was asked for, addresses of `127.0.0.0/8` that are free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MonPorts {
    /// Messenger v2 and v1, each at a free port.
    #[default]
    Free,
    /// Messenger v2 at 3300 and v1 at 6789, as a production cluster has them.
    Standard,
    /// Messenger v2 alone, at 6789, where clients would expect v1.
    V2At6789,
    /// Messenger v1 alone, at a free port.
    V1Only,
}

impl MonPorts {
    /// Whether the daemons speak messenger v2.
    pub(crate) fn has_v2(self) -> bool {
        self != Self::V1Only
    }

    /// Whether the daemons speak messenger v1.
    pub(crate) fn has_v1(self) -> bool {
        self != Self::V2At6789
    }

    fn is_fixed(self) -> bool {
        matches!(self, Self::Standard | Self::V2At6789)
    }
}

/// One monitor's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MonAddress {
    pub(crate) v2: Option<SocketAddr>,
    pub(crate) v1: Option<SocketAddr>,
}

impl MonAddress {
    /// As Ceph writes it: `[v2:127.0.0.1:3300,v1:127.0.0.1:6789]`.
    pub(crate) fn to_addrvec(&self) -> String {
        let v2 = self.v2.map(|a| format!("v2:{a}"));
        let v1 = self.v1.map(|a| format!("v1:{a}"));
        let all: Vec<String> = v2.into_iter().chain(v1).collect();
        format!("[{}]", all.join(","))
    }
}

/// Addresses that nobody else can take until this is dropped, just before the daemons bind them.
pub(crate) struct Reservation {
    pub(crate) mons: Vec<MonAddress>,
    /// Where the managers and OSDs bind.
    pub(crate) ip: IpAddr,
    _listeners: Vec<TcpListener>,
}

impl Reservation {
    pub(crate) fn new(
        ports: MonPorts,
        count: usize,
        wanted: Option<IpAddr>,
    ) -> Result<Self, Error> {
        match (ports.is_fixed(), wanted) {
            (true, Some(ip)) => Self::fixed(ports, count, ip),
            (true, None) => (0..TRIES)
                .find_map(|_| Self::fixed(ports, count, random_loopback()).ok())
                .ok_or_else(|| Error::NoFreeAddress(format!("tried {TRIES} of 127.0.0.0/8"))),
            (false, ip) => Self::free(ports, count, ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        }
    }

    fn fixed(ports: MonPorts, count: usize, first: IpAddr) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        let mut mons = Vec::new();
        for index in 0..count {
            let ip = nth_address(first, index)?;
            let mut take = |port| -> Result<SocketAddr, Error> {
                let address = SocketAddr::new(ip, port);
                let listener = TcpListener::bind(address)
                    .map_err(|e| Error::NoFreeAddress(format!("{address}: {e}")))?;
                listeners.push(listener);
                Ok(address)
            };
            mons.push(if ports == MonPorts::Standard {
                MonAddress {
                    v2: Some(take(3300)?),
                    v1: Some(take(6789)?),
                }
            } else {
                MonAddress {
                    v2: Some(take(6789)?),
                    v1: None,
                }
            });
        }
        Ok(Self {
            mons,
            ip: first,
            _listeners: listeners,
        })
    }

    fn free(ports: MonPorts, count: usize, ip: IpAddr) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        let mut take = |wanted: bool| -> Result<Vec<Option<SocketAddr>>, Error> {
            let mut addresses = vec![None; count];
            if wanted {
                for address in &mut addresses {
                    let (bound, listener) = bind_somewhere(ip)?;
                    listeners.push(listener);
                    *address = Some(bound);
                }
            }
            // Monitors are ranked by address, and `a` is expected to be the first.
            addresses.sort();
            Ok(addresses)
        };
        let v2 = take(ports.has_v2())?;
        let v1 = take(ports.has_v1())?;
        let mons = v2
            .into_iter()
            .zip(v1)
            .map(|(v2, v1)| MonAddress { v2, v1 })
            .collect();
        Ok(Self {
            mons,
            ip,
            _listeners: listeners,
        })
    }
}

/// Binds a random port below those the kernel hands out to outgoing connections (32768 and up), so
/// that no connection can take it while the monitor is down.
fn bind_somewhere(ip: IpAddr) -> Result<(SocketAddr, TcpListener), Error> {
    let mut last = String::new();
    for _ in 0..TRIES {
        // At most 19999, so it fits.
        let offset = u16::try_from(random() % 20_000).unwrap_or_default();
        let address = SocketAddr::new(ip, 12_000 + offset);
        match TcpListener::bind(address) {
            Ok(listener) => return Ok((address, listener)),
            Err(e) => last = format!("{address}: {e}"),
        }
    }
    Err(Error::NoFreeAddress(last))
}

fn nth_address(first: IpAddr, index: usize) -> Result<IpAddr, Error> {
    if index == 0 {
        return Ok(first);
    }
    let IpAddr::V4(v4) = first else {
        return Err(Error::Unsupported(
            "several monitors at fixed ports need several addresses, and IPv6 has one loopback address"
                .into(),
        ));
    };
    let next = u32::try_from(index)
        .ok()
        .and_then(|i| v4.to_bits().checked_add(i));
    match next.map(Ipv4Addr::from_bits) {
        Some(ip) if ip.is_loopback() == v4.is_loopback() => Ok(IpAddr::V4(ip)),
        _ => Err(Error::NoFreeAddress(format!(
            "no {index} addresses after {v4}"
        ))),
    }
}

/// An address of `127.0.0.0/8` outside of `127.0.0.0/16`, with room for others after it.
fn random_loopback() -> IpAddr {
    let [a, b, c, ..] = random().to_le_bytes();
    IpAddr::V4(Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 200)))
}

/// A random number, from the seed that the standard library gives every hash map.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

const TRIES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_are_held() {
        let reserved = Reservation::new(MonPorts::Free, 3, None).unwrap();
        let mut all: Vec<SocketAddr> = reserved
            .mons
            .iter()
            .flat_map(|m| [m.v2.unwrap(), m.v1.unwrap()])
            .collect();
        for address in &all {
            assert!(TcpListener::bind(address).is_err(), "{address} is not held");
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 6);
        drop(reserved);
        for address in all {
            TcpListener::bind(address).unwrap();
        }
    }

    #[test]
    fn fixed_ports_take_one_address_per_monitor() {
        let reserved = Reservation::new(MonPorts::Standard, 2, None).unwrap();
        let [first, second] = reserved.mons.as_slice() else {
            panic!("two monitors")
        };
        assert_eq!(first.v2.unwrap().port(), 3300);
        assert_eq!(first.v1.unwrap().port(), 6789);
        assert_eq!(first.v2.unwrap().ip(), first.v1.unwrap().ip());
        assert_ne!(first.v2.unwrap().ip(), second.v2.unwrap().ip());
        let ip = reserved.ip;
        let taken = Reservation::new(MonPorts::Standard, 1, Some(ip));
        assert!(matches!(taken.err(), Some(Error::NoFreeAddress(_))));
    }

    #[test]
    fn addrvec_is_written_as_ceph_reads_it() {
        let v4 = SocketAddr::from(([127, 0, 0, 1], 3300));
        let v6: SocketAddr = "[::1]:6789".parse().unwrap();
        let both = MonAddress {
            v2: Some(v4),
            v1: Some(v6),
        };
        assert_eq!(both.to_addrvec(), "[v2:127.0.0.1:3300,v1:[::1]:6789]");
        let one = MonAddress {
            v2: Some(v4),
            v1: None,
        };
        assert_eq!(one.to_addrvec(), "[v2:127.0.0.1:3300]");
    }
}
