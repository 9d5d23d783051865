//! Peers that compress without having agreed on it, or send what is not what they say. Each way has
//! its own error, and no way to have much set aside.

use denc::Writer;

use super::*;
use crate::frame::compression::CompressionDone;
use crate::frame::message::Header;
use crate::frame::{Control, Tag};

fn offered(method: CompressionMethod) -> CompressionOptions {
    CompressionOptions {
        methods: vec![method],
        min_bytes: 1024,
        in_secure_mode: false,
    }
}

/// A client that has got everything from a server that offers compression, but for its word on it.
fn undecided(options: CompressionOptions) -> Connection {
    let client = ClientOptions {
        compression: Some(options.clone()),
        ..client_options()
    };
    let server = ServerOptions {
        compression: Some(options),
        ..server_options()
    };
    let mut pair = Pair::new(
        (client, TestClient::default()),
        (server, TestServer::default()),
        TestSessions::default(),
    );
    for _ in 0..4 {
        let said = output(&mut pair.client);
        pair.server.feed(&said).unwrap();
        let answered = output(&mut pair.server);
        pair.client.feed(&answered).unwrap();
    }
    // The server does not get the last thing said.
    let said = output(&mut pair.client);
    let frames = decode_frames(Revision::V2_1, None, &said).unwrap();
    assert_eq!(frames.last().unwrap().tag, Tag::CompressionRequest);
    pair.client
}

fn decide(client: &mut Connection, method: u32) -> Result<(), Error> {
    let done = Control::from(CompressionDone {
        is_compress: true,
        method,
    });
    let segment = Writer::encode(&done);
    client.feed(&frame(22, [&segment, &[], &[], &[]], false))
}

/// A frame in crc mode with right checksums.
fn frame(tag: u8, segments: [&[u8]; 4], is_compressed: bool) -> Vec<u8> {
    let tag = Tag::try_from(tag).unwrap();
    let lens = segments.map(<[u8]>::len);
    let preamble = frame::Preamble::new(tag, lens, is_compressed);
    let [control, rest @ ..] = segments;
    let mut bytes = preamble.encode().to_vec();
    bytes.extend(control);
    bytes.extend(crc::segment(control).to_le_bytes());
    if preamble.count > 1 {
        rest.iter().for_each(|segment| bytes.extend(*segment));
        bytes.push(0x0e);
        for (index, segment) in (1..).zip(rest) {
            let crc = if index < preamble.count {
                crc::segment(segment)
            } else {
                0
            };
            bytes.extend(crc.to_le_bytes());
        }
    }
    bytes
}

/// A client whose session is open and compressed.
fn compressed(method: CompressionMethod) -> Connection {
    let client = ClientOptions {
        compression: Some(offered(method)),
        ..client_options()
    };
    let server = ServerOptions {
        compression: Some(offered(method)),
        ..server_options()
    };
    let mut pair = Pair::new(
        (client, TestClient::default()),
        (server, TestServer::default()),
        TestSessions::default(),
    );
    pair.run().unwrap();
    assert_eq!(established(&mut pair.client).compression, Some(method));
    pair.client
}

fn header() -> Vec<u8> {
    Writer::encode(&Header {
        seq: 1,
        tid: Tid(1),
        kind: MessageType(1),
        priority: 1,
        version: 1,
        ack_seq: 0,
        compat_version: 1,
    })
    .to_vec()
}

/// What becomes of a message with this data, said to be compressed.
fn receive(method: CompressionMethod, data: &[u8]) -> Result<Vec<Event>, Error> {
    let mut client = compressed(method);
    let header = method.compress(&header()).unwrap();
    client.feed(&frame(17, [&header, &[], &[], data], true))?;
    Ok(events(&mut client))
}

