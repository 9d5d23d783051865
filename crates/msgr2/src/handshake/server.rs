//! The server's side: for scripted peers and daemons that exist in tests only.
//!
//! ```text
//! Banner -> Hello -> Auth -> Signature [-> Compression] -> Session -- CLIENT_IDENT, SESSION_RECONNECT --> established
//!                     ^ |                                   ^ |
//!                     +-+ refused, more                     +-+ refused, retry, reset
//! ```

use denc::{EntityAddr, EntityAddrVec, EntityType, Features, GlobalId};

use super::{ConnectionInfo, Established, Wire, ciphers, unexpected};
use crate::auth::{AuthReply, AuthSecrets, ServerAuth};
use crate::banner::{Banner, ProtocolFeatures, Revision};
use crate::error::Error;
use crate::frame::Control;
use crate::frame::auth::{AuthDone, AuthReplyMore, AuthSignature, ConnectionMode};
use crate::frame::compression::{CompressionDone, CompressionRequest};
use crate::frame::hello::Hello;
use crate::frame::ident::{ClientIdent, FLAG_LOSSY, IdentMissingFeatures, ServerIdent};
use crate::frame::session::{
    SessionReconnect, SessionReconnectOk, SessionReset, SessionRetry, SessionRetryGlobal, Wait,
};
use crate::limits;
use crate::session::{Peer, Sent, Session};
use crate::transcript;
use crate::{CompressionMethod, CompressionOptions};

/// What a server must know and decide before it accepts a client.
#[derive(Debug)]
pub struct ServerOptions {
    /// What this side is.
    pub my_type: EntityType,
    /// This side's addresses.
    pub my_addrs: EntityAddrVec,
    /// This side's number.
    pub my_id: i64,
    /// The client's address as this side sees it.
    pub client_addr: EntityAddr,
    /// What this side can do.
    pub supported: Features,
    /// What a client must be able to do.
    pub required: Features,
    /// The features of the protocol itself, but for compression.
    pub protocol: Banner,
    /// What to agree to when a client asks for compression. With nothing here it is not offered.
    pub compression: Option<CompressionOptions>,
    /// Which of this server's connections this is.
    pub global_seq: u64,
}

impl ServerOptions {
    /// The banner to send.
    pub(crate) const fn banner(&self) -> Banner {
        self.protocol.with_compression(self.compression.is_some())
    }
}

/// Where a server looks for the sessions of its clients.
pub trait Sessions: Send {
    /// A client wants a new session.
    fn open(&mut self, ident: &ClientIdent) -> OpenReply;

    /// A client wants to go on with a session.
    fn reconnect(&mut self, request: &SessionReconnect) -> ReconnectReply;
}

/// What a server answers to the wish for a new session.
#[derive(Debug)]
pub enum OpenReply {
    /// Yes. The cookie names the session, unless it is lossy.
    Accept {
        /// Random, not zero.
        cookie: u64,
    },
    /// Wait.
    Wait,
}

/// What a server answers to the wish to go on with a session.
#[derive(Debug)]
pub enum ReconnectReply {
    /// Yes: what the last connection left.
    Resume(Box<Session>),
    /// The session is unknown.
    Reset {
        /// Whether all of it is gone.
        full: bool,
    },
    /// A later attempt has been seen.
    Retry {
        /// Its number.
        connect_seq: u64,
    },
    /// A later connection has been seen.
    RetryGlobal {
        /// Its number.
        global_seq: u64,
    },
    /// Wait.
    Wait,
}

/// The handshake of a server: everything the states share, and the state.
pub(crate) struct Server {
    context: Context,
    state: State,
}

struct Context {
    options: ServerOptions,
    auth: Box<dyn ServerAuth>,
    sessions: Box<dyn Sessions>,
    revision: Revision,
    /// Whether the client asks for compression or says that it does not want it.
    is_compression_asked: bool,
}

enum State {
    Hello,
    Auth(Auth),
    Signature(Agreed, AuthSignature),
    Compression(Agreed),
    Session(Agreed),
}

