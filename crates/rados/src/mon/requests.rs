//! Questions to the monitors that wait for an answer. They are asked again, under the same number,
//! whenever another monitor has been found.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use denc::{Tid, Uuid, Writer};
use msgr2::Message;
use tokio::sync::oneshot;

use super::MonClient;
use crate::msg::kind;
use crate::msg::mon::{MonCommand, MonGetVersion};
use crate::{Error, Result};

/// What can be asked.
#[derive(Debug)]
pub(super) enum Question {
    /// A command as JSON text, with its input.
    Command {
        /// Its `prefix`.
        name: String,
        json: String,
        input: Bytes,
    },
    /// The newest version of a map.
    Version { what: &'static str },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { name, .. } => write!(f, "the monitor command {name:?}"),
            Self::Version { what } => write!(f, "asking the monitors for the newest {what}"),
        }
    }
}

/// What was answered. Which fields count depends on the question.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) result: i32,
    pub(super) status: String,
    pub(super) data: Bytes,
    pub(super) version: u64,
}

/// The questions that have not been answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<Tid, Open>,
    last_tid: Tid,
}

#[derive(Debug)]
struct Open {
    question: Question,
    /// Whether it has been asked in the current session.
    asked: bool,
    sender: oneshot::Sender<Answer>,
}

impl Requests {
    pub(super) fn add(&mut self, question: Question) -> (Tid, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        self.last_tid.0 += 1;
        self.open.insert(
            self.last_tid,
            Open {
                question,
                asked: false,
                sender,
            },
        );
        (self.last_tid, receiver)
    }

    /// A session with another monitor begins, which has been asked nothing yet.
    pub(super) fn ask_again(&mut self) {
        self.open.values_mut().for_each(|open| open.asked = false);
    }

    /// The messages for all questions that have not been asked in this session, oldest first.
    /// Commands wait until the cluster's id is known.
    pub(super) fn messages(&mut self, fsid: Option<Uuid>) -> Vec<Message> {
        let open = self.open.iter_mut().filter(|(_, open)| !open.asked);
        open.filter_map(|(tid, open)| {
            let message = open.question.message(*tid, fsid)?;
            open.asked = true;
            Some(message)
        })
        .collect()
    }

    /// Whether a monitor owes an answer.
    pub(super) fn are_asked(&self) -> bool {
        self.open.values().any(|open| open.asked)
    }

    /// How many have not been answered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Hands the answer to whoever asked.
    pub(super) fn answered(&mut self, tid: Tid, answer: Answer) {
        if let Some(open) = self.open.remove(&tid) {
            let _ = open.sender.send(answer);
        }
    }

    /// Nobody will answer any more.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}

impl Question {
    fn message(&self, tid: Tid, fsid: Option<Uuid>) -> Option<Message> {
        let mut message = Message {
            tid,
            priority: super::session::PRIORITY,
            version: 1,
            compat_version: 1,
            ..Message::default()
        };
        match self {
            Self::Command { json, input, .. } => {
                message.kind = kind::MON_COMMAND;
                message.front = Writer::encode(&MonCommand {
                    fsid: fsid?,
                    command: json,
                });
                message.data = input.clone().into();
            }
            Self::Version { what } => {
                message.kind = kind::MON_GET_VERSION;
                message.front = Writer::encode(&MonGetVersion { handle: tid, what });
            }
        }
        Some(message)
    }
}

/// A question being waited for; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    tid: Tid,
    receiver: oneshot::Receiver<Answer>,
    client: &'a MonClient,
}

impl<'a> Pending<'a> {
    pub(super) const fn new(
        tid: Tid,
        receiver: oneshot::Receiver<Answer>,
        client: &'a MonClient,
    ) -> Self {
        Self {
            tid,
            receiver,
            client,
        }
    }

    pub(super) async fn answer(mut self) -> Result<Answer> {
        (&mut self.receiver).await.map_err(|_| Error::ShutDown)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.client.lock().requests.open.remove(&self.tid);
    }
}
