//! Addresses that OSDs serve no more (ceph: src/osd/OSDMap.cc, `OSDMap::is_blocklisted`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use denc::{AddrType, EntityAddr, EntityAddrVec, UTime};

/// Addresses and ranges of addresses that are blocked, and until when.
///
/// Entries are dropped by the monitors when their time has come: an entry counts as long as it is
/// in the map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocklist {
    pub(crate) addrs: BTreeMap<EntityAddr, UTime>,
    /// The nonce is the length of the prefix in bits.
    pub(crate) ranges: BTreeMap<EntityAddr, UTime>,
}

impl Blocklist {
    /// Whether a participant is blocked: its address with its nonce, all of its IP address (an
    /// entry with port and nonce 0), or a range that it is in.
    ///
    /// The protocols of entries do not matter, and neither does that of `addr`.
    pub fn contains(&self, addr: &EntityAddr) -> bool {
        let Some(socket) = addr.socket else {
            return false;
        };
        if self.addrs.is_empty() && self.ranges.is_empty() {
            return false;
        }
        let mut host = socket;
        host.set_port(0);
        let has = |socket, nonce| {
            [AddrType::ANY, AddrType::LEGACY].into_iter().any(|kind| {
                let entry = EntityAddr {
                    kind,
                    nonce,
                    socket: Some(socket),
                };
                self.addrs.contains_key(&entry)
            })
        };
        has(socket, addr.nonce)
            || has(host, 0)
            || self.ranges.keys().any(|range| is_within(socket, range))
    }

    /// Whether any of a participant's addresses is blocked.
    pub fn contains_any(&self, addrs: &EntityAddrVec) -> bool {
        addrs.iter().any(|addr| self.contains(addr))
    }

    /// The blocked addresses, and until when.
    pub fn addrs(&self) -> impl Iterator<Item = (&EntityAddr, UTime)> {
        self.addrs.iter().map(|(addr, until)| (addr, *until))
    }

    /// The blocked ranges, and until when; the nonce is the length of the prefix in bits.
    pub fn ranges(&self) -> impl Iterator<Item = (&EntityAddr, UTime)> {
        self.ranges.iter().map(|(addr, until)| (addr, *until))
    }
}

fn is_within(socket: SocketAddr, range: &EntityAddr) -> bool {
    match (socket.ip(), range.socket.map(|socket| socket.ip())) {
        (IpAddr::V4(ip), Some(IpAddr::V4(start))) => {
            let differing = ip.to_bits() ^ start.to_bits();
            differing.leading_zeros() >= range.nonce.min(u32::BITS)
        }
        (IpAddr::V6(ip), Some(IpAddr::V6(start))) => {
            let differing = ip.to_bits() ^ start.to_bits();
            differing.leading_zeros() >= range.nonce.min(u128::BITS)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocklist(addrs: &[&str], ranges: &[(&str, u32)]) -> Blocklist {
        let range = |&(text, bits): &(&str, u32)| {
            let addr = EntityAddr {
                kind: AddrType::CIDR,
                nonce: bits,
                socket: Some(SocketAddr::new(text.parse().unwrap(), 0)),
            };
            (addr, UTime::default())
        };
        Blocklist {
            addrs: addrs
                .iter()
                .map(|text| (text.parse().unwrap(), UTime::default()))
                .collect(),
            ranges: ranges.iter().map(range).collect(),
        }
    }

    fn has(list: &Blocklist, addr: &str) -> bool {
        list.contains(&addr.parse().unwrap())
    }

    #[test]
    fn an_entry_blocks_one_nonce_of_any_protocol() {
        let list = blocklist(&["10.0.0.1:0/7"], &[]);
        assert!(has(&list, "10.0.0.1:0/7"));
        assert!(has(&list, "v2:10.0.0.1:0/7"));
        assert!(!has(&list, "10.0.0.1:0/8"));
        assert!(!has(&list, "10.0.0.1:1/7"));
        assert!(!has(&list, "10.0.0.2:0/7"));
    }

    #[test]
    fn port_and_nonce_zero_block_the_host() {
        let list = blocklist(&["10.0.0.1:0/0", "10.0.0.9:5/0"], &[]);
        assert!(has(&list, "10.0.0.1:123/456"));
        assert!(!has(&list, "10.0.0.2:123/456"));
        assert!(!has(&list, "10.0.0.9:5/1"));
    }

    #[test]
    fn ranges_block_by_prefix() {
        let list = blocklist(&[], &[("10.1.0.0", 16), ("fd00::", 8)]);
        assert!(has(&list, "10.1.255.3:1/2"));
        assert!(!has(&list, "10.2.0.0:1/2"));
        assert!(has(&list, "[fdff::1]:1/2"));
        assert!(!has(&list, "[fe00::1]:1/2"));
        let all = blocklist(&[], &[("0.0.0.0", 0)]);
        assert!(has(&all, "255.1.1.1:1/2"));
        assert!(!has(&all, "[::1]:1/2"));
    }

    #[test]
    fn a_blank_address_is_not_blocked() {
        let list = blocklist(&["10.0.0.1:0/0"], &[("0.0.0.0", 0)]);
        assert!(!list.contains(&EntityAddr::NONE));
    }
}
