//! From bytes to frames.

use buffers::BufferPool;
use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use denc::Reader;

use super::input::Input;
use super::layout::{CRC_EPILOGUE, CRC_EPILOGUE_V2_0, CRC_LEN, SECURE_HEAD, padded};
use super::secure::{Gcm, TAG_LEN};
use crate::frame::{Frame, LateStatus, Preamble, Tag};
use crate::{CompressionMethod, Error, Revision, crc, limits};

/// Takes frames out of bytes as they arrive.
///
/// After an error nothing more can be taken: where the next frame would start is not known.
#[derive(Debug)]
pub(crate) struct Decoder {
    input: Input,
    revision: Revision,
    cipher: Option<Gcm>,
    stage: Stage,
    /// What the peer may not send yet is refused by its preamble, before anything is set aside for
    /// it.
    are_messages_allowed: bool,
    /// The method agreed on.
    compression: Option<CompressionMethod>,
    /// Whether the frame that is being read is compressed.
    is_compressed: bool,
    /// Frames that were.
    compressed_frames: u64,
    /// The bytes taken so far, as long as they will be signed.
    transcript: Option<BytesMut>,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    Preamble,
    /// Segment `index`, in crc mode.
    Segment(Partial, usize),
    /// The epilogue, in crc mode.
    Epilogue(Partial),
    /// The rest of the first segment, in secure mode. Holds its start.
    Remainder(Preamble, BytesMut),
    /// The segments after the first one, in secure mode. Holds the first one.
    Tail(Preamble, Bytes),
    /// All of the frame, in secure mode of revision 2.0.
    Whole(Preamble),
}

/// A frame in crc mode of which some segments are there.
#[derive(Debug)]
struct Partial {
    preamble: Preamble,
    segments: [Bytes; limits::SEGMENTS],
    /// The checksums of those.
    crcs: [u32; limits::SEGMENTS],
    /// That of the segment that is waited for, as far as it has come.
    running: Running,
}

/// The checksum of the first bytes of a segment. Taken while they are in the processor's cache.
#[derive(Debug)]
struct Running {
    crc: u32,
    len: usize,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            crc: crc::EMPTY,
            len: 0,
        }
    }
}

impl Running {
    /// Goes on to the end of `bytes`, which start where the segment does.
    fn extend(&mut self, bytes: &[u8]) {
        if let Some(more) = bytes.get(self.len..) {
            self.crc = crc::crc32c(self.crc, more);
            self.len = bytes.len();
        }
    }
}

