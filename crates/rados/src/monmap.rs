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
        let monitors = if map.version >= WITH_MON_INFO {
            fields.skip(2 * denc::UTime::LEN)?;
            for _ in 0..2 {
                fields.envelope("mon_feature_t", u8::MAX)?;
            }
            let monitors: BTreeMap<String, MonInfo> = fields.get()?;
            monitors
                .into_iter()
                .map(|(name, info)| (name, info.addrs))
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
        })
    }
}

struct MonInfo {
    addrs: EntityAddrVec,
}

impl Decode for MonInfo {
    const MIN_LEN: usize = 6;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("mon_info_t", u8::MAX)?.reader;
        fields.blob()?;
        Ok(Self {
            addrs: fields.get()?,
        })
    }
}
