//! The two ends of a connection that is open.

use std::io::IoSlice;

use bytes::{BufMut, Bytes};
use denc::{EntityAddr, EntityType, Features, GlobalId};
use msgr2::auth::{AuthReply, AuthSecrets, ClientAuth, ServerAuth};
use msgr2::frame::auth::{AuthRequest, BadMethod};
use msgr2::frame::ident::ClientIdent;
use msgr2::frame::session::SessionReconnect;
use msgr2::{
    AuthError, AuthMethod, Banner, ClientOptions, Connection, ConnectionMode, OpenReply, Receiver,
    ReconnectReply, Sender, ServerOptions, Sessions,
};
use zeroize::Zeroizing;

/// What sends at the server's end, and what receives at the client's.
pub(crate) struct Pair {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl Pair {
    pub(crate) fn with_checksums() -> Self {
        Self::open(ConnectionMode::CRC)
    }

    pub(crate) fn encrypted() -> Self {
        Self::open(ConnectionMode::SECURE)
    }

    fn open(mode: ConnectionMode) -> Self {
        let addr: EntityAddr = "v2:127.0.0.1:6800/0".parse().unwrap();
        let features = Features(u64::MAX);
        let client = ClientOptions::new(addr, EntityType::OSD, 1234, features);
        let server = ServerOptions {
            my_type: EntityType::OSD,
            my_addrs: addr.into(),
            my_id: 0,
            client_addr: "v2:127.0.0.1:50000".parse().unwrap(),
            supported: features,
            required: Features::MSG_ADDR2,
            protocol: Banner::OURS,
            compression: None,
            global_seq: 1,
        };
        let mut client = Connection::client(client, Box::new(Party(mode)));
        let mut server = Connection::server(server, Box::new(Party(mode)), Box::new(Party(mode)));
        while carry(&mut client, &mut server) | carry(&mut server, &mut client) {}
        Self {
            sender: server.split().unwrap().sender,
            receiver: client.split().unwrap().receiver,
        }
    }
}

/// Carries what one has to say to the other, and says whether there was anything.
fn carry(from: &mut Connection, to: &mut Connection) -> bool {
    let mut slices = [IoSlice::new(&[]); 16];
    let count = from.slices(&mut slices);
    let said: Vec<u8> = slices
        .iter()
        .take(count)
        .flat_map(|it| it.to_vec())
        .collect();
    from.advance_output(said.len()).unwrap();
    to.feed(&said).unwrap();
    !said.is_empty()
}

/// Takes everything that waits to be written.
pub(crate) fn take_output(sender: &mut Sender, into: &mut Vec<u8>) {
    loop {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = sender.slices(&mut slices);
        let before = into.len();
        slices
            .iter()
            .take(count)
            .for_each(|slice| into.put_slice(slice));
        let taken = into.len() - before;
        if taken == 0 {
            return;
        }
        sender.advance(taken).unwrap();
    }
}

/// Either side, which believes the other without asking.
#[derive(Clone, Copy)]
struct Party(ConnectionMode);

impl Party {
    fn secrets() -> AuthSecrets {
        AuthSecrets {
            session_key: None,
            connection_secret: Zeroizing::new(vec![5; 64]),
        }
    }
}

impl ClientAuth for Party {
    fn begin(&mut self) -> Result<AuthRequest, AuthError> {
        Ok(AuthRequest {
            method: AuthMethod::CEPHX,
            modes: [self.0].into_iter().collect(),
            payload: Bytes::new(),
        })
    }

    fn bad_method(&mut self, _refusal: &BadMethod) -> Result<AuthRequest, AuthError> {
        Err("refused".into())
    }

    fn more(&mut self, _payload: &[u8]) -> Result<Bytes, AuthError> {
        Ok(Bytes::new())
    }

    fn done(
        &mut self,
        _global_id: GlobalId,
        _mode: ConnectionMode,
        _payload: &[u8],
    ) -> Result<AuthSecrets, AuthError> {
        Ok(Self::secrets())
    }
}

impl ServerAuth for Party {
    fn request(&mut self, _request: &AuthRequest) -> Result<AuthReply, AuthError> {
        Ok(AuthReply::Done {
            global_id: GlobalId(1),
            mode: self.0,
            payload: Bytes::new(),
            secrets: Self::secrets(),
        })
    }

    fn more(&mut self, _payload: &[u8]) -> Result<AuthReply, AuthError> {
        Err("nothing was asked".into())
    }
}

impl Sessions for Party {
    fn open(&mut self, _ident: &ClientIdent) -> OpenReply {
        OpenReply::Accept { cookie: 1 }
    }

    fn reconnect(&mut self, _request: &SessionReconnect) -> ReconnectReply {
        ReconnectReply::Reset { full: true }
    }
}
