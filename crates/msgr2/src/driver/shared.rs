//! What the owner, the senders and the two tasks of a connection share.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use denc::{EntityAddr, UTime};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{CompressedFrames, io_error};
use crate::connection::ack_every;
use crate::session::Sent;
use crate::{ConnectionInfo, Error, Form, Message, Outgoing, Sender};

pub(super) struct Shared {
    pub(super) addr: EntityAddr,
    pub(super) info: ConnectionInfo,
    /// What is done to messages before they are put in line.
    form: Form,
    /// How many messages are written each on its own before anything has arrived.
    on_the_spot: u32,
    /// Held while messages are put in line and written, never across an await.
    out: Mutex<Out>,
    /// Whether the connection has ended: says the same as a missing stream, without the lock.
    is_closed: AtomicBool,
    /// Something waits to be written by the writer.
    wake_writer: Notify,
    /// The connection has been closed: the reader must end.
    wake_reader: Notify,
    /// What the reader tells the direction out, without waiting for it.
    notes: Notes,
    opened: Instant,
    /// When bytes arrived last, in milliseconds after `opened`.
    heard_ms: AtomicU64,
}

/// The direction out.
struct Out {
    sender: Sender,
    /// Nothing once the connection is closed, so that the socket is not kept open by those who
    /// could still send.
    stream: Option<Arc<OwnedWriteHalf>>,
    /// Why writing failed, until the reader has fetched it.
    failure: Option<Error>,
}

struct Notes {
    /// The last message received.
    received: AtomicU64,
    /// The last message the peer was told of.
    told: AtomicU64,
    /// The last message sent.
    sent: AtomicU64,
    /// The last message the peer says it has received.
    acknowledged: AtomicU64,
    /// Writes on the spot since anything arrived last.
    burst: AtomicU32,
    /// Whether the peer waits for a sign of life.
    is_keepalive_due: AtomicBool,
    /// The stamp it must have.
    keepalive: AtomicU64,
    /// The stamp of the last sign of life from the peer.
    keepalive_ack: AtomicU64,
    /// How many frames came compressed.
    compressed: AtomicU64,
}

/// Whether everything is written.
#[derive(PartialEq)]
enum Written {
    All,
    /// The socket is full, or more is expected.
    Partly,
}

impl Shared {
    pub(super) fn new(
        stream: Arc<OwnedWriteHalf>,
        addr: EntityAddr,
        info: ConnectionInfo,
        sender: Sender,
        received: u64,
    ) -> Self {
        Self {
            addr,
            info,
            form: sender.form(),
            on_the_spot: on_the_spot(),
            notes: Notes {
                received: received.into(),
                told: received.into(),
                sent: sender.last_sent().into(),
                acknowledged: 0.into(),
                burst: 0.into(),
                is_keepalive_due: false.into(),
                keepalive: 0.into(),
                keepalive_ack: 0.into(),
                compressed: 0.into(),
            },
            out: Mutex::new(Out {
                sender,
                stream: Some(stream),
                failure: None,
            }),
            is_closed: false.into(),
            wake_writer: Notify::new(),
            wake_reader: Notify::new(),
            opened: Instant::now(),
            heard_ms: 0.into(),
        }
    }

    pub(super) fn send(&self, message: Message) -> Result<(), Error> {
        // Compression and checksums are done outside the lock.
        let message = Outgoing::new(message, self.form)?;
        self.put(|sender| {
            let received = self.notes.received.load(Ordering::Acquire);
            self.notes.told.store(received, Ordering::Release);
            sender.send(message, received)
        })
    }

    pub(super) fn keepalive(&self, stamp: UTime) -> Result<(), Error> {
        self.put(|sender| sender.keepalive(stamp))
    }

