//! The objecter against OSDs and a monitor that are played by the test, in virtual time: what real
//! daemons do seldom.

mod cells;
mod connecting;
mod encode;
mod events;
mod full;
mod maps;
mod order;
mod outcomes;
mod peer;
mod pools;
mod replicas;
mod world;

use denc::Tid;

use super::answer::{Cells, channel};
use super::limits::Limits;
use super::op::{Aim, InFlight, Op, PoolKnown, Target};
use crate::Operation;
use crate::config::{InFlightLimits, SizeBytes};

/// An operation that nobody waits for.
pub(super) async fn operation(target: Target, operation: Operation, aim: Aim) -> Op {
    let limits = Limits::new(InFlightLimits {
        operations: 1,
        bytes: SizeBytes(1024),
    });
    let (outcome, _) = channel(&Cells::default());
    Box::new(InFlight {
        tid: Tid(1),
        aim,
        pool: PoolKnown::Seen,
        attempts: 1,
        outcome: Some(outcome),
        budget: Some(limits.take(0).await.unwrap()),
        ..InFlight::new(target, operation)
    })
}
