//! Network addresses of participants (ceph: src/msg/msg_types.h, `entity_addr_t`,
//! `entity_addrvec_t`).
//!
//! ```text
//! marker 1 | envelope(1,1) { type u32 | nonce u32 | len u32 | sockaddr }     one address
//! marker 2 | count u32 | addresses                                          several
//! marker 0 | 3 zero bytes | nonce u32 | sockaddr_storage of 128 bytes       before MSG_ADDR2
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use smallvec::SmallVec;

use crate::{Decode, Encode, Reader, Result, Writer};

/// The protocol spoken at an address. An open set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrType(pub u32);

impl AddrType {
    /// No address.
    pub const NONE: Self = Self(0);
    /// Messenger v1.
    pub const LEGACY: Self = Self(1);
    /// Messenger v2.
    pub const MSGR2: Self = Self(2);
    /// Either: what clients, who do not listen, call their own address.
    pub const ANY: Self = Self(3);
    /// A range of addresses in the blocklist; the nonce is the length of the prefix in bits.
    pub const CIDR: Self = Self(4);
}

impl fmt::Debug for AddrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::LEGACY => f.write_str("v1"),
            Self::MSGR2 => f.write_str("v2"),
            Self::ANY => f.write_str("any"),
            Self::CIDR => f.write_str("cidr"),
            Self(other) => write!(f, "type{other}"),
        }
    }
}

/// An address with the protocol spoken there and the nonce that tells successive users of the same
/// socket address apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityAddr {
    /// The protocol.
    pub kind: AddrType,
    /// Tells users of the same address apart; 0 for monitors.
    pub nonce: u32,
    /// Where, unless the address is blank.
    pub socket: Option<SocketAddr>,
}

impl EntityAddr {
    /// No address.
    pub const NONE: Self = Self {
        kind: AddrType::NONE,
        nonce: 0,
        socket: None,
    };

    /// A messenger v2 address.
    pub const fn v2(socket: SocketAddr, nonce: u32) -> Self {
        Self {
            kind: AddrType::MSGR2,
            nonce,
            socket: Some(socket),
        }
    }

    /// A messenger v1 address.
    pub const fn v1(socket: SocketAddr, nonce: u32) -> Self {
        Self {
            kind: AddrType::LEGACY,
            nonce,
            socket: Some(socket),
        }
    }
}

impl Default for EntityAddr {
    fn default() -> Self {
        Self::NONE
    }
}

/// As Ceph's tools print it: `v2:127.0.0.1:3300/0`.
impl fmt::Display for EntityAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == AddrType::NONE {
            return f.write_str("-");
        }
        if self.kind != AddrType::ANY {
            write!(f, "{:?}:", self.kind)?;
        }
        match self.socket {
            Some(socket) => write!(f, "{socket}/{}", self.nonce),
            None => write!(f, ":/{}", self.nonce),
        }
    }
}

impl fmt::Debug for EntityAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address: expected [v1:|v2:|any:]IP:PORT[/NONCE], IPv6 in brackets")]
pub struct ParseAddrError(String);

/// Reads what [`Display`](fmt::Display) prints; the nonce may be missing and is then 0, the type may
/// be missing and is then [`AddrType::ANY`].
impl FromStr for EntityAddr {
    type Err = ParseAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseAddrError(text.to_string());
        if text == "-" {
            return Ok(Self::NONE);
        }
        let kinds = [
            ("v1:", AddrType::LEGACY),
            ("v2:", AddrType::MSGR2),
            ("any:", AddrType::ANY),
        ];
        let (kind, rest) = kinds
            .into_iter()
            .find_map(|(prefix, kind)| Some((kind, text.strip_prefix(prefix)?)))
            .unwrap_or((AddrType::ANY, text));
        let (socket, nonce) = rest.split_once('/').unwrap_or((rest, "0"));
        Ok(Self {
            kind,
            nonce: nonce.parse().map_err(|_| error())?,
            socket: Some(socket.parse().map_err(|_| error())?),
        })
    }
}

