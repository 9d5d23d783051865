//! From frames to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use denc::{Encode, Writer};

use super::layout::{
    CRC_EPILOGUE, CRC_EPILOGUE_V2_0, INLINE, SECURE_EPILOGUE, SECURE_HEAD, padded,
};
use super::output::Output;
use super::prepared::{Form, Prepared};
use super::secure::Gcm;
use crate::compression::Compression;
use crate::frame::message::Header;
use crate::frame::{Control, LateStatus, Preamble, Tag};
use crate::{CompressionMethod, Error, Payload, Revision, crc, limits};

/// Turns frames into bytes in the form agreed on.
#[derive(Debug)]
pub(crate) struct Encoder {
    revision: Revision,
    cipher: Option<Gcm>,
    compression: Option<Compression>,
    /// Frames that were compressed.
    compressed_frames: u64,
    /// Holds a control segment while its frame is put together; kept for its memory.
    control: BytesMut,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            revision: Revision::V2_1,
            cipher: None,
            compression: None,
            compressed_frames: 0,
            control: BytesMut::new(),
        }
    }

    pub(crate) const fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// From the next frame on everything is encrypted.
    pub(crate) fn set_cipher(&mut self, cipher: Gcm) {
        self.cipher = Some(cipher);
    }

    /// From the next frame on frames are compressed.
    pub(crate) const fn set_compression(&mut self, compression: Compression) {
        self.compression = Some(compression);
    }

    /// What is to be done to a message before its turn to be sent comes.
    pub(crate) const fn form(&self) -> Form {
        Form {
            is_secure: self.cipher.is_some(),
            compression: self.compression,
        }
    }

    /// How many frames have been compressed.
    pub(crate) const fn compressed_frames(&self) -> u64 {
        self.compressed_frames
    }

    pub(crate) fn control(&mut self, frame: &Control, out: &mut Output) -> Result<(), Error> {
        let tail = Tail {
            front: &Bytes::new(),
            middle: &Bytes::new(),
            data: &Payload::new(),
            crcs: [crc::EMPTY; 3],
        };
        // Compression would be allowed, but control frames are short.
        self.frame(frame.tag(), frame, &tail, None, out)
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
        let (front, middle, data) = prepared.parts();
        let tail = Tail {
            front,
            middle,
            data,
            crcs: prepared.crcs,
        };
        let method = prepared.compressed.as_ref().map(|parts| parts.method);
        self.frame(Tag::Message, &header, &tail, method, out)
    }

    fn frame(
        &mut self,
        tag: Tag,
        control: &impl Encode,
        tail: &Tail<'_>,
        method: Option<CompressionMethod>,
        out: &mut Output,
    ) -> Result<(), Error> {
        let mut writer = Writer::append_to(std::mem::take(&mut self.control));
        control.encode(&mut writer);
        let mut control = writer.into_inner();
        if let Some(method) = method {
            compress_control(&mut control, method)?;
            self.compressed_frames += 1;
        }
        let preamble = Preamble::new(tag, tail.lens(&control), method.is_some());
        let result = match (&mut self.cipher, self.revision) {
            (None, revision) => {
                put_crc(&preamble, &control, tail, revision, out);
                Ok(())
            }
            (Some(cipher), Revision::V2_1) => put_secure(&preamble, &control, tail, cipher, out),
            (Some(cipher), Revision::V2_0) => {
                put_secure_v2_0(&preamble, &control, tail, cipher, out)
            }
        };
        control.clear();
        self.control = control;
        result
    }
}

/// Compresses the control segment of a frame whose other segments are compressed.
fn compress_control(control: &mut BytesMut, method: CompressionMethod) -> Result<(), Error> {
    let Some(compressed) = method.compress(control) else {
        return Err(Error::MessageTooLong {
            part: "a header",
            len: control.len(),
            max: limits::CONTROL,
        });
    };
    control.clear();
    control.extend_from_slice(&compressed);
    Ok(())
}

/// What follows the control segment; only messages have any of it.
struct Tail<'a> {
    front: &'a Bytes,
    middle: &'a Bytes,
    data: &'a Payload,
    /// Only looked at in crc mode.
    crcs: [u32; 3],
}

