//! Takes requests out of the stream of bytes.

use buffers::BufferPool;
use bytes::{Buf, Bytes, BytesMut};

use super::error::ProtocolError;
use super::proto::{REQUEST_MAGIC, command};
use super::session::Session;

/// The fixed part of a request (28 bytes on the wire: magic u32, flags u16, command u16, cookie u64,
/// offset u64, length u32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The command's flags.
    pub flags: u16,
    /// The command.
    pub command: u16,
    /// What the reply is to carry.
    pub cookie: u64,
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
}

/// A request as it came in, not checked in any way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The fixed part.
    pub header: RequestHeader,
    /// The payload of a write; `None` if it was too large or the export is read-only, and has been thrown away.
    pub payload: Option<Bytes>,
}

/// Takes requests out of a stream of bytes, without copying large payloads.
///
/// Read from the socket into [`buffer`](Self::buffer), then take requests with [`next_request`](Self::next_request) until there is
/// none. Small payloads are slices of the buffer they were read into together with their neighbours. For a large
/// payload a buffer is made that holds it and the header after it, so that a stream of large writes takes one read
/// each and is not copied, except for what had been read before its header was seen.
#[derive(Debug)]
pub struct RequestDecoder {
    pool: BufferPool,
    buffer: BytesMut,
    state: State,
    max_payload: u32,
    keeps_payload: bool,
}

#[derive(Debug)]
enum State {
    Header,
    Payload(RequestHeader),
    /// So many bytes of payload are still to be thrown away.
    Skip(RequestHeader, u32),
}

impl RequestDecoder {
    /// A decoder for what comes after `leftover`, the bytes already read from the socket. What comes is read into buffers of
    /// `pool`.
    pub fn new(session: &Session, leftover: BytesMut, pool: BufferPool) -> Self {
        Self {
            pool,
            buffer: leftover,
            state: State::Header,
            max_payload: session.limits.maximum_bytes,
            keeps_payload: session.takes_writes(),
        }
    }

    /// Where to put bytes from the socket: at the end, no more than there is capacity for.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let wanted = match &self.state {
            State::Header | State::Skip(..) => HEADER_LEN,
            State::Payload(header) => header.len as usize,
        };
        let missing = wanted.saturating_sub(self.buffer.len()).max(1);
        if self.buffer.capacity() - self.buffer.len() < missing {
            // What is there is less than one header or one small payload.
            self.renew(self.buffer.len() + missing.max(READ_LEN));
        }
        &mut self.buffer
    }

    /// Whether the stream may end here without cutting a request in two.
    pub fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Header) && self.buffer.is_empty()
    }

    /// The next request, if all of it is there.
    ///
    /// # Errors
    /// If the client does not speak the protocol; nothing after that makes sense.
    pub fn next_request(&mut self) -> Result<Option<Incoming>, ProtocolError> {
        loop {
            match &mut self.state {
                State::Header => {
                    let Some(header) = take_header(&mut self.buffer)? else {
                        return Ok(None);
                    };
                    if header.command != command::WRITE {
                        return Ok(Some(Incoming {
                            header,
                            payload: None,
                        }));
                    }
                    self.state = if self.keeps_payload && header.len <= self.max_payload {
                        self.make_room(header.len as usize);
                        State::Payload(header)
                    } else {
                        State::Skip(header, header.len)
                    };
                }
                State::Payload(header) => {
                    let len = header.len as usize;
                    if self.buffer.len() < len {
                        return Ok(None);
                    }
                    let incoming = Incoming {
                        header: *header,
                        payload: Some(self.buffer.split_to(len).freeze()),
                    };
                    self.state = State::Header;
                    return Ok(Some(incoming));
                }
                State::Skip(header, left) => {
                    let there = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
                    let skipped = there.min(*left);
                    self.buffer.advance(skipped as usize);
                    *left -= skipped;
                    if *left > 0 {
                        return Ok(None);
                    }
                    let incoming = Incoming {
                        header: *header,
                        payload: None,
                    };
                    self.state = State::Header;
                    return Ok(Some(incoming));
                }
            }
        }
    }

    /// Makes sure that a large payload gets a buffer of its own.
    fn make_room(&mut self, len: usize) {
        if len < LARGE_PAYLOAD || self.buffer.len() >= len {
            return;
        }
        self.renew(len + HEADER_LEN);
    }

    /// Goes on in another buffer.
    fn renew(&mut self, len: usize) {
        let mut buffer = self.pool.take(len);
        buffer.extend_from_slice(&self.buffer);
        self.buffer = buffer;
    }
}

fn take_header(buffer: &mut BytesMut) -> Result<Option<RequestHeader>, ProtocolError> {
    let Some(mut bytes) = buffer.get(..HEADER_LEN) else {
        return Ok(None);
    };
    let magic = bytes.get_u32();
    if magic != REQUEST_MAGIC {
        return Err(ProtocolError::BadMagic {
            message: "a request",
            found: magic.into(),
        });
    }
    let header = RequestHeader {
        flags: bytes.get_u16(),
        command: bytes.get_u16(),
        cookie: bytes.get_u64(),
        offset: bytes.get_u64(),
        len: bytes.get_u32(),
    };
    buffer.advance(HEADER_LEN);
    Ok(Some(header))
}

/// Length of a request without payload.
const HEADER_LEN: usize = 28;

