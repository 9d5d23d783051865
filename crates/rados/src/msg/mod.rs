//! The messages that are exchanged with monitors and OSDs, one type each.
//!
//! Layouts: ceph: src/messages/M*.h.

pub(crate) mod mon;
pub(crate) mod osd;
#[cfg(test)]
mod tests;

/// Message numbers (ceph: src/msg/Message.h).
pub(crate) mod kind {
    use msgr2::MessageType;

    pub(crate) const MON_MAP: MessageType = MessageType(4);
    pub(crate) const MON_SUBSCRIBE: MessageType = MessageType(15);
    pub(crate) const AUTH: MessageType = MessageType(17);
    pub(crate) const AUTH_REPLY: MessageType = MessageType(18);
    pub(crate) const MON_GET_VERSION: MessageType = MessageType(19);
    pub(crate) const MON_GET_VERSION_REPLY: MessageType = MessageType(20);
    pub(crate) const OSD_MAP: MessageType = MessageType(41);
    pub(crate) const OSD_OP: MessageType = MessageType(42);
    pub(crate) const OSD_OPREPLY: MessageType = MessageType(43);
    pub(crate) const WATCH_NOTIFY: MessageType = MessageType(44);
    pub(crate) const MON_COMMAND: MessageType = MessageType(50);
    pub(crate) const MON_COMMAND_ACK: MessageType = MessageType(51);
    pub(crate) const OSD_BACKOFF: MessageType = MessageType(61);
    pub(crate) const CONFIG: MessageType = MessageType(62);
}
