//! What has been agreed on with a client, and whether a request keeps to it.

use std::borrow::Cow;

use bytes::Bytes;
use rustix::io::Errno;

use super::handshake::ExportInfo;
use super::proto::{command, command_flags as flag, transmission_flags as can};
use super::request::Incoming;
use crate::device::{Limits, ZeroMode};

/// What has been agreed on with a client for the transmission phase.
#[derive(Clone, Debug)]
pub struct Session {
    /// What the export can do, as told to the client.
    pub(super) flags: u16,
    pub(super) limits: Limits,
    pub(super) has_structured_replies: bool,
    /// Whether the client selected `base:allocation`.
    pub(super) has_allocation: bool,
}

/// A request that keeps to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "offsets and lengths in bytes, flags as in the protocol"
)]
pub enum Request {
    Read {
        offset: u64,
        len: u64,
        in_one: bool,
    },
    Write {
        offset: u64,
        data: Bytes,
        is_fua: bool,
    },
    Flush,
    Trim {
        offset: u64,
        len: u64,
        is_fua: bool,
    },
    WriteZeroes {
        offset: u64,
        len: u64,
        mode: ZeroMode,
        is_fua: bool,
    },
    Cache {
        offset: u64,
        len: u64,
    },
    BlockStatus {
        offset: u64,
        len: u64,
        only_one: bool,
    },
    Disconnect,
}

/// Why a request is answered with an error without asking the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error for the client.
    pub errno: Errno,
    /// The words for the client.
    pub text: Cow<'static, str>,
}

impl Session {
    /// A session without negotiation, as the kernel's driver speaks it.
    pub fn plain(export: &ExportInfo) -> Self {
        Self::new(export, false, false)
    }

    pub(super) fn new(
        export: &ExportInfo,
        has_structured_replies: bool,
        has_allocation: bool,
    ) -> Self {
        Self {
            flags: export.flags(has_structured_replies),
            limits: export.limits,
            has_structured_replies,
            has_allocation,
        }
    }

    /// Whether payload of writes is of any use.
    pub(super) const fn takes_writes(&self) -> bool {
        self.flags & can::READ_ONLY == 0
    }

    /// The request in what came in, if it keeps to the rules on a device of `size` bytes.
    ///
    /// # Errors
    /// What to answer if not.
    pub fn check(&self, incoming: Incoming, size: u64) -> Result<Request, Refusal> {
        let Incoming { header, payload } = incoming;
        let (offset, len) = (header.offset, u64::from(header.len));
        let allowed = match header.command {
            command::READ if self.has_structured_replies => flag::DF,
            command::WRITE_ZEROES => flag::NO_HOLE | flag::FAST_ZERO,
            command::BLOCK_STATUS => flag::REQ_ONE,
            _ => 0,
        };
        // The client may set FUA on anything.
        if header.flags & !(allowed | flag::FUA) != 0 {
            return refuse(Errno::INVAL, "these flags make no sense with this command");
        }
        let is_fua = header.flags & flag::FUA != 0;
        Ok(match header.command {
            command::READ => {
                self.check_payload(len)?;
                self.check_range(offset, len, size, Errno::INVAL)?;
                Request::Read {
                    offset,
                    len,
                    in_one: header.flags & flag::DF != 0,
                }
            }
            command::WRITE => {
                self.check_writable()?;
                self.check_payload(len)?;
                self.check_range(offset, len, size, Errno::NOSPC)?;
                let Some(data) = payload else {
                    return refuse(Errno::INVAL, "the payload is too large");
                };
                Request::Write {
                    offset,
                    data,
                    is_fua,
                }
            }
            command::DISC => Request::Disconnect,
            command::FLUSH => Request::Flush,
            command::TRIM => {
                self.check_writable()?;
                self.check_range(offset, len, size, Errno::INVAL)?;
                Request::Trim {
                    offset,
                    len,
                    is_fua,
                }
            }
            command::WRITE_ZEROES => {
                self.check_writable()?;
                self.check_range(offset, len, size, Errno::NOSPC)?;
                Request::WriteZeroes {
                    offset,
                    len,
                    mode: ZeroMode {
                        may_unmap: header.flags & flag::NO_HOLE == 0,
                        is_fast: header.flags & flag::FAST_ZERO != 0,
                    },
                    is_fua,
                }
            }
            command::CACHE => {
                self.check_range(offset, len, size, Errno::INVAL)?;
                Request::Cache { offset, len }
            }
            command::BLOCK_STATUS if !self.has_allocation => {
                return refuse(Errno::INVAL, "no metadata context was selected");
            }
            command::BLOCK_STATUS if len == 0 => {
                return refuse(Errno::INVAL, "there is no status of no bytes");
            }
            command::BLOCK_STATUS => {
                self.check_range(offset, len, size, Errno::INVAL)?;
                Request::BlockStatus {
                    offset,
                    len,
                    only_one: header.flags & flag::REQ_ONE != 0,
                }
            }
            _ => return refuse(Errno::INVAL, "the command is unknown"),
        })
    }

    fn check_writable(&self) -> Result<(), Refusal> {
        if self.takes_writes() {
            Ok(())
        } else {
            refuse(Errno::PERM, "the export is read-only")
        }
    }

    fn check_payload(&self, len: u64) -> Result<(), Refusal> {
        if len <= u64::from(self.limits.maximum_bytes) {
            Ok(())
        } else {
            refuse(Errno::INVAL, "the payload is too large")
        }
    }

    fn check_range(&self, offset: u64, len: u64, size: u64, beyond: Errno) -> Result<(), Refusal> {
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return refuse(beyond, "the request reaches beyond the end of the device");
        }
        if !(offset | len).is_multiple_of(u64::from(self.limits.minimum_bytes)) {
            return refuse(Errno::INVAL, "the request is not aligned to the block size");
        }
        Ok(())
    }
}

const fn refuse<T>(errno: Errno, text: &'static str) -> Result<T, Refusal> {
    Err(Refusal {
        errno,
        text: Cow::Borrowed(text),
    })
}
