//! What a monitor and an OSD have in common: letting clients in, and answering one message after another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use denc::{EntityAddr, EntityType, Features, GlobalId};
use msgr2::auth::{AuthReply, AuthSecrets, ServerAuth};
use msgr2::driver::{Handler, Link};
use msgr2::frame::auth::AuthRequest;
use msgr2::frame::ident::ClientIdent;
use msgr2::frame::session::SessionReconnect;
use msgr2::{
    AuthError, Banner, ConnectionMode, Message, OpenReply, ReconnectReply, ServerOptions, Sessions,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A daemon, of which there is one.
pub(crate) trait Daemon: Send + Sync + 'static {
    /// What it is.
    const TYPE: EntityType;
    /// Its nonce.
    const NONCE: u32;

    /// What there is to say to a message.
    fn answer(&self, message: Message) -> Vec<Message>;
}

/// Lets a client in and answers it until it leaves.
pub(crate) async fn serve<D: Daemon>(stream: TcpStream, from: SocketAddr, daemon: &D) {
    let Ok(here) = stream.local_addr() else {
        return;
    };
    let options = ServerOptions {
        my_type: D::TYPE,
        my_addrs: EntityAddr::v2(here, D::NONCE).into(),
        my_id: 0,
        client_addr: EntityAddr::v2(from, 0),
        // Whatever the client knows.
        supported: Features(u64::MAX),
        required: Features::MSG_ADDR2,
        protocol: Banner::OURS,
        compression: None,
        global_seq: 1,
    };
    let (sender, mut inbox) = unbounded_channel();
    let handler = Arc::new(Inbox(sender));
    let accepted = msgr2::driver::accept(stream, options, PATIENCE, Anybody, Fresh, handler).await;
    let link: Link = match accepted {
        Ok(link) => link,
        Err(error) => {
            eprintln!("hot-path: a client is not let in: {error}");
            return;
        }
    };
    while let Some(message) = inbox.recv().await {
        for answer in daemon.answer(message) {
            if link.send(answer).is_err() {
                return;
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
            global_id: CLIENT,
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

/// Who the client is.
pub(crate) const CLIENT: GlobalId = GlobalId(4100);
/// An emulated client is slow.
const PATIENCE: Duration = Duration::from_secs(60);
