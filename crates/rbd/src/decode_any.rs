//! A way in for fuzzing to the decoders that are private.

use std::collections::BTreeMap;

use bytes::Bytes;
use denc::{Decode, UTime};

use crate::header::{
    FeatureSets, GroupReply, OptionalParent, OptionalPool, Size, SnapContextReply, SnapshotReply,
    Striping,
};
use crate::notification::{Message, Response};
use crate::object_map::BitVector;
use crate::{Features, Flags, LockInfo, OpFeatures, ParentSpec, Protection, SnapshotNamespace};

/// Takes bytes for the map of an image's objects, and writes what they say.
pub fn decode_object_map(bytes: &[u8]) {
    if let Ok(map) = BitVector::decode_all("anything", bytes) {
        let written = denc::Writer::encode(&map);
        assert_eq!(BitVector::decode_all("map", &written), Ok(map));
    }
}

/// Takes bytes for each of the answers of the object classes in turn.
pub fn decode_any(bytes: &[u8]) {
    fn decode<T: Decode>(bytes: &[u8]) {
        let _ = T::decode_all("anything", bytes);
    }
    decode::<Size>(bytes);
    decode::<FeatureSets>(bytes);
    decode::<Striping>(bytes);
    decode::<SnapContextReply>(bytes);
    decode::<OptionalPool>(bytes);
    decode::<OptionalParent>(bytes);
    decode::<GroupReply>(bytes);
    decode::<SnapshotReply>(bytes);
    decode::<SnapshotNamespace>(bytes);
    decode::<Protection>(bytes);
    decode::<ParentSpec>(bytes);
    decode::<LockInfo>(bytes);
    decode::<Features>(bytes);
    decode::<Flags>(bytes);
    decode::<OpFeatures>(bytes);
    decode::<UTime>(bytes);
    decode::<Option<u64>>(bytes);
    decode::<BTreeMap<String, String>>(bytes);
    decode::<BTreeMap<String, Bytes>>(bytes);
}

/// Takes bytes for a notification about an image, and for the answer to one.
///
/// # Panics
/// If something else is read when what was read is written again.
pub fn decode_any_notification(bytes: &[u8]) {
    if let Ok(message) = Message::from_payload(bytes) {
        assert_eq!(Message::from_payload(&message.to_payload()), Ok(message));
    }
    if let Ok(Some(response)) = Response::from_answer(bytes) {
        let again = Response::from_answer(&response.to_answer());
        assert_eq!(again, Ok(Some(response)));
    }
}
