//! Serving a device of the kernel until it is to be given up, and giving it up.
//!
//! A device is given up gracefully or by force. Gracefully, everything is written back first, and a device that is in use, or
//! that takes too long, is kept. By force it is given up at any rate: requests that are not answered for a while are failed,
//! and counted.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::control::{Answer, ClusterState, Control, Status, Stop, StopRequest, Subject};
use crate::device::{BlockDevice, Ledger, Tally};
use crate::error::{Error, Result};
use crate::kernel::Attachment;

/// The signals by which a daemon is told to end: `SIGTERM` and `SIGINT` gracefully, `SIGQUIT` by force.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Begins to take the signals.
    ///
    /// # Errors
    /// If the system refuses.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new() -> Result<Self> {
        let take = |kind| signal(kind).map_err(Error::system("take a signal"));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            quit: take(SignalKind::quit())?,
        })
    }

    /// Waits for the next signal.
    ///
    /// **Cancellation:** safe.
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::GRACEFUL,
            _ = self.interrupt.recv() => Stop::GRACEFUL,
            _ = self.quit.recv() => Stop::FORCED,
        }
    }
}

/// A device that is being served, and how to find out whether what keeps its bytes answers.
#[derive(Debug)]
pub struct Served<D, P> {
    ledger: Ledger<D>,
    probe: P,
    is_stopping: AtomicBool,
}

/// Finds out whether a cluster answers.
pub trait Probe: Send + Sync + 'static {
    /// Asks the cluster, which may take as long as `limit` to answer.
    ///
    /// **Cancellation:** safe.
    fn cluster(&self, limit: Duration) -> impl Future<Output = ClusterState> + Send;
}

impl<D, P> Served<D, P> {
    /// A device that is being served.
    pub const fn new(ledger: Ledger<D>, probe: P) -> Self {
        Self {
            ledger,
            probe,
            is_stopping: AtomicBool::new(false),
        }
    }
}

impl<D: BlockDevice, P: Probe> Subject for Served<D, P> {
    async fn status(&self, limit: Duration) -> Status {
        let cluster = self.probe.cluster(limit).await;
        Status {
            is_stopping: self.is_stopping.load(Ordering::Relaxed),
            traffic: self.ledger.traffic(),
            cluster,
        }
    }
}

/// Those who may tell a daemon to stop.
#[derive(Debug)]
pub struct Masters {
    /// The system.
    pub signals: Signals,
    /// People, by command.
    pub control: Control,
}

/// An order to stop, and who waits to hear how it went.
#[derive(Debug)]
struct Order {
    stop: Stop,
    request: Option<StopRequest>,
}

impl Masters {
    /// Waits for the next order.
    ///
    /// **Cancellation:** safe.
    async fn next(&mut self) -> Order {
        tokio::select! {
            stop = self.signals.next() => Order { stop, request: None },
            request = self.control.next_stop() => Order {
                stop: request.stop,
                request: Some(request),
            },
        }
    }
}

/// Why serving a device has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As told; the device is given up, and this was lost.
    Stopped(Tally),
    /// The kernel let go of the device by itself.
    Disconnected,
}

/// Serves an attached device until it is told to give it up, and that worked, or the kernel lets go of it. A second order, by
/// signal or by force, while everything is being written back, makes it an order by force. Whenever `sizes` has a new size, the
/// kernel is told.
///
/// **Cancellation:** the device stays attached, unless there had been an order.
///
/// # Errors
/// If even force did not work.
pub async fn serve_until_stopped<A: Attachment, D: BlockDevice, P: Probe>(
    attachment: &mut A,
    served: &Served<D, P>,
    masters: &mut Masters,
    sizes: &mut watch::Receiver<u64>,
) -> Result<Ended> {
    loop {
        let order = tokio::select! {
            order = masters.next() => order,
            () = attachment.ended() => return Ok(Ended::Disconnected),
            Ok(()) = sizes.changed() => {
                let size = *sizes.borrow_and_update();
                resize(attachment, size).await;
                continue;
            }
        };
        info!(stop = ?order.stop, device = %attachment.path().display(), "told to stop");
        served.is_stopping.store(true, Ordering::Relaxed);
        let (detached, requests, was_forced) =
            give_up(attachment, &served.ledger, masters, order).await;
        if detached.is_err() && !was_forced {
            served.is_stopping.store(false, Ordering::Relaxed);
        }
        let answer = answer(&detached, &served.ledger);
        for request in requests {
            request.reply(answer.clone());
        }
        match detached {
            Ok(()) => return Ok(Ended::Stopped(served.ledger.traffic().dropped)),
            Err(error) if was_forced => return Err(error),
            Err(error) => warn!(error = error.with_causes(), "the device is not given up"),
        }
    }
}

