//! A Unix socket of which one is not told each time that it can be written.
//!
//! The kernel says that a Unix socket can be written whenever the peer has read something from it. Who
//! waits for requests would be woken for every reply that a client takes, and find nothing to do: with
//! one request at a time, that is every third time. So what is registered is readability alone, and
//! writability only while a write waits for it.

use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// A connected Unix socket.
#[derive(Debug)]
pub struct UnixSocket {
    /// Reading from a socket is the same system call as from a pipe, and registered as is needed here.
    reader: pipe::Receiver,
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    /// Not registered.
    Idle(UnixStream),
    /// Registered, as a write waits.
    Waiting(pipe::Sender),
    /// After an error.
    Lost,
}

impl UnixSocket {
    /// Registers a socket with the current runtime.
    ///
    /// # Errors
    /// If the system refuses.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        widen(&socket)?;
        let reader = OwnedFd::from(socket.try_clone()?);
        Ok(Self {
            reader: pipe::Receiver::from_owned_fd_unchecked(reader)?,
            writer: Writer::Idle(socket),
        })
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Writer::Waiting(waiting) = &self.writer {
                ready!(waiting.poll_write_ready(context))?;
            }
            self.writer = match std::mem::replace(&mut self.writer, Writer::Lost) {
                Writer::Waiting(waiting) => {
                    Writer::Idle(UnixStream::from(waiting.into_nonblocking_fd()?))
                }
                Writer::Idle(socket) => match write(&socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let socket = OwnedFd::from(socket);
                        Writer::Waiting(pipe::Sender::from_owned_fd_unchecked(socket)?)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        Writer::Idle(socket)
                    }
                    written => {
                        self.writer = Writer::Idle(socket);
                        return Poll::Ready(written);
                    }
                },
                Writer::Lost => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
    }
}

/// Lets more be written to a socket before its peer reads: a few long replies, or requests, instead of
/// pieces of one, each of which costs both sides a wake-up.
///
/// # Errors
/// If the system refuses. It makes the buffer smaller where no larger one is allowed.
pub(crate) fn widen(socket: &UnixStream) -> io::Result<()> {
    Ok(set_socket_send_buffer_size(socket, SEND_BUFFER)?)
}

impl AsyncRead for UnixSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(context, buffer)
    }
}

impl AsyncWrite for UnixSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |mut socket| socket.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = match &self.writer {
            Writer::Idle(socket) => rustix::net::shutdown(socket, Shutdown::Write),
            Writer::Waiting(socket) => rustix::net::shutdown(socket, Shutdown::Write),
            Writer::Lost => Ok(()),
        };
        Poll::Ready(shut_down.map_err(Into::into))
    }
}

/// Linux doubles that, for what it needs itself.
const SEND_BUFFER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pair() -> (UnixSocket, UnixSocket) {
        let (left, right) = UnixStream::pair().unwrap();
        (
            UnixSocket::new(left).unwrap(),
            UnixSocket::new(right).unwrap(),
        )
    }

    #[tokio::test]
    async fn more_than_the_socket_takes_arrives_whole() {
        let (mut left, mut right) = pair();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut received = Vec::new();
        let (written, read) = tokio::join!(
            async {
                left.write_all(&bytes).await?;
                left.shutdown().await
            },
            right.read_to_end(&mut received)
        );
        written.unwrap();
        assert_eq!(read.unwrap(), bytes.len());
        assert!(received == bytes);
        assert!(matches!(left.writer, Writer::Idle(_)));
        // The other direction is still open.
        right.write_all(b"answer").await.unwrap();
        drop(right);
        received.clear();
        left.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"answer");
    }

    #[tokio::test]
    async fn who_waits_for_requests_is_not_woken_for_replies_taken() {
        let (mut server, mut client) = pair();
        let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let mut bytes = [0; 16];
        let mut buffer = ReadBuf::new(&mut bytes);
        let reading = Pin::new(&mut server).poll_read(&mut context, &mut buffer);
        assert!(reading.is_pending());
        for _ in 0..10 {
            server.write_all(b"reply").await.unwrap();
            client.read_exact(&mut [0; 5]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        client.write_all(b"request").await.unwrap();
        while wakes.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let reading = Pin::new(&mut server).poll_read(&mut context, &mut buffer);
        assert!(reading.is_ready());
        assert_eq!(buffer.filled(), b"request");
    }
}
