//! Who watches an object.

use denc::{Decode, EntityAddr, EntityName, Reader};

/// The answer to [`Operation::list_watchers`](crate::Operation::list_watchers)
/// (ceph: src/osd/osd_types.h, `obj_list_watch_response_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watchers(pub Vec<Watcher>);

/// One watcher of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// Who.
    pub name: EntityName,
    /// The watcher's own number for the watch.
    pub cookie: u64,
    /// After how many seconds of silence the OSD drops it.
    pub timeout_seconds: u32,
    /// Where it is connected from: the address that fencing it takes.
    pub addr: EntityAddr,
}

impl Decode for Watchers {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader
            .envelope("obj_list_watch_response_t", 1)?
            .reader
            .get()
            .map(Self)
    }
}

impl Decode for Watcher {
    const MIN_LEN: usize = 6 + EntityName::MIN_LEN + 12 + EntityAddr::MIN_LEN;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("watch_item_t", 2)?.reader;
        Ok(Self {
            name: fields.get()?,
            cookie: fields.u64()?,
            timeout_seconds: fields.u32()?,
            addr: fields.get()?,
        })
    }
}
