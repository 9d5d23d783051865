//! From frames to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use denc::Writer;

use super::layout::{
    CRC_EPILOGUE, CRC_EPILOGUE_V2_0, INLINE, SECURE_EPILOGUE, SECURE_HEAD, padded,
};
use super::output::Output;
use super::secure::{Gcm, TAG_LEN};
use crate::frame::message::Header;
use crate::frame::{Control, LateStatus, Preamble, Tag};
use crate::{Error, Message, Payload, Revision, crc, limits};

/// Turns frames into bytes in the form agreed on.
#[derive(Debug)]
pub(crate) struct Encoder {
    revision: Revision,
    cipher: Option<Gcm>,
}

/// A message with the checksums of its segments, which can be computed before its turn to be sent
/// has come.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) message: Message,
    crcs: Option<[u32; 3]>,
}

impl Prepared {
    /// In secure mode there are no checksums.
    pub(crate) fn new(message: Message, is_secure: bool) -> Self {
        let crcs = (!is_secure).then(|| {
            let data = message.data.pieces();
            [
                crc::segment(&message.front),
                crc::segment(&message.middle),
                data.fold(crc::EMPTY, |seed, piece| crc::crc32c(seed, piece)),
            ]
        });
        Self { message, crcs }
    }
}

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self {
            revision: Revision::V2_1,
            cipher: None,
        }
    }

    pub(crate) const fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// From the next frame on everything is encrypted.
    pub(crate) fn set_cipher(&mut self, cipher: Gcm) {
        self.cipher = Some(cipher);
    }

    pub(crate) const fn is_secure(&self) -> bool {
        self.cipher.is_some()
    }

    pub(crate) fn control(&mut self, frame: &Control, out: &mut Output) -> Result<(), Error> {
        let segment = Writer::encode(frame);
        let segments = Segments {
            control: &segment,
            front: &Bytes::new(),
            middle: &Bytes::new(),
            data: &Payload::new(),
            crcs: [crc::EMPTY; 3],
        };
        self.frame(frame.tag(), &segments, out)
    }

    pub(crate) fn message(
        &mut self,
        prepared: &Prepared,
        seq: u64,
        ack_seq: u64,
        out: &mut Output,
    ) -> Result<(), Error> {
        let message = &prepared.message;
        let header = Header {
            seq,
            tid: message.tid,
            kind: message.kind,
            priority: message.priority,
            version: message.version,
            ack_seq,
            compat_version: message.compat_version,
        };
        let segments = Segments {
            control: &Writer::encode(&header),
            front: &message.front,
            middle: &message.middle,
            data: &message.data,
            crcs: prepared.crcs.unwrap_or([crc::EMPTY; 3]),
        };
        self.frame(Tag::Message, &segments, out)
    }

    fn frame(&mut self, tag: Tag, segments: &Segments<'_>, out: &mut Output) -> Result<(), Error> {
        let preamble = Preamble::new(tag, segments.lens());
        match (&mut self.cipher, self.revision) {
            (None, revision) => put_crc(&preamble, segments, revision, out),
            (Some(cipher), Revision::V2_1) => put_secure(&preamble, segments, cipher, out)?,
            (Some(cipher), Revision::V2_0) => put_secure_v2_0(&preamble, segments, cipher, out)?,
        }
        Ok(())
    }
}

/// The contents of a frame.
struct Segments<'a> {
    control: &'a Bytes,
    front: &'a Bytes,
    middle: &'a Bytes,
    data: &'a Payload,
    /// Of front, middle and data; only looked at in crc mode.
    crcs: [u32; 3],
}

impl Segments<'_> {
    fn lens(&self) -> [usize; limits::SEGMENTS] {
        [
            self.control.len(),
            self.front.len(),
            self.middle.len(),
            self.data.len(),
        ]
    }

    /// Checksums for the epilogue: zero for segments that were left out.
    fn epilogue_crcs(&self, count: usize) -> impl Iterator<Item = u32> {
        self.crcs
            .into_iter()
            .enumerate()
            .map(move |(index, crc)| if index + 1 < count { crc } else { 0 })
    }
}

