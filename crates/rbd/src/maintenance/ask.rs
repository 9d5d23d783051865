//! The requester's side: the owner of the lock is asked, and if there is none any more, or if it does
//! not do such things, this client becomes the owner.

use std::pin::pin;
use std::time::Duration;

use denc::GlobalId;
use rados::NotifyAnswers;
use tokio::time::{Instant, sleep};

use super::NOTIFY_TIMEOUT;
use super::asked::{Asking, News, Outcome};
use crate::exclusive_lock::Maintainer;
use crate::notification::{ClientId, Maintenance, Message, Request, Response};
use crate::{Features, Image, Locker, Progress, Result};

impl Image {
    /// Has something done: by this client if nobody who is alive owns the lock, by the owner otherwise.
    ///
    /// # Errors
    /// [`Error::OwnerFailed`](crate::Error::OwnerFailed) if the owner could not do it; what it fails with here; as
    /// [`acquire_lock`](Self::acquire_lock).
    ///
    /// # Cancellation
    /// Dropping the future leaves what is done here as that says, and what the owner does to the owner.
    pub(crate) async fn maintain(
        &self,
        wanted: &Maintenance,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<()> {
        let mut asking = None;
        loop {
            let owner = match self.lock_for_maintenance().await? {
                Maintainer::Owner(ownership) => {
                    return self.perform(ownership, wanted, &mut progress).await;
                }
                Maintainer::Remote(owner) => owner,
            };
            let asking = match &mut asking {
                Some(asking) => asking,
                none => none.insert(self.ask_as_watcher()?),
            };
            let outcome = self.ask(&owner, wanted, asking, &mut progress).await?;
            tracing::debug!(image = self.full_name(), %owner, ?outcome, "asked the owner");
            match outcome {
                Outcome::Done | Outcome::Failed(_) | Outcome::Again => {}
                Outcome::Unsupported => self.acquire_lock().await?,
                Outcome::NoOwner => sleep(RETRY).await,
            }
            self.refresh().await?;
            // It may have been done, though nobody said so or it failed when it was asked for again.
            if outcome == Outcome::Done || self.has_come_true(wanted) {
                return Ok(());
            }
            if let Outcome::Failed(errno) = outcome {
                return Err(self.not_done(wanted, &owner.to_string(), errno));
            }
        }
    }

    /// Who has found another owner watches the header, and is told the result by that.
    fn ask_as_watcher(&self) -> Result<Asking<'_>> {
        let client = self.lock().client().ok_or(rados::Error::ShutDown)?;
        Ok(self.asked().enter(client))
    }

    /// Asks one owner once.
    async fn ask(
        &self,
        owner: &Locker,
        wanted: &Maintenance,
        asking: &mut Asking<'_>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Outcome> {
        let request = Request {
            id: wanted.takes_id().then(|| asking.id()),
            wanted: wanted.clone(),
        };
        let has_id = request.id.is_some();
        let patience = self.patience()?;
        // What has no id is done before it is answered.
        let limit = if has_id { NOTIFY_TIMEOUT } else { patience };
        asking.make(client_of(owner));
        let payload = Message::Request(request).to_payload();
        let mut asked = pin!(self.pool().notify(self.header_object(), payload, limit));
        let mut is_answered = false;
        let mut silence = pin!(sleep(patience));
        loop {
            let news = tokio::select! {
                news = asking.next() => news,
                answers = asked.as_mut(), if !is_answered => {
                    is_answered = true;
                    News::Answered(owners_answer(owner, &answers?))
                }
                () = silence.as_mut(), if is_answered => News::Silence,
            };
            if let Some(outcome) = news.outcome(has_id) {
                return Ok(outcome);
            }
            if let News::Progress(latest) = news {
                progress(latest);
            }
            silence.as_mut().reset(Instant::now() + patience);
        }
    }

    /// How long the owner may be silent (`rbd_request_timed_out_seconds`).
    fn patience(&self) -> Result<Duration> {
        let seconds = self.option(&["rbd_request_timed_out_seconds"])?;
        Ok(seconds.map_or(PATIENCE, Duration::from_secs))
    }

    /// Whether the image is as it was to become, as far as that shows.
    fn has_come_true(&self, wanted: &Maintenance) -> bool {
        match wanted {
            Maintenance::UpdateFeatures { features, enabled } => {
                let present = self.features().and(*features);
                present == if *enabled { *features } else { Features::NONE }
            }
            _ => false,
        }
    }
}

/// The client that holds a lock, by the cookie of its watch, which is part of that of the lock.
fn client_of(owner: &Locker) -> ClientId {
    ClientId {
        gid: GlobalId(owner.name.num.cast_unsigned()),
        handle: owner.watch_cookie().unwrap_or_default(),
    }
}

/// What the owner says; all others answer with nothing.
fn owners_answer(owner: &Locker, answers: &NotifyAnswers) -> Option<i32> {
    let answers = answers.answers.iter();
    let mut results = answers.filter_map(|answer| match Response::from_answer(&answer.payload) {
        Ok(response) => Some(response?.result),
        Err(error) => {
            tracing::warn!(%owner, %error, "odd answer to a request");
            None
        }
    });
    results.next()
}

/// How long an owner may be silent unless configured otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// When to ask again where nobody answers.
const RETRY: Duration = Duration::from_secs(1);
