//! Both sides of connections against each other, without sockets but for the driver's tests, and
//! peers that mean harm.

mod auth;
mod compression;
mod decompression;
#[cfg(feature = "tokio")]
mod driver;
mod hostile;
mod open;
mod reconnect;
mod sessions;

use std::io::IoSlice;
use std::num::NonZeroU64;

use bytes::Bytes;
use denc::{EntityAddr, EntityType, Features, GlobalId, Tid};
use zeroize::Zeroizing;

use crate::auth::{AuthReply, AuthSecrets, ClientAuth, ServerAuth};
use crate::frame::auth::{AuthRequest, BadMethod};
use crate::frame::ident::ClientIdent;
use crate::frame::session::SessionReconnect;
use crate::*;

const SERVER_ADDR: &str = "v2:127.0.0.1:3300/0";
const FEATURES: Features = Features(0x3f01_cfbd_fffd_ffff);

/// A client that knows a key and tries methods in turn.
#[derive(Clone)]
struct TestClient {
    methods: Vec<AuthMethod>,
    modes: Vec<ConnectionMode>,
    key: Option<Vec<u8>>,
    secret: Vec<u8>,
}

impl Default for TestClient {
    fn default() -> Self {
        Self {
            methods: vec![AuthMethod::CEPHX],
            modes: vec![ConnectionMode::CRC],
            key: Some(b"session key".to_vec()),
            secret: (0..64).collect(),
        }
    }
}

impl TestClient {
    fn next_request(&mut self) -> AuthRequest {
        AuthRequest {
            method: self.methods.remove(0),
            modes: self.modes.iter().copied().collect(),
            payload: Bytes::from_static(b"it is me"),
        }
    }
}

impl ClientAuth for TestClient {
    fn begin(&mut self) -> Result<AuthRequest, AuthError> {
        Ok(self.next_request())
    }

    fn bad_method(&mut self, refusal: &BadMethod) -> Result<AuthRequest, AuthError> {
        self.methods
            .retain(|method| refusal.allowed_methods.contains(method));
        if self.methods.is_empty() {
            return Err(format!("refused with {}", refusal.result).into());
        }
        Ok(self.next_request())
    }

    fn more(&mut self, payload: &[u8]) -> Result<Bytes, AuthError> {
        Ok(payload.iter().rev().copied().collect())
    }

    fn done(
        &mut self,
        _global_id: GlobalId,
        _mode: ConnectionMode,
        payload: &[u8],
    ) -> Result<AuthSecrets, AuthError> {
        if payload != b"welcome" {
            return Err("not welcome".into());
        }
        Ok(secrets(self.key.as_ref(), &self.secret))
    }
}

fn secrets(key: Option<&Vec<u8>>, secret: &[u8]) -> AuthSecrets {
    AuthSecrets {
        session_key: key.cloned().map(Zeroizing::new),
        connection_secret: Zeroizing::new(secret.to_vec()),
    }
}

/// A server that asks a number of questions.
#[derive(Clone)]
struct TestServer {
    methods: Vec<AuthMethod>,
    questions: u32,
    key: Option<Vec<u8>>,
    secret: Vec<u8>,
    /// Chosen whatever the client says.
    forced_mode: Option<ConnectionMode>,
    mode: ConnectionMode,
}

impl Default for TestServer {
    fn default() -> Self {
        let client = TestClient::default();
        Self {
            methods: client.methods,
            questions: 2,
            key: client.key,
            secret: client.secret,
            forced_mode: None,
            mode: ConnectionMode::CRC,
        }
    }
}

impl TestServer {
    fn reply(&mut self) -> AuthReply {
        if self.questions > 0 {
            self.questions -= 1;
            return AuthReply::More(Bytes::from_static(b"who"));
        }
        AuthReply::Done {
            global_id: GlobalId(4100),
            mode: self.forced_mode.unwrap_or(self.mode),
            payload: Bytes::from_static(b"welcome"),
            secrets: secrets(self.key.as_ref(), &self.secret),
        }
    }
}

impl ServerAuth for TestServer {
    fn request(&mut self, request: &AuthRequest) -> Result<AuthReply, AuthError> {
        if !self.methods.contains(&request.method) {
            return Ok(AuthReply::BadMethod(BadMethod {
                method: request.method,
                result: -95,
                allowed_methods: self.methods.clone(),
                allowed_modes: vec![ConnectionMode::CRC, ConnectionMode::SECURE],
            }));
        }
        assert_eq!(request.payload, &b"it is me"[..]);
        self.mode = request.modes[0];
        Ok(self.reply())
    }

