//! What OSDs of Ceph 18.2.7 sent to each other, compressed. See testdata/README.md.

use crate::compression::CompressionMethod;
use crate::frame::{Control, Tag};
use crate::{Banner, Error, Revision, decode_frames};

/// What the side sent that the connection was made to.
const RECORDED: [(CompressionMethod, &[u8]); 4] = [
    (
        CompressionMethod::Snappy,
        include_bytes!("../../testdata/compressed-snappy.server"),
    ),
    (
        CompressionMethod::Zlib,
        include_bytes!("../../testdata/compressed-zlib.server"),
    ),
    (
        CompressionMethod::Zstd,
        include_bytes!("../../testdata/compressed-zstd.server"),
    ),
    (
        CompressionMethod::Lz4,
        include_bytes!("../../testdata/compressed-lz4.server"),
    ),
];

fn without_banner(bytes: &[u8]) -> &[u8] {
    let banner = Banner::decode(bytes).unwrap();
    assert_eq!(banner.supported.0, 3);
    &bytes[Banner::frame_len(bytes).unwrap().unwrap()..]
}

/// What was written to the objects.
fn text() -> Vec<u8> {
    let line = b"the quick brown fox jumps over the lazy dog\n";
    line.iter().copied().cycle().take(6000).collect()
}

#[test]
fn what_osds_compress_is_decompressed() {
    for (method, bytes) in RECORDED {
        let frames = decode_frames(Revision::V2_1, Some(method), without_banner(bytes)).unwrap();
        let done = frames
            .iter()
            .find(|frame| frame.tag == Tag::CompressionDone)
            .unwrap();
        let Control::CompressionDone(done) = Control::decode(done.tag, &done.segments[0]).unwrap()
        else {
            panic!()
        };
        assert_eq!((done.is_compress, done.method), (true, method.number()));

        // It is in transactions for the other replica.
        let text = text();
        let has_text = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!has_text(bytes));
        let messages = frames.iter().filter(|frame| frame.tag == Tag::Message);
        let with_text = messages.filter(|frame| has_text(&frame.segments[3]));
        assert!(with_text.count() > 0, "{method}");
    }
}

#[test]
fn the_flag_is_refused_where_compression_was_not_agreed_on() {
    for (_, bytes) in RECORDED {
        assert!(matches!(
            decode_frames(Revision::V2_1, None, without_banner(bytes)),
            Err(Error::CompressedFrame { tag: Tag::Message })
        ));
    }
}

#[test]
fn the_other_methods_find_no_sense_in_it() {
    for (method, bytes) in RECORDED {
        for (other, _) in RECORDED {
            let result = decode_frames(Revision::V2_1, Some(other), without_banner(bytes));
            assert_eq!(result.is_ok(), other == method, "{method} as {other}");
        }
    }
}
