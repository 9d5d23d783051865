//! Operations as OSDs get them, and what they answer (ceph: src/messages/MOSDOp.h, MOSDOpReply.h).

use bytes::Bytes;
use denc::{Epoch, Reader, SnapId, Tid, UTime, Writer};
use msgr2::{Message, MessageType, Payload};

/// An operation.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) object: String,
    pub(crate) steps: Vec<Step>,
    tid: Tid,
    /// `pg_t`, as it is encoded.
    pg: [u8; PG_LEN],
    epoch: Epoch,
    attempt: i32,
}

/// One of its steps.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which.
    pub(crate) code: u16,
    flags: u32,
    /// What depends on the kind of step.
    pub(crate) arguments: [u8; ARGUMENTS_LEN],
    /// Its part of the message's data.
    pub(crate) input: Bytes,
}

/// What came of a step: a result, negative if it failed, and output.
pub(crate) type StepResult = (i32, Payload);

impl Request {
    pub(crate) fn parse(message: &Message) -> denc::Result<Self> {
        let mut reader = Reader::new("MOSDOp", &message.front);
        let mut placement = reader.envelope("spg_t", 1)?.reader;
        let pg = placement.array()?;
        reader.u32()?;
        let epoch = reader.get()?;
        reader.u32()?;
        reader.envelope("reqid", 2)?;
        reader.skip(24)?;
        if message.version >= 9 {
            reader.envelope("otel", 1)?;
        }
        reader.u32()?;
        reader.get::<UTime>()?;
        reader.envelope("object_locator_t", 6)?;
        let object = reader.get()?;
        let count = reader.u16()?;
        let mut data = message.data.clone().into_bytes();
        let steps: Vec<Step> = (0..count)
            .map(|_| Step::parse(&mut reader, &mut data))
            .collect::<denc::Result<_>>()?;
        reader.skip(8 + 8)?;
        reader.get::<Vec<SnapId>>()?;
        Ok(Self {
            object,
            steps,
            tid: message.tid,
            pg,
            epoch,
            attempt: reader.i32()?,
        })
    }

    /// `MOSDOpReply`, version 8. The operation has failed if a step has.
    pub(crate) fn reply(&self, results: Vec<StepResult>) -> Message {
        let failed = results.iter().map(|(code, _)| *code).find(|code| *code < 0);
        let mut front = Writer::new();
        front.str(&self.object).raw(&self.pg).u64(0);
        front.i32(failed.unwrap_or(0)).zeros(12).put(&self.epoch);
        front.count(self.steps.len());
        for (index, step) in self.steps.iter().enumerate() {
            let output = results.get(index).map_or(0, |(_, output)| output.len());
            front.u16(step.code).u32(step.flags).raw(&step.arguments);
            front.count(output);
        }
        front.i32(self.attempt);
        for index in 0..self.steps.len() {
            front.i32(results.get(index).map_or(0, |(code, _)| *code));
        }
        // replay_version, user_version, no redirect, trace
        front.zeros(12).u64(7).bool(false).zeros(24);
        let outputs = results.iter().flat_map(|(_, output)| output.pieces());
        Message {
            tid: self.tid,
            kind: OSD_OPREPLY,
            version: 8,
            compat_version: 2,
            front: front.freeze(),
            data: outputs.cloned().collect(),
            ..Message::default()
        }
    }
}

impl Step {
    fn parse(reader: &mut Reader<'_>, data: &mut Bytes) -> denc::Result<Self> {
        let code = reader.u16()?;
        let flags = reader.u32()?;
        let arguments = reader.array()?;
        let len = reader.u32()?;
        let input = usize::try_from(len).unwrap_or(usize::MAX);
        if input > data.len() {
            return Err(reader.invalid("input length", len.into()));
        }
        Ok(Self {
            code,
            flags,
            arguments,
            input: data.split_to(input),
        })
    }

    /// Offset and length of a step that has them.
    pub(crate) fn extent(&self) -> (u64, u64) {
        (self.number(0), self.number(8))
    }

    /// The eight bytes of the arguments at `offset` as a number.
    pub(crate) fn number(&self, offset: usize) -> u64 {
        let bytes: Option<&[u8; 8]> = self
            .arguments
            .get(offset..)
            .and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Class and method, if it calls one.
    pub(crate) fn method(&self) -> (String, String) {
        let [class, method, ..] = self.arguments;
        let names = String::from_utf8_lossy(&self.input);
        let class: usize = class.into();
        let cut = |range: std::ops::Range<usize>| names.get(range).unwrap_or_default().to_owned();
        (cut(0..class), cut(class..class + usize::from(method)))
    }
}

/// The kind of message that carries an operation, and that of its answer.
pub(crate) const OSD_OP: MessageType = MessageType(42);
const OSD_OPREPLY: MessageType = MessageType(43);
const PG_LEN: usize = 17;
const ARGUMENTS_LEN: usize = 28;
