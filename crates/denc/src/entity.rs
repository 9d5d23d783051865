//! Who takes part in a cluster.

use std::fmt;
use std::str::FromStr;

use crate::{Decode, Encode, GlobalId, OsdId, Reader, Result, Writer};

/// The kind of a participant (ceph: src/include/msgr.h, `CEPH_ENTITY_TYPE_*`).
///
/// An open set: numbers this version does not know are kept and printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityType(pub u8);

impl EntityType {
    /// A monitor.
    pub const MON: Self = Self(0x01);
    /// A metadata server.
    pub const MDS: Self = Self(0x02);
    /// An object storage daemon.
    pub const OSD: Self = Self(0x04);
    /// A client.
    pub const CLIENT: Self = Self(0x08);
    /// A manager.
    pub const MGR: Self = Self(0x10);
    /// The authentication service of the monitors.
    pub const AUTH: Self = Self(0x20);

    /// The name used in entity names: `osd`, `client`, ...
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::MON => "mon",
            Self::MDS => "mds",
            Self::OSD => "osd",
            Self::CLIENT => "client",
            Self::MGR => "mgr",
            Self::AUTH => "auth",
            _ => return None,
        })
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            Self::MON,
            Self::MDS,
            Self::OSD,
            Self::CLIENT,
            Self::MGR,
            Self::AUTH,
        ]
        .into_iter()
        .find(|kind| kind.name() == Some(name))
    }
}

impl fmt::Display for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type{:#x}", self.0),
        }
    }
}

impl fmt::Debug for EntityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Encode for EntityType {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.0);
    }
}

impl Decode for EntityType {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.u8().map(Self)
    }
}

/// A running participant by number: `osd.3`, `client.4123`
/// (ceph: src/msg/msg_types.h, `entity_name_t`; 9 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityName {
    /// The kind.
    pub kind: EntityType,
    /// The number; for clients the global id. -1 stands for "not known yet".
    pub num: i64,
}

impl EntityName {
    /// The name of an OSD.
    pub const fn osd(id: OsdId) -> Self {
        Self {
            kind: EntityType::OSD,
            num: id.0 as i64,
        }
    }

    /// The name of a client instance.
    pub const fn client(id: GlobalId) -> Self {
        Self {
            kind: EntityType::CLIENT,
            num: id.0.cast_signed(),
        }
    }
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.num {
            -1 => write!(f, "{}.?", self.kind),
            num => write!(f, "{}.{num}", self.kind),
        }
    }
}

impl Encode for EntityName {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.kind).i64(self.num);
    }
}

impl Decode for EntityName {
    const MIN_LEN: usize = 9;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            kind: reader.get()?,
            num: reader.i64()?,
        })
    }
}

/// A participant as the authentication database knows it: `client.admin`
/// (ceph: src/common/entity_name.h, `EntityName`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthEntityName {
    /// The kind.
    pub kind: EntityType,
    /// The part after the dot. Empty for all of a kind: `mon.` is the monitors' shared user.
    pub id: String,
}

impl AuthEntityName {
    /// The client `client.ID`.
    pub fn client(id: impl Into<String>) -> Self {
        Self {
            kind: EntityType::CLIENT,
            id: id.into(),
        }
    }
}

impl fmt::Display for AuthEntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.id)
    }
}

/// A text that is not of the form `TYPE.ID`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an entity name: expected TYPE.ID, for example client.admin")]
pub struct ParseEntityNameError(String);

impl FromStr for AuthEntityName {
    type Err = ParseEntityNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('.')
            .and_then(|(kind, id)| Some((EntityType::from_name(kind)?, id)))
            .map(|(kind, id)| Self {
                kind,
                id: id.to_string(),
            })
            .ok_or_else(|| ParseEntityNameError(text.to_string()))
    }
}

impl Encode for AuthEntityName {
    fn encode(&self, writer: &mut Writer) {
        writer.u32(self.kind.0.into()).str(&self.id);
    }
}

impl Decode for AuthEntityName {
    const MIN_LEN: usize = 8;

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let kind = reader.u32()?;
        let Ok(kind) = u8::try_from(kind) else {
            return Err(reader.invalid("entity type", kind.into()));
        };
        Ok(Self {
            kind: EntityType(kind),
            id: reader.get()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_and_parse() {
        let name: AuthEntityName = "client.rbd.user".parse().unwrap();
        assert_eq!(name, AuthEntityName::client("rbd.user"));
        assert_eq!(name.to_string(), "client.rbd.user");
        assert_eq!("mon.".parse::<AuthEntityName>().unwrap().id, "");
        for wrong in ["client", "cliente.admin", ".admin", ""] {
            assert!(wrong.parse::<AuthEntityName>().is_err(), "{wrong}");
        }
        assert_eq!(EntityName::osd(OsdId(3)).to_string(), "osd.3");
        assert_eq!(
            EntityName {
                kind: EntityType::MON,
                num: -1
            }
            .to_string(),
            "mon.?"
        );
    }

    #[test]
    fn a_number_takes_nine_bytes_a_name_a_wide_type() {
        let osd = Writer::encode(&EntityName::osd(OsdId(258)));
        assert_eq!(osd[..], [4, 2, 1, 0, 0, 0, 0, 0, 0]);
        let admin = Writer::encode(&AuthEntityName::client("a"));
        assert_eq!(admin[..], [8, 0, 0, 0, 1, 0, 0, 0, b'a']);
        assert_eq!(
            AuthEntityName::decode_all("name", &admin).unwrap(),
            AuthEntityName::client("a")
        );
    }
}
