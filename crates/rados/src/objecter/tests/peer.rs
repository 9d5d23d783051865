//! An OSD whose words are the test's.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denc::{
    EntityAddr, EntityAddrVec, EntityType, Epoch, Features, GlobalId, OsdId, PoolId, UTime,
};
use futures_util::FutureExt;
use msgr2::auth::{AuthReply, AuthSecrets, ServerAuth};
use msgr2::driver::{Handler, Link};
use msgr2::frame::auth::AuthRequest;
use msgr2::frame::ident::ClientIdent;
use msgr2::frame::session::SessionReconnect;
use msgr2::{
    AuthError, Banner, Connection, ConnectionMode, Event, Message, OpenReply, ReconnectReply,
    ServerOptions, Sessions,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::encode::{Request, message, reply};
use super::world::QUIET;
use crate::msg::kind;
use crate::msg::osd::{BackoffStep, OsdBackoff};
use crate::osdmap::{HObject, ShardedPgId};

/// Where an OSD of the test listens, or does not.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) osd: OsdId,
    pub(super) addr: EntityAddr,
    pub(super) listener: Option<TcpListener>,
}

impl Peer {
    pub(super) async fn start(osd: OsdId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            osd,
            addr: EntityAddr::v2(listener.local_addr().unwrap(), 1),
            listener: Some(listener),
        }
    }

    pub(super) fn addrs(&self) -> EntityAddrVec {
        self.addr.into()
    }

    /// Refuses connections from now on.
    pub(super) fn refuse(&mut self) {
        self.listener = None;
    }

    /// Listens again where it did.
    pub(super) async fn listen(&mut self) {
        if self.listener.is_none() {
            let socket = self.addr.socket.unwrap();
            self.listener = Some(TcpListener::bind(socket).await.unwrap());
        }
    }

    /// A connection that waits to be let in, if there is one.
    pub(super) async fn pending(&self) -> Option<(TcpStream, SocketAddr)> {
        let listener = self.listener.as_ref()?;
        for _ in 0..QUIET {
            if let Some(accepted) = listener.accept().now_or_never() {
                return Some(accepted.unwrap());
            }
            tokio::task::yield_now().await;
        }
        None
    }

    /// Accepts the next connection and lets the client in.
    pub(super) async fn accept(&self) -> Conn {
        let (stream, from) = self.listener.as_ref().unwrap().accept().await.unwrap();
        self.let_in(stream, from).await.unwrap()
    }

    /// Lets in a client whose connection has been accepted.
    pub(super) async fn let_in(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<Conn, msgr2::Error> {
        let (sender, inbox) = unbounded_channel();
        let options = self.options(from);
        let handler = Arc::new(Inbox(sender));
        let link = msgr2::driver::accept(stream, options, FOREVER, Anybody, Fresh, handler).await?;
        Ok(Conn {
            link,
            inbox,
            backoffs: Vec::new(),
            asked: 0,
        })
    }
}

impl Peer {
    fn options(&self, from: SocketAddr) -> ServerOptions {
        ServerOptions {
            my_type: EntityType::OSD,
            my_addrs: self.addrs(),
            my_id: self.osd.0.into(),
            client_addr: EntityAddr::v2(from, 0),
            supported: crate::features::SUPPORTED,
            required: Features::MSG_ADDR2,
            protocol: Banner::OURS,
            compression: None,
            global_seq: 1,
        }
    }

    /// Accepts the next connection, lets the client in, and then says nothing any more.
    pub(super) async fn accept_and_freeze(&self) -> Frozen {
        let (stream, from) = self.listener.as_ref().unwrap().accept().await.unwrap();
        let connection = Connection::server(self.options(from), Box::new(Anybody), Box::new(Fresh));
        let mut frozen = Frozen { stream, connection };
        loop {
            let event = frozen.connection.poll_event();
            frozen.write().await;
            if matches!(event, Some(Event::Established(_))) {
                return frozen;
            }
            if event.is_none() {
                frozen.stream.readable().await.unwrap();
                frozen.read();
            }
        }
    }
}

/// An open connection to an OSD that does nothing unless the test has it do something.
pub(super) struct Frozen {
    stream: TcpStream,
    connection: Connection,
}

impl Frozen {
    /// Takes in what has arrived. Gives how many bytes that were.
    pub(super) fn read(&mut self) -> usize {
        let mut all = 0;
        let mut bytes = [0; 4096];
        while let Ok(len) = self.stream.try_read(&mut bytes) {
            if len == 0 {
                break;
            }
            all += len;
            self.connection.feed(&bytes[..len]).unwrap();
        }
        all
    }

