//! The client's side.
//!
//! ```text
//! Banner -> Hello -> Auth -> Signature [-> Compression] -+-> Ident ----------------------> established
//!                     ^ |                                |     ^ RESET
//!                     +-+ BAD_METHOD,                    +-> Reconnect -- RECONNECT_OK --> established
//!                         REPLY_MORE                           ^ | RETRY, RETRY_GLOBAL
//!                                                              +-+
//! ```

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

use buffers::BufferPool;
use denc::{AddrType, EntityAddr, EntityAddrVec, EntityType, Features, GlobalId};
use smallvec::SmallVec;

use super::{ConnectionInfo, Established, Wire, ciphers, unexpected};
use crate::auth::ClientAuth;
use crate::banner::{Banner, ProtocolFeatures, Revision};
use crate::frame::Control;
use crate::frame::auth::{AuthDone, AuthRequest, AuthRequestMore, AuthSignature, ConnectionMode};
use crate::frame::compression::CompressionRequest;
use crate::frame::hello::Hello;
use crate::frame::ident::{ClientIdent, FLAG_LOSSY, ServerIdent};
use crate::frame::session::{SessionReconnect, SessionReset};
use crate::session::{Peer, Sent, Session};
use crate::{CompressionMethod, CompressionOptions, Error, limits, transcript};

/// What a client must know and decide before it connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The address dialled, with its nonce: the server must say that it is there.
    pub peer_addr: EntityAddr,
    /// The kind of the server dialled.
    pub peer_type: EntityType,
    /// The number of the server dialled, if it is known: N in `osd.N`.
    pub peer_id: Option<i64>,
    /// What this side is.
    pub my_type: EntityType,
    /// The nonce of this client instance: the same on all its connections, another one for every
    /// other instance on the same host.
    pub my_nonce: u32,
    /// This side's IP, if it is known; otherwise it is what the server sees.
    pub my_ip: Option<IpAddr>,
    /// This client's number, if it is known and the server should know it.
    pub gid: Option<GlobalId>,
    /// What this side can do.
    pub supported: Features,
    /// What the server must be able to do.
    pub required: Features,
    /// The features of the protocol itself, but for compression.
    pub protocol: Banner,
    /// What to ask the server for, if it offers compression. With nothing here it is not offered
    /// compression either.
    pub compression: Option<CompressionOptions>,
    /// Which of this client's connections this is: higher than any before.
    pub global_seq: u64,
    /// The session wanted.
    pub session: SessionRequest,
    /// What is read and written goes through buffers of this pool, which connections may share.
    pub buffers: BufferPool,
}

impl ClientOptions {
    /// For a lossy session of a client, the first one, with a server of which nothing more is
    /// known. `supported` is what this side can do; typed addresses are all that is required of
    /// the server.
    pub fn new(
        peer_addr: EntityAddr,
        peer_type: EntityType,
        my_nonce: u32,
        supported: Features,
    ) -> Self {
        Self {
            peer_addr,
            peer_type,
            peer_id: None,
            my_type: EntityType::CLIENT,
            my_nonce,
            my_ip: None,
            gid: None,
            supported,
            required: Features::MSG_ADDR2,
            protocol: Banner::OURS,
            compression: None,
            global_seq: 1,
            session: SessionRequest::Lossy,
            buffers: BufferPool::default(),
        }
    }

    /// The banner to send.
    pub(crate) const fn banner(&self) -> Banner {
        self.protocol.with_compression(self.compression.is_some())
    }
}

/// The kinds of session a client may want.
#[derive(Clone, Debug)]
pub enum SessionRequest {
    /// One that ends with the connection. What clients have with monitors, OSDs and managers.
    Lossy,
    /// A new one that can go on over further connections.
    Lossless {
        /// Names it: random.
        cookie: NonZeroU64,
    },
    /// The one that an earlier connection left.
    Resume(Box<Session>),
}

/// The handshake of a client: everything the states share, and the state.
pub(crate) struct Client {
    context: Context,
    state: State,
}

struct Context {
    options: ClientOptions,
    auth: Box<dyn ClientAuth>,
    revision: Revision,
    /// Whether the server offers compression.
    is_compression_offered: bool,
}

