//! Accepts clients and serves them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::error::ConnectionError;
use super::handshake::{ExportInfo, Handshake, Negotiated, Step};
use super::transmission::{TransmissionOptions, transmit};
use super::unix_socket::UnixSocket;
use crate::device::BlockDevice;

/// A device under a name.
#[derive(Debug)]
pub struct Export<D> {
    /// The name by which clients ask for it.
    pub name: String,
    /// A few words about it for people.
    pub description: String,
    /// Whether clients may only read it, even if the device could be written.
    pub is_read_only: bool,
    /// The device.
    pub device: Arc<D>,
}

impl<D: BlockDevice> Export<D> {
    /// What clients are told about it now.
    pub fn info(&self) -> ExportInfo {
        ExportInfo {
            name: self.name.clone(),
            description: self.description.clone(),
            size_bytes: self.device.size_bytes(),
            is_read_only: self.is_read_only || self.device.is_read_only(),
            limits: self.device.limits(),
        }
    }
}

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Clients served at a time; those who come when there are so many are disconnected at once.
    pub max_connections: usize,
    /// How long a client may take to choose an export.
    pub handshake_timeout: Duration,
    /// Limits of each connection.
    pub transmission: TransmissionOptions,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 64,
            handshake_timeout: Duration::from_secs(30),
            transmission: TransmissionOptions::default(),
        }
    }
}

/// Serves devices to NBD clients. The first export is the one that clients get who do not ask for one by name.
#[derive(Debug)]
pub struct Server<D> {
    exports: Vec<Export<D>>,
    options: ServerOptions,
}

impl<D: BlockDevice> Server<D> {
    /// A server of these exports.
    pub const fn new(exports: Vec<Export<D>>, options: ServerOptions) -> Self {
        Self { exports, options }
    }

    /// Serves whoever comes until `stop` is cancelled; then nobody is let in any more, requests taken on are done and
    /// answered, and the connections closed. Nothing that clients do ends it.
    ///
    /// **Cancellation:** dropping the future drops all connections and their requests in flight.
    pub async fn serve<L: Listener>(self: Arc<Self>, mut listener: L, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    log_end(ended);
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) if connections.len() < self.options.max_connections => {
                    debug!(%peer, "client connected");
                    let (server, stop) = (Arc::clone(&self), stop.clone());
                    connections.spawn(async move {
                        let result = server.serve_connection(socket, &stop).await;
                        (peer, result)
                    });
                }
                Ok((_, peer)) => warn!(%peer, "client refused, there are too many"),
                Err(error) => {
                    warn!(%error, "cannot accept a client");
                    // Out of descriptors, most likely: trying again at once would only burn the processor.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
        drop(listener);
        while let Some(ended) = connections.join_next().await {
            log_end(ended);
        }
    }

    /// Serves one client from the first byte on, until it disconnects or `stop` is cancelled.
    ///
    /// **Cancellation:** dropping the future drops the socket and the requests in flight.
    ///
    /// # Errors
    /// If the connection ended in any other way.
    pub async fn serve_connection<S>(
        &self,
        mut socket: S,
        stop: &CancellationToken,
    ) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut input = BytesMut::with_capacity(HANDSHAKE_BUFFER);
        let negotiation = tokio::time::timeout(
            self.options.handshake_timeout,
            self.negotiate(&mut socket, &mut input),
        );
        let negotiated = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            negotiated = negotiation => negotiated,
        };
        let Some(Negotiated { export, session }) =
            negotiated.map_err(|_| ConnectionError::HandshakeTimeout)??
        else {
            return Ok(());
        };
        let Some(export) = self.exports.get(export) else {
            return Ok(());
        };
        debug!(export = export.name, "client has chosen");
        let device = Arc::clone(&export.device);
        transmit(
            socket,
            input,
            session,
            device,
            self.options.transmission,
            stop,
        )
        .await
    }

    /// Negotiates; none if the client changes its mind.
    async fn negotiate<S>(
        &self,
        socket: &mut S,
        input: &mut BytesMut,
    ) -> Result<Option<Negotiated>, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut output = BytesMut::new();
        let mut handshake = Handshake::start(&mut output);
        loop {
            socket.write_all_buf(&mut output).await?;
            if socket.read_buf(input).await? == 0 {
                // Some clients only look whether somebody is there.
                return if input.has_remaining() {
                    Err(ConnectionError::Truncated)
                } else {
                    Ok(None)
                };
            }
            let exports: Vec<_> = self.exports.iter().map(Export::info).collect();
            let step = handshake.handle(input, &mut output, &exports);
            socket.write_all_buf(&mut output).await?;
            match step? {
                Step::More => {}
                Step::Done(negotiated) => return Ok(Some(negotiated)),
                Step::Abort => {
                    socket.shutdown().await?;
                    return Ok(None);
                }
            }
        }
    }
}

type Ended = Result<(String, Result<(), ConnectionError>), tokio::task::JoinError>;

fn log_end(ended: Ended) {
    match ended {
        Ok((peer, Ok(()))) => debug!(%peer, "client disconnected"),
        Ok((peer, Err(error))) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warn!(%peer, %error, cause, "client lost");
        }
        Err(error) => warn!(%error, "a connection's task died"),
    }
}

/// Where clients come from.
pub trait Listener: Send + 'static {
    /// What a client is connected by.
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next client and says who it is, for the log.
    ///
    /// **Cancellation:** safe, no client is lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Socket, String)>> + Send;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, String)> {
        let (socket, peer) = Self::accept(self).await?;
        socket.set_nodelay(true)?;
        // A client that vanished without a word would otherwise be waited for without end.
        let options = socket2::SockRef::from(&socket);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL);
        options.set_tcp_keepalive(&keepalive)?;
        Ok((socket, peer.to_string()))
    }
}

impl Listener for UnixListener {
    type Socket = UnixSocket;

    async fn accept(&mut self) -> io::Result<(UnixSocket, String)> {
        let (socket, _) = Self::accept(self).await?;
        let peer = match socket.peer_cred().ok().and_then(|peer| peer.pid()) {
            Some(pid) => format!("process {pid}"),
            None => "unknown process".to_owned(),
        };
        Ok((UnixSocket::new(socket.into_std()?)?, peer))
    }
}

/// Pause after a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Room for the options of a usual client.
const HANDSHAKE_BUFFER: usize = 1024;

const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
