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
use tokio::sync::oneshot;

use super::limits::Limits;
use super::op::{Aim, InFlight, Op, PoolKnown, Target};
use crate::config::{InFlightLimits, SizeBytes};
use crate::{Operation, ReadPolicy};

/// An operation that nobody waits for.
pub(super) async fn operation(target: Target, operation: Operation, aim: Aim) -> Op {
    let limits = Limits::new(InFlightLimits {
        operations: 1,
        bytes: SizeBytes(1024),
    });
    Box::new(InFlight {
        tid: Tid(1),
        target,
        operation,
        mtime: Default::default(),
        aim,
        is_paused: false,
        read_policy: ReadPolicy::Primary,
        pool: PoolKnown::Seen,
        attempts: 1,
        deadline: None,
        outcome: Some(oneshot::channel().0),
        _budget: limits.take(0).await.unwrap(),
    })
}
