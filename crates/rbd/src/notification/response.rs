//! How notifications are answered (ceph: src/librbd/WatchNotifyTypes.h,
//! `ResponseMessage`).

use bytes::Bytes;
use denc::{Decode, Encode, Reader, Writer};

/// The owner's answer to what it is asked; everybody else answers that with nothing. Updates of the
/// header and quiescing are answered in this way by all who act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// A negative errno, or 0: for a request with an id that it will be done, and for one without
    /// that it has been done.
    pub(crate) result: i32,
}

impl Response {
    /// Reads an answer; `None` if it is nothing.
    ///
    /// # Errors
    /// If the bytes end too early or are for newer readers only.
    pub(crate) fn from_answer(answer: &[u8]) -> denc::Result<Option<Self>> {
        if answer.is_empty() {
            return Ok(None);
        }
        Self::decode_all("answer to a notification", answer).map(Some)
    }

    /// What to send.
    pub(crate) fn to_answer(self) -> Bytes {
        Writer::encode(&self)
    }
}

impl Decode for Response {
    const MIN_LEN: usize = 10;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("ResponseMessage", 1)?.reader;
        Ok(Self {
            result: fields.i32()?,
        })
    }
}

impl Encode for Response {
    fn encode(&self, writer: &mut Writer) {
        writer.envelope(1, 1, |fields| {
            fields.i32(self.result);
        });
    }
}
