//! The transmission phase: requests in, replies out, as many at a time as the limits allow.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_buffered::FuturesUnordered;
use futures_util::stream::Stream;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::poll_read_buf;
use tokio_util::sync::CancellationToken;

use super::error::ConnectionError;
use super::reply::{Outcome, ReplyQueue, Written};
use super::request::RequestDecoder;
use super::session::{Request, Session};
use crate::device::{BlockDevice, BlockExtent, DeviceError};

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct TransmissionOptions {
    /// Requests taken on at a time, counted until their replies are written. When there are so many, nothing is read
    /// from the socket.
    pub max_requests: usize,
    /// Bytes of payload of the requests taken on, counted likewise. The last request taken on may exceed it.
    pub max_payload_bytes: u64,
    /// How long a client may take for its last replies once the connection is being closed.
    pub drain_timeout: Duration,
}

impl Default for TransmissionOptions {
    fn default() -> Self {
        Self {
            max_requests: 256,
            max_payload_bytes: 32 << 20,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves one connection in the transmission phase, `leftover` being what was read from it already, until the client
/// disconnects or `stop` is cancelled; requests taken on by then are still done and answered.
///
/// **Cancellation:** dropping the future drops the socket and the requests in flight.
///
/// # Errors
/// If the connection ended in any other way.
pub async fn transmit<S, D>(
    mut socket: S,
    leftover: BytesMut,
    session: Session,
    device: Arc<D>,
    options: TransmissionOptions,
    stop: &CancellationToken,
) -> Result<(), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: BlockDevice,
{
    let start = |cookie, cost, request| execute(Arc::clone(&device), cookie, cost, request);
    let mut connection = Connection {
        decoder: RequestDecoder::new(&session, leftover, device.buffers()),
        replies: ReplyQueue::new(&session),
        session,
        options,
        in_flight: FuturesUnordered::new(),
        requests: 0,
        payload_bytes: 0,
        is_reading: true,
    };
    let mut stopped = pin!(stop.cancelled());
    let mut is_stopped = false;
    std::future::poll_fn(|context| {
        // The token is not polled again once it has said yes.
        if !is_stopped && stopped.as_mut().poll(context).is_ready() {
            is_stopped = true;
            connection.is_reading = false;
        }
        connection.poll(context, &mut socket, &*device, &start)
    })
    .await?;
    let drain = async {
        std::future::poll_fn(|context| connection.poll_write(context, &mut socket)).await?;
        socket.shutdown().await
    };
    match tokio::time::timeout(options.drain_timeout, drain).await {
        Ok(drained) => Ok(drained?),
        Err(_) => Err(ConnectionError::DrainTimeout),
    }
}

struct Connection<F> {
    decoder: RequestDecoder,
    replies: ReplyQueue,
    session: Session,
    options: TransmissionOptions,
    /// Keeps the room of futures that have ended for those to come.
    in_flight: FuturesUnordered<F>,
    /// Requests taken on whose replies are not written yet.
    requests: usize,
    /// Their payload.
    payload_bytes: u64,
    is_reading: bool,
}

/// A request that has been carried out.
struct Completed {
    cookie: u64,
    cost: u64,
    outcome: Outcome,
}

impl<F: Future<Output = Completed>> Connection<F> {
    /// Does whatever can be done. Ready when nothing more will be read and every request is carried out; replies may
    /// be left to write.
    fn poll<S, D>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
        device: &D,
        start: &impl Fn(u64, u64, Request) -> F,
    ) -> Poll<Result<(), ConnectionError>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        D: BlockDevice,
    {
        loop {
            self.poll_requests(context);
            // A full socket is no reason to stop: what is in flight goes on, and reading ends at the limits.
            if let Poll::Ready(Err(error)) = self.poll_write(context, socket) {
                return Poll::Ready(Err(error.into()));
            }
            if !self.is_reading && self.in_flight.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.take_requests(device, start)? {
                continue;
            }
            if !self.is_reading || self.is_full() {
                return Poll::Pending;
            }
            match poll_read_buf(Pin::new(&mut *socket), context, self.decoder.buffer())? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) if self.decoder.is_at_boundary() => self.is_reading = false,
                Poll::Ready(0) => return Poll::Ready(Err(ConnectionError::Truncated)),
                Poll::Ready(_) => {}
            }
        }
    }

    fn is_full(&self) -> bool {
        self.requests >= self.options.max_requests
            || self.payload_bytes >= self.options.max_payload_bytes
    }

