//! The monitor: it has three maps, none of which ever changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use denc::{EntityAddr, EntityType, Epoch, Reader, Tid, Uuid, Writer};
use msgr2::{Message, MessageType};

use crate::daemon::Daemon;
use crate::osdmap;

/// What it tells everybody.
#[derive(Debug)]
pub(crate) struct Monitor {
    monmap: Bytes,
    osdmap: Bytes,
}

impl Monitor {
    pub(crate) fn new(here: SocketAddr, osd: SocketAddr) -> Self {
        Self {
            monmap: monmap(here),
            osdmap: osdmap::message(osd),
        }
    }

    /// The maps that are wanted from the only version on that there is.
    fn maps(&self, subscription: &Message) -> denc::Result<Vec<Message>> {
        let mut reader = Reader::new("MMonSubscribe", &subscription.front);
        let mut maps = Vec::new();
        for _ in 0..reader.count(13)? {
            let name = reader.str()?;
            let start = reader.u64()?;
            reader.bool()?;
            let (kind, front) = match name {
                "monmap" => (MON_MAP, self.monmap.clone()),
                "osdmap" => (OSD_MAP, self.osdmap.clone()),
                "config" => (CONFIG, no_options()),
                _ => continue,
            };
            if start <= u64::from(EPOCH.0) {
                maps.push(message(kind, Tid(0), front));
            }
        }
        Ok(maps)
    }
}

impl Daemon for Monitor {
    const TYPE: EntityType = EntityType::MON;
    const NONCE: u32 = 0;

    fn answer(&self, question: Message) -> Vec<Message> {
        match question.kind {
            MON_SUBSCRIBE => self.maps(&question).unwrap_or_default(),
            MON_GET_VERSION => {
                let mut front = Writer::new();
                front.put(&question.tid).u64(EPOCH.0.into()).u64(1);
                vec![message(MON_GET_VERSION_REPLY, question.tid, front.freeze())]
            }
            _ => Vec::new(),
        }
    }
}

/// `MMonMap`, in a form from before monitors had structures of their own.
fn monmap(here: SocketAddr) -> Bytes {
    let monitors = BTreeMap::from([("a".to_owned(), EntityAddr::v2(here, 0))]);
    let mut front = Writer::new();
    front.with_length(|writer| {
        writer.envelope(3, 1, |writer| {
            writer.put(&FSID).put(&EPOCH).put(&monitors);
        });
    });
    front.freeze()
}

fn no_options() -> Bytes {
    let mut front = Writer::new();
    front.u32(0);
    front.freeze()
}

fn message(kind: MessageType, tid: Tid, front: Bytes) -> Message {
    Message {
        kind,
        tid,
        front,
        version: 1,
        compat_version: 1,
        ..Message::default()
    }
}

/// The cluster.
pub(crate) const FSID: Uuid = Uuid([7; 16]);
/// Of all maps.
pub(crate) const EPOCH: Epoch = Epoch(1);

const MON_MAP: MessageType = MessageType(4);
const MON_SUBSCRIBE: MessageType = MessageType(15);
const MON_GET_VERSION: MessageType = MessageType(19);
const MON_GET_VERSION_REPLY: MessageType = MessageType(20);
const OSD_MAP: MessageType = MessageType(41);
const CONFIG: MessageType = MessageType(62);
