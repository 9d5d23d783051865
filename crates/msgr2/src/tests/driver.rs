//! The driver over real sockets.

use std::sync::Arc;
use std::time::Duration;

use denc::UTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::codec::{Encoder, Output, Prepared};
use crate::driver::{Handler, Link, accept, connect};
use crate::frame::keepalive::Keepalive;

/// Long enough to be over only if something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Channel(UnboundedSender<Result<Message, Error>>);

impl Handler for Channel {
    fn message(&self, message: Message) {
        let _ = self.0.send(Ok(message));
    }

    fn closed(&self, error: Error) {
        let _ = self.0.send(Err(error));
    }
}

type Inbox = UnboundedReceiver<Result<Message, Error>>;

fn channel() -> (Arc<Channel>, Inbox) {
    let (sender, receiver) = unbounded_channel();
    (Arc::new(Channel(sender)), receiver)
}

async fn next(inbox: &mut Inbox) -> Message {
    let next = tokio::time::timeout(PATIENCE, inbox.recv()).await;
    next.unwrap().unwrap().unwrap()
}

async fn closed(inbox: &mut Inbox) -> Error {
    let next = tokio::time::timeout(PATIENCE, inbox.recv()).await;
    next.unwrap().unwrap().unwrap_err()
}

/// Lets the other tasks run until something is so.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

async fn listener() -> (TcpListener, EntityAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = EntityAddr::v2(listener.local_addr().unwrap(), 0);
    (listener, addr)
}

/// Two ends of an open connection.
async fn ends(mode: ConnectionMode, session: SessionRequest) -> ((Link, Inbox), (Link, Inbox)) {
    let (listener, addr) = listener().await;
    let (client_handler, client_inbox) = channel();
    let (server_handler, server_inbox) = channel();
    let options = ClientOptions {
        peer_addr: addr,
        session,
        ..client_options()
    };
    let auth = TestClient {
        modes: vec![mode],
        ..TestClient::default()
    };
    let server = async {
        let (stream, peer) = listener.accept().await.unwrap();
        let options = ServerOptions {
            my_addrs: addr.into(),
            client_addr: EntityAddr::v2(peer, 0),
            ..server_options()
        };
        let auth = TestServer::default();
        let sessions = TestSessions::default();
        accept(stream, options, PATIENCE, auth, sessions, server_handler).await
    };
    let (client, server) = tokio::join!(connect(options, PATIENCE, auth, client_handler), server);
    (
        (client.unwrap(), client_inbox),
        (server.unwrap(), server_inbox),
    )
}

/// What the kernel does next, if anything, on a socket of this process that is connected to a port of
/// this host.
#[expect(clippy::disallowed_methods, reason = "the kernel tells it in a file")]
fn timer(port: u16) -> Option<u8> {
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let connected_to = format!("0100007F:{port:04X}");
    sockets.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let timer = &fields[5][..2];
        (fields[2] == connected_to).then(|| u8::from_str_radix(timer, 16).unwrap())
    })
}

#[tokio::test]
async fn the_kernel_probes_idle_connections() {
    const KEEPALIVE: u8 = 2;
    let mode = ConnectionMode::CRC;
    let ((client, _at_client), (_server, _at_server)) = ends(mode, SessionRequest::Lossy).await;
    let addr = client.info().peer_addrs.v2().unwrap().socket.unwrap();
    // What has been sent is acknowledged before.
    until(|| timer(addr.port()) == Some(KEEPALIVE)).await;
}

