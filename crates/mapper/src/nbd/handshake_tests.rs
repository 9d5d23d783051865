use super::*;

fn exports() -> Vec<ExportInfo> {
    let export = |name: &str, size_bytes| ExportInfo {
        name: name.into(),
        description: format!("about {name}"),
        size_bytes,
        is_read_only: name == "frozen",
        limits: Limits::default(),
    };
    vec![export("disk", 1 << 30), export("frozen", 4096)]
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u64(OPTION_MAGIC);
    bytes.put_u32(code);
    bytes.put_u32(u32::try_from(data.len()).unwrap());
    bytes.put_slice(data);
    bytes
}

fn go_data(name: &str, infos: &[u16]) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_u32(u32::try_from(name.len()).unwrap());
    data.put_slice(name.as_bytes());
    data.put_u16(u16::try_from(infos.len()).unwrap());
    infos.iter().for_each(|info| data.put_u16(*info));
    data
}

fn context_data(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_u32(u32::try_from(name.len()).unwrap());
    data.put_slice(name.as_bytes());
    data.put_u32(u32::try_from(queries.len()).unwrap());
    for query in queries {
        data.put_u32(u32::try_from(query.len()).unwrap());
        data.put_slice(query.as_bytes());
    }
    data
}

/// What comes of `options`, fed in pieces of `piece` bytes: the last step and the replies by option and type.
type Replies = Vec<(u32, u32, Vec<u8>)>;
fn negotiate(options: &[Vec<u8>], piece: usize) -> (Result<Step, ProtocolError>, Replies, usize) {
    let mut output = BytesMut::new();
    let mut handshake = Handshake::start(&mut output);
    output.advance(18);
    let mut bytes = 3u32.to_be_bytes().to_vec();
    bytes.extend(options.concat());
    let mut input = BytesMut::new();
    let mut step = Ok(Step::More);
    let mut fed = 0;
    for part in bytes.chunks(piece) {
        input.extend_from_slice(part);
        fed += part.len();
        step = handshake.handle(&mut input, &mut output, &exports());
        if !matches!(step, Ok(Step::More)) {
            break;
        }
    }
    let left = input.len() + bytes.len() - fed;
    let mut replies = Vec::new();
    while output.has_remaining() {
        assert_eq!(output.get_u64(), OPTION_REPLY_MAGIC);
        let (code, kind, len) = (output.get_u32(), output.get_u32(), output.get_u32());
        replies.push((code, kind, output.split_to(len as usize).to_vec()));
    }
    (step, replies, left)
}

fn kinds(replies: &Replies) -> Vec<u32> {
    replies.iter().map(|(_, kind, _)| *kind).collect()
}

#[test]
fn go_tells_what_was_asked_for_and_leaves_what_follows() {
    let options = [
        option(
            option::GO,
            &go_data("frozen", &[info::BLOCK_SIZE, info::NAME, 77]),
        ),
        b"request".to_vec(),
    ];
    for piece in [1, 5, 1000] {
        let (step, replies, left) = negotiate(&options, piece);
        let Ok(Step::Done(negotiated)) = step else {
            panic!("{step:?}");
        };
        assert_eq!(negotiated.export, 1);
        assert!(!negotiated.session.takes_writes());
        assert_eq!(left, 7);
        let infos: Vec<_> = replies[..3].iter().map(|(_, _, data)| data[1]).collect();
        assert_eq!(infos, [0, 1, 3]);
        assert_eq!(kinds(&replies), [3, 3, 3, 1]);
        assert_eq!(replies[0].2[2..10], 4096u64.to_be_bytes());
    }
}

#[test]
fn unknown_exports_and_options_leave_the_client_another_try() {
    let (step, replies, _) = negotiate(
        &[
            option(option::GO, &go_data("nope", &[])),
            option(option::STARTTLS, &[]),
            option(11, &[]),
            option(4711, b"?"),
            option(option::GO, b"short"),
            option(option::LIST, b"data"),
            option(option::GO, &go_data("", &[])),
        ],
        1000,
    );
    assert!(matches!(step, Ok(Step::Done(Negotiated { export: 0, .. }))));
    let (unsup, invalid) = (option_reply::ERR_UNSUP, option_reply::ERR_INVALID);
    assert_eq!(
        kinds(&replies),
        [
            option_reply::ERR_UNKNOWN,
            unsup,
            unsup,
            unsup,
            invalid,
            invalid,
            3,
            1
        ]
    );
}

