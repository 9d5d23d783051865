//! The form of frames on the wire: checksums or encryption, revision 2.1 or 2.0. The form changes
//! only between frames.

use bytes::BufMut;

mod decode;
mod encode;
mod input;
mod layout;
mod output;
mod secure;

pub(crate) use decode::Decoder;
pub(crate) use encode::{Encoder, Prepared};
pub(crate) use output::Output;
pub(crate) use secure::Gcm;

use crate::frame::Frame;
use crate::{Error, Revision};

/// The frames at the start of `bytes`, in crc mode: for recorded traffic and fuzzing. An incomplete
/// frame at the end is left out.
///
/// # Errors
/// If the bytes are no frames.
pub fn decode_frames(revision: Revision, mut bytes: &[u8]) -> Result<Vec<Frame>, Error> {
    let mut decoder = Decoder::new();
    decoder.set_revision(revision);
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

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
