//! Having a daemon give its device up, or doing it in its place.

use std::time::{Duration, Instant};

use mapper::control::{self, ClusterState, Status, Stop};
use mapper::state::{Mapping, Registry};

use super::failure;
use crate::exit::Outcome;

/// How to stop, as the options say.
pub(super) fn stop(is_forced: bool, timeout_seconds: Option<u32>) -> Stop {
    let usual = if is_forced {
        Stop::FORCED
    } else {
        Stop::GRACEFUL
    };
    let patience = timeout_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Stop {
        patience: patience.unwrap_or(usual.patience),
        ..usual
    }
}

/// Has the daemon of a mapping give its device up and go, or cleans up after one that has died. By force, a daemon that does not
/// answer is killed.
pub(super) async fn give_up(registry: &Registry, mapping: &Mapping, stop: Stop) -> Outcome {
    if mapping.is_alive() {
        match ask(registry, mapping, stop).await {
            Err(error @ mapper::Error::Silent { .. }) => {
                // It may be about to end, as everything does when the system goes down.
                let is_gone = mapping.wait(Duration::ZERO).await;
                if !is_gone.is_ok_and(|is_gone| is_gone) {
                    if !stop.is_forced {
                        return Err(failure("unmap failed", &error).hint(
                            "to kill it and lose what it has not written: orbd unmap --force",
                        ));
                    }
                    kill(mapping).await?;
                }
            }
            asked => asked.map_err(|error| unmap_failed(&error, mapping, stop))?,
        }
    }
    if !mapping.is_alive() {
        clean_up(registry, mapping, stop).await?;
    }
    Ok(())
}

/// Has the daemon do it, and says what was lost.
async fn ask(registry: &Registry, mapping: &Mapping, stop: Stop) -> mapper::Result<()> {
    let mut patience = Patience::new(mapping, stop);
    let stopped = control::stop(registry.directory(), mapping, stop, |status| {
        patience.hear(status);
    });
    let dropped = stopped.await?;
    if !dropped.is_empty() {
        eprintln!(
            "orbd: {}: given up without an answer from the cluster: {dropped}{}",
            mapping.spec,
            if dropped.is_harmless() {
                ""
            } else {
                "; of what was to be written, some may be lost"
            }
        );
    }
    if mapping.wait(END_LIMIT).await? {
        return Ok(());
    }
    let pid = mapping.process.pid();
    Err(mapper::Error::Silent { pid })
}

fn unmap_failed(error: &mapper::Error, mapping: &Mapping, stop: Stop) -> crate::exit::Failure {
    let failed = failure("unmap failed", error);
    match error {
        mapper::Error::Daemon { exit_code, .. }
            if !stop.is_forced && i32::from(*exit_code) == rados::Errno::ETIMEDOUT.0 =>
        {
            failed.hint(format_args!(
                "to give up what is not written: orbd unmap --force {}",
                mapping.spec
            ))
        }
        _ => failed,
    }
}

async fn kill(mapping: &Mapping) -> Outcome {
    let what = "unmap failed";
    let failed = |error: mapper::Error| failure(what, &error);
    let pid = mapping.process.pid();
    eprintln!(
        "orbd: {}: the daemon (process {pid}) does not answer and is killed; of what was to be written, some may be lost",
        mapping.spec
    );
    // A thread that waits for the device itself ends when that is given up, and keeps the rest of the process from ending.
    if mapping.kill(END_LIMIT).await.map_err(failed)? || !mapping.is_alive() {
        return Ok(());
    }
    Err(failed(mapper::Error::Silent { pid }))
}

/// Does what a dead daemon did not.
async fn clean_up(registry: &Registry, mapping: &Mapping, stop: Stop) -> Outcome {
    let failed = |error: mapper::Error| failure("unmap failed", &error);
    if let Some(orphan) = mapping.orphan() {
        let limit = stop.patience.max(END_LIMIT);
        let released = mapping
            .device_type
            .release_orphan(&orphan, stop.is_forced, limit);
        released.await.map_err(failed)?;
    }
    registry.remove_stale(mapping).map_err(failed)
}

/// Tells people who have waited for a while what they are waiting for.
struct Patience<'a> {
    mapping: &'a Mapping,
    stop: Stop,
    began: Instant,
    has_spoken: bool,
}

impl<'a> Patience<'a> {
    fn new(mapping: &'a Mapping, stop: Stop) -> Self {
        Self {
            mapping,
            stop,
            began: Instant::now(),
            has_spoken: false,
        }
    }

    fn hear(&mut self, status: &Status) {
        if self.has_spoken || self.began.elapsed() < SILENCE {
            return;
        }
        self.has_spoken = true;
        eprintln!(
            "orbd: {}: waiting up to {:?} for {}{}",
            self.mapping.spec,
            self.stop.patience,
            awaited(status),
            if self.stop.is_forced {
                ""
            } else {
                "; orbd unmap --force would give that up"
            }
        );
    }
}

/// What a daemon waits for before it stops.
fn awaited(status: &Status) -> String {
    let in_flight = status.traffic.in_flight;
    let requests = if in_flight.is_empty() {
        String::from("everything to be written back")
    } else {
        format!("answers from the cluster to {in_flight}")
    };
    let trouble = match status.cluster {
        ClusterState::Answers => return requests,
        ClusterState::Silent => "the cluster does not answer",
        ClusterState::MonitorsSilent => "the monitors do not answer",
        ClusterState::OsdsSilent => "the OSDs do not answer",
        ClusterState::Locked => "another client has the image's lock",
        ClusterState::Fenced => "the cluster has blocklisted this client",
    };
    format!("{requests}; {trouble}")
}

/// How long people wait without being told what for.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a daemon may take to end once its device is given up.
const END_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use mapper::device::{Tally, Traffic};

    use super::*;

    #[test]
    fn people_are_told_what_they_wait_for() {
        let mut status = Status {
            is_stopping: true,
            traffic: Traffic::default(),
            cluster: ClusterState::Answers,
        };
        assert_eq!(awaited(&status), "everything to be written back");
        status.traffic.in_flight = Tally {
            writes: 2,
            written_bytes: 8192,
            ..Tally::default()
        };
        status.cluster = ClusterState::Silent;
        assert_eq!(
            awaited(&status),
            "answers from the cluster to 2 writes (8192 bytes); the cluster does not answer"
        );
    }

    #[test]
    fn force_has_less_patience_unless_told() {
        assert_eq!(stop(false, None), Stop::GRACEFUL);
        assert_eq!(stop(true, None), Stop::FORCED);
        assert_eq!(stop(true, Some(0)).patience, Duration::ZERO);
        assert!(Stop::FORCED.patience < Stop::GRACEFUL.patience);
    }
}