#[test]
fn contexts_need_structured_replies_and_belong_to_one_export() {
    let set = option(
        option::SET_META_CONTEXT,
        &context_data("disk", &["x:y", "base:allocation"]),
    );
    let structured = option(option::STRUCTURED_REPLY, &[]);
    let has_allocation = |options: &[Vec<u8>]| match negotiate(options, 1000).0 {
        Ok(Step::Done(negotiated)) => negotiated.session.has_allocation,
        other => panic!("{other:?}"),
    };
    let go = |name| option(option::GO, &go_data(name, &[]));
    assert!(has_allocation(&[structured.clone(), set.clone(), go("")]));
    assert!(!has_allocation(&[
        set.clone(),
        structured.clone(),
        go("disk")
    ]));
    assert!(!has_allocation(&[
        structured.clone(),
        set.clone(),
        go("frozen")
    ]));
    let unset = option(option::SET_META_CONTEXT, &context_data("disk", &[]));
    assert!(!has_allocation(&[structured, set, unset, go("disk")]));
}

#[test]
fn listing_contexts_selects_none() {
    for queries in [&[][..], &["base:"], &["base:allocation"]] {
        let (_, replies, _) = negotiate(
            &[
                option(option::STRUCTURED_REPLY, &[]),
                option(option::LIST_META_CONTEXT, &context_data("", queries)),
            ],
            1000,
        );
        assert_eq!(kinds(&replies), [1, option_reply::META_CONTEXT, 1]);
    }
}

#[test]
fn long_options_are_skipped_and_endless_ones_end_it() {
    let (step, replies, _) = negotiate(
        &[
            option(4711, &vec![0; MAX_OPTION_LEN + 1]),
            option(option::ABORT, &[]),
        ],
        777,
    );
    assert!(matches!(step, Ok(Step::Abort)));
    assert_eq!(kinds(&replies), [option_reply::ERR_TOO_BIG, 1]);
    let mut endless = option(4711, &[]);
    endless[12..16].copy_from_slice(&u32::MAX.to_be_bytes());
    let (step, ..) = negotiate(&[endless], 1000);
    assert_eq!(
        step.unwrap_err(),
        ProtocolError::OptionTooLong {
            option: 4711,
            len_bytes: u32::MAX
        }
    );
}

#[test]
fn a_client_that_never_decides_is_left() {
    let options = vec![option(option::LIST, &[]); 1025];
    let (step, ..) = negotiate(&options, 1 << 20);
    assert_eq!(step.unwrap_err(), ProtocolError::TooManyOptions);
}

#[test]
fn export_name_has_padding_unless_declined() {
    for (flags, len) in [(3u32, 10), (1, 134)] {
        let mut output = BytesMut::new();
        let mut handshake = Handshake::start(&mut output);
        output.clear();
        let mut input = BytesMut::from(&flags.to_be_bytes()[..]);
        input.extend_from_slice(&option(option::EXPORT_NAME, b"disk"));
        let step = handshake.handle(&mut input, &mut output, &exports());
        assert!(matches!(step, Ok(Step::Done(_))));
        assert_eq!(output.len(), len);
    }
    let (step, ..) = negotiate(&[option(option::EXPORT_NAME, b"nope")], 1000);
    assert_eq!(
        step.unwrap_err(),
        ProtocolError::UnknownExport("nope".into())
    );
}

#[test]
fn strangers_are_recognised() {
    let (step, ..) = negotiate(&[b"GET / HTTP/1.1\r\n".to_vec()], 1000);
    assert!(matches!(step, Err(ProtocolError::BadMagic { .. })));
    let mut output = BytesMut::new();
    let mut handshake = Handshake::start(&mut output);
    let mut input = BytesMut::from(&b"\0\0\0\x07"[..]);
    let step = handshake.handle(&mut input, &mut output, &exports());
    assert_eq!(step.unwrap_err(), ProtocolError::UnknownClientFlags(7));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, codes in proptest::collection::vec((2u32..12, proptest::collection::vec(0u8.., 0..40)), 0..20)) {
        let mut options: Vec<_> = codes.iter().map(|(code, data)| option(*code, data)).collect();
        options.push(bytes);
        let _ = negotiate(&options, 13);
    }
}
