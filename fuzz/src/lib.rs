//! Fuzz targets: one function for each decoder of bytes from outside, or each group of them.
//!
//! A target takes any bytes and must neither panic, nor hang, nor allocate more than the bytes
//! warrant. `fuzz_targets` wraps each of them for cargo-fuzz; the tests of this package put the
//! corpora and damaged versions of them through the same functions with any compiler.
#![forbid(unsafe_code)]

mod conf;
mod images;
mod maps;
mod messenger;
mod nbd;
mod primitives;
mod secrets;

pub use conf::{ceph_conf, ini, mon_host};
pub use images::{
    image_header, image_names, image_notifications, mapping, mountinfo, object_map, signatures,
};
pub use maps::{answers, crush_map, messages, mon_map, osd_map, osd_map_incremental, osd_types};
pub use messenger::{
    banner, client_connection, compressed_frames, control_frames, decompression, frames,
};
pub use nbd::{nbd_handshake, nbd_requests};
pub use primitives::{addresses, names};
pub use secrets::{cephx, crypto_key, keyring};

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// All targets, by the names of their corpora and programs.
        pub const TARGETS: &[Target] = &[$((stringify!($name), $name)),*];
    };
}

targets![
    addresses,
    answers,
    banner,
    ceph_conf,
    cephx,
    client_connection,
    compressed_frames,
    control_frames,
    crush_map,
    crypto_key,
    decompression,
    frames,
    image_header,
    image_names,
    image_notifications,
    ini,
    keyring,
    mapping,
    messages,
    mon_host,
    mon_map,
    mountinfo,
    names,
    nbd_handshake,
    nbd_requests,
    object_map,
    osd_map,
    osd_map_incremental,
    osd_types,
    signatures,
];

/// Decodes all of the bytes as a `T`, to no end.
fn decode<T: denc::Decode>(data: &[u8]) {
    let _ = T::decode_all("anything", data);
}

/// The bytes as text; what is none is replaced, so that every input is one.
fn text(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}
