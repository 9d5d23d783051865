//! Operations on objects: one or more steps that an OSD carries out on one object as a whole
//! (ceph: src/include/rados.h, src/osdc/Objecter.h).

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use denc::{Decode, Encode, Epoch, Reader, SnapId, Writer};
use smallvec::SmallVec;

use crate::{Errno, ReadPolicy};

/// The number of a step's kind. An open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpCode(pub u16);

impl OpCode {
    /// Read a range of the object's data.
    pub const READ: Self = Self(0x1201);
    /// Size and modification time.
    pub const STAT: Self = Self(0x1202);
    /// Read a range, with the holes left out.
    pub const SPARSE_READ: Self = Self(0x1205);
    /// Send a notification to all watchers.
    pub const NOTIFY: Self = Self(0x1206);
    /// Answer a notification.
    pub const NOTIFY_ACK: Self = Self(0x1207);
    /// Fail unless the object has this version.
    pub const ASSERT_VERSION: Self = Self(0x1208);
    /// Who watches the object.
    pub const LIST_WATCHERS: Self = Self(0x1209);
    /// The object's clones and what they share with each other.
    pub const LIST_SNAPS: Self = Self(0x120a);
    /// Keys of the object map.
    pub const OMAP_GET_KEYS: Self = Self(0x1211);
    /// Keys and values of the object map.
    pub const OMAP_GET_VALUES: Self = Self(0x1212);
    /// The header of the object map.
    pub const OMAP_GET_HEADER: Self = Self(0x1213);
    /// Values of given keys of the object map.
    pub const OMAP_GET_VALUES_BY_KEYS: Self = Self(0x1214);
    /// Compare a range with given bytes.
    pub const COMPARE_EXTENT: Self = Self(0x1220);
    /// One extended attribute.
    pub const GET_XATTR: Self = Self(0x1301);
    /// All extended attributes.
    pub const GET_XATTRS: Self = Self(0x1302);
    /// Call a method of an object class.
    pub const CALL: Self = Self(0x1401);
    /// List the objects of a placement group, in one namespace or all.
    pub const PG_LIST: Self = Self(0x1505);
    /// Write a range.
    pub const WRITE: Self = Self(0x2201);
    /// Replace the whole object.
    pub const WRITE_FULL: Self = Self(0x2202);
    /// Set the size.
    pub const TRUNCATE: Self = Self(0x2203);
    /// Make a range read as zeros.
    pub const ZERO: Self = Self(0x2204);
    /// Remove the object.
    pub const DELETE: Self = Self(0x2205);
    /// Write at the end.
    pub const APPEND: Self = Self(0x2206);
    /// Create the object.
    pub const CREATE: Self = Self(0x220d);
    /// Make the head what it was at a snapshot.
    pub const ROLLBACK: Self = Self(0x220e);
    /// Register, keep alive or end a watch.
    pub const WATCH: Self = Self(0x220f);
    /// Set values of the object map.
    pub const OMAP_SET_VALUES: Self = Self(0x2215);
    /// Set the header of the object map.
    pub const OMAP_SET_HEADER: Self = Self(0x2216);
    /// Remove all keys of the object map.
    pub const OMAP_CLEAR: Self = Self(0x2217);
    /// Remove keys of the object map.
    pub const OMAP_REMOVE_KEYS: Self = Self(0x2218);
    /// Say how large the object will become.
    pub const SET_ALLOC_HINT: Self = Self(0x2223);
    /// Fill a range with a repeated pattern.
    pub const WRITE_SAME: Self = Self(0x2226);
    /// Set an extended attribute.
    pub const SET_XATTR: Self = Self(0x2301);
    /// Remove an extended attribute.
    pub const REMOVE_XATTR: Self = Self(0x2304);

    const MODE_WRITE: u16 = 0x2000;

    /// Whether a replica can answer it as well as the primary: it asks for nothing but contents.
    const fn is_pure_read(self) -> bool {
        matches!(self, Self::READ | Self::SPARSE_READ | Self::STAT)
    }

