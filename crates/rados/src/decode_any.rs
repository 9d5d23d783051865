//! A way in for fuzzing to the decoders that are private.

use bytes::Bytes;
use denc::{Decode, Reader};

use crate::listing::Page;
use crate::msg::mon::{AuthReply, MonCommandAck, MonGetVersionReply, MonMapMessage};
use crate::msg::osd::{OsdBackoff, OsdMapMessage, OsdOpReply, WatchNotify};
use crate::watch::NotifyAnswers;

/// Takes bytes for each of the messages of monitors and OSDs in turn, for a page of a list of
/// objects, and for the answers to a notification.
pub fn decode_any(bytes: &[u8]) {
    fn decode<T: Decode>(bytes: &[u8]) {
        let _ = T::decode(&mut Reader::new("anything", bytes));
    }
    let owned = Bytes::copy_from_slice(bytes);
    let _ = OsdMapMessage::parse(&owned);
    let _ = OsdOpReply::parse(u16::MAX, bytes, &owned);
    let _ = NotifyAnswers::parse(&owned);
    decode::<MonMapMessage>(bytes);
    decode::<OsdBackoff>(bytes);
    decode::<WatchNotify>(bytes);
    decode::<MonCommandAck>(bytes);
    decode::<MonGetVersionReply>(bytes);
    decode::<AuthReply>(bytes);
    decode::<Page>(bytes);
}
