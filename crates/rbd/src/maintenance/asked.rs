//! What this client has asked the owner of an image's lock for, and what it hears of it
//! (ceph: src/librbd/ImageWatcher.cc, `notify_async_request`; Operations.cc, `C_InvokeAsyncRequest`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use rados::Errno;
use tokio::sync::watch;

use super::ERESTART;
use crate::Progress;
use crate::notification::{AsyncRequestId, ClientId, Message};

/// The requests of one open image whose end is waited for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The number of the last request.
    last: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: AsyncRequestId,
    owner: ClientId,
    heard: watch::Sender<Heard>,
}

/// What was heard of a request and not looked at yet.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    progress: Option<Progress>,
    end: Option<News>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The watchers have answered. The result is that of the owner; nobody else says anything.
    Answered(Option<i32>),
    Progress(Progress),
    Completed(i32),
    /// The lock has another owner or none, or it may be that nobody heard that the owner was done.
    OwnerLost,
    /// Nothing has been heard for too long.
    Silence,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The owner could not do it.
    Failed(Errno),
    /// The owner does not do such things.
    Unsupported,
    /// Whoever owns the lock now must be asked again.
    Again,
    /// Nobody says that the lock is theirs.
    NoOwner,
}

impl News {
    /// What it means for a request, if that has an end with it. An owner accepts requests with an id,
    /// and completes them later.
    pub(super) fn outcome(self, has_id: bool) -> Option<Outcome> {
        match self {
            Self::Answered(None) => Some(Outcome::NoOwner),
            Self::Answered(Some(0)) if has_id => None,
            Self::Answered(Some(result)) | Self::Completed(result) => Some(of_result(result)),
            Self::Progress(_) => None,
            Self::OwnerLost | Self::Silence => Some(Outcome::Again),
        }
    }
}

fn of_result(result: i32) -> Outcome {
    match Errno::check(result) {
        Ok(_) => Outcome::Done,
        Err(Errno::EOPNOTSUPP) => Outcome::Unsupported,
        Err(ERESTART | Errno::ETIMEDOUT) => Outcome::Again,
        Err(errno) => Outcome::Failed(errno),
    }
}

impl Asked {
    /// Enters a new request of this client.
    pub(super) fn enter(&self, client: ClientId) -> Asking<'_> {
        let mut table = self.lock();
        table.last += 1;
        let id = AsyncRequestId {
            client,
            request: table.last,
        };
        let (heard, news) = watch::channel(Heard::default());
        table.entries.push(Entry {
            id,
            owner: ClientId::default(),
            heard,
        });
        Asking {
            asked: self,
            id,
            news,
        }
    }

    /// Takes in what others say.
    pub(crate) fn hear(&self, message: &Message) {
        let table = self.lock();
        for entry in &table.entries {
            match *message {
                Message::AsyncProgress {
                    request,
                    done,
                    total,
                } if request == entry.id => {
                    let progress = Some(Progress { done, total });
                    entry.heard.send_modify(|heard| heard.progress = progress);
                }
                Message::AsyncComplete { request, result } if request == entry.id => {
                    entry.end(News::Completed(result));
                }
                // Very old clients do not say who they are.
                Message::ReleasedLock(owner)
                    if owner == entry.owner || owner == ClientId::default() =>
                {
                    entry.end(News::OwnerLost);
                }
                Message::AcquiredLock(owner) if owner != entry.owner => {
                    entry.end(News::OwnerLost);
                }
                _ => {}
            }
        }
    }

    /// What others said may have been missed.
    pub(crate) fn miss(&self) {
        for entry in &self.lock().entries {
            entry.end(News::OwnerLost);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// What was completed has been completed, whoever owns the lock after that.
    fn end(&self, news: News) {
        self.heard.send_modify(|heard| {
            heard.end.get_or_insert(news);
        });
    }
}

/// A request whose end is waited for; nobody waits any more when this is dropped.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    asked: &'a Asked,
    id: AsyncRequestId,
    news: watch::Receiver<Heard>,
}