async fn resize(attachment: &impl Attachment, size_bytes: u64) {
    let path = attachment.path().display();
    match attachment.resize(size_bytes).await {
        Ok(()) => info!(device = %path, size_bytes, "resized"),
        Err(error) => warn!(device = %path, size_bytes, error = error.with_causes(), "not resized"),
    }
}

/// Gives a device up as ordered. Gives how that went, who wants to know, and whether it was by force in the end.
async fn give_up<A: Attachment, D: BlockDevice>(
    attachment: &mut A,
    ledger: &Ledger<D>,
    masters: &mut Masters,
    order: Order,
) -> (Result<()>, Vec<StopRequest>, bool) {
    let limit = order.stop.patience.max(Stop::GRACEFUL.patience);
    let mut requests: Vec<_> = order.request.into_iter().collect();
    let mut patience = order.stop.is_forced.then_some(order.stop.patience);
    loop {
        let is_forced = patience.is_some();
        let graceful_limit = if is_forced {
            limit
        } else {
            order.stop.patience
        };
        let detached = {
            let mut detach = pin!(attachment.detach(graceful_limit, is_forced));
            let mut is_abandoned = false;
            let deadline = Instant::now() + limit;
            loop {
                tokio::select! {
                    detached = &mut detach => break detached,
                    () = patience_ends(ledger, patience, deadline), if !is_abandoned => {
                        ledger.abandon_with_buffers();
                        is_abandoned = true;
                        warn!(dropped = %ledger.traffic().dropped, "requests given up by force");
                    }
                    order = masters.next() => {
                        patience = hastened(patience, &order);
                        requests.extend(order.request);
                    }
                }
            }
        };
        match detached {
            // Force was asked for after it had begun without.
            Err(error) if !is_forced && patience.is_some() => {
                info!(error = error.with_causes(), "by force now");
            }
            detached => {
                if detached.is_ok() {
                    write_back(ledger, patience.unwrap_or(limit)).await;
                    // Nobody waits for what may still be under way.
                    ledger.abandon();
                }
                return (detached, requests, is_forced);
            }
        }
    }
}

/// Writes out what the device holds back, or counts it as dropped if that takes too long.
async fn write_back<D: BlockDevice>(ledger: &Ledger<D>, limit: Duration) {
    if ledger.device().buffered_bytes() == 0 {
        return;
    }
    match timeout(limit, ledger.device().flush()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, "not written");
            ledger.abandon_with_buffers();
        }
        Err(_) => ledger.abandon_with_buffers(),
    }
}

/// Returns when requests are to be given up; never if not by force.
async fn patience_ends<D: BlockDevice>(
    ledger: &Ledger<D>,
    patience: Option<Duration>,
    deadline: Instant,
) {
    match patience {
        None => std::future::pending().await,
        Some(Duration::ZERO) => {}
        Some(patience) => tokio::select! {
            () = ledger.stalled(patience) => {}
            () = sleep_until(deadline) => {}
        },
    }
}

/// What becomes of the patience of force when there is another order: whoever sends a second signal has none any more.
fn hastened(patience: Option<Duration>, order: &Order) -> Option<Duration> {
    let wanted = match &order.request {
        None => Duration::ZERO,
        Some(_) if order.stop.is_forced => order.stop.patience,
        // Whoever wants it done gracefully waits with those who are waiting already.
        Some(_) => return patience,
    };
    Some(patience.map_or(wanted, |patience| patience.min(wanted)))
}

fn answer<D: BlockDevice>(detached: &Result<()>, ledger: &Ledger<D>) -> Answer {
    match detached {
        Ok(()) => Answer::Stopped(ledger.traffic().dropped),
        Err(error) => Answer::Refused {
            errno: error.errno(),
            message: error.with_causes(),
        },
    }
}
