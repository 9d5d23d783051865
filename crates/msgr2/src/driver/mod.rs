//! Runs a [connection](crate::Connection) on a tokio socket.
//!
//! Two tasks belong to each open connection: one reads, one writes what could not be written on the
//! spot. Reads never wait for writes. Both end when the [`Link`] is dropped.

mod link;
mod shared;
mod socket;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use denc::EntityAddr;
use tokio::net::TcpStream;

pub use link::{Handle, Link};

use crate::auth::{ClientAuth, ServerAuth};
use crate::handshake::client::ClientOptions;
use crate::handshake::server::{ServerOptions, Sessions};
use crate::{Connection, Error, Event, Message};

/// Gets what arrives on a connection.
///
/// Its methods are called from the connection's reader, so they must not block: nothing is read
/// while they run.
pub trait Handler: Send + Sync + 'static {
    /// A message has arrived. May be called before [`connect`] returns.
    fn message(&self, message: Message);

    /// The session from before, with which [`connect`] was to go on, is lost. Called before any
    /// message of the new one.
    fn session_reset(&self) {}

    /// The connection has ended by itself, for this reason. Called once at most, and not if this side
    /// has closed it first: by [`Link`], by dropping it, or by a [`Handle`].
    fn closed(&self, error: Error);
}

/// How many frames of a connection were compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressedFrames {
    /// Of those that this side sent.
    pub sent: u64,
    /// Of those that the peer sent.
    pub received: u64,
}

/// Connects to a server and opens a session with it.
///
/// # Errors
/// [`Error::TimedOut`] if the session is not open within `timeout`; otherwise what went wrong.
///
/// # Cancel safety
/// Dropping the future drops the connection. A session to go on with, given in `options`, is lost
/// with it: keep a clone.
pub async fn connect<H: Handler>(
    options: ClientOptions,
    timeout: Duration,
    auth: impl ClientAuth + 'static,
    handler: Arc<H>,
) -> Result<Link, Error> {
    let addr = options.peer_addr;
    let Some(socket) = addr.socket else {
        return Err(Error::NotDialable(addr));
    };
    connect_via(socket, options, timeout, auth, handler).await
}

/// As [`connect`], to a server that is reached at `socket`, which is not its address: somebody there
/// passes on what is said.
///
/// # Errors
/// As [`connect`].
///
/// # Cancel safety
/// As [`connect`].
pub async fn connect_via<H: Handler>(
    socket: SocketAddr,
    options: ClientOptions,
    timeout: Duration,
    auth: impl ClientAuth + 'static,
    handler: Arc<H>,
) -> Result<Link, Error> {
    let addr = options.peer_addr;
    within(timeout, addr, async {
        let stream = TcpStream::connect(socket)
            .await
            .map_err(|source| io_error("cannot connect to", addr, source))?;
        let connection = Connection::client(options, Box::new(auth));
        open(stream, addr, connection, handler).await
    })
    .await
}

/// Accepts a client: the server's side of [`connect`] on a socket that has been accepted.
///
/// # Errors
/// As [`connect`].
///
/// # Cancel safety
/// Dropping the future drops the connection.
pub async fn accept<H: Handler>(
    stream: TcpStream,
    options: ServerOptions,
    timeout: Duration,
    auth: impl ServerAuth + 'static,
    sessions: impl Sessions + 'static,
    handler: Arc<H>,
) -> Result<Link, Error> {
    let addr = options.client_addr;
    let connection = Connection::server(options, Box::new(auth), Box::new(sessions));
    within(timeout, addr, open(stream, addr, connection, handler)).await
}

async fn within<T>(
    timeout: Duration,
    addr: EntityAddr,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut {
            addr,
            after: timeout,
        }),
    }
}

/// The handshake, and then the tasks.
async fn open<H: Handler>(
    stream: TcpStream,
    addr: EntityAddr,
    mut connection: Connection,
    handler: Arc<H>,
) -> Result<Link, Error> {
    socket::set_up(&stream)
        .map_err(|source| io_error("cannot set up the socket to", addr, source))?;
    loop {
        let mut is_open = false;
        while let Some(event) = connection.poll_event() {
            match event {
                Event::Established(_) => is_open = true,
                Event::SessionReset => handler.session_reset(),
                Event::Message(message) => handler.message(message),
                Event::KeepaliveAck(_) => {}
            }
        }
        if is_open {
            break;
        }
        flush(&stream, &mut connection, addr).await?;
        read(&stream, &mut connection, addr).await?;
        connection.handle_input()?;
    }
    match connection.split() {
        Ok(open) => Ok(Link::start(stream, addr, open, handler)),
        Err(_) => Err(Error::NotOpen),
    }
}

async fn flush(
    stream: &TcpStream,
    connection: &mut Connection,
    addr: EntityAddr,
) -> Result<(), Error> {
    let failed = |source| io_error("cannot write to", addr, source);
    loop {
        let mut slices = [IoSlice::new(&[]); 4];
        let count = connection.slices(&mut slices);
        if count == 0 {
            return Ok(());
        }
        match stream.try_write_vectored(slices.get(..count).unwrap_or_default()) {
            Ok(written) => connection.advance_output(written)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                stream.writable().await.map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

async fn read(
    stream: &TcpStream,
    connection: &mut Connection,
    addr: EntityAddr,
) -> Result<(), Error> {
    loop {
        let Some(mut space) = connection.space() else {
            return Err(Error::Closed);
        };
        let read = match stream.try_read_buf(&mut space) {
            Ok(0) => return Err(Error::PeerClosed),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        };
        read.map_err(|source| io_error("cannot read from", addr, source))?;
    }
}

const fn io_error(action: &'static str, addr: EntityAddr, source: io::Error) -> Error {
    Error::Io {
        action,
        addr,
        source,
    }
}
