//! The part of sending a message that can be done before its turn has come, and takes longer with its
//! data: compression and checksums.

use bytes::Bytes;

use crate::compression::Compression;
use crate::frame::message::Header;
use crate::{CompressionMethod, Message, Payload, crc};

/// What a connection wants done to messages before they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub(super) is_secure: bool,
    pub(super) compression: Option<Compression>,
}

/// A message with what goes out in its place, and the checksums of that.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) message: Message,
    pub(super) compressed: Option<Box<Compressed>>,
    /// Of front, middle and data; not looked at in secure mode.
    pub(super) crcs: [u32; 3],
}

/// The parts of a message, compressed.
#[derive(Debug)]
pub(super) struct Compressed {
    pub(super) method: CompressionMethod,
    pub(super) front: Bytes,
    pub(super) middle: Bytes,
    pub(super) data: Payload,
}

impl Prepared {
    /// Compresses if that was agreed on, in secure mode there are no checksums.
    pub(crate) fn new(message: Message, form: Form) -> Self {
        let compressed = form
            .compression
            .and_then(|compression| Compressed::of(&message, compression))
            .map(Box::new);
        let mut prepared = Self {
            message,
            compressed,
            crcs: [crc::EMPTY; 3],
        };
        if !form.is_secure {
            let (front, middle, data) = prepared.parts();
            prepared.crcs = [
                crc::segment(front),
                crc::segment(middle),
                data.pieces()
                    .fold(crc::EMPTY, |seed, piece| crc::crc32c(seed, piece)),
            ];
        }
        prepared
    }

    /// Front, middle and data as they go out.
    pub(super) fn parts(&self) -> (&Bytes, &Bytes, &Payload) {
        match &self.compressed {
            Some(parts) => (&parts.front, &parts.middle, &parts.data),
            None => (
                &self.message.front,
                &self.message.middle,
                &self.message.data,
            ),
        }
    }
}

impl Compressed {
    /// Nothing if the message is below the threshold, or would not get shorter.
    fn of(message: &Message, compression: Compression) -> Option<Self> {
        let Compression { method, min_bytes } = compression;
        let len = message.len_bytes();
        if Header::LEN + len < min_bytes {
            return None;
        }
        let compress = |bytes: &[u8]| match bytes {
            [] => Some(Bytes::new()),
            bytes => method.compress(bytes).map(Bytes::from),
        };
        let parts = Self {
            method,
            front: compress(&message.front)?,
            middle: compress(&message.middle)?,
            // Data in several pieces is copied: methods want it in one.
            data: compress(&message.data.clone().into_bytes())?.into(),
        };
        let compressed = parts.front.len() + parts.middle.len() + parts.data.len();
        (compressed < len).then_some(parts)
    }
}
