//! From the first byte to an open session, on either side. Every state is a value that is consumed
//! by the frame it waits for.

pub(crate) mod client;
pub(crate) mod server;

use std::io::IoSlice;

use buffers::BufferPool;
use denc::{EntityAddr, EntityAddrVec, Features, GlobalId};

use crate::auth::AuthSecrets;
use crate::codec::{Decoder, Encoder, Gcm, Output};
use crate::compression::Compression;
use crate::frame::auth::AuthSignature;
use crate::frame::{Control, Frame};
use crate::session::Session;
use crate::{
    Banner, CompressionMethod, CompressionOptions, ConnectionMode, Error, Revision, transcript,
};

/// What both sides have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The peer's addresses, as it says.
    pub peer_addrs: EntityAddrVec,
    /// The peer's number: N in `osd.N`, a monitor's rank, a client's global id or -1.
    pub peer_id: i64,
    /// What both sides can do. Encodings for the peer follow these.
    pub features: Features,
    /// The number given to the client instance by authentication.
    pub global_id: GlobalId,
    /// This side's address as it is known to the peer: the identity in watches, locks and
    /// blocklists.
    pub my_addr: EntityAddr,
    /// How the bytes are protected.
    pub mode: ConnectionMode,
    /// The revision of the frames.
    pub revision: Revision,
    /// How messages are compressed, if at all.
    pub compression: Option<CompressionMethod>,
    /// Which of the client's connections this is. May be higher than asked for, if the server had
    /// seen a higher one: the next connection must be higher still.
    pub global_seq: u64,
    /// Whether the session ends with the connection.
    pub is_lossy: bool,
}

/// The outcome of a handshake.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) info: ConnectionInfo,
    /// Also for lossy sessions, which just never make use of it afterwards.
    pub(crate) session: Session,
    /// Whether a session from before was lost.
    pub(crate) is_reset: bool,
}

/// Both directions of a connection while they still belong together.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    pub(crate) output: Output,
    /// Everything sent so far, as long as it will be signed.
    sent: Option<Vec<u8>>,
}

impl Wire {
    /// Starts with this side's banner on its way. Buffers are those of `pool`.
    pub(crate) fn new(banner: &Banner, pool: BufferPool) -> Self {
        let banner = banner.encode();
        let mut output = Output::new(pool.clone());
        output.put(&banner);
        Self {
            decoder: Decoder::new(pool),
            encoder: Encoder::new(),
            output,
            sent: Some(banner.to_vec()),
        }
    }

    /// The peer's banner, once it is there.
    pub(crate) fn banner(&mut self) -> Result<Option<Banner>, Error> {
        let Some(len) = Banner::frame_len(self.decoder.peek())? else {
            return Ok(None);
        };
        match self.decoder.take(len)? {
            Some(bytes) => Banner::decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) const fn set_revision(&mut self, revision: Revision) {
        self.decoder.set_revision(revision);
        self.encoder.set_revision(revision);
    }

    /// From the next frame on both directions may be compressed.
    fn set_compression(&mut self, method: CompressionMethod, options: &CompressionOptions) {
        self.decoder.set_compression(method);
        self.encoder.set_compression(Compression {
            method,
            min_bytes: options.min_bytes,
        });
    }

    pub(crate) fn send(&mut self, frame: impl Into<Control>) -> Result<(), Error> {
        let frame = frame.into();
        tracing::trace!(tag = %frame.tag(), "send");
        let start = self.output.len();
        self.encoder.control(&frame, &mut self.output)?;
        if let Some(sent) = &mut self.sent {
            sent.extend(self.output.since(start));
        }
        Ok(())
    }

    /// Authentication is done: both directions change over, and each side signs what it received.
    /// Gives the signature that the peer must send.
    fn authenticated(
        &mut self,
        secrets: &AuthSecrets,
        ciphers: Option<(Gcm, Gcm)>,
    ) -> Result<AuthSignature, Error> {
        let received = self.decoder.take_transcript();
        let sent = self.sent.take().unwrap_or_default();
        if let Some((incoming, outgoing)) = ciphers {
            self.decoder.set_cipher(incoming);
            self.encoder.set_cipher(outgoing);
        }
        self.send(transcript::sign(secrets, &received))?;
        Ok(transcript::sign(secrets, &sent))
    }

    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.slices(slices)
    }
}

/// The contents of a control frame, which is all there is before a session is open.
pub(crate) fn control(frame: &Frame) -> Result<Control, Error> {
    let [segment, ..] = &frame.segments;
    let control = Control::decode(frame.tag, segment)?;
    tracing::trace!(tag = %frame.tag, "received");
    Ok(control)
}

/// The error for a frame that must not come in a state.
fn unexpected<T>(frame: &Control, state: &'static str) -> Result<T, Error> {
    Err(Error::UnexpectedFrame {
        tag: frame.tag(),
        state,
    })
}

/// The ciphers of a mode: none for crc. First what the client receives, then what it sends.
fn ciphers(
    mode: ConnectionMode,
    secrets: &AuthSecrets,
    revision: Revision,
) -> Result<Option<(Gcm, Gcm)>, Error> {
    if mode != ConnectionMode::SECURE {
        return Ok(None);
    }
    Gcm::pair(&secrets.connection_secret, revision).map(Some)
}