impl Tail<'_> {
    const fn lens(&self, control: &[u8]) -> [usize; limits::SEGMENTS] {
        [
            control.len(),
            self.front.len(),
            self.middle.len(),
            self.data.len(),
        ]
    }

    /// Bulk data is copied here: it is encrypted in place, and the caller's copy must stay as it
    /// is.
    fn put_padded(&self, bytes: &mut BytesMut) {
        put_padded(bytes, [&self.front[..]]);
        put_padded(bytes, [&self.middle[..]]);
        put_padded(bytes, self.data.pieces().map(|piece| &piece[..]));
    }
}

fn put_crc(
    preamble: &Preamble,
    control: &[u8],
    tail: &Tail<'_>,
    revision: Revision,
    out: &mut Output,
) {
    let small: usize = [tail.front, tail.middle]
        .map(Bytes::len)
        .into_iter()
        .filter(|len| *len <= limits::COPY_FRONT_UP_TO)
        .sum();
    out.reserve(Preamble::LEN + control.len() + 4 + small + CRC_EPILOGUE_V2_0);
    out.put(&preamble.encode());
    out.put(control);
    let control_crc = crc::segment(control);
    if revision == Revision::V2_1 {
        out.put(&control_crc.to_le_bytes());
    }
    for segment in [tail.front, tail.middle] {
        if segment.len() <= limits::COPY_FRONT_UP_TO {
            out.put(segment);
        } else {
            out.put_piece(segment.clone());
        }
    }
    for piece in tail.data.pieces() {
        out.put_piece(piece.clone());
    }

    if preamble.count == 1 && revision == Revision::V2_1 {
        return;
    }
    out.reserve(CRC_EPILOGUE.max(CRC_EPILOGUE_V2_0));
    out.put(&[LateStatus::complete(revision)]);
    if revision == Revision::V2_0 {
        out.put(&control_crc.to_le_bytes());
    }
    for (index, crc) in (1..).zip(tail.crcs) {
        // Segments that were left out have zero, empty ones between have the checksum of nothing.
        let crc = if index < preamble.count { crc } else { 0 };
        out.put(&crc.to_le_bytes());
    }
}

fn put_secure(
    preamble: &Preamble,
    control: &[u8],
    tail: &Tail<'_>,
    cipher: &mut Gcm,
    out: &mut Output,
) -> Result<(), Error> {
    let remainder_len = preamble.secure_remainder();
    let tail_len = preamble.secure_tail();
    out.reserve(SECURE_HEAD + remainder_len + tail_len);
    out.in_tail(|bytes| {
        let (inline, remainder) = control.split_at(control.len().min(INLINE));
        put_sealed(bytes, cipher, |bytes| {
            bytes.put_slice(&preamble.encode());
            bytes.put_slice(inline);
            bytes.put_bytes(0, INLINE - inline.len());
        })?;
        if remainder_len > 0 {
            put_sealed(bytes, cipher, |bytes| put_padded(bytes, [remainder]))?;
        }
        if tail_len > 0 {
            put_sealed(bytes, cipher, |bytes| {
                tail.put_padded(bytes);
                put_epilogue(bytes, Revision::V2_1);
            })?;
        }
        Ok(())
    })
}

fn put_secure_v2_0(
    preamble: &Preamble,
    control: &[u8],
    tail: &Tail<'_>,
    cipher: &mut Gcm,
    out: &mut Output,
) -> Result<(), Error> {
    out.reserve(preamble.secure_v2_0());
    out.in_tail(|bytes| {
        put_sealed(bytes, cipher, |bytes| {
            bytes.put_slice(&preamble.encode());
            put_padded(bytes, [control]);
            tail.put_padded(bytes);
            put_epilogue(bytes, Revision::V2_0);
        })
    })
}

/// Appends what `write` puts, encrypted, and its tag.
fn put_sealed(
    bytes: &mut BytesMut,
    cipher: &mut Gcm,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), Error> {
    let start = bytes.len();
    write(bytes);
    let tag = cipher.seal(bytes.get_mut(start..).unwrap_or_default())?;
    bytes.put_slice(&tag);
    Ok(())
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
