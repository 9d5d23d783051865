//! A monitor whose words are the test's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cephx::server::{AuthServer, MonitorExchange};
use cephx::{CryptoKey, KeyType};
use denc::{
    AuthEntityName, EntityAddr, EntityType, Epoch, Features, GlobalId, Reader, Tid, UTime, Uuid,
    Writer,
};
use msgr2::auth::{AuthReply, AuthSecrets, ServerAuth};
use msgr2::driver::{Handler, Link};
use msgr2::frame::auth::{AuthRequest, BadMethod};
use msgr2::frame::ident::ClientIdent;
use msgr2::frame::session::SessionReconnect;
use msgr2::{
    AuthError, AuthMethod, Banner, ConnectionMode, Message, MessageType, OpenReply, ReconnectReply,
    ServerOptions, Sessions,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::auth::random;
use crate::msg::kind;
use crate::relay::Relay;

/// What the monitors of a test have in common.
#[derive(Clone)]
pub(super) struct Quorum {
    pub(super) auth: Arc<Mutex<AuthServer>>,
    origin: SystemTime,
    started: Instant,
}

pub(super) const FSID: Uuid = Uuid([7; 16]);
/// Longer than the test takes, whose time does not pass by itself.
const FOREVER: Duration = Duration::from_secs(1_000_000);
/// Longer than anything is waited for by a client.
const HOURS: Duration = Duration::from_secs(3 * 3600);

impl Quorum {
    /// Monitors that know `client.admin`. Gives its key.
    pub(super) fn new() -> (Self, CryptoKey) {
        let mut auth = AuthServer::new(KeyType::AES);
        for service in [EntityType::AUTH, EntityType::OSD] {
            auth.set_service(service, new_key());
        }
        let quorum = Self {
            auth: Arc::new(Mutex::new(auth)),
            origin: SystemTime::now(),
            started: Instant::now(),
        };
        let key = quorum.rotate_key();
        (quorum, key)
    }

    /// Gives `client.admin` another key.
    pub(super) fn rotate_key(&self) -> CryptoKey {
        let key = new_key();
        self.set_key(key.clone());
        key
    }

    pub(super) fn set_key(&self, key: CryptoKey) {
        let name = AuthEntityName::client("admin");
        self.auth.lock().unwrap().set_user(name, key);
    }

    fn now(&self) -> SystemTime {
        self.origin + self.started.elapsed()
    }
}

fn new_key() -> CryptoKey {
    CryptoKey::generate(KeyType::AES, UTime::default(), &mut random).unwrap()
}

/// A monitor that is reached through a relay.
pub(super) struct Monitor {
    quorum: Quorum,
    pub(super) addr: EntityAddr,
    pub(super) relay: Relay,
    listener: TcpListener,
}

impl Monitor {
    pub(super) async fn start(quorum: &Quorum) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).await;
        Self {
            quorum: quorum.clone(),
            addr: EntityAddr::v2(relay.addr, 0),
            relay,
            listener,
        }
    }

    /// Accepts the next connection and lets the client in.
    pub(super) async fn accept(&self) -> Conn {
        let accepting = async {
            loop {
                if let Ok(conn) = self.try_accept().await {
                    return conn;
                }
            }
        };
        let accepted = tokio::time::timeout(HOURS, accepting).await;
        accepted.expect("nobody connects")
    }

    /// Accepts the next connection, and lets the client in if its proof is good.
    pub(super) async fn try_accept(&self) -> Result<Conn, msgr2::Error> {
        let (stream, from) = self.next_connection().await;
        self.let_in(stream, from).await
    }

    /// The next connection, of which nothing has been read.
    pub(super) async fn next_connection(&self) -> (TcpStream, SocketAddr) {
        self.listener.accept().await.unwrap()
    }

    /// Lets a client in if its proof is good.
    pub(super) async fn let_in(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<Conn, msgr2::Error> {
        let exchange = Arc::default();
        let auth = Gate {
            quorum: self.quorum.clone(),
            exchange: Arc::clone(&exchange),
        };
        let options = ServerOptions {
            my_type: EntityType::MON,
            my_addrs: self.addr.into(),
            my_id: 0,
            client_addr: EntityAddr::v2(from, 0),
            supported: crate::features::SUPPORTED,
            required: Features::MSG_ADDR2,
            protocol: Banner::OURS,
            compression: None,
            global_seq: 1,
        };
        let (sender, inbox) = unbounded_channel();
        let handler = Arc::new(Inbox(sender));
        let link = msgr2::driver::accept(stream, options, FOREVER, auth, Fresh, handler).await?;
        Ok(Conn {
            quorum: self.quorum.clone(),
            link,
            inbox,
            exchange,
        })
    }
}

/// An open connection, the monitor's end.
pub(super) struct Conn {
    quorum: Quorum,
    pub(super) link: Link,
    inbox: UnboundedReceiver<Message>,
    exchange: Exchange,
}

type Exchange = Arc<Mutex<Option<MonitorExchange>>>;

impl Conn {
    /// The next message.
    pub(super) async fn message(&mut self) -> Option<Message> {
        self.inbox.recv().await
    }

    /// The next message, which must be of this kind.
    pub(super) async fn expect(&mut self, kind: MessageType) -> Message {
        let message = tokio::time::timeout(HOURS, self.message()).await;
        let message = message.expect("nothing is said").unwrap();
        assert_eq!(message.kind, kind);
        message
    }

