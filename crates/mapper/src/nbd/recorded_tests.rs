//! What clients of other people said to another server, understood by this one.

use buffers::BufferPool;
use bytes::BytesMut;

use super::proto::command;
use super::*;
use crate::device::Limits;

fn exports() -> [ExportInfo; 1] {
    [ExportInfo {
        name: "disk".to_owned(),
        description: String::new(),
        size_bytes: 1 << 20,
        is_read_only: false,
        limits: Limits::default(),
    }]
}

/// How far a conversation got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// How many bytes were answered to the negotiation.
    answered: usize,
    is_negotiated: bool,
    is_aborted: bool,
    requests: Vec<Request>,
    /// Whether the end is at the end of a request.
    is_whole: bool,
}

/// Everything must keep to the rules.
fn take(name: &str, bytes: &[u8], piece: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut handshake = Handshake::start(&mut output);
    let mut pieces = bytes.chunks(piece);
    let session = loop {
        let Some(bytes) = pieces.next() else {
            outcome.answered = output.len();
            return outcome;
        };
        input.extend_from_slice(bytes);
        match handshake.handle(&mut input, &mut output, &exports()) {
            Ok(Step::More) => {}
            Ok(Step::Done(negotiated)) => break negotiated.session,
            Ok(Step::Abort) => {
                outcome.answered = output.len();
                outcome.is_aborted = true;
                return outcome;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    };
    outcome.answered = output.len();
    outcome.is_negotiated = true;
    let mut decoder = RequestDecoder::new(&session, input, BufferPool::default());
    loop {
        while let Some(incoming) = decoder.next_request().unwrap() {
            let request = session.check(incoming, exports()[0].size_bytes);
            outcome.requests.push(request.unwrap());
        }
        let Some(bytes) = pieces.next() else { break };
        decoder.buffer().extend_from_slice(bytes);
    }
    outcome.is_whole = decoder.is_at_boundary();
    outcome
}

fn recorded() -> Vec<(&'static str, &'static [u8])> {
    macro_rules! recorded {
        ($($name:literal),*) => {
            vec![$(($name, include_bytes!(concat!("../../testdata/nbd/", $name, ".client")))),*]
        };
    }
    recorded![
        "fio-0",
        "fio-1",
        "nbdcopy-0",
        "nbdinfo-0",
        "nbdinfo-list-0",
        "nbdinfo-map-0",
        "qemu-img-map-0",
        "qemu-io-0"
    ]
}

/// A recorded client, taken in one piece.
fn client(wanted: &str) -> Outcome {
    let recorded = recorded();
    let (name, bytes) = recorded.iter().find(|(name, _)| *name == wanted).unwrap();
    take(name, bytes, bytes.len())
}

#[test]
fn whole_conversations_are_understood() {
    for (name, bytes) in recorded() {
        let whole = take(name, bytes, bytes.len());
        assert!(whole.is_negotiated || whole.is_aborted, "{name}: {whole:?}");
        assert_eq!(whole.is_whole, whole.is_negotiated, "{name}");
        // All of these say goodbye but fio.
        if whole.is_negotiated && !name.starts_with("fio") {
            assert_eq!(whole.requests.last(), Some(&Request::Disconnect), "{name}");
        }
    }
}

/// The same comes of the beginning of a conversation as of the whole of it, and no more, wherever it
/// ends and in whatever pieces it comes.
#[test]
fn conversations_may_be_cut_anywhere() {
    for (name, bytes) in recorded() {
        let whole = take(name, bytes, bytes.len());
        assert_eq!(take(name, bytes, 1), whole, "{name}");
        let mut before = Outcome::default();
        for len in 1..bytes.len() {
            let cut = take(name, &bytes[..len], len);
            assert!(
                whole.requests.starts_with(&cut.requests),
                "{name} cut at {len}"
            );
            assert!(
                cut.requests.len() >= before.requests.len(),
                "{name} cut at {len}"
            );
            assert!(
                cut.requests.len() <= before.requests.len() + 1,
                "{name} cut at {len}"
            );
            assert!(
                (before.answered..=whole.answered).contains(&cut.answered),
                "{name} cut at {len}"
            );
            // Nothing comes out later than it could: behind a request there is nothing pending.
            assert!(
                !before.is_negotiated || cut.is_negotiated,
                "{name} cut at {len}"
            );
            before = cut;
        }
        assert_ne!(before, whole, "{name}: the last byte was of no use");
    }
}

/// As `record.py` asks qemu-io for.
#[test]
fn qemu_ios_requests_are_those_it_was_told() {
    let write = |offset, len, byte, is_fua| Request::Write {
        offset,
        data: vec![byte; len].into(),
        is_fua,
    };
    let zero = |offset, may_unmap, is_fast| Request::WriteZeroes {
        offset,
        len: 4096,
        mode: crate::device::ZeroMode { may_unmap, is_fast },
        is_fua: false,
    };
    let read = |offset, len| Request::Read {
        offset,
        len,
        in_one: false,
    };
    let said = client("qemu-io-0").requests;
    let expected = [
        write(0, 4096, 0x61, false),
        write(64 << 10, 512, 0x62, true),
        zero(4096, false, false),
        zero(8192, true, false),
        zero(12288, true, true),
        Request::Trim {
            offset: 128 << 10,
            len: 64 << 10,
            is_fua: false,
        },
        Request::Flush,
        read(0, 4096),
        read(64 << 10, 512),
        // When it closes the image.
        Request::Flush,
        Request::Disconnect,
    ];
    assert_eq!(said, expected);
}

/// What is copied is 4096 bytes in the middle of zeroes, and then flushed.
#[test]
fn nbdcopys_requests_make_a_copy() {
    let mut disk = vec![0xff; 1 << 20];
    let mut flushed = false;
    for request in client("nbdcopy-0").requests {
        flushed = match request {
            Request::Write { offset, data, .. } => {
                let offset = usize::try_from(offset).unwrap();
                disk[offset..offset + data.len()].copy_from_slice(&data);
                false
            }
            Request::WriteZeroes { offset, len, .. } => {
                let (offset, len) = (offset.try_into().unwrap(), usize::try_from(len).unwrap());
                let range: std::ops::Range<usize> = offset..offset + len;
                disk[range].fill(0);
                false
            }
            Request::Flush => true,
            Request::Disconnect => flushed,
            other => panic!("{other:?}"),
        };
    }
    assert!(flushed);
    let noise = |at: usize| u8::try_from(1 + at * 7 % 255).unwrap();
    let expected: Vec<u8> = std::iter::repeat_n(0, 40960)
        .chain((0..4096).map(noise))
        .chain(std::iter::repeat_n(0, 20480))
        .collect();
    assert!(disk[..expected.len()] == expected);
    assert!(disk[expected.len()..].iter().all(|byte| *byte == 0xff));
}

#[test]
fn all_commands_but_cache_are_there() {
    let mut commands: Vec<u16> = recorded()
        .iter()
        .flat_map(|(name, bytes)| take(name, bytes, bytes.len()).requests)
        .map(|request| match request {
            Request::Read { .. } => command::READ,
            Request::Write { .. } => command::WRITE,
            Request::Flush => command::FLUSH,
            Request::Trim { .. } => command::TRIM,
            Request::WriteZeroes { .. } => command::WRITE_ZEROES,
            Request::Cache { .. } => command::CACHE,
            Request::BlockStatus { .. } => command::BLOCK_STATUS,
            Request::Disconnect => command::DISC,
        })
        .collect();
    commands.sort_unstable();
    commands.dedup();
    assert_eq!(commands, [0, 1, 2, 3, 4, 6, 7]);
}