#[tokio::test]
async fn messages_of_all_sizes_go_both_ways() {
    for mode in [ConnectionMode::CRC, ConnectionMode::SECURE] {
        let ((client, mut at_client), (server, mut at_server)) =
            ends(mode, SessionRequest::Lossy).await;
        assert_eq!((client.info().mode, server.info().mode), (mode, mode));
        let sized = |tid, len| Message {
            data: Bytes::from(vec![7; len]).into(),
            ..message(tid)
        };
        let sizes = [0, 1, 4096, 40_000, 4 << 20, 10 << 20, 3];
        for (tid, size) in (0..).zip(sizes) {
            client.send(sized(tid, size)).unwrap();
            server.send(sized(tid, size)).unwrap();
        }
        for (tid, size) in (0..).zip(sizes) {
            assert!(next(&mut at_server).await == sized(tid, size));
            assert!(next(&mut at_client).await == sized(tid, size));
        }
        assert_eq!((client.queued_bytes(), server.queued_bytes()), (0, 0));
        assert!(client.close().await.is_none());
        assert!(matches!(
            closed(&mut at_server).await,
            Error::PeerClosed | Error::Io { .. }
        ));
        assert!(matches!(server.send(message(1)), Err(Error::Closed)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_share_a_connection() {
    let ((client, _at_client), (server, mut at_server)) =
        ends(ConnectionMode::CRC, SessionRequest::Lossy).await;
    let senders: Vec<_> = (0..4u64)
        .map(|sender| {
            let handle = client.handle();
            tokio::spawn(async move {
                for number in 0..500 {
                    handle.send(message(sender * 1000 + number)).unwrap();
                }
            })
        })
        .collect();
    let mut last = [None; 4];
    for _ in 0..4 * 500 {
        let tid = next(&mut at_server).await.tid.0;
        let slot = &mut last[usize::try_from(tid / 1000).unwrap()];
        // The messages of one sender arrive in its order.
        assert_eq!(slot.map_or(0, |before| before + 1), tid % 1000);
        *slot = Some(tid % 1000);
    }
    for sender in senders {
        sender.await.unwrap();
    }
    drop(server);
}

#[tokio::test]
async fn reads_do_not_wait_for_writes() {
    let ((client, mut at_client), (server, mut at_server)) =
        ends(ConnectionMode::CRC, SessionRequest::Lossy).await;
    // More than the sockets hold, while nobody has read anything yet: both sides are stuck writing,
    // and go on only because both read all the same.
    let large = |tid| Message {
        data: Bytes::from(vec![1; 32 << 20]).into(),
        ..message(tid)
    };
    client.send(large(1)).unwrap();
    server.send(large(2)).unwrap();
    assert!(client.queued_bytes() > 0);
    assert_eq!(next(&mut at_client).await.tid, Tid(2));
    assert_eq!(next(&mut at_server).await.tid, Tid(1));
}

#[tokio::test]
async fn what_one_thread_sends_is_written_together() {
    let ((client, _at_client), (_server, mut at_server)) =
        ends(ConnectionMode::CRC, SessionRequest::Lossy).await;
    // The other tasks of this thread, the writer among them, do not run before the next await.
    for tid in 1..=100 {
        client.send(message(tid)).unwrap();
    }
    assert!(client.queued_bytes() > 100 * message(1).len_bytes());
    for tid in 1..=100 {
        assert_eq!(next(&mut at_server).await.tid, Tid(tid));
    }
    assert_eq!(client.queued_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_is_written_at_once_where_the_writer_would_have_to_be_woken() {
    let ((client, mut at_client), (server, mut at_server)) =
        ends(ConnectionMode::CRC, SessionRequest::Lossy).await;
    client.send(message(1)).unwrap();
    assert_eq!(client.queued_bytes(), 0);
    for tid in 2..=100 {
        client.send(message(tid)).unwrap();
    }
    for tid in 1..=100 {
        assert_eq!(next(&mut at_server).await.tid, Tid(tid));
    }
    // After an answer the next one is a single one again.
    server.send(message(1)).unwrap();
    next(&mut at_client).await;
    client.send(message(101)).unwrap();
    assert_eq!(client.queued_bytes(), 0);
}

#[tokio::test]
async fn signs_of_life_are_given() {
    let ((client, _at_client), (server, mut at_server)) =
        ends(ConnectionMode::CRC, SessionRequest::Lossy).await;
    assert_eq!(client.last_keepalive_ack(), None);
    let stamp = UTime {
        seconds: 7,
        nanoseconds: 8,
    };
    client.keepalive(stamp).unwrap();
    let heard = client.last_heard();
    // The answer to the message comes after the sign of life.
    client.send(message(1)).unwrap();
    next(&mut at_server).await;
    until(|| client.last_keepalive_ack().is_some()).await;
    assert_eq!(client.last_keepalive_ack(), Some(stamp));
    assert!(client.last_heard() >= heard);
    drop(server);
}

#[tokio::test]
async fn dropping_the_link_ends_everything() {
    let ((client, mut at_client), (server, mut at_server)) =
        ends(ConnectionMode::CRC, SessionRequest::Lossy).await;
    let handle = client.handle();
    drop(client);
    assert!(handle.is_closed());
    assert!(matches!(handle.send(message(1)), Err(Error::Closed)));
    // The handler is let go of without a word, although the handle lives.
    assert!(at_client.recv().await.is_none());
    assert!(matches!(
        closed(&mut at_server).await,
        Error::PeerClosed | Error::Io { .. }
    ));
    drop(server);
}

#[tokio::test]
async fn a_session_goes_on_over_another_connection() {
    let ((client, _at_client), (server, mut at_server)) =
        ends(ConnectionMode::CRC, lossless()).await;
    client.send(message(1)).unwrap();
    assert_eq!(next(&mut at_server).await.tid, Tid(1));
    until(|| client.unacknowledged_bytes() == 0).await;
    let server = server.close().await.unwrap();
    let mut session = client.close().await.unwrap();
    assert_eq!(session.unacknowledged().len(), 0);
    session.push(message(2)).unwrap();

    let (listener, addr) = listener().await;
    let (client_handler, _at_client) = channel();
    let (server_handler, mut at_server) = channel();
    let options = ClientOptions {
        peer_addr: addr,
        session: SessionRequest::Resume(Box::new(session)),
        ..client_options()
    };
    let sessions = TestSessions {
        replies: vec![ReconnectReply::Resume(Box::new(server))],
        is_waiting: false,
    };
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        let auth = TestServer::default();
        accept(
            stream,
            server_options(),
            PATIENCE,
            auth,
            sessions,
            server_handler,
        )
        .await
    };
    let connecting = connect(options, PATIENCE, TestClient::default(), client_handler);
    let (client, server) = tokio::join!(connecting, accepting);
    assert_eq!(next(&mut at_server).await.tid, Tid(2));
    drop((client.unwrap(), server.unwrap()));
}

async fn connect_to(addr: EntityAddr, timeout: Duration) -> Error {
    let options = ClientOptions {
        peer_addr: addr,
        ..client_options()
    };
    connect(options, timeout, TestClient::default(), channel().0)
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_says_why() {
    // Nobody there.
    let (socket, addr) = listener().await;
    drop(socket);
    assert!(matches!(
        connect_to(addr, PATIENCE).await,
        Error::Io { addr: found, .. } if found == addr
    ));
    assert!(matches!(
        connect_to(EntityAddr::NONE, PATIENCE).await,
        Error::NotDialable(_)
    ));

    // Somebody there who says nothing. Time is the test's own.
    let (_silent, addr) = listener().await;
    tokio::time::pause();
    assert!(matches!(
        connect_to(addr, Duration::from_secs(3)).await,
        Error::TimedOut { .. }
    ));
    tokio::time::resume();

    // Somebody who speaks v1, and somebody who hangs up.
    for (words, is_v1) in [(&b"ceph v027 and more"[..], true), (b"ceph", false)] {
        let (listener, addr) = listener().await;
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words).await.unwrap();
            // Everything is read, so that closing does not reset the connection.
            stream.read_exact(&mut [0; 26]).await.unwrap();
        });
        let error = connect_to(addr, PATIENCE).await;
        assert!(if is_v1 {
            matches!(error, Error::V1Banner)
        } else {
            matches!(error, Error::PeerClosed)
        });
        peer.await.unwrap();
    }
}

/// A server that hangs up after every number of bytes it could have sent.
#[tokio::test]
async fn a_handshake_cut_anywhere_ends() {
    let (listener, addr) = listener().await;
    let options = || ClientOptions {
        peer_addr: addr,
        ..client_options()
    };
    // Without a key and questions the server's words do not depend on the client's.
    let auth = TestClient {
        key: None,
        ..TestClient::default()
    };
    let script = {
        let server_auth = TestServer {
            key: None,
            questions: 0,
            ..TestServer::default()
        };
        let server = ServerOptions {
            my_addrs: addr.into(),
            ..server_options()
        };
        let mut pair = Pair::new(
            (options(), auth.clone()),
            (server, server_auth),
            TestSessions::default(),
        );
        pair.run().unwrap();
        pair.to_client
    };
    for cut in 0..=script.len() {
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&script[..cut]).await.unwrap();
            stream.shutdown().await.unwrap();
            // Until the client hangs up as well, so that nothing is reset.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let client = async {
            connect(options(), PATIENCE, auth.clone(), channel().0)
                .await
                .map(drop)
        };
        let (result, ()) = tokio::join!(client, server);
        if cut < script.len() {
            assert!(matches!(result, Err(Error::PeerClosed)), "cut at {cut}");
        } else {
            result.unwrap();
        }
    }
}

/// A connection whose other end is worked by hand.
async fn by_hand() -> (Link, Inbox, TcpStream) {
    let (listener, addr) = listener().await;
    let (handler, inbox) = channel();
    let options = ClientOptions {
        peer_addr: addr,
        ..client_options()
    };
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let options = ServerOptions {
            my_addrs: addr.into(),
            ..server_options()
        };
        let auth = Box::new(TestServer::default());
        let mut server = Connection::server(options, auth, Box::new(TestSessions::default()));
        while !matches!(server.poll_event(), Some(Event::Established(_))) {
            stream.write_all(&output(&mut server)).await.unwrap();
            let mut bytes = [0; 4096];
            let len = stream.read(&mut bytes).await.unwrap();
            server.feed(&bytes[..len]).unwrap();
        }
        stream.write_all(&output(&mut server)).await.unwrap();
        stream
    };
    let connecting = connect(options, PATIENCE, TestClient::default(), handler);
    let (link, stream) = tokio::join!(connecting, peer);
    (link.unwrap(), inbox, stream)
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_is_reported() {
    let (link, mut inbox, mut stream) = by_hand().await;
    stream.write_all(&[0xff; 32]).await.unwrap();
    assert!(matches!(
        closed(&mut inbox).await,
        Error::PreambleCrc { .. }
    ));
    assert!(matches!(link.send(message(1)), Err(Error::Closed)));
    assert!(link.is_closed());
}

fn large() -> Message {
    Message {
        data: Bytes::from(vec![1; 32 << 20]).into(),
        ..message(1)
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_can_be_left() {
    let (link, _inbox, stream) = by_hand().await;
    link.send(large()).unwrap();
    // The writer waits for the socket.
    tokio::task::yield_now().await;
    assert!(link.queued_bytes() > 0);
    let closed = tokio::time::timeout(PATIENCE, link.close()).await;
    assert!(closed.unwrap().is_none());
    drop(stream);
}

#[tokio::test]
async fn a_peer_that_asks_but_does_not_read_gets_no_answers() {
    let (link, mut inbox, mut stream) = by_hand().await;
    link.send(large()).unwrap();
    tokio::task::yield_now().await;
    let before = link.queued_bytes();
    let mut encoder = Encoder::new();
    let mut out = Output::default();
    let ask = Keepalive(UTime::default()).into();
    for round in 1..=50 {
        encoder.control(&ask, &mut out).unwrap();
        let message = Prepared::new(message(round), encoder.form());
        encoder.message(&message, round, 0, &mut out).unwrap();
        stream.write_all(&out.since(0)).await.unwrap();
        out.advance(out.len());
        assert_eq!(next(&mut inbox).await.tid, Tid(round));
        tokio::task::yield_now().await;
    }
    assert!(before > 0 && link.queued_bytes() <= before);
}