impl Encode for EntityAddr {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(MARKER_ADDR).envelope(1, 1, |writer| {
            writer
                .u32(self.kind.0)
                .u32(self.nonce)
                .with_length(|writer| match self.socket {
                    None => {}
                    Some(SocketAddr::V4(v4)) => {
                        writer
                            .u16(FAMILY_V4)
                            .raw(&v4.port().to_be_bytes())
                            .raw(&v4.ip().octets());
                        writer.zeros(8);
                    }
                    Some(SocketAddr::V6(v6)) => {
                        writer.u16(FAMILY_V6).raw(&v6.port().to_be_bytes());
                        writer
                            .raw(&v6.flowinfo().to_be_bytes())
                            .raw(&v6.ip().octets());
                        writer.u32(v6.scope_id());
                    }
                });
        });
    }
}

impl Decode for EntityAddr {
    /// A blank one: marker, envelope, type, nonce, length.
    const MIN_LEN: usize = 1 + 6 + 12;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.u8()? {
            MARKER_LEGACY => decode_legacy(reader),
            MARKER_ADDR => decode_typed(reader),
            other => Err(reader.invalid("address marker", other.into())),
        }
    }
}

/// The addresses of one participant, each for another protocol or another network.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityAddrVec(pub SmallVec<[EntityAddr; 2]>);

impl EntityAddrVec {
    /// The address where messenger v2 is spoken.
    pub fn v2(&self) -> Option<&EntityAddr> {
        self.iter()
            .find(|addr| addr.kind == AddrType::MSGR2 && addr.socket.is_some())
    }

    /// The addresses in order.
    pub fn iter(&self) -> core::slice::Iter<'_, EntityAddr> {
        self.0.iter()
    }

    /// Whether `addr` is one of them, the nonce included.
    pub fn contains(&self, addr: &EntityAddr) -> bool {
        self.0.contains(addr)
    }
}

impl From<EntityAddr> for EntityAddrVec {
    fn from(addr: EntityAddr) -> Self {
        Self(SmallVec::from_iter([addr]))
    }
}

/// As Ceph's tools print it: `[v2:...,v1:...]`, without brackets if there is just one.
impl fmt::Display for EntityAddrVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [addr] = self.0.as_slice() {
            return fmt::Display::fmt(addr, f);
        }
        f.write_str("[")?;
        for (index, addr) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{addr}")?;
        }
        f.write_str("]")
    }
}

impl Encode for EntityAddrVec {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(MARKER_ADDRVEC).put(&self.0);
    }
}

impl Decode for EntityAddrVec {
    const MIN_LEN: usize = 5;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.u8()? {
            MARKER_LEGACY => decode_legacy(reader).map(Self::from),
            MARKER_ADDR => decode_typed(reader).map(Self::from),
            MARKER_ADDRVEC => reader.get().map(Self),
            other => Err(reader.invalid("address marker", other.into())),
        }
    }
}

/// After the marker.
fn decode_typed(reader: &mut Reader<'_>) -> Result<EntityAddr> {
    let mut fields = reader.envelope("entity_addr_t", 1)?.reader;
    let kind = AddrType(fields.u32()?);
    let nonce = fields.u32()?;
    let mut sockaddr = fields.sub_blob()?;
    let socket = if sockaddr.is_empty() {
        None
    } else {
        let family = sockaddr.u16()?;
        decode_sockaddr(&mut sockaddr, family)?
    };
    Ok(EntityAddr {
        kind,
        nonce,
        socket,
    })
}

/// After the marker, which is the first of four zero bytes.
fn decode_legacy(reader: &mut Reader<'_>) -> Result<EntityAddr> {
    reader.skip(3)?;
    let nonce = reader.u32()?;
    let mut storage = reader.sub(SOCKADDR_STORAGE_LEN)?;
    let family = u16::from_be_bytes(storage.array()?);
    let socket = decode_sockaddr(&mut storage, family)?;
    let kind = if socket.is_some() {
        AddrType::LEGACY
    } else {
        AddrType::NONE
    };
    Ok(EntityAddr {
        kind,
        nonce,
        socket,
    })
}