    const fn writes(self) -> bool {
        self.0 & Self::MODE_WRITE != 0
    }
}

/// Bits of a step (`CEPH_OSD_OP_FLAG_*`).
mod step_flags {
    pub(super) const EXCLUSIVE: u32 = 0x1;
    pub(super) const FAIL_OK: u32 = 0x2;
}

/// Bits of a request (`CEPH_OSD_FLAG_*`).
pub(crate) mod request_flags {
    pub(crate) const ONDISK: u32 = 0x4;
    pub(crate) const RETRY: u32 = 0x8;
    pub(crate) const READ: u32 = 0x10;
    pub(crate) const WRITE: u32 = 0x20;
    pub(crate) const BALANCE_READS: u32 = 0x100;
    pub(crate) const PGOP: u32 = 0x400;
    pub(crate) const LOCALIZE_READS: u32 = 0x2000;
    pub(crate) const IGNORE_CACHE: u32 = 0x8000;
    pub(crate) const IGNORE_OVERLAY: u32 = 0x2_0000;
    pub(crate) const REDIRECTED: u32 = 0x20_0000;
    pub(crate) const KNOWN_IF_REDIRECTED: u32 = 0x40_0000;
    pub(crate) const FULL_TRY: u32 = 0x80_0000;
    pub(crate) const RETURN_VECTOR: u32 = 0x400_0000;
    pub(crate) const SUPPORTS_POOL_EIO: u32 = 0x800_0000;
}

/// What is done with a watch (`CEPH_OSD_WATCH_OP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchStep {
    /// End it.
    Unwatch = 0,
    /// Register it.
    Watch = 3,
    /// Register it again, after the connection was lost.
    Reconnect = 5,
    /// Keep it alive. Goes as a read, since nothing is changed.
    Ping = 7,
}

/// Length of a step on the wire without its input: code, flags, arguments, input length.
const STEP_LEN: usize = 2 + 4 + ARGUMENTS_LEN + 4;
const ARGUMENTS_LEN: usize = 28;

/// One step of an [`Operation`].
#[derive(Clone, Debug)]
pub(crate) struct Step {
    code: OpCode,
    flags: u32,
    arguments: [u8; ARGUMENTS_LEN],
    input: Bytes,
}

impl Step {
    pub(crate) const fn input(&self) -> &Bytes {
        &self.input
    }
}

/// Code, flags, arguments and the length of the input (`ceph_osd_op`); the inputs of all steps
/// follow in the message's data segment.
impl Encode for Step {
    fn encode(&self, writer: &mut Writer) {
        writer
            .u16(self.code.0)
            .u32(self.flags)
            .raw(&self.arguments)
            .count(self.input.len());
    }
}

/// The existing snapshots of what an object belongs to, without which a write would not preserve
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapContext {
    /// The newest snapshot ever made, whether or not it still exists.
    pub seq: SnapId,
    /// The existing snapshots, newest first.
    pub snaps: Vec<SnapId>,
}

/// Steps that are carried out on one object together, in order: all or none.
///
/// Built by chaining: every method appends a step.
/// ```
/// use rados::Operation;
///
/// let create = Operation::new().create_exclusive().write_full("contents");
/// assert!(create.is_write());
/// ```
#[derive(Clone, Debug)]
pub struct Operation {
    steps: SmallVec<[Step; 2]>,
    flags: u32,
    snap: SnapId,
    snap_context: Option<Arc<SnapContext>>,
    /// Dropped when the operation ends.
    token: Option<Arc<dyn Any + Send + Sync>>,
    is_exempt_from_limits: bool,
    read_policy: Option<ReadPolicy>,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            steps: SmallVec::new(),
            flags: request_flags::ONDISK
                | request_flags::KNOWN_IF_REDIRECTED
                | request_flags::SUPPORTS_POOL_EIO,
            snap: SnapId::HEAD,
            snap_context: None,
            token: None,
            is_exempt_from_limits: false,
            read_policy: None,
        }
    }
}

impl Operation {
    /// No steps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it changes the object, or may do so.
    pub const fn is_write(&self) -> bool {
        self.flags & request_flags::WRITE != 0
    }

