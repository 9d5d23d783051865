//! What is said to and by OSDs, and the OSD maps that both monitors and OSDs send.

use bytes::{Bytes, BytesMut};
use denc::{Decode, Encode, Epoch, Features, GlobalId, Reader, UTime, Uuid, Writer};
use msgr2::Payload;
use smallvec::SmallVec;

use crate::op::{Operation, Reply, ReplyStep, StepResult};
use crate::osdmap::{HObject, ObjectLocator, PgId, ShardedPgId};

/// `MOSDMap`: OSD maps, whole and as differences from the one before.
#[derive(Debug)]
pub(crate) struct OsdMapMessage {
    pub(crate) fsid: Uuid,
    /// Differences, ascending by epoch.
    pub(crate) incremental: Vec<(Epoch, Bytes)>,
    /// Whole maps, ascending by epoch.
    pub(crate) full: Vec<(Epoch, Bytes)>,
}

impl OsdMapMessage {
    pub(crate) fn parse(front: &Bytes) -> denc::Result<Self> {
        let mut reader = Reader::new("MOSDMap", front);
        let fsid = reader.get()?;
        let incremental = maps(&mut reader, front)?;
        let full = maps(&mut reader, front)?;
        Ok(Self {
            fsid,
            incremental,
            full,
        })
    }
}

/// Maps by epoch, as slices of the message.
fn maps(reader: &mut Reader<'_>, front: &Bytes) -> denc::Result<Vec<(Epoch, Bytes)>> {
    let count = reader.count(8)?;
    let mut maps = Vec::new();
    for _ in 0..count {
        let epoch = reader.get()?;
        maps.push((epoch, front.slice_ref(reader.blob()?)));
    }
    maps.sort_by_key(|(epoch, _)| *epoch);
    Ok(maps)
}

/// `MOSDOp`: an operation on an object. The inputs of its steps are the message's data.
#[derive(Debug)]
pub(crate) struct OsdOp<'a> {
    pub(crate) pg: ShardedPgId,
    /// The object's whole hash; the placement group is made from it.
    pub(crate) hash: u32,
    pub(crate) epoch: Epoch,
    pub(crate) flags: u32,
    pub(crate) mtime: UTime,
    pub(crate) locator: &'a ObjectLocator,
    pub(crate) object: &'a str,
    pub(crate) operation: &'a Operation,
    /// How often it has been sent before.
    pub(crate) attempt: i32,
}

impl OsdOp<'_> {
    pub(crate) const COMPAT_VERSION: u16 = 3;

    /// The version a peer understands: from 9 on there is a place for a tracing context.
    pub(crate) const fn version_for(peer: Features) -> u16 {
        if peer.contains(Features::SERVER_SQUID) {
            9
        } else {
            8
        }
    }

    /// The message's front, in memory of `arena`, which is empty and has more for the next one.
    pub(crate) fn encode(&self, version: u16, arena: &mut BytesMut) -> Bytes {
        let steps = self.operation.steps();
        arena.reserve(FIXED_LEN + self.object.len() + 38 * steps.len());
        let mut writer = Writer::append_to(std::mem::take(arena));
        writer
            .put(&self.pg)
            .u32(self.hash)
            .put(&self.epoch)
            .u32(self.flags);
        // The request id: the server takes it from the connection and the message's header.
        writer.envelope(2, 2, |writer| {
            writer.zeros(9 + 8 + 4);
        });
        writer.zeros(BLKIN_TRACE_LEN);
        if version >= 9 {
            // No OpenTelemetry context, but said so in its own structure.
            writer.envelope(1, 1, |writer| {
                writer.bool(false);
            });
        }
        writer
            .u32(0)
            .put(&self.mtime)
            .put(self.locator)
            .str(self.object);
        // A message with more steps than fit is refused when the operation is submitted.
        writer.u16(u16::try_from(steps.len()).unwrap_or(u16::MAX));
        for step in steps {
            writer.put(step);
        }
        writer.put(&self.operation.snap());
        match self.operation.snap_context() {
            Some(context) => writer.put(&context.seq).put(&context.snaps),
            None => writer.u64(0).u32(0),
        };
        writer.i32(self.attempt).put(&crate::features::SUPPORTED);
        *arena = writer.into_inner();
        arena.split().freeze()
    }

    /// The message's data: the inputs, not copied.
    pub(crate) fn data(operation: &Operation) -> Payload {
        operation
            .steps()
            .iter()
            .map(|step| step.input().clone())
            .collect()
    }
}

/// Roughly what the front takes apart from the object's name and the steps.
const FIXED_LEN: usize = 256;
const BLKIN_TRACE_LEN: usize = 24;