    /// From where the client wants maps, by their names: the next message must say so.
    pub(super) async fn subscriptions(&mut self) -> BTreeMap<String, u64> {
        let message = self.expect(kind::MON_SUBSCRIBE).await;
        let mut reader = Reader::new("MMonSubscribe", &message.front);
        let count = reader.u32().unwrap();
        let starts = (0..count).map(|_| {
            let name = reader.get().unwrap();
            let start = reader.u64().unwrap();
            assert!(!reader.bool().unwrap(), "once");
            (name, start)
        });
        starts.collect()
    }

    pub(super) fn send(&self, kind: MessageType, tid: Tid, front: Bytes) {
        let message = Message {
            kind,
            tid,
            front,
            version: 1,
            compat_version: 1,
            ..Message::default()
        };
        let _ = self.link.send(message);
    }

    /// Says who the monitors are, in a form from before they had structures of their own.
    pub(super) fn tell_monmap(&self, epoch: Epoch, monitors: &[EntityAddr]) {
        let names = (b'a'..).map(|name| char::from(name).to_string());
        let addrs: BTreeMap<String, EntityAddr> = names.zip(monitors.iter().copied()).collect();
        let mut map = Writer::new();
        map.envelope(3, 1, |writer| {
            writer.put(&FSID).put(&epoch).put(&addrs);
        });
        let mut front = Writer::new();
        front.blob(&map.freeze());
        self.send(kind::MON_MAP, Tid(0), front.freeze());
    }

    /// Answers the question which map is the newest.
    pub(super) fn answer_version(&self, question: &Message, newest: u64) {
        assert_eq!(question.kind, kind::MON_GET_VERSION);
        let mut front = Writer::new();
        front.put(&question.tid).u64(newest).u64(1);
        self.send(kind::MON_GET_VERSION_REPLY, question.tid, front.freeze());
    }

    /// Answers a command.
    pub(super) fn answer_command(&self, command: &Message, status: &str) {
        assert_eq!(command.kind, kind::MON_COMMAND);
        let mut front = Writer::new();
        front.put(&crate::msg::mon::PaxosPrefix).i32(0).str(status);
        self.send(kind::MON_COMMAND_ACK, command.tid, front.freeze());
    }

    /// Gives tickets to a client that asks for them, or says that it is not to have any.
    pub(super) fn answer_renewal(&self, request: &Message, refusal: i32) {
        assert_eq!(request.kind, kind::AUTH);
        let mut reader = Reader::new("MAuth", &request.front);
        reader.skip(18 + 4).unwrap();
        let payload = reader.blob().unwrap();
        let payload = if refusal == 0 {
            let mut exchange = self.exchange.lock().unwrap();
            let accepted = exchange.as_mut().unwrap().handle(
                &self.quorum.auth.lock().unwrap(),
                payload,
                NEW_IDENTITY,
                false,
                self.quorum.now(),
                &mut random,
            );
            accepted.unwrap().payload
        } else {
            Bytes::new()
        };
        let mut front = Writer::new();
        front.u32(AuthMethod::CEPHX.0).i32(refusal).u64(0);
        front.blob(&payload).str("");
        self.send(kind::AUTH_REPLY, request.tid, front.freeze());
    }
}

/// What strangers are given.
pub(super) const NEW_IDENTITY: GlobalId = GlobalId(4100);

struct Inbox(UnboundedSender<Message>);

impl Handler for Inbox {
    fn message(&self, message: Message) {
        let _ = self.0.send(message);
    }

    fn closed(&self, _error: msgr2::Error) {}
}

/// Lets those in who have the key.
struct Gate {
    quorum: Quorum,
    exchange: Exchange,
}

impl ServerAuth for Gate {
    fn request(&mut self, request: &AuthRequest) -> Result<AuthReply, AuthError> {
        let auth = self.quorum.auth.lock().unwrap();
        let (exchange, challenge) = auth.begin_monitor(&request.payload, &mut random)?;
        *self.exchange.lock().unwrap() = Some(exchange);
        Ok(AuthReply::More(challenge))
    }

    fn more(&mut self, payload: &[u8]) -> Result<AuthReply, AuthError> {
        let mut exchange = self.exchange.lock().unwrap();
        let handled = exchange.as_mut().unwrap().handle(
            &self.quorum.auth.lock().unwrap(),
            payload,
            NEW_IDENTITY,
            false,
            self.quorum.now(),
            &mut random,
        );
        let Ok(accepted) = handled else {
            return Ok(AuthReply::BadMethod(BadMethod {
                method: AuthMethod::CEPHX,
                result: -crate::Errno::EACCES.0,
                allowed_methods: vec![AuthMethod::CEPHX],
                allowed_modes: vec![ConnectionMode::CRC],
            }));
        };
        Ok(AuthReply::Done {
            global_id: accepted.global_id,
            mode: ConnectionMode::CRC,
            payload: accepted.payload,
            secrets: AuthSecrets {
                session_key: Some(accepted.keys.session_key.as_slice().to_vec().into()),
                connection_secret: accepted.keys.connection_secret.as_slice().to_vec().into(),
            },
        })
    }
}

/// Knows no sessions of before.
struct Fresh;

impl Sessions for Fresh {
    fn open(&mut self, _ident: &ClientIdent) -> OpenReply {
        OpenReply::Accept { cookie: 0 }
    }

    fn reconnect(&mut self, _request: &SessionReconnect) -> ReconnectReply {
        ReconnectReply::Reset { full: true }
    }
}