/// After the family.
fn decode_sockaddr(reader: &mut Reader<'_>, family: u16) -> Result<Option<SocketAddr>> {
    Ok(match family {
        FAMILY_NONE => None,
        FAMILY_V4 => {
            let port = u16::from_be_bytes(reader.array()?);
            let ip = Ipv4Addr::from(reader.array::<4>()?);
            Some(SocketAddr::new(IpAddr::V4(ip), port))
        }
        FAMILY_V6 => {
            let port = u16::from_be_bytes(reader.array()?);
            let flowinfo = u32::from_be_bytes(reader.array()?);
            let ip = Ipv6Addr::from(reader.array::<16>()?);
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                port,
                flowinfo,
                reader.u32()?,
            )))
        }
        other => return Err(reader.invalid("address family", other.into())),
    })
}

const MARKER_LEGACY: u8 = 0;
const MARKER_ADDR: u8 = 1;
const MARKER_ADDRVEC: u8 = 2;
/// Linux's `AF_UNSPEC`, `AF_INET` and `AF_INET6`, which Ceph puts on the wire.
const FAMILY_NONE: u16 = 0;
const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;
const SOCKADDR_STORAGE_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> EntityAddr {
        EntityAddr::decode_all("address", bytes).unwrap()
    }

    #[test]
    fn v4_is_sixteen_bytes_of_sockaddr() {
        let addr: EntityAddr = "v2:127.0.0.1:3300/7".parse().unwrap();
        let bytes = Writer::encode(&addr);
        let expected = [
            &[
                1u8, 1, 1, 28, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 16, 0, 0, 0, 2, 0,
            ][..],
            &[0x0c, 0xe4, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(bytes[..], expected);
        assert_eq!(decode(&bytes), addr);
    }

    #[test]
    fn v6_keeps_its_scope() {
        let addr: EntityAddr = "v1:[fe80::1%3]:6789/9".parse().unwrap();
        let bytes = Writer::encode(&addr);
        assert_eq!(bytes.len(), 1 + 6 + 12 + 28);
        assert_eq!(decode(&bytes), addr);
    }

    #[test]
    fn the_old_form_has_its_family_in_network_order() {
        let mut bytes = vec![0, 0, 0, 0, 5, 0, 0, 0, 0, 2, 0x1a, 0x85, 10, 0, 0, 1];
        bytes.resize(8 + SOCKADDR_STORAGE_LEN, 0);
        assert_eq!(decode(&bytes).to_string(), "v1:10.0.0.1:6789/5");
        assert_eq!(
            EntityAddrVec::decode_all("addrs", &bytes).unwrap().0[0],
            decode(&bytes)
        );
    }

    #[test]
    fn blank_addresses_are_read() {
        assert_eq!(decode(&Writer::encode(&EntityAddr::NONE)), EntityAddr::NONE);
        let mut padded = vec![1, 1, 1, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0];
        padded.resize(padded.len() + 28, 0);
        assert_eq!(decode(&padded), EntityAddr::NONE);
    }

    #[test]
    fn texts_print_as_they_were_parsed() {
        for text in [
            "v2:1.2.3.4:3300/0",
            "v1:[::1]:6789/12",
            "10.0.0.1:0/3141592653",
            "-",
        ] {
            assert_eq!(text.parse::<EntityAddr>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "v2:",
            "host:3300",
            "1.2.3.4",
            "v3:1.2.3.4:5",
            "1.2.3.4:5/x",
        ] {
            assert!(wrong.parse::<EntityAddr>().is_err(), "{wrong}");
        }
        let two: EntityAddrVec = EntityAddrVec(SmallVec::from_iter([
            "v2:1.2.3.4:3300".parse().unwrap(),
            "v1:1.2.3.4:6789".parse().unwrap(),
        ]));
        assert_eq!(two.to_string(), "[v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0]");
    }

    #[test]
    fn every_cut_and_every_odd_marker_is_an_error() {
        let addrs = EntityAddrVec(SmallVec::from_iter([
            "v2:1.2.3.4:3300".parse().unwrap(),
            "v1:[::1]:6789".parse().unwrap(),
        ]));
        let bytes = Writer::encode(&addrs);
        assert_eq!(EntityAddrVec::decode_all("addrs", &bytes).unwrap(), addrs);
        for len in 0..bytes.len() {
            assert!(EntityAddrVec::decode_all("addrs", &bytes[..len]).is_err());
        }
        assert!(EntityAddr::decode_all("addr", &[3]).is_err());
        assert!(EntityAddrVec::decode_all("addrs", &[3]).is_err());
    }
}