    /// Reads from this snapshot instead of the head.
    #[must_use]
    pub const fn at_snap(mut self, snap: SnapId) -> Self {
        self.snap = snap;
        self
    }

    /// Writes preserving these snapshots.
    #[must_use]
    pub fn with_snap_context(mut self, context: Arc<SnapContext>) -> Self {
        self.snap_context = Some(context);
        self
    }

    /// Keeps `token` until the operation has been answered or has failed, and no longer, whether or
    /// not anyone still waits for it: for those who must know when nothing of theirs is on its way any
    /// more.
    #[must_use]
    pub fn holding(mut self, token: Arc<dyn Any + Send + Sync>) -> Self {
        self.token = Some(token);
        self
    }

    /// Says which OSD may be read from, in place of what the configuration says. Counts for
    /// operations that do nothing but [`read`](Self::read), [`sparse_read`](Self::sparse_read) and
    /// [`stat`](Self::stat); see [`ReadPolicy`].
    #[must_use]
    pub const fn read_from(mut self, policy: ReadPolicy) -> Self {
        self.read_policy = Some(policy);
        self
    }

    /// Is sent even if cluster or pool are full, and then fails with `ENOSPC` or `EDQUOT` unless it
    /// frees space.
    #[must_use]
    pub const fn full_try(mut self) -> Self {
        self.flags |= request_flags::FULL_TRY;
        self
    }

    /// Asks for the result of every step of a write, not only of the whole.
    #[must_use]
    pub const fn return_each(mut self) -> Self {
        self.flags |= request_flags::RETURN_VECTOR;
        self
    }

    /// Reads `len` bytes at `offset`; fewer where the object ends before. `len` 0 reads to the end.
    #[must_use]
    pub fn read(self, offset: u64, len: u64) -> Self {
        self.extent(OpCode::READ, offset, len, Bytes::new())
    }

    /// Reads `len` bytes at `offset`, without the holes. Decode the answer with
    /// [`SparseRead`].
    #[must_use]
    pub fn sparse_read(self, offset: u64, len: u64) -> Self {
        self.extent(OpCode::SPARSE_READ, offset, len, Bytes::new())
    }

    /// Size and modification time, answered as [`Stat`].
    #[must_use]
    pub fn stat(self) -> Self {
        self.plain(OpCode::STAT)
    }

    /// Who watches the object, answered as [`Watchers`](crate::Watchers).
    #[must_use]
    pub fn list_watchers(self) -> Self {
        self.plain(OpCode::LIST_WATCHERS)
    }

    /// The object's clones and what they share, answered as [`SnapSet`](crate::SnapSet): of all
    /// snapshots, whatever [`at_snap`](Self::at_snap) said. `ENOENT` if there is neither an object nor
    /// a clone.
    #[must_use]
    pub fn list_snaps(self) -> Self {
        self.at_snap(SnapId::DIR).plain(OpCode::LIST_SNAPS)
    }

    /// Values of the object map behind `after`, `max` at most, whose keys start with `prefix`.
    /// Answered as a map and whether there are more.
    #[must_use]
    pub fn omap_values(self, after: &str, max: u64, prefix: &str) -> Self {
        let mut input = Writer::new();
        input.str(after).u64(max).str(prefix);
        self.step(OpCode::OMAP_GET_VALUES, 0, &[], input.freeze())
    }

    /// Registers, keeps alive or ends a watch. `generation` counts the registrations; after so many
    /// seconds of silence the OSD ends the watch.
    #[must_use]
    pub(crate) fn watch(
        mut self,
        step: WatchStep,
        cookie: u64,
        generation: u32,
        timeout_seconds: u32,
    ) -> Self {
        let mut args = Writer::new();
        args.u64(cookie)
            .u64(0)
            .u8(step as u8)
            .u32(generation)
            .u32(timeout_seconds);
        let before = self.flags;
        self = self.step(OpCode::WATCH, 0, args.as_slice(), Bytes::new());
        self.is_exempt_from_limits = true;
        if step == WatchStep::Ping {
            self.flags = before | request_flags::READ;
        }
        self
    }

