//! The monitor map: who the monitors are (ceph: src/mon/MonMap.h).

use std::collections::BTreeMap;

use denc::{Decode, EntityAddr, EntityAddrVec, Epoch, Reader, Uuid};

/// The monitors of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonMap {
    /// The cluster.
    pub fsid: Uuid,
    /// The version.
    pub epoch: Epoch,
    /// Names and addresses.
    pub monitors: BTreeMap<String, EntityAddrVec>,
    /// Which monitors to prefer, by name; nothing is said of those that are not among them.
    pub(crate) preferences: BTreeMap<String, Preference>,
}

/// Whether clients should use a monitor rather than another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preference {
    /// Lower numbers are preferred.
    pub(crate) priority: u16,
    /// How many clients it should get, compared with others of its priority.
    pub(crate) weight: u16,
}

/// The newest structure version whose layout is known.
const SUPPORTED: u8 = 10;
/// Before this version there are no structures of the monitors' own, only a list of addresses.
const WITH_MON_INFO: u8 = 5;
/// Since this version there is no such list any more.
const WITHOUT_ADDRS: u8 = 6;

impl Decode for MonMap {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut map = reader.envelope("MonMap", SUPPORTED)?;
        let fields = &mut map.reader;
        let fsid = fields.get()?;
        let epoch = fields.get()?;
        let addrs: BTreeMap<String, EntityAddr> = if map.version < WITHOUT_ADDRS {
            fields.get()?
        } else {
            BTreeMap::new()
        };
        let mut preferences = BTreeMap::new();
        let monitors = if map.version >= WITH_MON_INFO {
            fields.skip(2 * denc::UTime::LEN)?;
            for _ in 0..2 {
                fields.envelope("mon_feature_t", u8::MAX)?;
            }
            let monitors: BTreeMap<String, MonInfo> = fields.get()?;
            monitors
                .into_iter()
                .map(|(name, info)| {
                    preferences.insert(name.clone(), info.preference);
                    (name, info.addrs)
                })
                .collect()
        } else {
            addrs
                .into_iter()
                .map(|(name, addr)| (name, addr.into()))
                .collect()
        };
        Ok(Self {
            fsid,
            epoch,
            monitors,
            preferences,
        })
    }
}

/// The versions of a monitor's entry from which on it has these.
const WITH_PRIORITY: u8 = 2;
const WITH_WEIGHT: u8 = 4;

struct MonInfo {
    addrs: EntityAddrVec,
    preference: Preference,
}

impl Decode for MonInfo {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut info = reader.envelope("mon_info_t", u8::MAX)?;
        let fields = &mut info.reader;
        fields.blob()?;
        let addrs = fields.get()?;
        let mut number_since = |version| {
            if info.version >= version {
                fields.u16()
            } else {
                Ok(0)
            }
        };
        let priority = number_since(WITH_PRIORITY)?;
        let weight = number_since(WITH_WEIGHT)?;
        Ok(Self {
            addrs,
            preference: Preference { priority, weight },
        })
    }
}
