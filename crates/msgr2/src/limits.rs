//! Every maximum, each with its reason.
//!
//! A length from outside is compared with these before anything is set aside for it. What is set
//! aside at once is bounded further by [`RESERVE_AT_ONCE`], so that a length alone costs little.

/// Bytes of banner payload. Two feature sets take 16; the rest is room for later versions.
pub const BANNER_PAYLOAD: usize = 4096;

/// Segments in a frame: the preamble has room for four.
pub const SEGMENTS: usize = 4;

/// Bytes of a control segment. The largest control frames carry tickets and lists of addresses,
/// which take a few thousand bytes.
pub const CONTROL: usize = 64 << 10;

/// Bytes of a message's front. The largest fronts are batches of OSD maps: monitors send up to
/// 10 MiB at once (`osd_map_message_max_bytes`), or one map of whatever size it has.
pub const FRONT: usize = 64 << 20;

/// Bytes of a message's middle, which only file system messages use. As in linux.
pub const MIDDLE: usize = 16 << 20;

/// Bytes of a message's data. The largest objects have 128 MiB (`osd_max_object_size`), and one
/// operation may read a whole one with a little more beside it.
pub const DATA: usize = 129 << 20;

/// The most bytes in each segment, on the wire as well as decompressed.
pub const SEGMENT: [usize; SEGMENTS] = [CONTROL, FRONT, MIDDLE, DATA];
/// Bytes that either side sends up to the end of authentication. They are kept for the signature.
pub const TRANSCRIPT: usize = 256 << 10;

/// Frames of authentication that one side answers: no method takes more than three, and a few may
/// be refused before.
pub const AUTH_ROUNDS: u32 = 16;

/// Methods or modes in one list of an authentication frame: there are five methods and two modes.
pub const AUTH_CHOICES: usize = 16;

/// Addresses of one participant: one for each protocol and each network.
pub const ADDRESSES: usize = 64;

/// How often a peer may ask to try a reconnection again on one connection. Once for each of the
/// two sequence numbers is enough.
pub const RECONNECT_RETRIES: u32 = 8;

/// Bytes the common read buffer has room for: several small frames in one read of the socket.
pub const READ_BUFFER: usize = 64 << 10;

/// A stretch of which more than this many bytes are still to come gets a buffer of its own, so that
/// the rest is read to where it stays. Below that the copy of what has already arrived would cost
/// more than the one buffer saves.
pub const OWN_BUFFER_ABOVE: usize = 32 << 10;

/// Bytes set aside at once for a buffer of its own. The usual largest reads (4 MiB objects) fit;
/// beyond, the buffer grows as bytes really arrive.
pub const RESERVE_AT_ONCE: usize = 8 << 20;

/// Fronts and middles up to this many bytes are copied next to the header: one larger piece is
/// cheaper to write than two.
pub const COPY_FRONT_UP_TO: usize = 4 << 10;

/// With this many bytes of frames waiting to be written, no further message is put into a frame.
pub const ENCODED: usize = 1 << 20;

/// With this many bytes waiting to be written, nothing the peer asks for is added to them.
pub const UNREAD_ANSWERS: usize = 64 << 10;

/// On lossy sessions nothing is kept for replay, so messages are acknowledged only this often when
/// there is nothing to send along.
pub const LOSSY_ACK_EVERY: u64 = 256;