    /// Notifies all watchers, who have so many seconds, not 0, to answer. How it went is told under
    /// `cookie`.
    #[must_use]
    pub(crate) fn notify(self, cookie: u64, timeout_seconds: u32, payload: &[u8]) -> Self {
        const PROTOCOL_VERSION: u32 = 1;
        let mut input = Writer::new();
        input
            .u32(PROTOCOL_VERSION)
            .u32(timeout_seconds)
            .blob(payload);
        self.step(OpCode::NOTIFY, 0, &cookie.to_le_bytes(), input.freeze())
    }

    /// Answers notification `id` as the watcher `cookie`.
    #[must_use]
    pub(crate) fn notify_ack(mut self, id: u64, cookie: u64, answer: &[u8]) -> Self {
        self.is_exempt_from_limits = true;
        let mut input = Writer::new();
        input.u64(id).u64(cookie).blob(answer);
        self.step(OpCode::NOTIFY_ACK, 0, &[], input.freeze())
    }

    /// Lists `max` objects of a placement group from `cursor` on.
    #[must_use]
    pub(crate) fn list_pg(self, max: u64, cursor: &crate::osdmap::HObject) -> Self {
        self.step(
            OpCode::PG_LIST,
            0,
            &max.to_le_bytes(),
            Writer::encode(cursor),
        )
    }

    /// Calls a method of an object class that only reads.
    ///
    /// # Panics
    /// If a name is longer than 255 bytes.
    #[must_use]
    pub fn call(self, class: &str, method: &str, input: &[u8]) -> Self {
        self.call_as(request_flags::READ, class, method, input)
    }

    /// Calls a method of an object class that may change the object.
    ///
    /// # Panics
    /// If a name is longer than 255 bytes.
    #[must_use]
    pub fn call_mut(self, class: &str, method: &str, input: &[u8]) -> Self {
        self.call_as(request_flags::WRITE, class, method, input)
    }

    /// Writes `data` at `offset`.
    #[must_use]
    pub fn write(self, offset: u64, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.extent(OpCode::WRITE, offset, data.len() as u64, data)
    }

    /// Makes `data` the whole contents.
    #[must_use]
    pub fn write_full(self, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.extent(OpCode::WRITE_FULL, 0, data.len() as u64, data)
    }

    /// Writes `data` at the end.
    #[must_use]
    pub fn append(self, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.extent(OpCode::APPEND, 0, data.len() as u64, data)
    }

    /// Fills `len` bytes at `offset` with repetitions of `pattern`, whose length must divide `len`.
    #[must_use]
    pub fn write_same(self, offset: u64, len: u64, pattern: impl Into<Bytes>) -> Self {
        let pattern = pattern.into();
        let numbers = [offset, len, pattern.len() as u64].map(u64::to_le_bytes);
        self.step(OpCode::WRITE_SAME, 0, numbers.as_flattened(), pattern)
    }

    /// Fails unless the object holds `expected` at `offset`.
    #[must_use]
    pub fn compare_extent(self, offset: u64, expected: impl Into<Bytes>) -> Self {
        let expected = expected.into();
        self.extent(
            OpCode::COMPARE_EXTENT,
            offset,
            expected.len() as u64,
            expected,
        )
    }

    /// Makes `len` bytes at `offset` read as zeros and gives their space back where possible.
    #[must_use]
    pub fn zero(self, offset: u64, len: u64) -> Self {
        self.extent(OpCode::ZERO, offset, len, Bytes::new())
    }

    /// Sets the object's size.
    #[must_use]
    pub fn truncate(self, size: u64) -> Self {
        self.extent(OpCode::TRUNCATE, size, 0, Bytes::new())
    }

    /// Removes the object; `ENOENT` if there is none.
    #[must_use]
    pub fn delete(self) -> Self {
        self.plain(OpCode::DELETE)
    }

    /// Creates the object if it does not exist.
    #[must_use]
    pub fn create(self) -> Self {
        self.plain(OpCode::CREATE)
    }