impl Decoder {
    /// A decoder that reads into buffers of `pool`.
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self {
            input: Input::new(pool),
            revision: Revision::V2_1,
            cipher: None,
            stage: Stage::Preamble,
            are_messages_allowed: false,
            compression: None,
            is_compressed: false,
            compressed_frames: 0,
            transcript: Some(BytesMut::new()),
        }
    }

    /// Where the next bytes go.
    pub(crate) fn space(&mut self) -> Limit<&mut BytesMut> {
        self.input.space()
    }

    /// The bytes that are there while the banner is being waited for.
    pub(crate) fn peek(&self) -> &[u8] {
        self.input.peek()
    }

    pub(crate) const fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// From the next frame on everything is encrypted.
    pub(crate) fn set_cipher(&mut self, cipher: Gcm) {
        self.cipher = Some(cipher);
    }

    /// From the next frame on frames may be compressed.
    pub(crate) const fn set_compression(&mut self, method: CompressionMethod) {
        self.compression = Some(method);
    }

    /// How many frames came compressed.
    pub(crate) const fn compressed_frames(&self) -> u64 {
        self.compressed_frames
    }

    pub(crate) const fn allow_messages(&mut self) {
        self.are_messages_allowed = true;
    }

    /// Ends the record of what was taken and gives it out.
    pub(crate) fn take_transcript(&mut self) -> BytesMut {
        self.transcript.take().unwrap_or_default()
    }

    /// The next `len` bytes, once they are there.
    pub(crate) fn take(&mut self, len: usize) -> Result<Option<BytesMut>, Error> {
        let Some(taken) = self.input.take(len) else {
            return Ok(None);
        };
        if let Some(transcript) = &mut self.transcript {
            if transcript.len() + taken.len() > limits::TRANSCRIPT {
                return Err(Error::TranscriptTooLong {
                    max: limits::TRANSCRIPT,
                });
            }
            transcript.extend_from_slice(&taken);
        }
        Ok(Some(taken))
    }

    /// The next frame, once it is all there. Frames that were aborted are passed over.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(progress) = self.whole_crc_frame()? {
                self.input.end_frame();
                match progress {
                    Progress::Frame(frame) => return self.decompress(frame).map(Some),
                    _ => {
                        tracing::debug!("peer aborted a frame");
                        continue;
                    }
                }
            }
            let stage = std::mem::replace(&mut self.stage, Stage::Preamble);
            let (stage, frame) = match self.advance(stage)? {
                Progress::Next(stage) => (stage, None),
                Progress::Frame(frame) => (Stage::Preamble, Some(self.decompress(frame)?)),
                Progress::Aborted => {
                    tracing::debug!("peer aborted a frame");
                    (Stage::Preamble, None)
                }
                Progress::Wait(stage) => {
                    self.stage = stage;
                    return Ok(None);
                }
            };
            self.stage = stage;
            if frame.is_some() {
                self.input.end_frame();
                return Ok(frame);
            }
        }
    }

    fn advance(&mut self, stage: Stage) -> Result<Progress, Error> {
        match stage {
            Stage::Preamble => match (self.cipher.is_some(), self.revision) {
                (false, _) => self.crc_preamble(),
                (true, Revision::V2_1) => self.secure_head(),
                (true, Revision::V2_0) => self.secure_peek(),
            },
            Stage::Segment(partial, index) => self.crc_segment(partial, index),
            Stage::Epilogue(partial) => self.crc_epilogue(partial),
            Stage::Remainder(preamble, start) => self.secure_remainder(preamble, start),
            Stage::Tail(preamble, control) => self.secure_tail(preamble, control),
            Stage::Whole(preamble) => self.secure_whole(preamble),
        }
    }

    fn check(&mut self, preamble: Preamble) -> Result<Preamble, Error> {
        if preamble.is_compressed && self.compression.is_none() {
            return Err(Error::CompressedFrame { tag: preamble.tag });
        }
        self.is_compressed = preamble.is_compressed;
        match preamble.tag {
            Tag::Message if !self.are_messages_allowed => Err(Error::UnexpectedFrame {
                tag: preamble.tag,
                state: "the handshake",
            }),
            _ => Ok(preamble),
        }
    }

    /// Undoes the compression of a frame that is compressed.
    fn decompress(&mut self, mut frame: Frame) -> Result<Frame, Error> {
        let Some(method) = self.compression.filter(|_| self.is_compressed) else {
            return Ok(frame);
        };
        self.compressed_frames += 1;
        let segments = frame.segments.iter_mut().zip(limits::SEGMENT);
        for (segment, (bytes, max)) in segments.enumerate() {
            if bytes.is_empty() {
                continue;
            }
            *bytes = method
                .decompress(bytes, max)
                .map_err(|source| Error::Decompress {
                    tag: frame.tag,
                    segment,
                    method,
                    source,
                })?;
        }
        Ok(frame)
    }

    /// A frame in crc mode of which everything is there: nearly all of them. One step instead of six.
    fn whole_crc_frame(&mut self) -> Result<Option<Progress>, Error> {
        let is_between_frames = matches!(self.stage, Stage::Preamble);
        let is_plain = self.cipher.is_none() && self.revision == Revision::V2_1;
        if !is_between_frames || !is_plain || self.transcript.is_some() {
            return Ok(None);
        }
        let Some(start) = self.input.peek().first_chunk::<{ Preamble::LEN }>() else {
            return Ok(None);
        };
        let preamble = self.check(Preamble::decode(start)?)?;
        let len = preamble.crc_v2_1();
        if self.input.peek().len() < len {
            return Ok(None);
        }
        let Some(bytes) = self.input.take(len) else {
            return Ok(None);
        };
        let mut bytes = bytes.freeze();
        bytes.advance(Preamble::LEN);
        let tag = preamble.tag;
        let mut frame = Frame {
            tag,
            segments: Default::default(),
        };
        let [control, rest @ ..] = &mut frame.segments;
        let [control_len, lens @ ..] = preamble.lens;
        *control = split(&mut bytes, control_len);
        let crc = split(&mut bytes, CRC_LEN);
        check_segment(tag, 0, control, Reader::new("checksum", &crc).u32()?)?;
        if preamble.count == 1 {
            return Ok(Some(Progress::Frame(frame)));
        }
        for (segment, len) in rest.iter_mut().zip(lens) {
            *segment = split(&mut bytes, len);
        }
        let mut epilogue = Reader::new("epilogue", &bytes);
        let status = LateStatus::decode(epilogue.u8()?, Revision::V2_1)?;
        for (index, segment) in (1..preamble.count).zip(rest.iter()) {
            check_segment(tag, index, segment, epilogue.u32()?)?;
        }
        Ok(Some(Progress::end(status, frame)))
    }

    fn crc_preamble(&mut self) -> Result<Progress, Error> {
        let Some(bytes) = self.take(Preamble::LEN)? else {
            return Ok(Progress::Wait(Stage::Preamble));
        };
        let preamble = self.check(Preamble::decode(&Reader::new("preamble", &bytes).array()?)?)?;
        let partial = Partial {
            preamble,
            segments: Default::default(),
            crcs: [crc::EMPTY; limits::SEGMENTS],
            running: Running::default(),
        };
        Ok(Progress::Next(Stage::Segment(partial, 0)))
    }

    fn crc_segment(&mut self, mut partial: Partial, index: usize) -> Result<Progress, Error> {
        let Preamble {
            tag, count, lens, ..
        } = partial.preamble;
        let slots = partial.segments.iter_mut().zip(&mut partial.crcs);
        let slots = lens.into_iter().zip(slots);
        let Some((len, (slot, slot_crc))) = slots.take(count).nth(index) else {
            return Ok(match (count, self.revision) {
                (1, Revision::V2_1) => Progress::Frame(partial.into_frame()),
                _ => Progress::Next(Stage::Epilogue(partial)),
            });
        };
        // Only the first segment in revision 2.1 carries its own checksum.
        let is_checked = index == 0 && self.revision == Revision::V2_1;
        let trailer = if is_checked { CRC_LEN } else { 0 };
        let Some(mut bytes) = self.take(len + trailer)? else {
            let there = self.input.so_far();
            partial.running.extend(there.get(..len).unwrap_or(there));
            return Ok(Progress::Wait(Stage::Segment(partial, index)));
        };
        let crc = bytes.split_off(len);
        partial.running.extend(&bytes);
        *slot_crc = std::mem::take(&mut partial.running).crc;
        if is_checked {
            check_crc(tag, index, *slot_crc, Reader::new("checksum", &crc).u32()?)?;
        }
        *slot = bytes.freeze();
        Ok(Progress::Next(Stage::Segment(partial, index + 1)))
    }

    fn crc_epilogue(&mut self, partial: Partial) -> Result<Progress, Error> {
        let (len, first) = match self.revision {
            Revision::V2_0 => (CRC_EPILOGUE_V2_0, 0),
            Revision::V2_1 => (CRC_EPILOGUE, 1),
        };
        let Some(bytes) = self.take(len)? else {
            return Ok(Progress::Wait(Stage::Epilogue(partial)));
        };
        let mut reader = Reader::new("epilogue", &bytes);
        let status = LateStatus::decode(reader.u8()?, self.revision)?;
        let Preamble { tag, count, .. } = partial.preamble;
        let crcs = partial.crcs.into_iter().enumerate();
        for (index, crc) in crcs.take(count).skip(first) {
            check_crc(tag, index, crc, reader.u32()?)?;
        }
        Ok(Progress::end(status, partial.into_frame()))
    }

    fn secure_head(&mut self) -> Result<Progress, Error> {
        let Some(bytes) = self.take(SECURE_HEAD)? else {
            return Ok(Progress::Wait(Stage::Preamble));
        };
        let mut bytes = self.open(bytes)?;
        let inline = bytes.split_off(Preamble::LEN);
        let preamble = self.check(Preamble::decode(&Reader::new("preamble", &bytes).array()?)?)?;
        Ok(Progress::Next(Stage::Remainder(preamble, inline)))
    }

    fn secure_remainder(
        &mut self,
        preamble: Preamble,
        mut control: BytesMut,
    ) -> Result<Progress, Error> {
        let remainder = preamble.secure_remainder();
        if remainder > 0 {
            let Some(bytes) = self.take(remainder)? else {
                return Ok(Progress::Wait(Stage::Remainder(preamble, control)));
            };
            control.extend_from_slice(&self.open(bytes)?);
        }
        let [len, ..] = preamble.lens;
        control.truncate(len);
        Ok(Progress::Next(Stage::Tail(preamble, control.freeze())))
    }

    fn secure_tail(&mut self, preamble: Preamble, control: Bytes) -> Result<Progress, Error> {
        let mut frame = Frame {
            tag: preamble.tag,
            segments: Default::default(),
        };
        let [_, lens @ ..] = preamble.lens;
        let [first, rest @ ..] = &mut frame.segments;
        let tail = preamble.secure_tail();
        if tail == 0 {
            *first = control;
            return Ok(Progress::Frame(frame));
        }
        let Some(bytes) = self.take(tail)? else {
            return Ok(Progress::Wait(Stage::Tail(preamble, control)));
        };
        let mut bytes = self.open(bytes)?.freeze();
        *first = control;
        for (slot, len) in rest.iter_mut().zip(lens) {
            *slot = cut(&mut bytes, len);
        }
        let status = Reader::new("epilogue", &bytes).u8()?;
        Ok(Progress::end(
            LateStatus::decode(status, self.revision)?,
            frame,
        ))
    }

    /// In revision 2.0 the length of an encrypted frame is inside it.
    fn secure_peek(&mut self) -> Result<Progress, Error> {
        let (Some(start), Some(cipher)) = (
            self.input.peek().first_chunk::<{ Preamble::LEN }>(),
            &self.cipher,
        ) else {
            return Ok(Progress::Wait(Stage::Preamble));
        };
        let preamble = self.check(Preamble::decode(&cipher.peek(start)?)?)?;
        Ok(Progress::Next(Stage::Whole(preamble)))
    }

    fn secure_whole(&mut self, preamble: Preamble) -> Result<Progress, Error> {
        let Some(bytes) = self.take(preamble.secure_v2_0())? else {
            return Ok(Progress::Wait(Stage::Whole(preamble)));
        };
        let mut bytes = self.open(bytes)?.freeze();
        bytes.advance(Preamble::LEN);
        let segments = preamble.lens.map(|len| cut(&mut bytes, len));
        let status = Reader::new("epilogue", &bytes).u8()?;
        Ok(Progress::end(
            LateStatus::decode(status, self.revision)?,
            Frame {
                tag: preamble.tag,
                segments,
            },
        ))
    }

    /// Decrypts a stretch that ends with its tag.
    fn open(&mut self, mut bytes: BytesMut) -> Result<BytesMut, Error> {
        let len = bytes.len().saturating_sub(TAG_LEN);
        let tag = Reader::new("tag", &bytes.split_off(len)).array()?;
        match &mut self.cipher {
            Some(cipher) => cipher.open(&mut bytes, tag)?,
            None => return Err(Error::GcmTag),
        }
        Ok(bytes)
    }
}

