//! The answer to a notification.

use std::fmt;

use bytes::Bytes;

/// Takes the answer to one notification. Dropping it answers with nothing.
///
/// It may be kept for as long as it takes; but a watch has room for 64 unanswered notifications, and
/// what comes beyond that is missed.
pub struct NotifyReply {
    send: Option<Box<dyn FnOnce(Bytes) + Send + Sync>>,
}

impl NotifyReply {
    /// A reply that hands the answer to `send`: for handlers that are given notifications by something
    /// else than a watch.
    pub fn new(send: impl FnOnce(Bytes) + Send + Sync + 'static) -> Self {
        Self {
            send: Some(Box::new(send)),
        }
    }

    /// Answers. It is not known whether the notifier still waits.
    pub fn send(mut self, payload: impl Into<Bytes>) {
        self.answer(payload.into());
    }

    fn answer(&mut self, payload: Bytes) {
        if let Some(send) = self.send.take() {
            send(payload);
        }
    }
}

impl Drop for NotifyReply {
    fn drop(&mut self) {
        self.answer(Bytes::new());
    }
}

impl fmt::Debug for NotifyReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotifyReply").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn every_reply_answers_once() {
        let (sender, answers) = mpsc::channel();
        let reply = || {
            let sender = sender.clone();
            NotifyReply::new(move |payload| sender.send(payload).unwrap())
        };
        reply().send("yes");
        drop(reply());
        let answers: Vec<_> = answers.try_iter().collect();
        assert_eq!(answers, ["yes", ""]);
    }
}
