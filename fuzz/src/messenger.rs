//! What arrives on connections of messenger v2.

use bytes::Bytes;
use denc::{EntityAddr, EntityType, Features, GlobalId};
use msgr2::auth::{AuthSecrets, ClientAuth};
use msgr2::frame::auth::{AuthRequest, BadMethod};
use msgr2::frame::{Control, Tag};
use msgr2::{
    AuthError, AuthMethod, Banner, ClientOptions, CompressionMethod, Connection, ConnectionMode,
    Revision, decode_frames,
};
use smallvec::smallvec;

/// The first bytes of a connection.
pub fn banner(data: &[u8]) {
    if let Ok(Some(len)) = Banner::frame_len(data) {
        assert!(len <= 8 + 2 + msgr2::limits::BANNER_PAYLOAD);
    }
    if let Ok(banner) = Banner::decode(data) {
        let _ = Banner::OURS.agree(&banner);
    }
}

/// Frames of both revisions.
pub fn frames(data: &[u8]) {
    for revision in [Revision::V2_0, Revision::V2_1] {
        let Ok(frames) = decode_frames(revision, None, data) else {
            continue;
        };
        for frame in frames {
            let [first, ..] = &frame.segments;
            let _ = Control::decode(frame.tag, first);
        }
    }
}

/// The number of a compression method, then frames that may be compressed with it.
pub fn compressed_frames(data: &[u8]) {
    let Some((number, data)) = data.split_first() else {
        return;
    };
    let method = CompressionMethod::from_number(u32::from(*number) % 5);
    if let Ok(frames) = decode_frames(Revision::V2_1, method, data) {
        for frame in frames {
            for (segment, max) in frame.segments.iter().zip(msgr2::limits::SEGMENT) {
                assert!(segment.len() <= max);
            }
        }
    }
}

/// The number of a compression method, then what it may have made.
pub fn decompression(data: &[u8]) {
    let Some((number, data)) = data.split_first() else {
        return;
    };
    let Some(method) = CompressionMethod::from_number(u32::from(*number)) else {
        return;
    };
    const MAX: usize = 1 << 20;
    let Ok(bytes) = method.decompress(data, MAX) else {
        return;
    };
    assert!(bytes.len() <= MAX);
    let again = method.compress(&bytes).expect("a megabyte is not too much");
    let again = method
        .decompress(&again, MAX)
        .expect("it was just compressed");
    assert_eq!(bytes, again);
}

/// A tag, then the contents of a control frame.
pub fn control_frames(data: &[u8]) {
    let Some((tag, segment)) = data.split_first() else {
        return;
    };
    if let Ok(tag) = Tag::try_from(*tag) {
        let _ = Control::decode(tag, segment);
    }
}

/// All that a server says to a client that knows no key, in one piece and in small ones.
pub fn client_connection(data: &[u8]) {
    for piece in [data.len().max(1), 7] {
        let options = ClientOptions::new(server(), EntityType::MON, 1234, FEATURES);
        let mut client = Connection::client(options, Box::new(NoAuth));
        for bytes in data.chunks(piece) {
            let result = client.feed(bytes);
            while client.poll_event().is_some() {}
            if result.is_err() {
                break;
            }
        }
    }
}

/// Where the server is that the corpus was recorded from.
fn server() -> EntityAddr {
    EntityAddr::v2(([127, 0, 0, 1], 17001).into(), 0)
}

const FEATURES: Features = Features(0x3f01_cfbd_fffd_ffff);

/// Believes whoever it is.
struct NoAuth;

impl ClientAuth for NoAuth {
    fn begin(&mut self) -> Result<AuthRequest, AuthError> {
        Ok(AuthRequest {
            method: AuthMethod::NONE,
            modes: smallvec![ConnectionMode::CRC, ConnectionMode::SECURE],
            payload: Bytes::new(),
        })
    }

    fn bad_method(&mut self, _refusal: &BadMethod) -> Result<AuthRequest, AuthError> {
        self.begin()
    }

    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError> {
        Ok(Bytes::copy_from_slice(payload))
    }

    fn done(
        &mut self,
        _global_id: GlobalId,
        _mode: ConnectionMode,
        _payload: &[u8],
    ) -> Result<AuthSecrets, AuthError> {
        Ok(AuthSecrets::default())
    }
}