    /// Creates the object; `EEXIST` if it exists.
    #[must_use]
    pub fn create_exclusive(self) -> Self {
        self.step(OpCode::CREATE, step_flags::EXCLUSIVE, &[], Bytes::new())
    }

    /// Says how large the object and the writes to it are going to be, in bytes. OSDs that cannot
    /// make use of it ignore it.
    #[must_use]
    pub fn alloc_hint(self, object_size: u64, write_size: u64) -> Self {
        let mut numbers = [0; 20];
        numbers[..8].copy_from_slice(&object_size.to_le_bytes());
        numbers[8..16].copy_from_slice(&write_size.to_le_bytes());
        self.step(
            OpCode::SET_ALLOC_HINT,
            step_flags::FAIL_OK,
            &numbers,
            Bytes::new(),
        )
    }

    /// Sets keys of the object map.
    #[must_use]
    pub fn omap_set<'a>(self, values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut pairs = Writer::new();
        let mut count = 0;
        for (key, value) in values {
            pairs.str(key).blob(value);
            count += 1;
        }
        let mut input = Writer::new();
        input.count(count).raw(pairs.as_slice());
        self.step(OpCode::OMAP_SET_VALUES, 0, &[], input.freeze())
    }

    /// Removes keys of the object map.
    #[must_use]
    pub fn omap_remove(self, keys: &[&str]) -> Self {
        self.step(OpCode::OMAP_REMOVE_KEYS, 0, &[], Writer::encode(keys))
    }

    /// A step given as it goes on the wire.
    pub(crate) fn step(mut self, code: OpCode, flags: u32, args: &[u8], input: Bytes) -> Self {
        let mut arguments = [0; ARGUMENTS_LEN];
        for (slot, byte) in arguments.iter_mut().zip(args) {
            *slot = *byte;
        }
        self.flags |= if code.writes() {
            request_flags::WRITE
        } else {
            request_flags::READ
        };
        self.steps.push(Step {
            code,
            flags,
            arguments,
            input,
        });
        self
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) const fn flags(&self) -> u32 {
        self.flags
    }

    pub(crate) const fn snap(&self) -> SnapId {
        self.snap
    }

    pub(crate) fn snap_context(&self) -> Option<&SnapContext> {
        self.snap_context.as_deref()
    }

    /// Whether it is sent however much is in flight. A watch must not be lost because operations on
    /// other objects are not answered.
    pub(crate) const fn is_exempt_from_limits(&self) -> bool {
        self.is_exempt_from_limits
    }

    pub(crate) const fn snap_context_mut(&mut self) -> Option<&mut Arc<SnapContext>> {
        self.snap_context.as_mut()
    }

    /// Which OSD may be asked, if `default` is what the configuration says.
    pub(crate) fn effective_read_policy(&self, default: ReadPolicy) -> ReadPolicy {
        let policy = self.read_policy.unwrap_or(default);
        if policy == ReadPolicy::Primary
            || self.is_write()
            || !self.steps.iter().all(|step| step.code.is_pure_read())
        {
            return ReadPolicy::Primary;
        }
        policy
    }

    /// Whether it waits while there is no room: it may write, and has not been told otherwise.
    pub(crate) const fn respects_full(&self) -> bool {
        self.is_write() && self.flags & request_flags::FULL_TRY == 0
    }

    /// Whether OSDs keep it in order with writes: writes themselves, and signs of life of watches
    /// (ceph: src/osd/osd_op_util.cc, `OpInfo::set_from_op`).
    pub(crate) fn is_ordered_with_writes(&self) -> bool {
        self.is_write() || self.steps.iter().any(|step| step.code == OpCode::WATCH)
    }

    /// Bytes of input of all steps: what an operation in flight keeps in memory.
    pub(crate) fn input_len(&self) -> usize {
        self.steps.iter().map(|step| step.input.len()).sum()
    }

    fn plain(self, code: OpCode) -> Self {
        self.step(code, 0, &[], Bytes::new())
    }

    fn extent(self, code: OpCode, offset: u64, len: u64, input: Bytes) -> Self {
        let numbers = [offset, len].map(u64::to_le_bytes);
        self.step(code, 0, numbers.as_flattened(), input)
    }

    fn call_as(mut self, flag: u32, class: &str, method: &str, input: &[u8]) -> Self {
        let (Ok(class_len), Ok(method_len)) =
            (u8::try_from(class.len()), u8::try_from(method.len()))
        else {
            panic!("the names of class and method take one byte of length each");
        };
        let mut text = Writer::with_capacity(class.len() + method.len() + input.len());
        text.raw(class.as_bytes()).raw(method.as_bytes()).raw(input);
        let mut args = Writer::new();
        args.u8(class_len).u8(method_len).u8(0).count(input.len());
        self = self.step(OpCode::CALL, 0, args.as_slice(), text.freeze());
        self.flags |= flag;
        self
    }
}

