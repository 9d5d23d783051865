//! The owner's side: what others ask for is carried out, one after the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use rados::{Errno, NotifyAnswers, NotifyReply, WatcherId};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::served::{Known, MAX_PENDING, Served};
use super::{ERESTART, NOTIFY_TIMEOUT};
use crate::notification::{AsyncRequestId, Maintenance, Message, Request, Response};
use crate::{Image, Progress};

/// What others have asked the owner of an image's lock for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    shared: Mutex<Shared>,
    /// There is a job, or a result to be told again.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Shared {
    served: Served,
    /// At most [`MAX_PENDING`].
    jobs: VecDeque<Job>,
    /// Results that somebody has missed, at most [`MAX_PENDING`].
    again: VecDeque<Completion>,
}

/// Something to be carried out.
#[derive(Debug)]
struct Job {
    wanted: Maintenance,
    client: Client,
}

/// To whom the result is told.
#[derive(Debug)]
enum Client {
    /// In an `AsyncComplete`. The request has been answered.
    WithId(AsyncRequestId),
    /// In the answer.
    Waiting(NotifyReply),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Completion {
    request: AsyncRequestId,
    result: i32,
}

impl Requests {
    /// Takes on a request, as the owner of the lock, and answers it as far as that is possible now.
    pub(crate) fn receive(&self, request: Request, reply: NotifyReply) {
        if !request.wanted.is_served() {
            let what = request.wanted.name();
            tracing::debug!(what, "another client shall do this itself");
            return answer(reply, Err(Errno::EOPNOTSUPP));
        }
        let mut shared = self.lock();
        match request.id {
            Some(id) => {
                let accepted = shared.accept(id, request.wanted);
                drop(shared);
                answer(reply, accepted);
            }
            None if shared.jobs.len() < MAX_PENDING => shared.jobs.push_back(Job {
                wanted: request.wanted,
                client: Client::Waiting(reply),
            }),
            None => {
                drop(shared);
                answer(reply, Err(Errno::EBUSY));
            }
        }
        self.arrived.notify_one();
    }

    /// The next thing to do.
    ///
    /// Cancel-safe.
    async fn next(&self, wants_job: bool) -> Next {
        loop {
            {
                let mut shared = self.lock();
                if let Some(completion) = shared.again.pop_front() {
                    return Next::Tell(completion);
                }
                if wants_job && let Some(job) = shared.jobs.pop_front() {
                    return Next::Do(job);
                }
            }
            self.arrived.notified().await;
        }
    }

    /// A job is over. Gives what is to be told to everybody.
    fn finish(&self, client: Client, result: Result<(), Errno>) -> Option<Completion> {
        match client {
            Client::Waiting(reply) => {
                answer(reply, result);
                None
            }
            Client::WithId(request) => {
                let served = &mut self.lock().served;
                if result == Err(ERESTART) {
                    served.forget(request);
                } else {
                    served.finish(request, code(result), Instant::now());
                }
                Some(Completion {
                    request,
                    result: code(result),
                })
            }
        }
    }

    /// Nothing panics while the lock is held, so a poisoned lock guards a consistent state.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What comes for the second time is not done again. Its requester may have missed the result.
    fn accept(&mut self, id: AsyncRequestId, wanted: Maintenance) -> Result<(), Errno> {
        match self.served.receive(id, Instant::now()) {
            Known::New => self.jobs.push_back(Job {
                wanted,
                client: Client::WithId(id),
            }),
            Known::Pending => {}
            Known::Done(result) => {
                let completion = Completion {
                    request: id,
                    result,
                };
                if self.again.len() < MAX_PENDING && !self.again.contains(&completion) {
                    self.again.push_back(completion);
                }
            }
            Known::TooMany => return Err(Errno::EBUSY),
        }
        Ok(())
    }
}

enum Next {
    Do(Job),
    Tell(Completion),
}

fn answer(reply: NotifyReply, result: Result<(), Errno>) {
    let response = Response {
        result: code(result),
    };
    reply.send(response.to_answer());
}

fn code(result: Result<(), Errno>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => -errno.0,
    }
}

/// Carries out what others ask for, until it is dropped.
///
/// A box because waiting for the lock starts this, and this waits for the lock.
pub(crate) fn serve(image: Image) -> Pin<Box<dyn Future<Output = Infallible> + Send>> {
    Box::pin(async move { serve_all(&image).await })
}

