//! Finding out whether the cluster behind an image answers.

use std::time::Duration;

use rbd::{Image, LockStatus};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::control::ClusterState;
use crate::serving::Probe;

/// Asks the cluster that an image is in.
#[derive(Debug)]
pub struct ImageProbe {
    image: Image,
    monitors: Question,
    osds: Question,
}

impl ImageProbe {
    /// For an open image.
    pub fn new(image: Image) -> Self {
        Self {
            image,
            monitors: Question::default(),
            osds: Question::default(),
        }
    }
}

impl Probe for ImageProbe {
    async fn cluster(&self, limit: Duration) -> ClusterState {
        let monitors = self.monitors.ask(limit, || {
            let cluster = self.image.pool().cluster().clone();
            // A refusal is an answer, too.
            async move { drop(cluster.update_osdmap().await) }
        });
        let osds = self.osds.ask(limit, || {
            let image = self.image.clone();
            async move { drop(image.watchers().await) }
        });
        let answers = tokio::join!(monitors, osds);
        match (answers, self.image.lock_status()) {
            (_, LockStatus::Blocklisted) => ClusterState::Fenced,
            ((true, true), LockStatus::Waiting(_)) => ClusterState::Locked,
            ((true, true), _) => ClusterState::Answers,
            ((false, true), _) => ClusterState::MonitorsSilent,
            ((true, false), _) => ClusterState::OsdsSilent,
            ((false, false), _) => ClusterState::Silent,
        }
    }
}

/// A question that is not asked again before it has been answered, so that questions do not pile up.
#[derive(Debug, Default)]
struct Question {
    asked: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Question {
    /// Says whether an answer comes in time.
    async fn ask<F>(&self, limit: Duration, ask: impl FnOnce() -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let answered = async {
            let mut asked = self.asked.lock().await;
            // What it was answered late says nothing of now.
            asked.take_if(|question| question.is_finished());
            let question = asked.get_or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(ask())));
            // A question that cannot even be asked is not worth being told from one that was answered.
            let _ = question.await;
            *asked = None;
        };
        timeout(limit, answered).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn one_question_is_under_way_at_a_time() {
        let question = Question::default();
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                answer.notified().await;
            }
        };
        let moment = Duration::from_millis(10);
        assert!(!question.ask(moment, ask).await);
        assert!(!question.ask(moment, ask).await);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        answer.notify_one();
        assert!(question.ask(Duration::MAX, ask).await);
        assert!(!question.ask(moment, ask).await);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // An answer that nobody waited for is none to the next question.
        answer.notify_one();
        while !question.asked.lock().await.as_ref().unwrap().is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(!question.ask(moment, ask).await);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
