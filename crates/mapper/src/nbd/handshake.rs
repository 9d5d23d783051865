//! The negotiation before the first request: fixed newstyle, without I/O.
//!
//! ```text
//!   server hello -> client flags -> { option -> replies }* -> EXPORT_NAME or GO -> transmission
//!                                                         \-> ABORT -> end
//! ```

use bytes::{Buf, BufMut, BytesMut};

use super::error::ProtocolError;
use super::proto::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, MAX_STRING, OPTION_MAGIC, OPTION_REPLY_MAGIC,
    SERVER_MAGIC, bounded, handshake_flags, info, option, option_reply, transmission_flags as can,
};
use super::session::Session;
use crate::device::Limits;

/// What clients are told about an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// The name by which it is asked for, at most 4096 bytes.
    pub name: String,
    /// A few words about it for people, at most 4096 bytes.
    pub description: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Whether it can only be read.
    pub is_read_only: bool,
    /// What sizes suit it.
    pub limits: Limits,
}

impl ExportInfo {
    /// The transmission flags.
    pub(crate) fn flags(&self, has_structured_replies: bool) -> u16 {
        let mut flags = can::HAS_FLAGS | can::SEND_FLUSH | can::SEND_FUA | can::SEND_CACHE;
        // A flush covers what all connections wrote, see `BlockDevice::flush`.
        flags |= can::CAN_MULTI_CONN;
        flags |= if self.is_read_only {
            can::READ_ONLY
        } else {
            can::SEND_TRIM | can::SEND_WRITE_ZEROES | can::SEND_FAST_ZERO
        };
        if has_structured_replies {
            flags |= can::SEND_DF;
        }
        flags
    }
}

/// Where the negotiation stands.
#[derive(Debug)]
pub enum Step {
    /// More bytes from the client are needed.
    More,
    /// The client has chosen.
    Done(Negotiated),
    /// The client wants nothing more.
    Abort,
}

/// What the client has chosen.
#[derive(Debug)]
pub struct Negotiated {
    /// The export, by its place in the list.
    pub export: usize,
    /// What was agreed on for it.
    pub session: Session,
}

/// The server's side of the negotiation with one client.
///
/// Bytes from the client go through [`handle`](Self::handle), which takes from them what it understands and adds to the
/// bytes for the client.
#[derive(Debug)]
pub struct Handshake {
    has_client_flags: bool,
    wants_zeroes: bool,
    has_structured_replies: bool,
    /// The export for which `base:allocation` was selected.
    allocation_of: Option<usize>,
    options_left: u32,
    /// Bytes of an option too long to be looked at that are still to come.
    skip: usize,
}

impl Handshake {
    /// Begins with a new client: `output` gets the server's first words.
    pub fn start(output: &mut BytesMut) -> Self {
        output.put_u64(SERVER_MAGIC);
        output.put_u64(OPTION_MAGIC);
        output.put_u16(handshake_flags::FIXED_NEWSTYLE | handshake_flags::NO_ZEROES);
        Self {
            has_client_flags: false,
            wants_zeroes: true,
            has_structured_replies: false,
            allocation_of: None,
            options_left: MAX_OPTIONS,
            skip: 0,
        }
    }

