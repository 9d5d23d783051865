//! Why a connection failed, by blame: bytes that are damaged or make no sense, a peer that breaks
//! the rules, a peer that is not the one meant, authentication, and our own side.

use std::time::Duration;

use denc::{DecodeError, EntityAddr, EntityAddrVec, EntityType, Features};
use smallvec::SmallVec;

use crate::compression::DecompressError;
use crate::frame::Tag;
use crate::{CompressionMethod, ConnectionMode};

/// What an implementation of authentication reports.
pub type AuthError = Box<dyn std::error::Error + Send + Sync>;

/// Why a connection could not be made or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer speaks the old messenger v1. Monitors speak v2 at port 3300 of the same host.
    #[error("the peer speaks messenger v1")]
    V1Banner,
    /// The peer's first bytes are not those of any Ceph messenger.
    #[error("not a Ceph messenger: the peer's first bytes are {}", found.escape_ascii())]
    NotABanner {
        /// The bytes.
        found: [u8; 8],
    },
    /// The banner's payload is shorter or longer than acceptable.
    #[error("banner payload of {len} bytes")]
    BannerLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The peer requires protocol features that this side does not offer.
    #[error("the peer requires messenger features {missing:#x}")]
    MissingProtocolFeatures {
        /// The bits.
        missing: u64,
    },
    /// The peer does not offer protocol features that this side requires.
    #[error("the peer lacks messenger features {missing:#x}")]
    PeerLacksProtocolFeatures {
        /// The bits.
        missing: u64,
    },

    /// The checksum of a preamble does not match.
    #[error("preamble checksum is {found:#010x}, should be {expected:#010x}")]
    PreambleCrc {
        /// The checksum in the preamble.
        found: u32,
        /// The checksum of its bytes.
        expected: u32,
    },
    /// A tag that no version of the protocol has.
    #[error("unknown frame tag {0}")]
    UnknownTag(u8),
    /// A frame of no segments, or of more than the preamble has room for.
    #[error("frame {tag} of {count} segments")]
    SegmentCount {
        /// The frame's tag.
        tag: Tag,
        /// Its number of segments.
        count: u8,
    },
    /// A segment longer than the [limit](crate::limits) for its place.
    #[error("segment {segment} of frame {tag} has {len} bytes, more than {max}")]
    SegmentTooLong {
        /// The frame's tag.
        tag: Tag,
        /// The segment's number.
        segment: usize,
        /// Its length in bytes.
        len: u32,
        /// The most acceptable.
        max: usize,
    },
    /// The last of several segments is empty; it should have been left out.
    #[error("the last of {count} segments of frame {tag} is empty")]
    EmptyLastSegment {
        /// The frame's tag.
        tag: Tag,
        /// Its number of segments.
        count: u8,
    },
    /// A compressed frame, though compression was not agreed on.
    #[error("frame {tag} is compressed, which was not agreed on")]
    CompressedFrame {
        /// The frame's tag.
        tag: Tag,
    },
    /// A segment that cannot be decompressed.
    #[error("segment {segment} of frame {tag} is no {method}")]
    Decompress {
        /// The frame's tag.
        tag: Tag,
        /// The segment's number.
        segment: usize,
        /// The method agreed on.
        method: CompressionMethod,
        /// What is wrong with it.
        source: DecompressError,
    },
    /// Preamble flags that no version of the protocol has.
    #[error("frame {tag} has the flags {flags:#04x}")]
    FrameFlags {
        /// The frame's tag.
        tag: Tag,
        /// The flags.
        flags: u8,
    },
    /// The byte that says whether a frame is complete says neither yes nor no.
    #[error("late status {0:#04x}")]
    LateStatus(u8),
    /// The checksum of a segment does not match.
    #[error(
        "checksum of segment {segment} of frame {tag} is {found:#010x}, should be {expected:#010x}"
    )]
    SegmentCrc {
        /// The frame's tag.
        tag: Tag,
        /// The segment's number.
        segment: usize,
        /// The checksum that came with it.
        found: u32,
        /// The checksum of its bytes.
        expected: u32,
    },
    /// Encrypted bytes that were not encrypted by the peer, or were changed or reordered on the way.
    #[error("encrypted frame fails authentication")]
    GcmTag,
    /// All nonces of a secure connection are used up; only a new connection has new ones.
    #[error("the connection's nonces are used up")]
    NoncesUsedUp,
    /// The contents of a frame make no sense.
    #[error(transparent)]
    Decode(#[from] DecodeError),

    /// A frame that must not come now.
    #[error("unexpected frame {tag} while waiting for {state}")]
    UnexpectedFrame {
        /// The frame's tag.
        tag: Tag,
        /// What this side was waiting for.
        state: &'static str,
    },
    /// Messages are missing between the last one and this one.
    #[error("message {found} follows message {last}")]
    SequenceGap {
        /// The message's number.
        found: u64,
        /// The number of the last one.
        last: u64,
    },
    /// The peer acknowledges messages that were never sent.
    #[error("acknowledgement of message {found}, the last one sent is {last}")]
    AckBeyondSent {
        /// The number acknowledged.
        found: u64,
        /// The number of the last message sent.
        last: u64,
    },
    /// The peer sent more before the end of authentication than that can take.
    #[error("authentication takes more than {max} bytes")]
    TranscriptTooLong {
        /// The limit.
        max: usize,
    },
    /// Authentication went back and forth too often.
    #[error("authentication takes more than {max} rounds")]
    TooManyAuthRounds {
        /// The limit.
        max: u32,
    },
    /// The peer asked to try the reconnection again too often.
    #[error("reconnection refused {max} times")]
    TooManyRetries {
        /// The limit.
        max: u32,
    },
    /// A list longer than its [limit](crate::limits).
    #[error("list of {count} {what}, more than {max}")]
    ListTooLong {
        /// What is listed.
        what: &'static str,
        /// Its length.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The peer wants a part of the session reset, which would lose track of what was done.
    #[error("the peer wants to reset a part of the session")]
    PartialReset,
    /// The peer connects to this side at the same time: wait, then reconnect.
    #[error("the peer says to wait for its own connection")]
    Wait,

    /// The peer is of another kind than the one dialled.
    #[error("wrong peer at {addr}: {found} instead of {expected}")]
    WrongPeerType {
        /// The address dialled.
        addr: EntityAddr,
        /// The kind it says it is.
        found: EntityType,
        /// The kind meant.
        expected: EntityType,
    },
    /// The peer has other addresses than the one dialled: an earlier or later incarnation, or
    /// somebody else.
    #[error("wrong peer at {expected}: it is at {found}")]
    WrongPeerAddr {
        /// Its addresses.
        found: Box<EntityAddrVec>,
        /// The address dialled.
        expected: EntityAddr,
    },
    /// The peer has another number than the one dialled.
    #[error("wrong peer at {addr}: number {found} instead of {expected}")]
    WrongPeerId {
        /// The address dialled.
        addr: EntityAddr,
        /// Its number.
        found: i64,
        /// The number meant.
        expected: i64,
    },
    /// The peer does not say how it sees this side, and this side does not know either.
    #[error("{0} does not say what this side's address is")]
    OwnAddrUnknown(EntityAddr),
    /// The peer requires features this side does not have.
    #[error("the peer requires features {0}")]
    MissingFeatures(Features),
    /// The peer lacks features this side requires.
    #[error("the peer lacks features {0}")]
    PeerLacksFeatures(Features),

    /// Authentication failed.
    #[error("authentication failed")]
    Auth(#[source] AuthError),
    /// The peer chose a connection mode that was not offered.
    #[error("the peer chose the mode {mode}, offered were {offered:?}")]
    ModeNotOffered {
        /// Its choice.
        mode: ConnectionMode,
        /// What was offered.
        offered: SmallVec<[ConnectionMode; 2]>,
    },
    /// The peer chose a compression method that nobody knows.
    #[error("the peer chose the compression method {0}")]
    UnknownCompression(u32),
    /// The peer chose a compression method that was not offered, or compresses without being asked.
    #[error("the peer chose to compress with {method}, offered were {offered:?}")]
    CompressionNotOffered {
        /// Its choice.
        method: CompressionMethod,
        /// What was offered.
        offered: Vec<CompressionMethod>,
    },
    /// Secure mode was agreed on, but authentication gave no (or too short) a secret for it.
    #[error("a connection secret of {len} bytes is too short for secure mode")]
    NoConnectionSecret {
        /// Its length.
        len: usize,
    },
    /// The peer's signature of the handshake is wrong: somebody is in between.
    #[error("the peer's signature of the handshake is wrong")]
    BadSignature,

    /// The connection did not come up in time.
    #[error("no connection to {addr} within {after:?}")]
    TimedOut {
        /// The address dialled.
        addr: EntityAddr,
        /// The time it had.
        after: Duration,
    },
    /// The socket failed.
    #[error("{action} {addr}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The peer.
        addr: EntityAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// This side closed the connection, or it has ended for a reason reported before.
    #[error("the connection is closed")]
    Closed,
    /// Something that takes an open connection was asked of one that is not open yet.
    #[error("the connection is not open yet")]
    NotOpen,
    /// An address without a socket address cannot be dialled.
    #[error("{0} cannot be dialled")]
    NotDialable(EntityAddr),
    /// A message with a part longer than its [limit](crate::limits) was to be sent.
    #[error("{part} of {len} bytes, more than {max}")]
    MessageTooLong {
        /// The part.
        part: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
}
