//! An open connection in the hands of its owner.

use std::fmt;
use std::sync::Arc;

use denc::{EntityAddr, UTime};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::shared::Shared;
use super::{CompressedFrames, Handler, io_error};
use crate::{ConnectionInfo, Error, Incoming, Message, Open, Receiver, Session, connection};

/// An open connection. Dropping it closes the connection and ends its tasks.
pub struct Link {
    handle: Handle,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    session: connection::Link,
}

impl Link {
    pub(super) fn start<H: Handler>(
        stream: TcpStream,
        addr: EntityAddr,
        open: Open,
        handler: Arc<H>,
    ) -> Self {
        let (mut incoming, outgoing) = stream.into_split();
        let outgoing = Arc::new(outgoing);
        let received = open.receiver.last_received();
        let shared = Arc::new(Shared::new(
            Arc::clone(&outgoing),
            addr,
            open.info,
            open.sender,
            received,
        ));
        let reader = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                let _guard = CloseOnDrop(&shared);
                let error = read(&shared, &mut incoming, open.receiver, &*handler).await;
                if let Some(error) = shared.end(error) {
                    tracing::debug!(peer = %shared.addr, %error, "connection ended");
                    handler.closed(error);
                }
            }
        });
        let writer = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { shared.run_writer(&outgoing).await }
        });
        Self {
            handle: Handle(shared),
            reader,
            writer,
            session: open.link,
        }
    }

    /// A handle for those who send. It does not keep the connection open.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Closes the connection and waits until its tasks have ended: the handler is not called any
    /// more. Gives the session to go on with, unless it is lossy. What was not written is lost,
    /// but for the messages of that session.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection all the same; the session is lost.
    pub async fn close(mut self) -> Option<Session> {
        self.handle.0.close();
        for task in [&mut self.reader, &mut self.writer] {
            // An error only says that the task was aborted or panicked; it has ended either way.
            let _ = task.await;
        }
        if self.handle.info().is_lossy {
            return None;
        }
        let (received, sent) = self.handle.0.take_session();
        Some(self.session.clone().into_session(received, sent))
    }
}

impl std::ops::Deref for Link {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.handle.0.close();
        self.reader.abort();
        self.writer.abort();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.handle.0.addr).finish()
    }
}

/// Closes the connection even when a handler has panicked, so that senders do not go on into
/// nowhere.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Sends on a connection that somebody else owns.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Sends a message. A single one is written on the spot; what the socket does not take, and
    /// messages in quick succession, are gathered for the connection's writer, which writes them in
    /// one go. Never blocks, and may be called from anywhere.
    ///
    /// What waits is not bounded here: see [`queued_bytes`](Self::queued_bytes).
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection has ended, [`Error::MessageTooLong`]. In a session that
    /// is not lossy a message refused because the connection has ended may yet be sent again.
    pub fn send(&self, message: Message) -> Result<(), Error> {
        self.0.send(message)
    }

    /// Asks the peer for a sign of life. `stamp` must not be zero.
    ///
    /// # Errors
    /// [`Error::Closed`] if the connection has ended.
    pub fn keepalive(&self, stamp: UTime) -> Result<(), Error> {
        self.0.keepalive(stamp)
    }

    /// The stamp of the last sign of life the peer was asked for and gave.
    pub fn last_keepalive_ack(&self) -> Option<UTime> {
        self.0.last_keepalive_ack()
    }

    /// When bytes of any kind arrived last, to the millisecond.
    pub fn last_heard(&self) -> Instant {
        self.0.heard()
    }

    /// What was agreed on.
    pub fn info(&self) -> &ConnectionInfo {
        &self.0.info
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// Bytes of messages kept until the peer acknowledges them; 0 in lossy sessions.
    pub fn unacknowledged_bytes(&self) -> usize {
        self.0.unacknowledged_bytes()
    }

    /// How many frames were compressed so far; none unless [agreed on](ConnectionInfo::compression).
    pub fn compressed_frames(&self) -> CompressedFrames {
        self.0.compressed_frames()
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Closes the connection. What was not written never will be.
    pub fn close(&self) {
        self.0.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0.addr).finish()
    }
}

/// The reader. Ends with the reason.
async fn read<H: Handler>(
    shared: &Shared,
    stream: &mut OwnedReadHalf,
    mut receiver: Receiver,
    handler: &H,
) -> Error {
    loop {
        // Everything that has arrived is handled before the socket is asked for more.
        loop {
            match receiver.poll_incoming() {
                Ok(Some(incoming)) => {
                    if let Err(error) = dispatch(shared, &receiver, incoming, handler) {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(error) => return error,
            }
        }
        shared.note_batch();
        if let Err(error) = fill(shared, stream, &mut receiver).await {
            return error;
        }
        shared.note_heard();
    }
}

fn dispatch<H: Handler>(
    shared: &Shared,
    receiver: &Receiver,
    incoming: Incoming,
    handler: &H,
) -> Result<(), Error> {
    match incoming {
        Incoming::Message(message, ack_seq) => {
            if shared.info.compression.is_some() {
                shared.note_compressed(receiver.compressed_frames());
            }
            shared.note_received(receiver.last_received());
            shared.note_acknowledged(ack_seq)?;
            handler.message(message);
        }
        Incoming::Ack(seq) => shared.note_acknowledged(seq)?,
        Incoming::Keepalive(stamp) => shared.note_keepalive(stamp),
        Incoming::KeepaliveAck(stamp) => shared.note_keepalive_ack(stamp),
    }
    Ok(())
}

/// Reads once, waiting until there is something to read.
///
/// Reads through `AsyncRead`, unlike the writing side: it knows that a read of less than was asked
/// for has emptied the socket, and saves asking again to be told so.
async fn fill(
    shared: &Shared,
    stream: &mut OwnedReadHalf,
    receiver: &mut Receiver,
) -> Result<(), Error> {
    let mut space = receiver.space();
    let read = tokio::select! {
        biased;
        read = stream.read_buf(&mut space) => read,
        () = shared.closing() => return Err(Error::Closed),
    };
    match read {
        Ok(0) => Err(Error::PeerClosed),
        Ok(_) if shared.is_closed() => Err(Error::Closed),
        Ok(_) => Ok(()),
        Err(source) => Err(io_error("cannot read from", shared.addr, source)),
    }
}