    /// Takes from `input` whatever is complete, up to the client's decision; what comes after that is left there.
    /// The first of the exports is the default one.
    ///
    /// # Errors
    /// If the client cannot be talked to. What is in `output` may still be sent.
    pub fn handle(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        exports: &[ExportInfo],
    ) -> Result<Step, ProtocolError> {
        loop {
            let skipped = self.skip.min(input.len());
            input.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(Step::More);
            }
            if !self.has_client_flags {
                if input.len() < size_of::<u32>() {
                    return Ok(Step::More);
                }
                self.handle_client_flags(input.get_u32())?;
                continue;
            }
            let Some(option) = self.take_option(input, output)? else {
                if self.skip > 0 {
                    continue;
                }
                return Ok(Step::More);
            };
            if let Some(step) = self.handle_option(&option, output, exports)? {
                return Ok(step);
            }
        }
    }

    fn handle_client_flags(&mut self, flags: u32) -> Result<(), ProtocolError> {
        let offered = handshake_flags::FIXED_NEWSTYLE | handshake_flags::NO_ZEROES;
        if flags & !u32::from(offered) != 0 {
            return Err(ProtocolError::UnknownClientFlags(flags));
        }
        self.wants_zeroes = flags & u32::from(handshake_flags::NO_ZEROES) == 0;
        self.has_client_flags = true;
        Ok(())
    }

    /// The next option, or none if it is not complete or is to be skipped.
    fn take_option(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<RawOption>, ProtocolError> {
        let Some(mut header) = input.get(..OPTION_HEADER_LEN) else {
            return Ok(None);
        };
        let magic = header.get_u64();
        if magic != OPTION_MAGIC {
            return Err(ProtocolError::BadMagic {
                message: "an option",
                found: magic,
            });
        }
        let (code, len_bytes) = (header.get_u32(), header.get_u32());
        let len = len_bytes as usize;
        if len > MAX_OPTION_LEN {
            if len > MAX_SKIPPED_LEN || code == option::EXPORT_NAME {
                return Err(ProtocolError::OptionTooLong {
                    option: code,
                    len_bytes,
                });
            }
            self.count_option()?;
            input.advance(OPTION_HEADER_LEN);
            self.skip = len;
            refuse(output, code, option_reply::ERR_TOO_BIG, "too much data");
            return Ok(None);
        }
        if input.len() < OPTION_HEADER_LEN + len {
            return Ok(None);
        }
        self.count_option()?;
        input.advance(OPTION_HEADER_LEN);
        Ok(Some(RawOption {
            code,
            data: input.split_to(len),
        }))
    }

    fn count_option(&mut self) -> Result<(), ProtocolError> {
        self.options_left = self
            .options_left
            .checked_sub(1)
            .ok_or(ProtocolError::TooManyOptions)?;
        Ok(())
    }

    fn handle_option(
        &mut self,
        option: &RawOption,
        output: &mut BytesMut,
        exports: &[ExportInfo],
    ) -> Result<Option<Step>, ProtocolError> {
        let (code, data) = (option.code, option.data.as_ref());
        match code {
            option::EXPORT_NAME => return self.export_name(data, output, exports).map(Some),
            option::ABORT => {
                reply(output, code, option_reply::ACK, &[]);
                return Ok(Some(Step::Abort));
            }
            option::LIST if data.is_empty() => {
                for export in exports {
                    let mut entry = BytesMut::new();
                    put_string(&mut entry, &export.name);
                    entry.put_slice(export.description.as_bytes());
                    reply(output, code, option_reply::SERVER, &entry);
                }
                reply(output, code, option_reply::ACK, &[]);
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.has_structured_replies = true;
                reply(output, code, option_reply::ACK, &[]);
            }
            option::LIST | option::STRUCTURED_REPLY => {
                refuse(
                    output,
                    code,
                    option_reply::ERR_INVALID,
                    "this option has no data",
                );
            }
            option::GO | option::INFO => {
                let Some(wish) = ExportWish::parse(data) else {
                    refuse(output, code, option_reply::ERR_INVALID, "malformed data");
                    return Ok(None);
                };
                let Some((index, export)) = find(exports, wish.name) else {
                    refuse_export(output, code, wish.name);
                    return Ok(None);
                };
                self.describe(output, code, export, &wish);
                if code == option::GO {
                    return Ok(Some(self.finish(index, export)));
                }
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.meta_context(code, data, output, exports);
            }
            option::STARTTLS => {
                refuse(
                    output,
                    code,
                    option_reply::ERR_UNSUP,
                    "there is no TLS here",
                );
            }
            _ => refuse(output, code, option_reply::ERR_UNSUP, "unknown option"),
        }
        Ok(None)
    }

    fn export_name(
        &self,
        data: &[u8],
        output: &mut BytesMut,
        exports: &[ExportInfo],
    ) -> Result<Step, ProtocolError> {
        let found = str::from_utf8(data)
            .ok()
            .and_then(|name| find(exports, name));
        let Some((index, export)) = found else {
            let name = String::from_utf8_lossy(data.get(..MAX_STRING).unwrap_or(data));
            return Err(ProtocolError::UnknownExport(name.into_owned()));
        };
        output.put_u64(export.size_bytes);
        output.put_u16(export.flags(self.has_structured_replies));
        if self.wants_zeroes {
            output.put_bytes(0, EXPORT_NAME_PADDING);
        }
        Ok(self.finish(index, export))
    }

    fn finish(&self, index: usize, export: &ExportInfo) -> Step {
        let has_allocation = self.allocation_of == Some(index);
        Step::Done(Negotiated {
            export: index,
            session: Session::new(export, self.has_structured_replies, has_allocation),
        })
    }

    /// Answers `NBD_OPT_GO` or `NBD_OPT_INFO`.
    fn describe(
        &self,
        output: &mut BytesMut,
        code: u32,
        export: &ExportInfo,
        wish: &ExportWish<'_>,
    ) {
        let mut data = BytesMut::new();
        data.put_u16(info::EXPORT);
        data.put_u64(export.size_bytes);
        data.put_u16(export.flags(self.has_structured_replies));
        reply(output, code, option_reply::INFO, &data);
        if wish.wants(info::NAME) {
            data.clear();
            data.put_u16(info::NAME);
            data.put_slice(export.name.as_bytes());
            reply(output, code, option_reply::INFO, &data);
        }
        if wish.wants(info::DESCRIPTION) {
            data.clear();
            data.put_u16(info::DESCRIPTION);
            data.put_slice(export.description.as_bytes());
            reply(output, code, option_reply::INFO, &data);
        }
        if wish.wants(info::BLOCK_SIZE) || export.limits.minimum_bytes > 1 {
            data.clear();
            data.put_u16(info::BLOCK_SIZE);
            data.put_u32(export.limits.minimum_bytes);
            data.put_u32(export.limits.preferred_bytes);
            data.put_u32(export.limits.maximum_bytes);
            reply(output, code, option_reply::INFO, &data);
        }
        reply(output, code, option_reply::ACK, &[]);
    }

    fn meta_context(
        &mut self,
        code: u32,
        data: &[u8],
        output: &mut BytesMut,
        exports: &[ExportInfo],
    ) {
        let is_set = code == option::SET_META_CONTEXT;
        if is_set {
            // Whatever comes of it, what was selected before no longer is.
            self.allocation_of = None;
        }
        if !self.has_structured_replies {
            let text = "structured replies come first";
            return refuse(output, code, option_reply::ERR_INVALID, text);
        }
        let Some((name, queries)) = parse_meta_context(data) else {
            return refuse(output, code, option_reply::ERR_INVALID, "malformed data");
        };
        let Some((index, _)) = find(exports, name) else {
            return refuse_export(output, code, name);
        };
        let is_selected = queries.contains(&BASE_ALLOCATION.as_bytes())
            || !is_set && (queries.is_empty() || queries.contains(&b"base:".as_slice()));
        if is_selected {
            let mut context = BytesMut::new();
            context.put_u32(if is_set { BASE_ALLOCATION_ID } else { 0 });
            context.put_slice(BASE_ALLOCATION.as_bytes());
            reply(output, code, option_reply::META_CONTEXT, &context);
            if is_set {
                self.allocation_of = Some(index);
            }
        }
        reply(output, code, option_reply::ACK, &[]);
    }
}

