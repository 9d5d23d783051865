//! Clients of the NBD server.

use bytes::BytesMut;
use mapper::device::Limits;
use mapper::nbd::{ExportInfo, Handshake, RequestDecoder, Session, Step};

/// The negotiation, and requests after it, in one piece and byte by byte.
pub fn nbd_handshake(data: &[u8]) {
    for piece in [data.len().max(1), 1] {
        let mut output = BytesMut::new();
        let mut handshake = Handshake::start(&mut output);
        let mut input = BytesMut::new();
        let mut pieces = data.chunks(piece);
        while let Some(bytes) = pieces.next() {
            input.extend_from_slice(bytes);
            match handshake.handle(&mut input, &mut output, &exports()) {
                Ok(Step::More) => {}
                Ok(Step::Done(negotiated)) => {
                    requests(&negotiated.session, input, pieces);
                    break;
                }
                Ok(Step::Abort) | Err(_) => break,
            }
        }
    }
}

/// Requests on an export that can be written, and on one that cannot.
pub fn nbd_requests(data: &[u8]) {
    for export in exports() {
        let session = Session::plain(&export);
        requests(&session, BytesMut::new(), data.chunks(data.len().max(1)));
        requests(&session, BytesMut::new(), data.chunks(7));
    }
}

fn requests<'a>(session: &Session, leftover: BytesMut, pieces: impl Iterator<Item = &'a [u8]>) {
    let mut decoder = RequestDecoder::new(session, leftover, Default::default());
    let mut pieces = pieces;
    loop {
        loop {
            match decoder.next_request() {
                Ok(Some(incoming)) => {
                    let _ = session.check(incoming, SIZE_BYTES);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let Some(piece) = pieces.next() else { break };
        decoder.buffer().extend_from_slice(piece);
    }
    let _ = decoder.is_at_boundary();
}

fn exports() -> [ExportInfo; 2] {
    ["disk", "frozen"].map(|name| ExportInfo {
        name: name.to_owned(),
        description: String::new(),
        size_bytes: SIZE_BYTES,
        is_read_only: name == "frozen",
        limits: Limits::default(),
    })
}

const SIZE_BYTES: u64 = 1 << 30;
