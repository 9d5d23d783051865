//! A message as the layers above see it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use denc::Tid;
use smallvec::SmallVec;

use crate::{Error, limits};

/// The number that says what a message means (ceph: src/include/ceph_fs.h and src/msg/Message.h).
/// An open set, whose members are known to the layers above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u16);

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One message. The connection adds sequence numbers and checksums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Ties an answer to its question, for the types that have answers.
    pub tid: Tid,
    /// What it means.
    pub kind: MessageType,
    /// How urgently the peer should handle it: 63 is usual, 127 high, 196 highest.
    pub priority: u16,
    /// The version of the front's layout.
    pub version: u16,
    /// The oldest version whose readers can read the front.
    pub compat_version: u16,
    /// The fields of the message.
    pub front: Bytes,
    /// More fields; used by file system messages only.
    pub middle: Bytes,
    /// Bulk data. Written without being copied; received as one piece.
    pub data: Payload,
}

impl Message {
    /// Bytes in all its parts together.
    pub fn len_bytes(&self) -> usize {
        self.front.len() + self.middle.len() + self.data.len()
    }

    /// Refuses what no peer would accept.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let parts = [
            ("a front", self.front.len(), limits::FRONT),
            ("a middle", self.middle.len(), limits::MIDDLE),
            ("data", self.data.len(), limits::DATA),
        ];
        match parts.into_iter().find(|(_, len, max)| len > max) {
            Some((part, len, max)) => Err(Error::MessageTooLong { part, len, max }),
            None => Ok(()),
        }
    }
}

/// Bulk data in one or more pieces, so that pieces from different places need not be joined.
///
/// Equality is that of the bytes, however they are cut.
#[derive(Clone, Default)]
pub struct Payload {
    pieces: SmallVec<[Bytes; 2]>,
    len: usize,
}

impl Payload {
    /// No data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes in all pieces.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no data.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> core::slice::Iter<'_, Bytes> {
        self.pieces.iter()
    }

    /// The data as one piece: copied only if there are several, which received data never has.
    pub fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() > 1 {
            let mut joined = BytesMut::with_capacity(self.len);
            self.pieces
                .iter()
                .for_each(|piece| joined.extend_from_slice(piece));
            return joined.freeze();
        }
        self.pieces.pop().unwrap_or_default()
    }
}

impl From<Bytes> for Payload {
    fn from(piece: Bytes) -> Self {
        Self::from_iter([piece])
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut payload = Self::new();
        pieces.into_iter().for_each(|piece| payload.push(piece));
        payload
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self
                .pieces()
                .flat_map(|piece| piece.iter())
                .eq(other.pieces().flat_map(|piece| piece.iter()))
    }
}

impl Eq for Payload {}

/// Says how long, not what: it may be megabytes of somebody's data.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} pieces", self.len, self.pieces.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_its_bytes() {
        let cut: Payload = [&b"ab"[..], b"", b"c"]
            .map(Bytes::from_static)
            .into_iter()
            .collect();
        let whole = Payload::from(Bytes::from_static(b"abc"));
        assert_eq!(cut, whole);
        assert_eq!((cut.len(), cut.pieces().len()), (3, 2));
        assert_ne!(cut, Payload::from(Bytes::from_static(b"abd")));
        assert_ne!(cut, Payload::new());
        assert_eq!(cut.into_bytes(), whole.into_bytes());
    }

    #[test]
    fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![1; 100]);
        let address = piece.as_ptr();
        assert_eq!(Payload::from(piece).into_bytes().as_ptr(), address);
    }
}
