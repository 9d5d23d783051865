//! Taking a full OSD map apart, beside reading its bytes once.

use std::hint::black_box;

use criterion::Criterion;
use denc::Decode;
use rados::osdmap::OsdMap;

use crate::map_bytes::{TEN_THOUSAND, THREE};
use crate::subject::Subject;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut subject = Subject::new(criterion, "osd map");
    for shape in [THREE, TEN_THOUSAND] {
        let osds = shape.osds();
        let bytes = shape.full_map();
        let len = Some(bytes.len());
        let read = subject.cost(&format!("crc32c {osds} OSDs"), len, || {
            crc32c::crc32c(black_box(&bytes))
        });
        let decoded = subject.cost(&format!("decode {osds} OSDs"), len, || {
            OsdMap::decode_all("map", black_box(&bytes)).unwrap()
        });
        let name = format!("decode, {osds} OSDs, {} bytes", bytes.len());
        subject.beside(&name, decoded, "one CRC", read);
    }
    subject.finish();
}