/// The results of authentication.
struct Agreed {
    global_id: GlobalId,
    mode: ConnectionMode,
    compression: Option<CompressionMethod>,
}

enum Next {
    State(State),
    Established(Box<Established>),
}

impl Server {
    pub(crate) fn new(
        options: ServerOptions,
        auth: Box<dyn ServerAuth>,
        sessions: Box<dyn Sessions>,
    ) -> Self {
        Self {
            context: Context {
                options,
                auth,
                sessions,
                revision: Revision::V2_1,
                is_compression_asked: false,
            },
            state: State::Hello,
        }
    }

    /// The client's banner has come.
    pub(crate) fn banner(&mut self, theirs: &Banner, wire: &mut Wire) -> Result<(), Error> {
        let options = &self.context.options;
        self.context.revision = options.banner().agree(theirs)?;
        self.context.is_compression_asked = options.compression.is_some()
            && theirs.supported.contains(ProtocolFeatures::COMPRESSION);
        wire.set_revision(self.context.revision);
        wire.send(Hello {
            kind: options.my_type,
            peer_addr: options.client_addr,
        })
    }

    /// A frame has come. Gives the handshake back until it is over.
    pub(crate) fn handle(
        mut self,
        frame: Control,
        wire: &mut Wire,
    ) -> Result<Result<Self, Box<Established>>, Error> {
        let context = &mut self.context;
        let next = match self.state {
            State::Hello => match frame {
                Control::Hello(_) => Ok(Next::State(State::Auth(Auth { rounds: 0 }))),
                other => unexpected(&other, "HELLO"),
            },
            State::Auth(state) => state.handle(frame, context, wire),
            State::Signature(agreed, expected) => match frame {
                Control::AuthSignature(found) => {
                    transcript::verify(&expected, &found)?;
                    Ok(Next::State(if context.is_compression_asked {
                        State::Compression(agreed)
                    } else {
                        State::Session(agreed)
                    }))
                }
                other => unexpected(&other, "AUTH_SIGNATURE"),
            },
            State::Compression(agreed) => match frame {
                Control::CompressionRequest(request) => agreed.compress(&request, context, wire),
                other => unexpected(&other, "COMPRESSION_REQUEST"),
            },
            State::Session(agreed) => match frame {
                Control::ClientIdent(ident) => agreed.open(ident, context, wire),
                Control::SessionReconnect(request) => agreed.resume(&request, context, wire),
                other => unexpected(&other, "CLIENT_IDENT or SESSION_RECONNECT"),
            },
        }?;
        Ok(match next {
            Next::State(state) => Ok(Self {
                context: self.context,
                state,
            }),
            Next::Established(established) => Err(established),
        })
    }
}

/// Waits for the client's next word.
struct Auth {
    rounds: u32,
}

impl Auth {
    fn handle(
        mut self,
        frame: Control,
        context: &mut Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        self.rounds += 1;
        if self.rounds > limits::AUTH_ROUNDS {
            return Err(Error::TooManyAuthRounds {
                max: limits::AUTH_ROUNDS,
            });
        }
        let reply = match frame {
            Control::AuthRequest(request) => context.auth.request(&request),
            Control::AuthRequestMore(more) => context.auth.more(&more.0),
            other => return unexpected(&other, "AUTH_REQUEST"),
        };
        match reply.map_err(Error::Auth)? {
            AuthReply::BadMethod(refusal) => wire.send(refusal)?,
            AuthReply::More(question) => wire.send(AuthReplyMore(question))?,
            AuthReply::Done {
                global_id,
                mode,
                payload,
                secrets,
            } => {
                wire.send(AuthDone {
                    global_id,
                    mode,
                    payload,
                })?;
                let expected = switch(mode, &secrets, context.revision, wire)?;
                let agreed = Agreed {
                    global_id,
                    mode,
                    compression: None,
                };
                return Ok(Next::State(State::Signature(agreed, expected)));
            }
        }
        Ok(Next::State(State::Auth(self)))
    }
}

