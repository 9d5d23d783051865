//! What is said about images and devices.

use std::str::FromStr;

use mapper::mount::{Contents, MountPoint};
use mapper::state::Mapping;
use rbd::{Features, ImageSpec};

use crate::text;

/// All answers of the object classes.
pub fn image_header(data: &[u8]) {
    rbd::decode_any(data);
}

/// What the watchers of an image tell each other.
pub fn image_notifications(data: &[u8]) {
    rbd::decode_any_notification(data);
}

/// The map of an image's objects.
pub fn object_map(data: &[u8]) {
    rbd::decode_object_map(data);
}

/// What people write: names of images and of features.
pub fn image_names(data: &[u8]) {
    let text = text(data);
    let _ = Features::from_str(&text);
    if let Ok(spec) = ImageSpec::from_str(&text) {
        let _ = spec.to_string();
    }
}

/// The first and last bytes of a device.
pub fn signatures(data: &[u8]) {
    let contents = Contents::probe(data, data);
    let _ = contents.describe();
    let (head, tail) = data.split_at(data.len() / 2);
    Contents::probe(head, tail);
}

/// What the kernel says is mounted.
pub fn mountinfo(data: &[u8]) {
    MountPoint::parse(data);
}

/// The file of a mapping.
pub fn mapping(data: &[u8]) {
    let Ok(mapping) = serde_json::from_slice::<Mapping>(data) else {
        return;
    };
    let _ = mapping.spec.to_string();
    if let Ok(written) = serde_json::to_vec(&mapping) {
        assert_eq!(
            serde_json::from_slice::<Mapping>(&written).ok(),
            Some(mapping)
        );
    }
}