async fn serve_all(image: &Image) -> Infallible {
    let requests = image.requests();
    let mut telling = FuturesUnordered::new();
    let mut running = pin!(None);
    loop {
        let has_room = telling.len() < MAX_TELLING;
        let is_free = running.is_none();
        tokio::select! {
            next = requests.next(is_free), if has_room => match next {
                Next::Do(job) => running.set(Some(run(image, job))),
                Next::Tell(completion) => telling.push(tell(image, completion)),
            },
            completion = when_done(running.as_mut()) => {
                running.set(None);
                telling.extend(completion.map(|completion| tell(image, completion)));
            }
            Some(()) = telling.next(), if !telling.is_empty() => {}
        }
    }
}

async fn when_done<F: Future>(running: Pin<&mut Option<F>>) -> F::Output {
    match running.as_pin_mut() {
        Some(running) => running.await,
        None => pending().await,
    }
}

/// Carries out one request, and says how far it has come.
async fn run(image: &Image, job: Job) -> Option<Completion> {
    let Job { wanted, client } = job;
    let name = image.full_name();
    let what = wanted.name();
    tracing::info!(
        image = name,
        what,
        ?client,
        "maintenance for another client begins"
    );
    let (sender, progress) = watch::channel(None);
    let report = async {
        match &client {
            Client::WithId(id) => report(image, *id, progress).await,
            Client::Waiting(_) => pending::<Infallible>().await,
        }
    };
    let result = tokio::select! {
        biased;
        result = perform(image, &wanted, |progress| {
            sender.send_replace(Some(progress));
        }) => result,
        never = report => match never {},
    };
    if result.is_ok() {
        tracing::info!(
            image = name,
            what,
            ?client,
            "maintenance for another client is done"
        );
    }
    image.requests().finish(client, result)
}

/// Carries out something under the lock, which may have been given up since it was asked for.
async fn perform(
    image: &Image,
    wanted: &Maintenance,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<(), Errno> {
    // Not taken again: it may have been given up because the image is being closed.
    let ownership = image.keep_lock().ok_or(ERESTART)?;
    let done = image.perform(ownership, wanted, &mut progress).await;
    done.map_err(|error| {
        let what = wanted.name();
        tracing::warn!(image = image.full_name(), what, %error, "maintenance for another client");
        error.errno()
    })
}

/// Tells the requester how far its request is, at a bearable rate.
async fn report(
    image: &Image,
    request: AsyncRequestId,
    mut progress: watch::Receiver<Option<Progress>>,
) -> Infallible {
    while progress.changed().await.is_ok() {
        let latest = *progress.borrow_and_update();
        if let Some(Progress { done, total }) = latest {
            let message = Message::AsyncProgress {
                request,
                done,
                total,
            };
            notify(image, &message).await;
        }
        sleep(PROGRESS_INTERVAL).await;
    }
    pending().await
}

/// Tells a requester the result, more than once if it does not seem to hear it.
async fn tell(image: &Image, Completion { request, result }: Completion) {
    let requester = WatcherId {
        client: request.client.gid,
        cookie: request.client.handle,
    };
    for _ in 0..TELL_ATTEMPTS {
        let answers = notify(image, &Message::AsyncComplete { request, result }).await;
        let is_deaf = answers.is_some_and(|answers| answers.timed_out.contains(&requester));
        if !is_deaf {
            return;
        }
    }
    // It asks again if it ever wakes up.
    tracing::info!(
        image = image.full_name(),
        ?request,
        "the requester does not hear the result"
    );
}

async fn notify(image: &Image, message: &Message) -> Option<NotifyAnswers> {
    let (pool, header) = (image.pool(), image.header_object());
    match pool
        .notify(header, message.to_payload(), NOTIFY_TIMEOUT)
        .await
    {
        Ok(answers) => Some(answers),
        Err(error) => {
            tracing::warn!(image = image.full_name(), %error, "cannot tell another client");
            None
        }
    }
}

/// Requesters wait for 30 seconds unless configured otherwise; people like to see that something moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Results that are being told at the same time.
const MAX_TELLING: usize = 16;
const TELL_ATTEMPTS: usize = 3;