    /// Puts something in line. Writes on the spot if nothing waited before it, unless this is one of
    /// many: those are gathered for the writer, who then writes them in one go.
    fn put(&self, put: impl FnOnce(&mut Sender) -> Result<(), Error>) -> Result<(), Error> {
        let mut out = self.lock();
        let Some(stream) = out.stream.clone() else {
            return Err(Error::Closed);
        };
        let is_first = out.sender.queued_bytes() == 0;
        let result = put(&mut out.sender).and_then(|()| {
            // Told before the bytes are out, so that the peer's answer finds it done.
            self.notes
                .sent
                .store(out.sender.last_sent(), Ordering::Release);
            if !is_first {
                // The writer is at it already.
                return Ok(Written::All);
            }
            if self.notes.burst.fetch_add(1, Ordering::AcqRel) < self.on_the_spot {
                self.write(&mut out.sender, &stream)
            } else {
                Ok(Written::Partly)
            }
        });
        match result {
            Ok(Written::All) => Ok(()),
            Ok(Written::Partly) => {
                self.wake_writer.notify_one();
                Ok(())
            }
            Err(error) => {
                self.fail(&mut out, error);
                Err(Error::Closed)
            }
        }
    }

    /// Writes as much as the socket takes.
    fn write(&self, sender: &mut Sender, stream: &OwnedWriteHalf) -> Result<Written, Error> {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = sender.slices(&mut slices);
            if count == 0 {
                return Ok(Written::All);
            }
            match stream.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(written) => sender.advance(written)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Partly);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(io_error("cannot write to", self.addr, source)),
            }
        }
    }

    /// The writer: writes what could not be written on the spot, and what the reader asked for.
    pub(super) async fn run_writer(&self, stream: &OwnedWriteHalf) {
        loop {
            match self.write_all() {
                Ok(Written::All) => self.wake_writer.notified().await,
                Ok(Written::Partly) => tokio::select! {
                    // A broken socket is writable, and the next write says why.
                    _ = stream.writable() => {}
                    // A full one must not keep the connection from being closed.
                    () = self.wake_writer.notified() => {}
                },
                Err(()) => return,
            }
        }
    }

    fn write_all(&self) -> Result<Written, ()> {
        let mut out = self.lock();
        let Some(stream) = out.stream.clone() else {
            return Err(());
        };
        self.write_and_answer(&mut out.sender, &stream)
            .map_err(|error| self.fail(&mut out, error))
    }

    fn write_and_answer(
        &self,
        sender: &mut Sender,
        stream: &OwnedWriteHalf,
    ) -> Result<Written, Error> {
        sender.acknowledged(self.notes.acknowledged.load(Ordering::Acquire))?;
        let written = self.write(sender, stream)?;
        // A peer that asks but does not read gets no answers, which would only pile up.
        if written == Written::Partly {
            return Ok(written);
        }
        self.answer(sender)?;
        self.write(sender, stream)
    }

    /// Puts in line what the reader asked for.
    fn answer(&self, sender: &mut Sender) -> Result<(), Error> {
        let notes = &self.notes;
        if notes.is_keepalive_due.swap(false, Ordering::AcqRel) {
            sender.keepalive_ack(unpack(notes.keepalive.load(Ordering::Acquire)))?;
        }
        let received = notes.received.load(Ordering::Acquire);
        if received - notes.told.load(Ordering::Acquire) >= ack_every(self.info.is_lossy) {
            notes.told.store(received, Ordering::Release);
            sender.ack(received)?;
        }
        Ok(())
    }

    /// The reader has received message `seq`.
    pub(super) fn note_received(&self, seq: u64) {
        self.notes.received.store(seq, Ordering::Release);
    }

    /// So many frames have come compressed.
    pub(super) fn note_compressed(&self, frames: u64) {
        self.notes.compressed.store(frames, Ordering::Relaxed);
    }

    pub(super) fn compressed_frames(&self) -> CompressedFrames {
        CompressedFrames {
            sent: self.lock().sender.compressed_frames(),
            received: self.notes.compressed.load(Ordering::Relaxed),
        }
    }

    /// The peer says that it has received the messages up to `seq`.
    pub(super) fn note_acknowledged(&self, seq: u64) -> Result<(), Error> {
        let last = self.notes.sent.load(Ordering::Acquire);
        if seq > last {
            return Err(Error::AckBeyondSent { found: seq, last });
        }
        let before = self.notes.acknowledged.fetch_max(seq, Ordering::AcqRel);
        if before < seq && !self.info.is_lossy {
            self.wake_writer.notify_one();
        }
        Ok(())
    }

    /// The peer waits for a sign of life.
    pub(super) fn note_keepalive(&self, stamp: UTime) {
        self.notes.keepalive.store(pack(stamp), Ordering::Release);
        self.notes.is_keepalive_due.store(true, Ordering::Release);
        self.wake_writer.notify_one();
    }

    pub(super) fn note_keepalive_ack(&self, stamp: UTime) {
        self.notes
            .keepalive_ack
            .store(pack(stamp), Ordering::Release);
    }

    /// Everything that has arrived is handled: the peer may have to be told.
    pub(super) fn note_batch(&self) {
        let received = self.notes.received.load(Ordering::Acquire);
        let told = self.notes.told.load(Ordering::Acquire);
        if received.saturating_sub(told) >= ack_every(self.info.is_lossy) {
            self.wake_writer.notify_one();
        }
    }

    pub(super) fn note_heard(&self) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(elapsed, Ordering::Release);
        self.notes.burst.store(0, Ordering::Release);
    }

    pub(super) fn heard(&self) -> Instant {
        let elapsed = self.heard_ms.load(Ordering::Acquire);
        self.opened + std::time::Duration::from_millis(elapsed)
    }

    pub(super) fn last_keepalive_ack(&self) -> Option<UTime> {
        let stamp = unpack(self.notes.keepalive_ack.load(Ordering::Acquire));
        (!stamp.is_zero()).then_some(stamp)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.lock().sender.queued_bytes()
    }

    pub(super) fn unacknowledged_bytes(&self) -> usize {
        self.lock().sender.unacknowledged_bytes()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Lets go of the socket. What was not written never will be.
    pub(super) fn close(&self) {
        self.let_go(&mut self.lock());
    }

    fn fail(&self, out: &mut Out, error: Error) {
        out.failure.get_or_insert(error);
        self.let_go(out);
    }

    fn let_go(&self, out: &mut Out) {
        out.stream = None;
        out.sender.discard_queued();
        self.is_closed.store(true, Ordering::Release);
        self.wake_reader.notify_one();
        self.wake_writer.notify_one();
    }

    /// Waits until the connection is closed. Cancel safe.
    pub(super) async fn closing(&self) {
        self.wake_reader.notified().await;
    }

    /// The reader has ended with `error`. Gives the reason to report, unless this side closed the
    /// connection.
    pub(super) fn end(&self, error: Error) -> Option<Error> {
        let mut out = self.lock();
        let is_own = out.stream.is_none() && out.failure.is_none();
        self.let_go(&mut out);
        match out.failure.take() {
            Some(failure) => Some(failure),
            None if is_own => None,
            None => Some(error),
        }
    }

    /// The number of the last message received, and the messages sent that the peer may not have.
    pub(super) fn take_session(&self) -> (u64, Sent) {
        let mut out = self.lock();
        // A wrong acknowledgement has been refused when it came.
        let _ = out
            .sender
            .acknowledged(self.notes.acknowledged.load(Ordering::Acquire));
        let received = self.notes.received.load(Ordering::Acquire);
        (received, out.sender.take_sent())
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        // State changes under the lock are complete even if a panic follows.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn pack(stamp: UTime) -> u64 {
    (stamp.seconds as u64) << 32 | stamp.nanoseconds as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are taken apart"
)]
const fn unpack(packed: u64) -> UTime {
    UTime {
        seconds: (packed >> 32) as u32,
        nanoseconds: packed as u32,
    }
}

/// How many messages are written each on its own before anything has arrived. A single request is
/// written at once, with no other thread woken; when there are many, a system call for each costs more
/// than the writer's waking for all. Where the writer runs on the thread of whoever sends, its waking
/// costs next to nothing, and it writes what is sent until then.
fn on_the_spot() -> u32 {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => 0,
        _ => 2,
    }
}
/// Pieces written in one go.
const SLICES: usize = 64;
