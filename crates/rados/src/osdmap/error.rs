//! What can be wrong with a map that has arrived.

use denc::{DecodeError, Epoch, OsdId, Uuid};

/// A map or incremental that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OsdMapError {
    /// The bytes make no sense, or do not match their checksum.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An incremental that does not follow upon the map.
    #[error("incremental OSD map {incremental} does not follow upon epoch {map}")]
    Gap {
        /// The epoch of the map.
        map: Epoch,
        /// The epoch of the incremental.
        incremental: Epoch,
    },
    /// An incremental of another cluster.
    #[error("incremental OSD map is of cluster {found}, not of {expected}")]
    OtherCluster {
        /// The cluster of the map.
        expected: Uuid,
        /// The cluster of the incremental.
        found: Uuid,
    },
    /// A full map, in an incremental or on its own, of another epoch than it is said to be.
    #[error("full OSD map {found} in place of {expected}")]
    WrongFullMap {
        /// The epoch it is said to be of.
        expected: Epoch,
        /// The epoch in the map.
        found: Epoch,
    },
    /// An incremental that changes an OSD that cannot be.
    #[error("incremental OSD map changes osd.{osd} of {max_osd}")]
    NoSuchOsd {
        /// The OSD.
        osd: OsdId,
        /// How many there can be.
        max_osd: u32,
    },
    /// More OSDs than any cluster has.
    #[error("OSD map has room for {0} OSDs, more than is sensible")]
    TooManyOsds(i32),
}