    /// Lets the requests in flight go on.
    fn poll_requests(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(completed)) = Pin::new(&mut self.in_flight).poll_next(context) {
            self.replies
                .push(completed.cookie, completed.cost, completed.outcome);
        }
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<std::io::Result<()>> {
        if self.replies.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut written = Written::default();
        let result = self.replies.poll_write(context, socket, &mut written);
        self.requests -= written.replies;
        self.payload_bytes -= written.cost;
        result
    }

    /// Takes on the requests that have arrived, as long as the limits allow. Says whether there is something to do.
    fn take_requests<D: BlockDevice>(
        &mut self,
        device: &D,
        start: &impl Fn(u64, u64, Request) -> F,
    ) -> Result<bool, ConnectionError> {
        let mut has_work = false;
        while self.is_reading && !self.is_full() {
            let Some(incoming) = self.decoder.next_request()? else {
                break;
            };
            has_work = true;
            let cookie = incoming.header.cookie;
            match self.session.check(incoming, device.size_bytes()) {
                Ok(Request::Disconnect) => self.is_reading = false,
                Ok(request) => {
                    let cost = request.payload_bytes();
                    self.requests += 1;
                    self.payload_bytes += cost;
                    self.in_flight.push(start(cookie, cost, request));
                }
                Err(refusal) => {
                    self.requests += 1;
                    let outcome = Outcome::Failed {
                        errno: refusal.errno,
                        text: refusal.text.into_owned(),
                    };
                    self.replies.push(cookie, 0, outcome);
                }
            }
        }
        Ok(has_work)
    }
}

async fn execute<D: BlockDevice>(
    device: Arc<D>,
    cookie: u64,
    cost: u64,
    request: Request,
) -> Completed {
    let outcome = match carry_out(&*device, request).await {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Failed {
            errno: error.errno(),
            text: error.to_string(),
        },
    };
    Completed {
        cookie,
        cost,
        outcome,
    }
}

async fn carry_out<D: BlockDevice>(device: &D, request: Request) -> Result<Outcome, DeviceError> {
    match request {
        Request::Read {
            offset,
            len,
            in_one,
        } => {
            let data = device.read(offset, len).await?;
            if data.len_bytes() != len {
                return Err(DeviceError::new(
                    Errno::IO,
                    "the device read less or more than asked",
                ));
            }
            return Ok(Outcome::Data {
                offset,
                data,
                in_one,
            });
        }
        Request::Write {
            offset,
            data,
            is_fua,
        } => device.write(offset, data, is_fua).await?,
        Request::Flush => device.flush().await?,
        Request::Trim {
            offset,
            len,
            is_fua,
        } => {
            device.discard(offset, len).await?;
            flush_if(device, is_fua).await?;
        }
        Request::WriteZeroes {
            offset,
            len,
            mode,
            is_fua,
        } => {
            device.write_zeroes(offset, len, mode).await?;
            flush_if(device, is_fua).await?;
        }
        Request::Cache { offset, len } => device.prefetch(offset, len).await?,
        Request::BlockStatus {
            offset,
            len,
            only_one,
        } => {
            let extents = device.block_status(offset, len).await?;
            return Ok(Outcome::Status(fit_extents(extents, len, only_one)?));
        }
        // Taken care of by the connection.
        Request::Disconnect => {}
    }
    Ok(Outcome::Done)
}

async fn flush_if<D: BlockDevice>(device: &D, is_fua: bool) -> Result<(), DeviceError> {
    if is_fua { device.flush().await } else { Ok(()) }
}

/// What the client may be told: no more extents than a reply should have, and none beyond what was asked.
fn fit_extents(
    mut extents: Vec<BlockExtent>,
    mut len: u64,
    only_one: bool,
) -> Result<Vec<BlockExtent>, DeviceError> {
    extents.truncate(if only_one { 1 } else { MAX_EXTENTS });
    extents.retain_mut(|extent| {
        extent.len_bytes = extent.len_bytes.min(len);
        len -= extent.len_bytes;
        extent.len_bytes > 0
    });
    if extents.is_empty() {
        return Err(DeviceError::new(
            Errno::IO,
            "the device said nothing about its blocks",
        ));
    }
    Ok(extents)
}

impl Request {
    /// Bytes of payload that are in memory for it.
    fn payload_bytes(&self) -> u64 {
        match self {
            Self::Read { len, .. } => *len,
            Self::Write { data, .. } => data.len() as u64,
            _ => 0,
        }
    }
}

/// Extents in one reply; qemu's server has the same limit.
const MAX_EXTENTS: usize = (1 << 20) / 8;