/// `MOSDOpReply`.
#[derive(Debug)]
pub(crate) struct OsdOpReply {
    pub(crate) result: i32,
    /// The attempt that is answered, or -1 from servers that do not say.
    pub(crate) attempt: i32,
    pub(crate) reply: Reply,
    pub(crate) redirect: Option<Redirect>,
}

/// Where the object of a cache tier really is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) locator: ObjectLocator,
    /// Another name, if not empty.
    pub(crate) object: String,
}

impl OsdOpReply {
    /// The oldest version of which the layout is known.
    const OLDEST_VERSION: u16 = 7;

    /// Takes front and data apart; the outputs are slices of `data`.
    pub(crate) fn parse(version: u16, front: &[u8], data: &Bytes) -> denc::Result<Self> {
        let mut reader = Reader::new("MOSDOpReply", front);
        if version < Self::OLDEST_VERSION {
            return Err(reader.invalid("version", version.into()));
        }
        reader.blob()?;
        reader.get::<PgId>()?;
        reader.skip(8)?;
        let result = reader.i32()?;
        reader.skip(EVERSION_LEN)?;
        let epoch = reader.get()?;
        let steps: SmallVec<[ReplyStep; 2]> = reader.get()?;
        let attempt = reader.i32()?;
        let mut reply = Reply {
            epoch,
            ..Reply::default()
        };
        let mut output = data.clone();
        for step in &steps {
            let code = reader.i32()?;
            let len = usize::try_from(step.output_len).unwrap_or(usize::MAX);
            if len > output.len() {
                return Err(reader.invalid("output length", step.output_len.into()));
            }
            reply.results.push(StepResult {
                code,
                data: output.split_to(len),
            });
        }
        reader.skip(EVERSION_LEN)?;
        reply.version = reader.u64()?;
        let redirect = reader.bool()?.then(|| reader.get()).transpose()?;
        Ok(Self {
            result,
            attempt,
            reply,
            redirect,
        })
    }
}

/// Version u64 and epoch u32 (`eversion_t`).
const EVERSION_LEN: usize = 12;

/// `request_redirect_t`.
impl Decode for Redirect {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("request_redirect_t", 1)?.reader;
        Ok(Self {
            locator: fields.get()?,
            object: fields.get()?,
        })
    }
}

/// `MOSDBackoff`: stop sending operations on a range of objects, or go on.
#[derive(Debug)]
pub(crate) struct OsdBackoff {
    pub(crate) pg: ShardedPgId,
    pub(crate) epoch: Epoch,
    pub(crate) step: BackoffStep,
    pub(crate) id: u64,
    pub(crate) begin: HObject,
    pub(crate) end: HObject,
}

/// What a backoff message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackoffStep {
    /// Stop.
    Block,
    /// Stopped: the client's answer.
    AckBlock,
    /// Go on.
    Unblock,
}

impl Encode for OsdBackoff {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.pg).put(&self.epoch);
        writer.u8(match self.step {
            BackoffStep::Block => 1,
            BackoffStep::AckBlock => 2,
            BackoffStep::Unblock => 3,
        });
        writer.u64(self.id).put(&self.begin).put(&self.end);
    }
}

impl Decode for OsdBackoff {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let pg = reader.get()?;
        let epoch = reader.get()?;
        let step = match reader.u8()? {
            1 => BackoffStep::Block,
            2 => BackoffStep::AckBlock,
            3 => BackoffStep::Unblock,
            other => return Err(reader.invalid("backoff operation", other.into())),
        };
        Ok(Self {
            pg,
            epoch,
            step,
            id: reader.u64()?,
            begin: reader.get()?,
            end: reader.get()?,
        })
    }
}

/// `MWatchNotify`: something about a watch of ours, or about a notification we sent.
#[derive(Debug)]
pub(crate) struct WatchNotify {
    pub(crate) event: WatchEvent,
    pub(crate) cookie: u64,
    pub(crate) notify_id: u64,
    pub(crate) payload: Bytes,
    /// How a notification of ours went: zero or a negated errno.
    pub(crate) result: i32,
    pub(crate) notifier: GlobalId,
}

/// What a [`WatchNotify`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    /// Somebody notifies the watchers.
    Notify,
    /// All watchers have answered our notification, or their time is up.
    NotifyComplete,
    /// The OSD has ended the watch.
    Disconnect,
    /// A kind this version does not know.
    Unknown(u8),
}

impl Decode for WatchNotify {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.skip(1)?;
        let event = match reader.u8()? {
            1 => WatchEvent::Notify,
            2 => WatchEvent::NotifyComplete,
            3 => WatchEvent::Disconnect,
            other => WatchEvent::Unknown(other),
        };
        let cookie = reader.u64()?;
        reader.skip(8)?;
        let notify_id = reader.u64()?;
        let payload = reader.get()?;
        Ok(Self {
            event,
            cookie,
            notify_id,
            payload,
            result: reader.i32()?,
            notifier: reader.get()?,
        })
    }
}