/// The reason why a message with this data is refused.
fn refusal(method: CompressionMethod, data: &[u8]) -> DecompressError {
    match receive(method, data) {
        Err(Error::Decompress {
            tag: Tag::Message,
            segment: 3,
            method: found,
            source,
        }) if found == method => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_method_that_nobody_knows_is_refused() {
    for unknown in [0, 5, 6, 255, u32::MAX] {
        let mut client = undecided(offered(CompressionMethod::Lz4));
        assert!(matches!(
            decide(&mut client, unknown),
            Err(Error::UnknownCompression(found)) if found == unknown
        ));
    }
}

#[test]
fn a_method_that_was_not_offered_is_refused() {
    let mut client = undecided(offered(CompressionMethod::Lz4));
    assert!(matches!(
        decide(&mut client, 2),
        Err(Error::CompressionNotOffered {
            method: CompressionMethod::Zlib,
            ..
        })
    ));
    let mut client = undecided(offered(CompressionMethod::Lz4));
    decide(&mut client, 4).unwrap();
}

#[test]
fn compression_that_was_not_asked_for_is_refused() {
    let nothing = CompressionOptions {
        methods: Vec::new(),
        ..offered(CompressionMethod::Lz4)
    };
    let mut client = undecided(nothing);
    assert!(matches!(
        decide(&mut client, 4),
        Err(Error::CompressionNotOffered {
            method: CompressionMethod::Lz4,
            ..
        })
    ));
}

#[test]
fn a_compressed_frame_without_agreement_is_refused_by_its_preamble() {
    let mut pair = Pair::plain();
    pair.run().unwrap();
    let header = CompressionMethod::Snappy.compress(&header()).unwrap();
    let bytes = frame(17, [&header, &[], &[], &[1]], true);
    assert!(matches!(
        pair.client.feed(&bytes[..32]),
        Err(Error::CompressedFrame { tag: Tag::Message })
    ));
}

#[test]
fn what_is_compressed_well_is_accepted() {
    for method in CompressionMethod::ALL {
        let data = method.compress(&[7; 5000]).unwrap();
        let events = receive(method, &data).unwrap();
        let [Event::Message(message)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(message.data, Bytes::from(vec![7; 5000]).into());
    }
}

/// A segment of 1 GiB of zeros, as small as each method makes it.
fn bomb(method: CompressionMethod) -> Vec<u8> {
    const LEN: u32 = 1 << 30;
    match method {
        // It takes that many copies of 64 bytes, each in 3: the length alone has to do.
        CompressionMethod::Snappy => b"\x80\x80\x80\x80\x04\0a\xfe\x01\0".to_vec(),
        // 1 GiB of input at this ratio is too much for a test; a tenth is above no limit but that
        // of the front.
        CompressionMethod::Zlib => method.compress(&vec![0; limits::DATA + 1]).unwrap(),
        // Blocks of 128 KiB of one repeated byte, 4 bytes each; without the last one's mark.
        CompressionMethod::Zstd => {
            let mut bytes = u32::try_from(limits::DATA).unwrap().to_le_bytes().to_vec();
            bytes.extend(0xfd2f_b528_u32.to_le_bytes());
            bytes.extend([0, 0x38]);
            for _ in 0..LEN >> 17 {
                let header: u32 = (128 << 10) << 3 | 1 << 1;
                bytes.extend(&header.to_le_bytes()[..3]);
                bytes.push(0);
            }
            bytes
        }
        CompressionMethod::Lz4 => {
            let mut bytes = [1, LEN, 100].map(u32::to_le_bytes).concat();
            bytes.extend([0x1f, 0, 1, 0]);
            bytes.resize(12 + 100, 255);
            bytes
        }
    }
}

#[test]
fn a_bomb_is_refused() {
    for method in CompressionMethod::ALL {
        let bomb = bomb(method);
        assert!(bomb.len() < limits::DATA / 500, "{method}");
        let error = refusal(method, &bomb);
        match method {
            CompressionMethod::Zstd => {
                let DecompressError::WrongLength { claimed, found } = error else {
                    panic!("{error}");
                };
                assert_eq!(claimed, limits::DATA);
                // Noticed at the first block too many.
                assert!(found <= limits::DATA + (128 << 10), "{found}");
            }
            _ => assert_eq!(error, DecompressError::TooLong { max: limits::DATA }),
        }
    }
}

#[test]
fn every_segment_has_its_limit() {
    let method = CompressionMethod::Zlib;
    let well = method.compress(&header()).unwrap();
    for (index, max) in limits::SEGMENT.into_iter().enumerate() {
        let long = method.compress(&vec![0; max + 1]).unwrap();
        let mut segments: [&[u8]; 4] = [&well, &[], &[], &[]];
        segments[index] = &long;
        let result = compressed(method).feed(&frame(17, segments, true));
        assert!(matches!(
            result,
            Err(Error::Decompress { segment, source: DecompressError::TooLong { max: found }, .. })
                if segment == index && found == max
        ));
    }
}

#[test]
fn data_cut_anywhere_is_refused() {
    let text: Vec<u8> = b"as it was in the beginning, is now and ever shall be; "
        .iter()
        .copied()
        .cycle()
        .take(2000)
        .collect();
    for method in CompressionMethod::ALL {
        let whole = method.compress(&text).unwrap();
        receive(method, &whole).unwrap();
        for len in 1..whole.len() {
            refusal(method, &whole[..len]);
        }
        let longer = [&whole[..], b"x"].concat();
        refusal(method, &longer);
    }
}

#[test]
fn garbage_is_refused() {
    for method in CompressionMethod::ALL {
        for garbage in [&[0xff; 100][..], &[0xaa; 3], b"what is this?", &[0x06; 50]] {
            refusal(method, garbage);
        }
    }
}

#[test]
fn data_compressed_by_another_method_is_refused() {
    let text = [b'a'; 5000];
    for method in CompressionMethod::ALL {
        for other in CompressionMethod::ALL {
            if other != method {
                refusal(method, &other.compress(&text).unwrap());
            }
        }
    }
}
