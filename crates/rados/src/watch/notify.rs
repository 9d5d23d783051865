//! Notifying the watchers of an object.

use std::time::Duration;

use bytes::Bytes;
use denc::{GlobalId, Reader};
use tokio::time::sleep;

use super::keeper::whole_seconds;
use super::new_cookie;
use super::table::{Completion, Listening};
use crate::op::Operation;
use crate::{Errno, Error, Pool, Result};

/// How much later than the time is up an OSD says so at the most. It is asked again then: if it does
/// not answer that either, it is seen to as with any operation.
const GRACE: Duration = Duration::from_secs(5);

/// One watch of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId {
    /// The client.
    pub client: GlobalId,
    /// Its number for the watch.
    pub cookie: u64,
}

/// What became of a notification (ceph: src/osd/Watch.cc, `Notify::maybe_complete_notify`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifyAnswers {
    /// The watchers that have answered, and what.
    pub answers: Vec<NotifyAnswer>,
    /// The watchers that have not answered in time.
    pub timed_out: Vec<WatcherId>,
}

/// What one watcher has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyAnswer {
    /// Who.
    pub watcher: WatcherId,
    /// What; its meaning is agreed between those who use the object.
    pub payload: Bytes,
}

impl Pool {
    /// Notifies all watchers of an object, those of this client included, and waits until they have
    /// answered or the time is up. OSDs count in whole seconds, one at least: `timeout` is rounded up.
    ///
    /// When an OSD fails meanwhile, the next one notifies the watchers again: they may be told twice,
    /// and it may take longer.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). That some watcher has not answered is no error:
    /// see [`NotifyAnswers::timed_out`].
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting. The watchers may be told all the same.
    pub async fn notify(
        &self,
        object: &str,
        payload: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<NotifyAnswers> {
        let payload = payload.into();
        let seconds = whole_seconds(timeout);
        let patience = Duration::from_secs(seconds.into()) + GRACE;
        let objecter = self.cluster().objecter();
        let cookie = new_cookie();
        let (_listening, mut completion) = Listening::as_notifier(objecter, cookie);
        let mut linger = objecter.linger(self.id(), self.namespace(), object);
        loop {
            linger.telling();
            let operation = Operation::new().notify(cookie, seconds, &payload);
            tokio::select! {
                // An OSD may say how it went before it answers the operation.
                biased;
                completion = &mut completion => return self.completed(object, completion.ok()),
                begun = self.execute(object, operation) => begun?,
            };
            tokio::select! {
                biased;
                completion = &mut completion => return self.completed(object, completion.ok()),
                () = linger.forgotten() => {}
                () = sleep(patience) => {}
            }
            tracing::debug!(object, "notifying again");
        }
    }

    fn completed(&self, object: &str, completion: Option<Completion>) -> Result<NotifyAnswers> {
        // The table keeps the sender for as long as its guard exists.
        let completion = completion.ok_or(Error::ShutDown)?;
        match Errno::check(completion.result) {
            Ok(_) | Err(Errno::ETIMEDOUT) => NotifyAnswers::parse(&completion.data)
                .map_err(|source| self.decode_error(object, source)),
            Err(errno) => Err(self.operation_error(object, errno)),
        }
    }
}

impl NotifyAnswers {
    /// Takes the data of an `MWatchNotify` apart without copying the answers.
    pub(crate) fn parse(data: &Bytes) -> denc::Result<Self> {
        let mut reader = Reader::new("answers to a notification", data);
        let mut answers = Vec::new();
        for _ in 0..reader.count(WatcherId::LEN + 4)? {
            answers.push(NotifyAnswer {
                watcher: WatcherId::decode(&mut reader)?,
                payload: data.slice_ref(reader.blob()?),
            });
        }
        let mut timed_out = Vec::new();
        for _ in 0..reader.count(WatcherId::LEN)? {
            timed_out.push(WatcherId::decode(&mut reader)?);
        }
        Ok(Self { answers, timed_out })
    }
}

impl WatcherId {
    const LEN: usize = 16;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            client: reader.get()?,
            cookie: reader.u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use denc::Writer;

    use super::*;

    #[test]
    fn answers_are_understood_and_every_cut_is_noticed() {
        let mut writer = Writer::new();
        writer.u32(2);
        for (client, payload) in [(4, &b"yes"[..]), (5, b"")] {
            writer.u64(client).u64(77).blob(payload);
        }
        writer.u32(1).u64(6).u64(78);
        let data = writer.freeze();
        let parsed = NotifyAnswers::parse(&data).unwrap();
        let watcher = |client, cookie| WatcherId {
            client: GlobalId(client),
            cookie,
        };
        let answer = |client, payload: &'static [u8]| NotifyAnswer {
            watcher: watcher(client, 77),
            payload: Bytes::from_static(payload),
        };
        assert_eq!(parsed.answers, [answer(4, b"yes"), answer(5, b"")]);
        assert_eq!(parsed.timed_out, [watcher(6, 78)]);
        for len in 0..data.len() {
            assert!(NotifyAnswers::parse(&data.slice(..len)).is_err(), "{len}");
        }
    }
}
