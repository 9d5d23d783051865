//! Who watches an object.

use denc::{Decode, EntityAddr, EntityName, GlobalId, Reader};

use crate::WatcherId;

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

impl Watcher {
    /// What tells it from all other watchers of the object, and by what notifications name it.
    pub const fn id(&self) -> WatcherId {
        WatcherId {
            client: GlobalId(self.name.num.cast_unsigned()),
            cookie: self.cookie,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An OSD of 16.2 about an object watched by `client.4114` at `127.0.0.1:0/2054878928` with the
    /// cookie 6931774436707202898.
    const WATCHERS: &[u8] = b"\x01\x01\x42\0\0\0\x01\0\0\0\x02\x01\x38\0\0\0\
        \x08\x12\x10\0\0\0\0\0\0\x52\xf7\x10\xc3\x1f\x9c\x32\x60\x1e\0\0\0\
        \x01\x01\x01\x1c\0\0\0\x03\0\0\0\xd0\xf6\x7a\x7a\x10\0\0\0\
        \x02\0\0\0\x7f\0\0\x01\0\0\0\0\0\0\0\0";

    #[test]
    fn what_an_osd_answers_is_understood_and_every_cut_is_noticed() {
        let Watchers(watchers) = Watchers::decode_all("watchers", WATCHERS).unwrap();
        let [watcher] = watchers.try_into().unwrap();
        assert_eq!(watcher.name.to_string(), "client.4114");
        assert_eq!(watcher.cookie, 6_931_774_436_707_202_898);
        assert_eq!(watcher.id().client, GlobalId(4114));
        assert_eq!(watcher.id().cookie, watcher.cookie);
        assert_eq!(watcher.timeout_seconds, 30);
        assert_eq!(watcher.addr.to_string(), "127.0.0.1:0/2054878928");
        for len in 0..WATCHERS.len() {
            assert!(
                Watchers::decode_all("watchers", &WATCHERS[..len]).is_err(),
                "{len}"
            );
        }
    }
}