/// What an OSD answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The object's version after the operation.
    pub version: u64,
    /// The map that the OSD had, which is at least as new as those of all clients whose operations on
    /// the placement group it had carried out before.
    pub epoch: Epoch,
    /// The result of every step, in order. For writes the data is there only if
    /// [`return_each`](Operation::return_each) asked for it.
    pub results: SmallVec<[StepResult; 2]>,
}

impl Reply {
    /// The output of step `index`; empty if there is no such step.
    pub fn data(&self, index: usize) -> Bytes {
        self.results
            .get(index)
            .map(|result| result.data.clone())
            .unwrap_or_default()
    }

    /// The output of step `index`, decoded as `what`.
    ///
    /// # Errors
    /// If the bytes make no sense. Bytes behind the value are ignored: newer servers append fields.
    pub fn decode<T: Decode>(&self, index: usize, what: &'static str) -> denc::Result<T> {
        let data = self.data(index);
        T::decode(&mut Reader::new(what, &data))
    }
}

/// What one step of an operation gave.
#[derive(Clone, Debug, Default)]
pub struct StepResult {
    /// Zero or more, or a negated errno.
    pub code: i32,
    /// The output.
    pub data: Bytes,
}

impl StepResult {
    /// The errno, if the step failed.
    pub fn errno(&self) -> Option<Errno> {
        Errno::check(self.code).err()
    }
}

/// A step in a reply: only the length of its output matters to the receiver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyStep {
    pub(crate) output_len: u32,
}

impl Decode for ReplyStep {
    const MIN_LEN: usize = STEP_LEN;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        reader.skip(STEP_LEN - 4)?;
        Ok(Self {
            output_len: reader.u32()?,
        })
    }
}

/// The answer to [`Operation::stat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The object's size in bytes.
    pub size: u64,
    /// When it was last changed.
    pub modified: denc::UTime,
}

impl Decode for Stat {
    const MIN_LEN: usize = 16;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            size: reader.u64()?,
            modified: reader.get()?,
        })
    }
}

/// The answer to [`Operation::sparse_read`]: extents that hold data, and their contents one after
/// another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseRead {
    /// Offset and length in bytes of each extent, ascending.
    pub extents: Vec<(u64, u64)>,
    /// The contents of all extents.
    pub data: Bytes,
}

