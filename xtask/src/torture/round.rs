//! One round: faults come and go, and everything that waited then has to be answered.

use std::thread;
use std::time::{Duration, Instant};

use super::faults::{self, Nemesis};
use super::lane::{Lane, Stage};
use super::plan::Round;
use super::spec::ClientKind;
use super::stamp::OpId;
use crate::interrupt::Interrupt;

/// How long after the end of the faults a client had what it waited for then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    /// Of its lane.
    pub(super) group: usize,
    pub(super) kind: ClientKind,
    pub(super) time: Duration,
}

/// What came of a round.
#[derive(Default)]
pub(super) struct Outcome {
    /// How many operations were held up when the faults ended.
    pub(super) held_up: usize,
    pub(super) stalls: Vec<Stall>,
}

impl Outcome {
    pub(super) fn longest(&self) -> Duration {
        let stalls = self.stalls.iter().map(|stall| stall.time);
        stalls.max().unwrap_or_default()
    }
}

/// A client after the faults have ended.
struct Waiting {
    lane: usize,
    group: usize,
    generation: u32,
    kind: ClientKind,
    /// What it waits for.
    ids: Vec<OpId>,
    /// How many answers it had had.
    answered: u64,
}

/// Runs a round to its end, which is early after a violation.
pub(super) fn run(
    round: &Round,
    stage: &Stage<'_>,
    nemesis: &mut Nemesis<'_>,
    lanes: &mut [Lane],
    interrupt: &Interrupt,
) -> anyhow::Result<Outcome> {
    for fault in &round.faults {
        nemesis.inject(*fault, lanes)?;
        // The second is to meet what the first has done.
        thread::sleep(BETWEEN);
    }
    let healing = Instant::now() + round.lasts;
    while Instant::now() < healing {
        interrupt.check()?;
        thread::sleep(POLL);
    }
    let held_up = stage.checker.held_up();
    let mut faults = round.faults.clone();
    faults.sort_by_key(faults::turn);
    for fault in faults {
        nemesis.heal(fault, lanes)?;
    }
    let stalls = recover(round, stage, lanes, interrupt)?;
    Ok(Outcome { held_up, stalls })
}

fn recover(
    round: &Round,
    stage: &Stage<'_>,
    lanes: &mut [Lane],
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Stall>> {
    let checker = stage.checker;
    let healed = Instant::now();
    let mut waiting = Vec::new();
    for lane in lanes.iter() {
        waiting.extend(all_of(lane, stage)?);
    }
    let mut stalls = Vec::new();
    while !waiting.is_empty() && !checker.has_violations() {
        interrupt.check()?;
        for lane in lanes.iter_mut() {
            // The next clients have to get on instead.
            if lane.replace_fenced(stage)? {
                waiting.retain(|waiting| waiting.lane != lane.number);
                waiting.extend(all_of(lane, stage)?);
            }
        }
        let mut still = Vec::new();
        for client in waiting {
            if is_over(&client, stage)? {
                stalls.push(Stall {
                    group: client.group,
                    kind: client.kind,
                    time: healed.elapsed(),
                });
            } else {
                still.push(client);
            }
        }
        waiting = still;
        if healed.elapsed() > STALL_LIMIT {
            for client in &waiting {
                let what = checker.describe_waiting(client.lane, client.generation)?;
                let what =
                    format!("{STALL_LIMIT:?} after the end of {round}, there still wait: {what}");
                checker.complain(client.lane, what)?;
            }
        }
        thread::sleep(POLL);
    }
    Ok(stalls)
}

fn all_of(lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<Vec<Waiting>> {
    let clients = lane.clients().map(|(_, worker)| {
        let (group, lane, generation) = (lane.group, lane.number, worker.generation);
        Ok(Waiting {
            lane,
            group,
            generation,
            kind: worker.kind,
            ids: stage.checker.waiting(lane, generation)?,
            answered: stage.checker.answered(lane, generation)?,
        })
    });
    clients.collect()
}

/// What waited is answered, and the next is too. Who was shut out is replaced instead.
fn is_over(client: &Waiting, stage: &Stage<'_>) -> anyhow::Result<bool> {
    let (checker, lane, generation) = (stage.checker, client.lane, client.generation);
    Ok(checker.are_answered(lane, &client.ids)?
        && checker.answered(lane, generation)? > client.answered
        && !checker.is_fenced(lane, generation)?)
}

/// Nothing may hang so long after everything is well again.
const STALL_LIMIT: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(10);