/// What came of what was there.
enum Progress {
    Next(Stage),
    Wait(Stage),
    Frame(Frame),
    Aborted,
}

impl Progress {
    fn end(status: LateStatus, frame: Frame) -> Self {
        match status {
            LateStatus::Complete => Self::Frame(frame),
            LateStatus::Aborted => Self::Aborted,
        }
    }
}

impl Partial {
    fn into_frame(self) -> Frame {
        Frame {
            tag: self.preamble.tag,
            segments: self.segments,
        }
    }
}

fn check_segment(tag: Tag, segment: usize, bytes: &[u8], found: u32) -> Result<(), Error> {
    check_crc(tag, segment, crc::segment(bytes), found)
}

fn check_crc(tag: Tag, segment: usize, expected: u32, found: u32) -> Result<(), Error> {
    if found != expected {
        return Err(Error::SegmentCrc {
            tag,
            segment,
            found,
            expected,
        });
    }
    Ok(())
}

/// The frames at the start of `bytes`, in crc mode: for recorded traffic and fuzzing. An incomplete
/// frame at the end is left out. With a method, frames may be compressed.
///
/// # Errors
/// If the bytes are no frames.
pub fn decode_frames(
    revision: Revision,
    compression: Option<CompressionMethod>,
    mut bytes: &[u8],
) -> Result<Vec<Frame>, Error> {
    let mut decoder = Decoder::new(BufferPool::default());
    decoder.set_revision(revision);
    decoder.compression = compression;
    decoder.allow_messages();
    decoder.take_transcript();
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let mut space = decoder.space();
        let (now, later) = bytes.split_at(bytes.len().min(space.remaining_mut()));
        space.put_slice(now);
        bytes = later;
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

/// The next `len` bytes.
fn split(bytes: &mut Bytes, len: usize) -> Bytes {
    bytes.split_to(len.min(bytes.len()))
}

/// The next `len` bytes; the padding behind them is dropped.
fn cut(bytes: &mut Bytes, len: usize) -> Bytes {
    let mut segment = bytes.split_to(padded(len).min(bytes.len()));
    segment.truncate(len);
    segment
}