fn put_crc(preamble: &Preamble, segments: &Segments<'_>, revision: Revision, out: &mut Output) {
    let small: usize = [segments.front, segments.middle]
        .map(Bytes::len)
        .into_iter()
        .filter(|len| *len <= limits::COPY_FRONT_UP_TO)
        .sum();
    out.reserve(Preamble::LEN + segments.control.len() + 4 + small + CRC_EPILOGUE_V2_0);
    out.put(&preamble.encode());
    out.put(segments.control);
    let control_crc = crc::segment(segments.control);
    if revision == Revision::V2_1 {
        out.put(&control_crc.to_le_bytes());
    }
    for segment in [segments.front, segments.middle] {
        if segment.len() <= limits::COPY_FRONT_UP_TO {
            out.put(segment);
        } else {
            out.put_piece(segment.clone());
        }
    }
    for piece in segments.data.pieces() {
        out.put_piece(piece.clone());
    }

    if preamble.count == 1 && revision == Revision::V2_1 {
        return;
    }
    let mut epilogue = Writer::with_capacity(CRC_EPILOGUE.max(CRC_EPILOGUE_V2_0));
    epilogue.u8(LateStatus::complete(revision));
    if revision == Revision::V2_0 {
        epilogue.u32(control_crc);
    }
    for crc in segments.epilogue_crcs(preamble.count) {
        epilogue.u32(crc);
    }
    out.put(epilogue.as_slice());
}

fn put_secure(
    preamble: &Preamble,
    segments: &Segments<'_>,
    cipher: &mut Gcm,
    out: &mut Output,
) -> Result<(), Error> {
    let remainder = preamble.secure_remainder();
    let tail = preamble.secure_tail();
    out.reserve(SECURE_HEAD + remainder + tail);
    out.in_tail(|bytes| {
        let (inline, rest) = match segments.control.split_at_checked(INLINE) {
            Some(parts) => parts,
            None => (&segments.control[..], &[][..]),
        };
        stretch(bytes, cipher, |bytes| {
            bytes.put_slice(&preamble.encode());
            bytes.put_slice(inline);
            bytes.put_bytes(0, INLINE - inline.len());
        })?;
        if remainder > 0 {
            stretch(bytes, cipher, |bytes| put_padded(bytes, [rest]))?;
        }
        if tail > 0 {
            stretch(bytes, cipher, |bytes| {
                put_tail(bytes, segments);
                put_epilogue(bytes, Revision::V2_1);
            })?;
        }
        Ok(())
    })
}

fn put_secure_v2_0(
    preamble: &Preamble,
    segments: &Segments<'_>,
    cipher: &mut Gcm,
    out: &mut Output,
) -> Result<(), Error> {
    out.reserve(preamble.secure_v2_0());
    out.in_tail(|bytes| {
        stretch(bytes, cipher, |bytes| {
            bytes.put_slice(&preamble.encode());
            put_padded(bytes, [&segments.control[..]]);
            put_tail(bytes, segments);
            put_epilogue(bytes, Revision::V2_0);
        })
    })
}

/// Appends what `write` puts, encrypted, and its tag.
fn stretch(
    bytes: &mut BytesMut,
    cipher: &mut Gcm,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), Error> {
    let start = bytes.len();
    write(bytes);
    let tag = cipher.seal(bytes.get_mut(start..).unwrap_or_default())?;
    debug_assert_eq!(tag.len(), TAG_LEN);
    bytes.put_slice(&tag);
    Ok(())
}

/// Bulk data is copied here: it is encrypted in place, and the caller's copy must stay as it is.
fn put_tail(bytes: &mut BytesMut, segments: &Segments<'_>) {
    put_padded(bytes, [&segments.front[..]]);
    put_padded(bytes, [&segments.middle[..]]);
    put_padded(bytes, segments.data.pieces().map(|piece| &piece[..]));
}

fn put_padded<'a>(bytes: &mut BytesMut, pieces: impl IntoIterator<Item = &'a [u8]>) {
    let mut len = 0;
    for piece in pieces {
        bytes.put_slice(piece);
        len += piece.len();
    }
    bytes.put_bytes(0, padded(len) - len);
}

fn put_epilogue(bytes: &mut BytesMut, revision: Revision) {
    bytes.put_u8(LateStatus::complete(revision));
    bytes.put_bytes(0, SECURE_EPILOGUE - 1);
}