enum State {
    Hello,
    Auth(Auth),
    Signature(Signature),
    Compression(Compression),
    Ident(Ident),
    Reconnect(Reconnect),
}

/// What a frame leads to.
enum Next {
    State(State),
    Established(Box<Established>),
}

impl Client {
    pub(crate) const fn new(options: ClientOptions, auth: Box<dyn ClientAuth>) -> Self {
        Self {
            context: Context {
                options,
                auth,
                revision: Revision::V2_1,
                is_compression_offered: false,
            },
            state: State::Hello,
        }
    }

    /// The server's banner has come.
    pub(crate) fn banner(&mut self, theirs: &Banner, wire: &mut Wire) -> Result<(), Error> {
        let options = &self.context.options;
        self.context.revision = options.banner().agree(theirs)?;
        self.context.is_compression_offered =
            theirs.supported.contains(ProtocolFeatures::COMPRESSION);
        wire.set_revision(self.context.revision);
        wire.send(Hello {
            kind: options.my_type,
            peer_addr: options.peer_addr,
        })
    }

    /// A frame has come. Gives the handshake back until it is over.
    pub(crate) fn handle(
        mut self,
        frame: Control,
        wire: &mut Wire,
    ) -> Result<Result<Self, Box<Established>>, Error> {
        let next = match self.state {
            State::Hello => hello(frame, &mut self.context, wire),
            State::Auth(state) => state.handle(frame, &mut self.context, wire),
            State::Signature(state) => state.handle(frame, &mut self.context, wire),
            State::Compression(state) => state.handle(frame, &mut self.context, wire),
            State::Ident(state) => state.handle(frame, &self.context),
            State::Reconnect(state) => state.handle(frame, &mut self.context, wire),
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

fn hello(frame: Control, context: &mut Context, wire: &mut Wire) -> Result<Next, Error> {
    let Control::Hello(hello) = frame else {
        return unexpected(&frame, "HELLO");
    };
    let options = &context.options;
    if hello.kind != options.peer_type {
        return Err(Error::WrongPeerType {
            addr: options.peer_addr,
            found: hello.kind,
            expected: options.peer_type,
        });
    }
    let seen = hello.peer_addr.socket.map(|socket| socket.ip());
    let Some(my_ip) = options.my_ip.or(seen) else {
        return Err(Error::OwnAddrUnknown(options.peer_addr));
    };
    let my_addr = EntityAddr {
        kind: AddrType::ANY,
        nonce: options.my_nonce,
        socket: Some(SocketAddr::new(my_ip, 0)),
    };
    let request = context.auth.begin().map_err(Error::Auth)?;
    let state = Auth {
        my_addr,
        offered: request.modes.clone(),
        rounds: 0,
    };
    wire.send(request)?;
    Ok(Next::State(State::Auth(state)))
}

/// Waits for the server's word on the last request.
struct Auth {
    my_addr: EntityAddr,
    /// The modes in the last request.
    offered: SmallVec<[ConnectionMode; 2]>,
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
        match frame {
            Control::AuthBadMethod(refusal) => {
                tracing::debug!(method = %refusal.method, result = refusal.result, "refused");
                let request: AuthRequest =
                    context.auth.bad_method(&refusal).map_err(Error::Auth)?;
                self.offered.clone_from(&request.modes);
                wire.send(request)?;
                Ok(Next::State(State::Auth(self)))
            }
            Control::AuthReplyMore(question) => {
                let answer = context.auth.more(&question.0).map_err(Error::Auth)?;
                wire.send(AuthRequestMore(answer))?;
                Ok(Next::State(State::Auth(self)))
            }
            Control::AuthDone(done) => self.done(&done, context, wire),
            other => unexpected(&other, "the answer to an authentication request"),
        }
    }

    fn done(self, done: &AuthDone, context: &mut Context, wire: &mut Wire) -> Result<Next, Error> {
        let mode = done.mode;
        let is_known = [ConnectionMode::CRC, ConnectionMode::SECURE].contains(&mode);
        if !is_known || !self.offered.contains(&mode) {
            return Err(Error::ModeNotOffered {
                mode,
                offered: self.offered,
            });
        }
        let secrets = context
            .auth
            .done(done.global_id, mode, &done.payload)
            .map_err(Error::Auth)?;
        let ciphers = ciphers(mode, &secrets, context.revision)?;
        let expected = wire.authenticated(&secrets, ciphers)?;
        Ok(Next::State(State::Signature(Signature {
            agreed: Agreed {
                my_addr: self.my_addr,
                global_id: done.global_id,
                mode,
                compression: None,
            },
            expected,
        })))
    }
}

/// The results of authentication.
struct Agreed {
    my_addr: EntityAddr,
    global_id: GlobalId,
    mode: ConnectionMode,
    compression: Option<CompressionMethod>,
}

impl Agreed {
    /// Asks for the session that is wanted.
    fn start(self, context: &mut Context, wire: &mut Wire) -> Result<Next, Error> {
        let wanted = std::mem::replace(&mut context.options.session, SessionRequest::Lossy);
        let cookie = match wanted {
            SessionRequest::Lossy => 0,
            SessionRequest::Lossless { cookie } => cookie.get(),
            SessionRequest::Resume(mut session) => {
                session.connect_seq += 1;
                let state = Reconnect {
                    agreed: self,
                    session,
                    retries: 0,
                };
                state.ask(context, wire)?;
                return Ok(Next::State(State::Reconnect(state)));
            }
        };
        Ident::ask(self, cookie, false, context, wire)
    }
}

/// Waits for the server's signature.
struct Signature {
    agreed: Agreed,
    expected: AuthSignature,
}

impl Signature {
    fn handle(self, frame: Control, context: &mut Context, wire: &mut Wire) -> Result<Next, Error> {
        let Control::AuthSignature(found) = frame else {
            return unexpected(&frame, "AUTH_SIGNATURE");
        };
        transcript::verify(&self.expected, &found)?;
        context.auth.verified();
        match &context.options.compression {
            Some(options) if context.is_compression_offered => {
                let methods = options.methods.iter().map(|method| method.number());
                wire.send(CompressionRequest {
                    is_compress: options.allow(self.agreed.mode),
                    methods: methods.collect(),
                })?;
                Ok(Next::State(State::Compression(Compression {
                    agreed: self.agreed,
                })))
            }
            _ => self.agreed.start(context, wire),
        }
    }
}

/// Waits for the server's word on compression.
struct Compression {
    agreed: Agreed,
}

impl Compression {
    fn handle(
        mut self,
        frame: Control,
        context: &mut Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        let Control::CompressionDone(done) = frame else {
            return unexpected(&frame, "COMPRESSION_DONE");
        };
        if let (true, Some(options)) = (done.is_compress, &context.options.compression) {
            let Some(method) = CompressionMethod::from_number(done.method) else {
                return Err(Error::UnknownCompression(done.method));
            };
            if !options.allow(self.agreed.mode) || !options.methods.contains(&method) {
                return Err(Error::CompressionNotOffered {
                    method,
                    offered: options.methods.clone(),
                });
            }
            wire.set_compression(method, options);
            self.agreed.compression = Some(method);
        }
        self.agreed.start(context, wire)
    }
}

/// Waits for the server's word on a new session.
struct Ident {
    agreed: Agreed,
    /// Zero for a lossy session.
    cookie: u64,
    /// Whether a session from before was lost.
    is_reset: bool,
}

impl Ident {
    fn ask(
        agreed: Agreed,
        cookie: u64,
        is_reset: bool,
        context: &Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        let options = &context.options;
        wire.send(ClientIdent {
            addrs: agreed.my_addr.into(),
            target_addr: options.peer_addr,
            gid: options.gid.map_or(-1, |gid| gid.0.cast_signed()),
            global_seq: options.global_seq,
            supported: options.supported,
            required: options.required,
            flags: if cookie == 0 { FLAG_LOSSY } else { 0 },
            cookie,
        })?;
        Ok(Next::State(State::Ident(Self {
            agreed,
            cookie,
            is_reset,
        })))
    }

    fn handle(self, frame: Control, context: &Context) -> Result<Next, Error> {
        match frame {
            Control::ServerIdent(ident) => self.granted(ident, context),
            Control::IdentMissingFeatures(missing) => Err(Error::MissingFeatures(missing.0)),
            Control::Wait(_) => Err(Error::Wait),
            other => unexpected(&other, "SERVER_IDENT"),
        }
    }

    fn granted(self, ident: ServerIdent, context: &Context) -> Result<Next, Error> {
        let options = &context.options;
        if !ident.addrs.contains(&options.peer_addr) {
            return Err(Error::WrongPeerAddr {
                found: Box::new(ident.addrs),
                expected: options.peer_addr,
            });
        }
        if let Some(expected) = options.peer_id.filter(|expected| *expected != ident.gid) {
            return Err(Error::WrongPeerId {
                addr: options.peer_addr,
                found: ident.gid,
                expected,
            });
        }
        let lacking = options.required.without(ident.supported);
        if !lacking.is_empty() {
            return Err(Error::PeerLacksFeatures(lacking));
        }
        let missing = ident.required.without(options.supported);
        if !missing.is_empty() {
            return Err(Error::MissingFeatures(missing));
        }
        let session = Session {
            client_cookie: self.cookie,
            server_cookie: ident.cookie,
            connect_seq: 0,
            in_seq: 0,
            sent: Sent::default(),
            peer: Peer {
                addrs: ident.addrs,
                id: ident.gid,
                features: ident.supported,
            },
        };
        // A server may make a session lossy that was not meant to be.
        let is_lossy = self.cookie == 0 || ident.flags & FLAG_LOSSY != 0;
        Ok(established(
            &self.agreed,
            session,
            is_lossy,
            self.is_reset,
            context,
        ))
    }
}

/// Waits for the server's word on a session from before.
struct Reconnect {
    agreed: Agreed,
    session: Box<Session>,
    retries: u32,
}

impl Reconnect {
    fn ask(&self, context: &Context, wire: &mut Wire) -> Result<(), Error> {
        wire.send(SessionReconnect {
            addrs: EntityAddrVec::from(self.agreed.my_addr),
            client_cookie: self.session.client_cookie,
            server_cookie: self.session.server_cookie,
            global_seq: context.options.global_seq,
            connect_seq: self.session.connect_seq,
            msg_seq: self.session.in_seq,
        })
    }

    fn handle(
        mut self,
        frame: Control,
        context: &mut Context,
        wire: &mut Wire,
    ) -> Result<Next, Error> {
        match frame {
            Control::SessionReconnectOk(ok) => {
                self.session.sent.acknowledge(ok.msg_seq)?;
                Ok(established(
                    &self.agreed,
                    *self.session,
                    false,
                    false,
                    context,
                ))
            }
            Control::SessionRetry(retry) => {
                self.session.connect_seq = retry.connect_seq.saturating_add(1);
                self.again(context, wire)
            }
            Control::SessionRetryGlobal(retry) => {
                let options = &mut context.options;
                options.global_seq = retry.global_seq.max(options.global_seq).saturating_add(1);
                self.again(context, wire)
            }
            Control::SessionReset(SessionReset { full: true }) => {
                tracing::debug!(peer = %context.options.peer_addr, "session reset");
                Ident::ask(self.agreed, self.session.client_cookie, true, context, wire)
            }
            Control::SessionReset(SessionReset { full: false }) => Err(Error::PartialReset),
            Control::Wait(_) => Err(Error::Wait),
            other => unexpected(&other, "the answer to SESSION_RECONNECT"),
        }
    }

    fn again(mut self, context: &Context, wire: &mut Wire) -> Result<Next, Error> {
        self.retries += 1;
        if self.retries > limits::RECONNECT_RETRIES {
            return Err(Error::TooManyRetries {
                max: limits::RECONNECT_RETRIES,
            });
        }
        self.ask(context, wire)?;
        Ok(Next::State(State::Reconnect(self)))
    }
}

fn established(
    agreed: &Agreed,
    session: Session,
    is_lossy: bool,
    is_reset: bool,
    context: &Context,
) -> Next {
    let options = &context.options;
    let info = ConnectionInfo {
        peer_addrs: session.peer.addrs.clone(),
        peer_id: session.peer.id,
        features: session.peer.features & options.supported,
        global_id: agreed.global_id,
        my_addr: agreed.my_addr,
        mode: agreed.mode,
        revision: context.revision,
        compression: agreed.compression,
        global_seq: options.global_seq,
        is_lossy,
    };
    Next::Established(Box::new(Established {
        info,
        session,
        is_reset,
    }))
}
