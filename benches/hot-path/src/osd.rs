//! The OSD: it answers at once, and keeps nothing.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use denc::{EntityType, Writer};
use msgr2::{Message, MessageType, Payload};

use crate::daemon::{CLIENT, Daemon};
use crate::request::{OSD_OP, Request, Step, StepResult};
use crate::{OBJECT_SIZE, image, pattern};

/// The OSD, and what it did not like.
#[derive(Debug, Default)]
pub(crate) struct Osd {
    complaints: Mutex<Vec<String>>,
}

impl Osd {
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaints = self.complaints.lock();
        complaints.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn complain(&self, complaint: String) {
        let complaints = self.complaints.lock();
        complaints
            .unwrap_or_else(PoisonError::into_inner)
            .push(complaint);
    }

    fn carry_out(&self, object: &str, step: &Step) -> StepResult {
        let done = (0, Payload::new());
        match step.code {
            READ => (0, contents(step).into()),
            SPARSE_READ => (0, sparse_contents(step)),
            WRITE | WRITE_FULL => {
                if step.input == contents(step) {
                    return done;
                }
                self.complain(format!("{object}: not the pattern is written"));
                (-EIO, Payload::new())
            }
            CALL => {
                let (class, method) = step.method();
                match image::call(object, &class, &method) {
                    Some(output) => (0, output.into()),
                    None => {
                        self.complain(format!("{object}: unknown method {class}.{method}"));
                        (-EOPNOTSUPP, Payload::new())
                    }
                }
            }
            WATCH | SET_ALLOC_HINT => done,
            NOTIFY => (0, notify_id().into()),
            code => {
                self.complain(format!("{object}: unknown step {code:#x}"));
                (-EOPNOTSUPP, Payload::new())
            }
        }
    }
}

impl Daemon for Osd {
    const TYPE: EntityType = EntityType::OSD;
    const NONCE: u32 = 1;

    fn answer(&self, message: Message) -> Vec<Message> {
        if message.kind != OSD_OP {
            return Vec::new();
        }
        let request = match Request::parse(&message) {
            Ok(request) => request,
            Err(error) => {
                self.complain(error.to_string());
                return Vec::new();
            }
        };
        let steps = request.steps.iter();
        let results = steps.map(|step| self.carry_out(&request.object, step));
        let mut answers = vec![request.reply(results.collect())];
        let told = request.steps.iter().filter(|step| step.code == NOTIFY);
        answers.extend(told.map(nobody_else_watches));
        answers
    }
}

/// What an object holds at the extent of a step.
fn contents(step: &Step) -> Bytes {
    let (offset, len) = step.extent();
    let end = offset.saturating_add(len).min(OBJECT_SIZE);
    let at = |offset: u64| usize::try_from(offset.min(OBJECT_SIZE)).unwrap_or(usize::MAX);
    pattern().slice(at(offset.min(end))..at(end))
}

/// The same as one extent, of which there is no copy either.
fn sparse_contents(step: &Step) -> Payload {
    let contents = contents(step);
    let mut head = Writer::new();
    head.u32(1).u64(step.number(0)).u64(contents.len() as u64);
    head.count(contents.len());
    [head.freeze(), contents].into_iter().collect()
}

fn notify_id() -> Bytes {
    Bytes::copy_from_slice(&NOTIFY_ID.to_le_bytes())
}

/// `MWatchNotify` to who has told the watchers something: all have answered, of whom there are none.
fn nobody_else_watches(step: &Step) -> Message {
    const COMPLETE: u8 = 2;
    let mut front = Writer::new();
    front
        .u8(1)
        .u8(COMPLETE)
        .u64(step.number(0))
        .u64(0)
        .u64(NOTIFY_ID);
    let mut answers = Writer::new();
    answers.u32(0).u32(0);
    front.blob(&[]).i32(0).put(&CLIENT);
    Message {
        kind: WATCH_NOTIFY,
        version: 3,
        compat_version: 1,
        front: front.freeze(),
        data: answers.freeze().into(),
        ..Message::default()
    }
}

const NOTIFY_ID: u64 = 1;
const WATCH_NOTIFY: MessageType = MessageType(44);

/// Kinds of steps (ceph: src/include/rados.h).
const READ: u16 = 0x1201;
const SPARSE_READ: u16 = 0x1205;
const NOTIFY: u16 = 0x1206;
const CALL: u16 = 0x1401;
const WRITE: u16 = 0x2201;
const WRITE_FULL: u16 = 0x2202;
const WATCH: u16 = 0x220f;
const SET_ALLOC_HINT: u16 = 0x2223;

const EIO: i32 = 5;
const EOPNOTSUPP: i32 = 95;