fn switch(
    mode: ConnectionMode,
    secrets: &AuthSecrets,
    revision: Revision,
    wire: &mut Wire,
) -> Result<AuthSignature, Error> {
    let ciphers = ciphers(mode, secrets, revision)?;
    wire.authenticated(
        secrets,
        ciphers.map(|(to_client, to_server)| (to_server, to_client)),
    )
}

impl Agreed {
    /// Takes the first of the client's methods that this side accepts.
    fn compress(
        mut self,
        request: &CompressionRequest,
        context: &Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        let options = context.options.compression.as_ref();
        let options = options.filter(|options| request.is_compress && options.allow(self.mode));
        let chosen = options.and_then(|options| {
            let mut methods = request.methods.iter();
            let method = methods.find_map(|number| options.method(*number))?;
            Some((method, options))
        });
        wire.send(CompressionDone {
            is_compress: chosen.is_some(),
            method: chosen.map_or(0, |(method, _)| method.number()),
        })?;
        if let Some((method, options)) = chosen {
            wire.set_compression(method, options);
            self.compression = Some(method);
        }
        Ok(Next::State(State::Session(self)))
    }

    fn open(
        self,
        ident: ClientIdent,
        context: &mut Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        let options = &context.options;
        if !options.my_addrs.contains(&ident.target_addr) {
            return Err(Error::WrongPeerAddr {
                found: Box::new(options.my_addrs.clone()),
                expected: ident.target_addr,
            });
        }
        let missing = options.required.without(ident.supported);
        if !missing.is_empty() {
            wire.send(IdentMissingFeatures(missing))?;
            return Ok(Next::State(State::Session(self)));
        }
        let is_lossy = ident.flags & FLAG_LOSSY != 0;
        let cookie = match context.sessions.open(&ident) {
            OpenReply::Accept { cookie } => cookie,
            OpenReply::Wait => {
                wire.send(Wait)?;
                return Ok(Next::State(State::Session(self)));
            }
        };
        let cookie = if is_lossy { 0 } else { cookie };
        wire.send(ServerIdent {
            addrs: options.my_addrs.clone(),
            gid: options.my_id,
            global_seq: options.global_seq,
            supported: options.supported,
            required: options.required,
            flags: ident.flags & FLAG_LOSSY,
            cookie,
        })?;
        let session = Session {
            client_cookie: ident.cookie,
            server_cookie: cookie,
            connect_seq: 0,
            in_seq: 0,
            sent: Sent::default(),
            peer: Peer {
                addrs: ident.addrs,
                id: ident.gid,
                features: ident.supported,
            },
        };
        Ok(self.established(session, ident.global_seq, is_lossy, context))
    }

    fn resume(
        self,
        request: &SessionReconnect,
        context: &mut Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        match context.sessions.reconnect(request) {
            ReconnectReply::Resume(mut session) => {
                session.sent.acknowledge(request.msg_seq)?;
                session.connect_seq = request.connect_seq;
                wire.send(SessionReconnectOk {
                    msg_seq: session.in_seq,
                })?;
                return Ok(self.established(*session, request.global_seq, false, context));
            }
            ReconnectReply::Reset { full } => wire.send(SessionReset { full })?,
            ReconnectReply::Retry { connect_seq } => wire.send(SessionRetry { connect_seq })?,
            ReconnectReply::RetryGlobal { global_seq } => {
                wire.send(SessionRetryGlobal { global_seq })?;
            }
            ReconnectReply::Wait => wire.send(Wait)?,
        }
        Ok(Next::State(State::Session(self)))
    }

    fn established(
        self,
        session: Session,
        global_seq: u64,
        is_lossy: bool,
        context: &Context,
    ) -> Next {
        let options = &context.options;
        let info = ConnectionInfo {
            peer_addrs: session.peer.addrs.clone(),
            peer_id: session.peer.id,
            features: session.peer.features & options.supported,
            global_id: self.global_id,
            my_addr: options.my_addrs.iter().next().copied().unwrap_or_default(),
            mode: self.mode,
            revision: context.revision,
            compression: self.compression,
            global_seq,
            is_lossy,
        };
        Next::Established(Box::new(Established {
            info,
            session,
            is_reset: false,
        }))
    }
}