struct RawOption {
    code: u32,
    data: BytesMut,
}

/// The data of `NBD_OPT_GO` and `NBD_OPT_INFO`: name, count u16, that many u16.
struct ExportWish<'a> {
    name: &'a str,
    infos: &'a [u8],
}

impl<'a> ExportWish<'a> {
    fn parse(mut data: &'a [u8]) -> Option<Self> {
        let name = str::from_utf8(take_string(&mut data)?).ok()?;
        let count = data.try_get_u16().ok()?;
        (data.len() == usize::from(count) * size_of::<u16>()).then_some(Self { name, infos: data })
    }

    fn wants(&self, info: u16) -> bool {
        self.infos
            .chunks_exact(size_of::<u16>())
            .any(|wanted| wanted == info.to_be_bytes())
    }
}

/// The data of the metadata context options: name, count u32, that many strings.
fn parse_meta_context(mut data: &[u8]) -> Option<(&str, Vec<&[u8]>)> {
    let name = str::from_utf8(take_string(&mut data)?).ok()?;
    let count = data.try_get_u32().ok()?;
    let mut queries = Vec::new();
    for _ in 0..count {
        queries.push(take_string(&mut data)?);
    }
    data.is_empty().then_some((name, queries))
}

/// A string: length u32, then the bytes.
fn take_string<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = data.try_get_u32().ok()? as usize;
    if len > MAX_STRING {
        return None;
    }
    data.split_off(..len)
}

fn put_string(output: &mut BytesMut, string: &str) {
    // Option replies are far shorter than 4 GiB.
    output.put_u32(u32::try_from(string.len()).unwrap_or(u32::MAX));
    output.put_slice(string.as_bytes());
}

fn find<'a>(exports: &'a [ExportInfo], name: &str) -> Option<(usize, &'a ExportInfo)> {
    let mut exports = exports.iter().enumerate();
    if name.is_empty() {
        exports.next()
    } else {
        exports.find(|(_, export)| export.name == name)
    }
}

fn reply(output: &mut BytesMut, code: u32, reply: u32, data: &[u8]) {
    output.put_u64(OPTION_REPLY_MAGIC);
    output.put_u32(code);
    output.put_u32(reply);
    output.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    output.put_slice(data);
}

fn refuse(output: &mut BytesMut, code: u32, error: u32, text: &str) {
    reply(output, code, error, text.as_bytes());
}

fn refuse_export(output: &mut BytesMut, code: u32, name: &str) {
    let text = format!("there is no export {name:?}");
    refuse(output, code, option_reply::ERR_UNKNOWN, bounded(&text));
}

/// Magic u64, option u32, length u32.
const OPTION_HEADER_LEN: usize = 16;

/// Zeroes after the answer to `NBD_OPT_EXPORT_NAME`, for clients that did not decline them.
const EXPORT_NAME_PADDING: usize = 124;

/// Data of an option that is looked at: a name of the greatest length and a few dozen queries.
const MAX_OPTION_LEN: usize = 16 << 10;

/// Data of an option that is read, though not looked at, to be able to answer.
const MAX_SKIPPED_LEN: usize = 1 << 20;

/// Options a client may send before it decides; real ones need a handful, and a lister one for each export.
const MAX_OPTIONS: u32 = 1024;

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
