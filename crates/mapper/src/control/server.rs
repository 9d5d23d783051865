//! The daemon's side.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Answer, MAX_LINE, NEWS_INTERVAL, Request, Status, Stop, short_path};
use crate::error::{Error, Result};

/// Whom status is asked of.
pub trait Subject: Send + Sync + 'static {
    /// How it is. The cluster may take as long as `limit` to answer.
    ///
    /// **Cancellation:** safe.
    fn status(&self, limit: Duration) -> impl Future<Output = Status> + Send;
}

/// A daemon's ear. Status is told by its own tasks; what is to stop comes out of [`next_stop`](Self::next_stop).
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    stops: mpsc::Receiver<StopRequest>,
    closing: CancellationToken,
    task: JoinHandle<()>,
}

/// Somebody wants the daemon to stop.
#[derive(Debug)]
pub struct StopRequest {
    /// How.
    pub stop: Stop,
    reply: oneshot::Sender<Answer>,
}

impl StopRequest {
    /// Tells how it went: [`Answer::Stopped`] or [`Answer::Refused`].
    pub fn reply(self, answer: Answer) {
        // Who asked may have gone.
        let _ = self.reply.send(answer);
    }
}

impl Control {
    /// Begins to listen at a path. Whoever may use its directory may use the socket.
    ///
    /// # Errors
    /// If that is not possible.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn listen(path: &Path, subject: Arc<impl Subject>) -> Result<Self> {
        let (_directory, short) = short_path(path)?;
        // Left by a daemon that died and had the same number.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::path("remove", path)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(short).map_err(Error::path("listen on", path))?;
        let (sender, stops) = mpsc::channel(MAX_CONNECTIONS);
        let closing = CancellationToken::new();
        let task = tokio::spawn(accept(listener, subject, sender, closing.clone()));
        Ok(Self {
            path: path.to_owned(),
            stops,
            closing,
            task,
        })
    }

    /// Waits for somebody who wants the daemon to stop.
    ///
    /// **Cancellation:** safe.
    pub async fn next_stop(&mut self) -> StopRequest {
        match self.stops.recv().await {
            Some(request) => request,
            // The task that listens has died, so nobody will come.
            None => std::future::pending().await,
        }
    }

    /// Lets nobody in any more, and gives those who are in a moment to hear their answers.
    pub async fn close(mut self) {
        self.closing.cancel();
        // Whoever is still to be answered hears that nobody does.
        self.stops.close();
        if timeout(CLOSE_LIMIT, &mut self.task).await.is_err() {
            debug!("somebody did not take an answer");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!(%error, path = %self.path.display(), "the socket stays");
        }
    }
}

async fn accept(
    listener: UnixListener,
    subject: Arc<impl Subject>,
    stops: mpsc::Sender<StopRequest>,
    closing: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let (subject, stops) = (Arc::clone(&subject), stops.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(socket, &*subject, &stops).await {
                        debug!(%error, "lost somebody who asked");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "cannot hear who asks");
                tokio::time::sleep(NEWS_INTERVAL).await;
            }
        }
    }
    drop((listener, stops));
    while connections.join_next().await.is_some() {}
}

/// Answers one request.
async fn serve(
    socket: UnixStream,
    subject: &impl Subject,
    stops: &mpsc::Sender<StopRequest>,
) -> io::Result<()> {
    let (reader, mut writer) = socket.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    timeout(REQUEST_LIMIT, reader.read_line(&mut line)).await??;
    let stop = match serde_json::from_str(&line)? {
        Request::Status(limit) => {
            let status = subject.status(limit).await;
            return send(&mut writer, &Answer::Status(status)).await;
        }
        Request::Stop(stop) => stop,
    };
    let (reply, answer) = oneshot::channel();
    if stops.send(StopRequest { stop, reply }).await.is_err() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut news = interval(NEWS_INTERVAL);
    news.set_missed_tick_behavior(MissedTickBehavior::Delay);
    news.tick().await;
    tokio::pin!(answer);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => {
                let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
                return send(&mut writer, &answer).await;
            }
            _ = news.tick() => {}
        }
        // While this asks the cluster, the answer may come.
        let status = tokio::select! {
            status = subject.status(NEWS_INTERVAL) => status,
            answer = &mut answer => {
                let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
                return send(&mut writer, &answer).await;
            }
        };
        send(&mut writer, &Answer::Waiting(status)).await?;
    }
}

async fn send(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    answer: &Answer,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// People who ask at a time; more have to wait.
const MAX_CONNECTIONS: usize = 16;

/// How long a request may take to arrive.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How long answers may take to be taken when the daemon ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
