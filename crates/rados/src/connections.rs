//! The connections that are open, for people who want to know.

use denc::{EntityAddrVec, Features, OsdId};
use msgr2::ConnectionInfo;

use crate::Cluster;
use crate::config::ConnectionMode;

/// A connection that is open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// Whom it is to.
    pub peer: Peer,
    /// The peer's addresses.
    pub addrs: EntityAddrVec,
    /// What protects its bytes.
    pub mode: ConnectionMode,
    /// What both sides can decode and do.
    pub features: Features,
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A monitor.
    Monitor,
    /// An OSD.
    Osd(OsdId),
}

impl Connection {
    pub(crate) fn new(peer: Peer, info: &ConnectionInfo) -> Self {
        Self {
            peer,
            addrs: info.peer_addrs.clone(),
            // Nothing else is ever offered.
            mode: if info.mode == msgr2::ConnectionMode::SECURE {
                ConnectionMode::Secure
            } else {
                ConnectionMode::Crc
            },
            features: info.features,
        }
    }
}

impl Cluster {
    /// The connections that are open at the moment: at most one to a monitor, and those to OSDs,
    /// ordered by number.
    pub fn connections(&self) -> Vec<Connection> {
        let monitor = self.monitors().connection();
        monitor
            .into_iter()
            .chain(self.objecter().connections())
            .collect()
    }
}