impl Asking<'_> {
    /// The same however often the request is made.
    pub(super) const fn id(&self) -> AsyncRequestId {
        self.id
    }

    /// From here on, the request is made to `owner`. What was heard from others before is forgotten.
    pub(super) fn make(&mut self, owner: ClientId) {
        let mut table = self.asked.lock();
        if let Some(entry) = table.entries.iter_mut().find(|entry| entry.id == self.id) {
            entry.owner = owner;
            entry.heard.send_replace(Heard::default());
            self.news.mark_unchanged();
        }
    }

    /// What is heard next.
    ///
    /// Cancel-safe: nothing is lost by a future that is dropped.
    pub(super) async fn next(&mut self) -> News {
        loop {
            // The sender is in the table for as long as this exists.
            if self.news.changed().await.is_err() {
                return News::OwnerLost;
            }
            let heard = *self.news.borrow_and_update();
            let progress = heard.progress.map(News::Progress);
            if let Some(news) = heard.end.or(progress) {
                return news;
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.asked
            .lock()
            .entries
            .retain(|entry| entry.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use denc::GlobalId;
    use futures_util::FutureExt;

    use super::*;

    const US: ClientId = ClientId {
        gid: GlobalId(1),
        handle: 11,
    };
    const OWNER: ClientId = ClientId {
        gid: GlobalId(2),
        handle: 22,
    };
    const OTHER: ClientId = ClientId {
        gid: GlobalId(2),
        handle: 33,
    };

    fn heard(asking: &mut Asking<'_>) -> Option<News> {
        asking.next().now_or_never()
    }

    fn progress(request: AsyncRequestId, done: u64) -> Message {
        Message::AsyncProgress {
            request,
            done,
            total: 9,
        }
    }

    fn news(done: u64) -> Option<News> {
        Some(News::Progress(Progress { done, total: 9 }))
    }

    #[test]
    fn everybody_hears_of_their_own_requests() {
        let asked = Asked::default();
        let mut first = asked.enter(US);
        let mut second = asked.enter(US);
        assert_eq!((first.id().request, second.id().request), (1, 2));
        for asking in [&mut first, &mut second] {
            asking.make(OWNER);
            assert_eq!(heard(asking), None);
        }
        asked.hear(&progress(first.id(), 1));
        asked.hear(&progress(first.id(), 2));
        assert_eq!(heard(&mut first), news(2));
        assert_eq!(heard(&mut first), None);
        // The same number of another client.
        let mut id = second.id();
        id.client = OTHER;
        asked.hear(&progress(id, 3));
        let result = -5;
        asked.hear(&Message::AsyncComplete {
            request: id,
            result,
        });
        assert_eq!(heard(&mut second), None);
        asked.hear(&Message::AsyncComplete {
            request: second.id(),
            result,
        });
        assert_eq!(heard(&mut second), Some(News::Completed(-5)));
        assert_eq!(heard(&mut first), None);
        drop(first);
        drop(second);
        assert!(asked.lock().entries.is_empty());
    }

    #[test]
    fn a_lost_owner_is_noticed() {
        let lost = Some(News::OwnerLost);
        let cases = [
            (Message::ReleasedLock(OWNER), lost),
            (Message::ReleasedLock(ClientId::default()), lost),
            (Message::ReleasedLock(OTHER), None),
            (Message::AcquiredLock(OWNER), None),
            (Message::AcquiredLock(OTHER), lost),
            (Message::AcquiredLock(ClientId::default()), lost),
            (Message::HeaderUpdate, None),
        ];
        for (message, expected) in cases {
            let asked = Asked::default();
            let mut asking = asked.enter(US);
            asking.make(OWNER);
            asked.hear(&message);
            assert_eq!(heard(&mut asking), expected, "{message:?}");
        }
        let asked = Asked::default();
        let mut asking = asked.enter(US);
        asking.make(OWNER);
        asked.miss();
        assert_eq!(heard(&mut asking), lost);
    }

    #[test]
    fn what_was_heard_from_the_last_owner_is_forgotten_and_what_is_complete_is_not() {
        let asked = Asked::default();
        let mut asking = asked.enter(US);
        asking.make(OWNER);
        asked.hear(&progress(asking.id(), 1));
        asked.hear(&Message::ReleasedLock(OWNER));
        asking.make(OTHER);
        assert_eq!(heard(&mut asking), None);
        asked.hear(&Message::AsyncComplete {
            request: asking.id(),
            result: 0,
        });
        asked.hear(&Message::ReleasedLock(OTHER));
        assert_eq!(heard(&mut asking), Some(News::Completed(0)));
    }

    #[test]
    fn every_piece_of_news_means_something() {
        use Outcome::{Again, Done, Failed, NoOwner, Unsupported};
        let progress = News::Progress(Progress { done: 1, total: 2 });
        // With an id, and without.
        let table = [
            (News::Answered(None), Some(NoOwner), Some(NoOwner)),
            (News::Answered(Some(0)), None, Some(Done)),
            (
                News::Answered(Some(-95)),
                Some(Unsupported),
                Some(Unsupported),
            ),
            (News::Answered(Some(-85)), Some(Again), Some(Again)),
            (
                News::Answered(Some(-22)),
                Some(Failed(Errno::EINVAL)),
                Some(Failed(Errno::EINVAL)),
            ),
            (progress, None, None),
            (News::Completed(0), Some(Done), Some(Done)),
            (News::Completed(-85), Some(Again), Some(Again)),
            (News::Completed(-110), Some(Again), Some(Again)),
            (News::Completed(-95), Some(Unsupported), Some(Unsupported)),
            (
                News::Completed(-28),
                Some(Failed(Errno::ENOSPC)),
                Some(Failed(Errno::ENOSPC)),
            ),
            (News::OwnerLost, Some(Again), Some(Again)),
            (News::Silence, Some(Again), Some(Again)),
        ];
        for (news, with, without) in table {
            assert_eq!(news.outcome(true), with, "{news:?}");
            assert_eq!(news.outcome(false), without, "{news:?}");
        }
    }
}