    async fn write(&mut self) {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let count = self.connection.slices(&mut slices);
            let Some(slice) = slices[..count].first() else {
                return;
            };
            let bytes = slice.to_vec();
            self.stream.write_all(&bytes).await.unwrap();
            self.connection.advance_output(bytes.len()).unwrap();
        }
    }

    /// Answers the operation that has arrived, late.
    pub(super) async fn answer(&mut self) {
        self.read();
        let events = std::iter::from_fn(|| self.connection.poll_event());
        let messages = events.filter_map(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        });
        let requests: Vec<_> = messages.map(|it| Request::parse(&it).unwrap()).collect();
        for request in requests {
            let answer = reply(&request, request.attempt, 0, None);
            self.connection.send(answer).unwrap();
        }
        self.write().await;
    }
}

/// The time of the test does not pass by itself.
const FOREVER: Duration = Duration::from_secs(1_000_000);

/// An open connection, the OSD's end.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) link: Link,
    inbox: UnboundedReceiver<Message>,
    /// The backoffs that have not been taken back.
    pub(super) backoffs: Vec<OsdBackoff>,
    asked: u32,
}

impl Conn {
    /// The next operation. Acknowledgements of backoffs are passed over.
    pub(super) async fn request(&mut self) -> Option<Request> {
        loop {
            let message = self.inbox.recv().await?;
            if message.kind == kind::OSD_OP {
                return Some(Request::parse(&message).unwrap());
            }
        }
    }

    /// The operations that have been sent by a client that has nothing more to do for now.
    pub(super) async fn requests(&mut self) -> Vec<Request> {
        self.asked += 1;
        let stamp = UTime {
            seconds: self.asked,
            nanoseconds: 1,
        };
        // Its answer comes behind everything that it has sent because of what it got before.
        let _ = self.link.keepalive(stamp);
        while self.link.last_keepalive_ack() != Some(stamp) && !self.link.is_closed() {
            tokio::task::yield_now().await;
        }
        let mut found = Vec::new();
        while let Ok(message) = self.inbox.try_recv() {
            if message.kind == kind::OSD_OP {
                found.push(Request::parse(&message).unwrap());
            }
        }
        found
    }

    pub(super) fn answer(&self, request: &Request, result: i32) {
        self.answer_attempt(request, request.attempt, result);
    }

    pub(super) fn answer_attempt(&self, request: &Request, attempt: i32, result: i32) {
        let _ = self.link.send(reply(request, attempt, result, None));
    }

    pub(super) fn redirect(&self, request: &Request, pool: PoolId) {
        let answer = reply(request, request.attempt, 0, Some(pool));
        let _ = self.link.send(answer);
    }

    /// Asks for no operations on a group.
    pub(super) fn block(&mut self, pg: ShardedPgId, epoch: Epoch) {
        let max = HObject {
            max: true,
            ..HObject::MIN
        };
        let mut backoff = OsdBackoff {
            pg,
            epoch,
            step: BackoffStep::Block,
            id: self.backoffs.len() as u64 + 1,
            begin: HObject::MIN,
            end: max,
        };
        let _ = self.link.send(message(kind::OSD_BACKOFF, &backoff));
        backoff.step = BackoffStep::Unblock;
        self.backoffs.push(backoff);
    }

    /// Takes all backoffs back.
    pub(super) fn unblock(&mut self) {
        for backoff in self.backoffs.drain(..) {
            let _ = self.link.send(message(kind::OSD_BACKOFF, &backoff));
        }
    }

    /// Answers everything with success until the connection ends, and what was there before if
    /// nothing comes instead of it.
    pub(super) async fn serve(mut self, before: Option<Request>) {
        self.unblock();
        let later = tokio::time::sleep(Duration::from_secs(3));
        let mut later = std::pin::pin!(later);
        loop {
            tokio::select! {
                request = self.request() => match request {
                    Some(request) => self.answer(&request, 0),
                    None => return,
                },
                () = &mut later, if !later.is_elapsed() => {
                    if let Some(request) = &before {
                        self.answer(request, 0);
                    }
                }
            }
        }
    }
}

struct Inbox(UnboundedSender<Message>);

impl Handler for Inbox {
    fn message(&self, message: Message) {
        let _ = self.0.send(message);
    }

    fn closed(&self, _error: msgr2::Error) {}
}

/// Lets everybody in.
struct Anybody;

impl ServerAuth for Anybody {
    fn request(&mut self, _request: &AuthRequest) -> Result<AuthReply, AuthError> {
        Ok(AuthReply::Done {
            global_id: GlobalId(4100),
            mode: ConnectionMode::CRC,
            payload: Bytes::new(),
            secrets: AuthSecrets::default(),
        })
    }

    fn more(&mut self, _payload: &[u8]) -> Result<AuthReply, AuthError> {
        Err("nothing was asked".into())
    }
}

/// Knows no sessions of before.
struct Fresh;

impl Sessions for Fresh {
    fn open(&mut self, _ident: &ClientIdent) -> OpenReply {
        OpenReply::Accept { cookie: 1 }
    }

    fn reconnect(&mut self, _request: &SessionReconnect) -> ReconnectReply {
        ReconnectReply::Reset { full: true }
    }
}
