//! The numbers of the NBD protocol, all of them big-endian on the wire.
//!
//! Source: NetworkBlockDevice/nbd, `doc/proto.md`.

use rustix::io::Errno;

/// `NBDMAGIC`, the server's first eight bytes.
pub(super) const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`, before every option.
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Before every reply to an option.
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Before every request.
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Before every simple reply.
pub(super) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Before every chunk of a structured reply.
pub(super) const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Bits of the handshake's flags, the same in both directions.
pub(super) mod handshake_flags {
    pub(in super::super) const FIXED_NEWSTYLE: u16 = 1 << 0;
    pub(in super::super) const NO_ZEROES: u16 = 1 << 1;
}

/// Options the client may send.
pub(super) mod option {
    pub(in super::super) const EXPORT_NAME: u32 = 1;
    pub(in super::super) const ABORT: u32 = 2;
    pub(in super::super) const LIST: u32 = 3;
    pub(in super::super) const STARTTLS: u32 = 5;
    pub(in super::super) const INFO: u32 = 6;
    pub(in super::super) const GO: u32 = 7;
    pub(in super::super) const STRUCTURED_REPLY: u32 = 8;
    pub(in super::super) const LIST_META_CONTEXT: u32 = 9;
    pub(in super::super) const SET_META_CONTEXT: u32 = 10;
}

/// Types of replies to options.
pub(super) mod option_reply {
    pub(in super::super) const ACK: u32 = 1;
    pub(in super::super) const SERVER: u32 = 2;
    pub(in super::super) const INFO: u32 = 3;
    pub(in super::super) const META_CONTEXT: u32 = 4;
    pub(in super::super) const ERR_UNSUP: u32 = 0x8000_0001;
    pub(in super::super) const ERR_INVALID: u32 = 0x8000_0003;
    pub(in super::super) const ERR_UNKNOWN: u32 = 0x8000_0006;
    pub(in super::super) const ERR_TOO_BIG: u32 = 0x8000_0009;
}

/// Kinds of information in answer to `NBD_OPT_GO` and `NBD_OPT_INFO`.
pub(super) mod info {
    pub(in super::super) const EXPORT: u16 = 0;
    pub(in super::super) const NAME: u16 = 1;
    pub(in super::super) const DESCRIPTION: u16 = 2;
    pub(in super::super) const BLOCK_SIZE: u16 = 3;
}

/// What an export can do. The kernel's driver takes the same numbers as `NBD_ATTR_SERVER_FLAGS`.
pub(crate) mod transmission_flags {
    pub(crate) const HAS_FLAGS: u16 = 1 << 0;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const SEND_FLUSH: u16 = 1 << 2;
    pub(crate) const SEND_FUA: u16 = 1 << 3;
    pub(crate) const SEND_TRIM: u16 = 1 << 5;
    pub(crate) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const SEND_DF: u16 = 1 << 7;
    pub(crate) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(crate) const SEND_CACHE: u16 = 1 << 10;
    pub(crate) const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Commands.
pub(super) mod command {
    pub(in super::super) const READ: u16 = 0;
    pub(in super::super) const WRITE: u16 = 1;
    pub(in super::super) const DISC: u16 = 2;
    pub(in super::super) const FLUSH: u16 = 3;
    pub(in super::super) const TRIM: u16 = 4;
    pub(in super::super) const CACHE: u16 = 5;
    pub(in super::super) const WRITE_ZEROES: u16 = 6;
    pub(in super::super) const BLOCK_STATUS: u16 = 7;
}

/// Bits of a command's flags.
pub(super) mod command_flags {
    pub(in super::super) const FUA: u16 = 1 << 0;
    pub(in super::super) const NO_HOLE: u16 = 1 << 1;
    pub(in super::super) const DF: u16 = 1 << 2;
    pub(in super::super) const REQ_ONE: u16 = 1 << 3;
    pub(in super::super) const FAST_ZERO: u16 = 1 << 4;
}

/// Types of chunks of structured replies.
pub(super) mod chunk {
    pub(in super::super) const NONE: u16 = 0;
    pub(in super::super) const OFFSET_DATA: u16 = 1;
    pub(in super::super) const OFFSET_HOLE: u16 = 2;
    pub(in super::super) const BLOCK_STATUS: u16 = 5;
    pub(in super::super) const ERROR: u16 = 0x8001;
    /// The flag of the last chunk of a reply.
    pub(in super::super) const DONE: u16 = 1 << 0;
}

/// The one metadata context there is.
pub(super) const BASE_ALLOCATION: &str = "base:allocation";
/// Its number, once selected. Any would do.
pub(super) const BASE_ALLOCATION_ID: u32 = 1;

/// Bits of the status in `base:allocation`.
pub(super) mod allocation {
    pub(in super::super) const HOLE: u32 = 1 << 0;
    pub(in super::super) const ZERO: u32 = 1 << 1;
}

/// The longest string the protocol allows, in bytes.
pub(super) const MAX_STRING: usize = 4096;

/// As much of a text as the protocol allows.
pub(super) fn bounded(text: &str) -> &str {
    let mut end = text.len().min(MAX_STRING);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The protocol's error numbers are Linux's, but only these.
pub(super) fn error_number(errno: Errno) -> u32 {
    match errno {
        Errno::PERM | Errno::ACCESS | Errno::ROFS => 1,
        Errno::NOMEM => 12,
        Errno::INVAL => 22,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => 28,
        Errno::OVERFLOW => 75,
        Errno::OPNOTSUPP => 95,
        // A blocklisted client, among others: nothing will succeed again on this device.
        Errno::SHUTDOWN => 108,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_numbers_spell_their_words() {
        assert_eq!(&SERVER_MAGIC.to_be_bytes(), b"NBDMAGIC");
        assert_eq!(&OPTION_MAGIC.to_be_bytes(), b"IHAVEOPT");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        let text = "a".to_owned() + &"\u{e4}".repeat(MAX_STRING);
        assert_eq!(bounded(&text).len(), MAX_STRING - 1);
    }

    #[test]
    fn errors_the_protocol_lacks_become_eio() {
        assert_eq!(error_number(Errno::ROFS), 1);
        assert_eq!(error_number(Errno::STALE), 5);
        assert_eq!(error_number(Errno::NOTSUP), 95);
    }
}