impl SparseRead {
    /// Takes the answer apart without copying the contents.
    ///
    /// # Errors
    /// If the bytes make no sense, or if extents and contents do not fit each other.
    pub fn parse(answer: &Bytes) -> denc::Result<Self> {
        let mut reader = Reader::new("sparse read", answer);
        let extents: Vec<(u64, u64)> = reader.get()?;
        if extents.is_empty() && reader.is_empty() {
            // Behind the end of an object of an erasure-coded pool, the contents are left out.
            return Ok(Self::default());
        }
        let data = answer.slice_ref(reader.blob()?);
        let mut total = 0u64;
        let mut end = 0u64;
        for &(offset, len) in &extents {
            let next = offset.checked_add(len).filter(|_| offset >= end);
            let Some(next) = next else {
                return Err(reader.invalid("extent", offset));
            };
            end = next;
            total = total.saturating_add(len);
        }
        if total != data.len() as u64 {
            return Err(reader.invalid("length of all extents", total));
        }
        Ok(Self { extents, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_38_bytes() {
        let read = Operation::new().read(4096, 512);
        let bytes = Writer::encode(&read.steps()[0]);
        assert_eq!(bytes.len(), 38);
        assert_eq!(bytes[..2], [0x01, 0x12]);
        assert_eq!(
            bytes[6..22],
            [[0, 16, 0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0, 0, 0]].concat()
        );
        assert_eq!(bytes[34..], [0; 4]);
    }

    #[test]
    fn requests_carry_the_flags_librados_sends() {
        assert_eq!(Operation::new().read(0, 1).flags(), 0x0840_0014);
        assert_eq!(Operation::new().write(0, "x").flags(), 0x0840_0024);
        assert!(!Operation::new().call("rbd", "get_size", &[]).is_write());
        assert!(Operation::new().call_mut("rbd", "set_size", &[]).is_write());
    }

    #[test]
    fn a_call_says_the_lengths_of_its_parts() {
        let call = Operation::new().call("rbd", "get_size", &[1, 2]);
        let step = Writer::encode(&call.steps()[0]);
        assert_eq!(step[6..13], [3, 8, 0, 2, 0, 0, 0]);
        assert_eq!(&call.steps()[0].input()[..], b"rbdget_size\x01\x02");
        assert_eq!(step[34..], [13, 0, 0, 0]);
    }

    /// An OSD of 16.2 about an object of which 4 bytes at 64 KiB and 3 at 256 KiB had been written,
    /// asked for `sparse_read(0, 1 << 20)` and `stat`.
    const SPARSE_READ: &[u8] = b"\x02\0\0\0\
        \0\0\x01\0\0\0\0\0\x04\0\0\0\0\0\0\0\
        \0\0\x04\0\0\0\0\0\x03\0\0\0\0\0\0\0\
        \x07\0\0\0\xaa\xaa\xaa\xaa\xbb\xbb\xbb";
    const STAT: &[u8] = b"\x03\0\x04\0\0\0\0\0\xd9\x73\x03\x6b\x6e\x38\xd9\x1f";

    #[test]
    fn what_an_osd_answers_is_understood_and_every_cut_is_noticed() {
        let read = SparseRead::parse(&Bytes::from_static(SPARSE_READ)).unwrap();
        assert_eq!(read.extents, [(64 << 10, 4), (256 << 10, 3)]);
        assert_eq!(read.data[..], *b"\xaa\xaa\xaa\xaa\xbb\xbb\xbb");
        for len in 0..SPARSE_READ.len() {
            assert!(
                SparseRead::parse(&Bytes::from_static(&SPARSE_READ[..len])).is_err(),
                "{len}"
            );
        }
        let stat = Stat::decode_all("stat", STAT).unwrap();
        // `rados stat`: mtime 2026-11-22T22:59:37, size 262147
        assert_eq!((stat.size, stat.modified.seconds), (262_147, 1_795_388_377));
        for len in 0..STAT.len() {
            assert!(Stat::decode_all("stat", &STAT[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn extents_must_fit_their_contents() {
        let answer = |extents: &[(u64, u64)], data: &[u8]| {
            let mut writer = Writer::new();
            writer.put(extents).blob(data);
            SparseRead::parse(&writer.freeze())
        };
        assert_eq!(answer(&[(4, 2), (9, 1)], b"abc").unwrap().data, "abc");
        assert!(answer(&[(4, 2)], b"abc").is_err());
        let without_contents = Bytes::from_static(&[0; 4]);
        assert_eq!(
            SparseRead::parse(&without_contents).unwrap(),
            SparseRead::default()
        );
        assert!(SparseRead::parse(&Bytes::from_static(&[0; 3])).is_err());
        assert!(answer(&[(4, 2), (5, 1)], b"abc").is_err());
        assert!(answer(&[(u64::MAX, 2)], b"ab").is_err());
    }
}