/// Bytes to read at once when nothing is known about what comes.
const READ_LEN: usize = 64 << 10;

/// Payloads from this length on get a buffer of their own. Below it, sharing one read among several requests saves more
/// than it costs to keep a buffer of [`READ_LEN`] alive for the slowest of them.
const LARGE_PAYLOAD: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::device::Limits;
    use crate::nbd::ExportInfo;

    fn decoder(is_read_only: bool) -> RequestDecoder {
        let export = ExportInfo {
            name: String::new(),
            description: String::new(),
            size_bytes: 1 << 30,
            is_read_only,
            limits: Limits {
                maximum_bytes: 1 << 20,
                ..Limits::default()
            },
        };
        RequestDecoder::new(
            &Session::plain(&export),
            BytesMut::new(),
            BufferPool::default(),
        )
    }

    fn request(command: u16, cookie: u64, len: usize, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32(REQUEST_MAGIC);
        bytes.put_u16(1);
        bytes.put_u16(command);
        bytes.put_u64(cookie);
        bytes.put_u64(4096);
        bytes.put_u32(u32::try_from(len).unwrap());
        bytes.put_slice(payload);
        bytes
    }

    /// Feeds bytes as a socket would: never more than there is room for, and at most `piece` at once.
    fn feed(decoder: &mut RequestDecoder, mut bytes: &[u8], piece: usize) -> Vec<Incoming> {
        let mut requests = Vec::new();
        loop {
            while let Some(request) = decoder.next_request().unwrap() {
                requests.push(request);
            }
            if bytes.is_empty() {
                return requests;
            }
            let buffer = decoder.buffer();
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0, "there is always room to read into");
            let (head, rest) = bytes.split_at(piece.min(room).min(bytes.len()));
            buffer.extend_from_slice(head);
            bytes = rest;
        }
    }

    #[test]
    fn requests_come_out_as_they_went_in_however_cut() {
        let payload = |len: usize, seed: u8| -> Vec<u8> {
            (0..=250)
                .cycle()
                .map(|byte: u8| byte ^ seed)
                .take(len)
                .collect()
        };
        let payloads = [
            payload(4096, 1),
            payload(1 << 20, 2),
            payload(70_000, 3),
            payload(0, 4),
            payload(LARGE_PAYLOAD, 5),
            payload(513, 6),
        ];
        let mut bytes = Vec::new();
        for (cookie, payload) in (0..).zip(&payloads) {
            bytes.extend(request(command::WRITE, cookie, payload.len(), payload));
            bytes.extend(request(command::READ, 100 + cookie, 8192, &[]));
        }
        for piece in [1, 27, 1000, 65536, usize::MAX] {
            let mut decoder = decoder(false);
            let requests = feed(&mut decoder, &bytes, piece);
            assert!(decoder.is_at_boundary());
            assert_eq!(requests.len(), 2 * payloads.len());
            for (pair, (cookie, payload)) in requests.chunks(2).zip((0..).zip(&payloads)) {
                assert_eq!(pair[0].header.cookie, cookie);
                assert_eq!(pair[0].payload.as_ref().unwrap(), payload);
                assert_eq!(pair[1].header.cookie, 100 + cookie);
                assert_eq!(pair[1].payload, None);
            }
        }
    }

    #[test]
    fn a_stream_of_large_writes_is_not_copied_and_read_whole() {
        let len = 128 << 10;
        let mut decoder = decoder(false);
        let one = request(command::WRITE, 7, len, &vec![9; len]);
        feed(&mut decoder, &one, usize::MAX);
        for _ in 0..3 {
            let requests = feed(&mut decoder, &one[..HEADER_LEN], usize::MAX);
            assert!(requests.is_empty());
            let buffer = decoder.buffer();
            assert!(buffer.is_empty());
            assert_eq!(buffer.capacity(), len + HEADER_LEN);
            let start = buffer.as_ptr();
            let requests = feed(&mut decoder, &one[HEADER_LEN..], usize::MAX);
            assert_eq!(requests[0].payload.as_ref().unwrap().as_ptr(), start);
        }
    }

    #[test]
    fn payload_nobody_wants_is_thrown_away() {
        for (is_read_only, len) in [(true, 5000), (false, (1 << 20) + 1)] {
            let mut decoder = decoder(is_read_only);
            let mut bytes = request(command::WRITE, 1, len, &vec![0x25; len]);
            bytes.extend(request(command::FLUSH, 2, 0, &[]));
            let requests = feed(&mut decoder, &bytes, 999);
            assert_eq!(requests.len(), 2);
            assert_eq!(requests[0].payload, None);
            assert_eq!(requests[1].header.cookie, 2);
            assert!(decoder.buffer().capacity() <= READ_LEN);
        }
    }

    #[test]
    fn an_announced_payload_is_no_boundary() {
        let mut decoder = decoder(false);
        feed(&mut decoder, &request(command::WRITE, 1, 10, b"12345"), 100);
        assert!(!decoder.is_at_boundary());
    }

    #[test]
    fn a_wrong_magic_is_the_end() {
        let mut decoder = decoder(false);
        decoder.buffer().put_slice(&[0; HEADER_LEN]);
        assert_eq!(
            decoder.next_request(),
            Err(ProtocolError::BadMagic {
                message: "a request",
                found: 0
            })
        );
    }
}