    fn more(&mut self, payload: &[u8]) -> Result<AuthReply, AuthError> {
        assert_eq!(payload, b"ohw");
        Ok(self.reply())
    }
}

/// A new session that is not lossy.
fn lossless() -> SessionRequest {
    SessionRequest::Lossless {
        cookie: NonZeroU64::new(7).unwrap(),
    }
}

/// Sessions of a server: answers prepared for wishes to go on.
#[derive(Default)]
struct TestSessions {
    replies: Vec<ReconnectReply>,
    is_waiting: bool,
}

impl Sessions for TestSessions {
    fn open(&mut self, _ident: &ClientIdent) -> OpenReply {
        if self.is_waiting {
            OpenReply::Wait
        } else {
            OpenReply::Accept { cookie: 99 }
        }
    }

    fn reconnect(&mut self, _request: &SessionReconnect) -> ReconnectReply {
        self.replies.remove(0)
    }
}

fn client_options() -> ClientOptions {
    let addr = SERVER_ADDR.parse().unwrap();
    ClientOptions {
        peer_id: Some(3),
        gid: Some(GlobalId(4100)),
        global_seq: 5,
        ..ClientOptions::new(addr, EntityType::OSD, 1234, FEATURES)
    }
}

fn server_options() -> ServerOptions {
    let addr: EntityAddr = SERVER_ADDR.parse().unwrap();
    ServerOptions {
        my_type: EntityType::OSD,
        my_addrs: addr.into(),
        my_id: 3,
        client_addr: "v2:127.0.0.1:50000".parse().unwrap(),
        supported: FEATURES,
        required: Features::MSG_ADDR2,
        protocol: Banner::OURS,
        compression: None,
        global_seq: 8,
    }
}

fn message(tid: u64) -> Message {
    Message {
        tid: Tid(tid),
        kind: MessageType(42),
        priority: 63,
        version: 8,
        compat_version: 2,
        front: Bytes::from(vec![1; 100]),
        middle: Bytes::new(),
        data: Bytes::from(vec![2; 5000]).into(),
    }
}

/// Two sides and everything each of them has said.
struct Pair {
    client: Connection,
    server: Connection,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    fn new(
        client: (ClientOptions, TestClient),
        server: (ServerOptions, TestServer),
        sessions: TestSessions,
    ) -> Self {
        Self {
            client: Connection::client(client.0, Box::new(client.1)),
            server: Connection::server(server.0, Box::new(server.1), Box::new(sessions)),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// With nothing special on either side.
    fn plain() -> Self {
        Self::new(
            (client_options(), TestClient::default()),
            (server_options(), TestServer::default()),
            TestSessions::default(),
        )
    }

    /// Lets both talk until they have nothing more to say.
    fn run(&mut self) -> Result<(), Error> {
        loop {
            let said = output(&mut self.client);
            self.server.feed(&said)?;
            let answered = output(&mut self.server);
            self.client.feed(&answered)?;
            if said.is_empty() && answered.is_empty() {
                return Ok(());
            }
            self.to_server.extend(said);
            self.to_client.extend(answered);
        }
    }
}

/// Everything a connection has to write.
fn output(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut slices = [IoSlice::new(&[]); 3];
        let count = connection.slices(&mut slices);
        let piece = slices[..count]
            .iter()
            .flat_map(|slice| slice.iter().copied());
        let before = bytes.len();
        bytes.extend(piece);
        let written = bytes.len() - before;
        if written == 0 {
            return bytes;
        }
        connection.advance_output(written).unwrap();
    }
}

fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

fn established(connection: &mut Connection) -> ConnectionInfo {
    match connection.poll_event() {
        Some(Event::Established(info)) => info,
        other => panic!("{other:?}"),
    }
}

/// The tids of the messages that have arrived, nothing else having happened.
fn tids(connection: &mut Connection) -> Vec<u64> {
    let events = events(connection).into_iter();
    events
        .map(|event| match event {
            Event::Message(message) => message.tid.0,
            other => panic!("{other:?}"),
        })
        .collect()
}
