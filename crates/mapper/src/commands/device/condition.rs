//! How a mapping is getting on.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use mapper::control::{self, ClusterState, Status};
use mapper::device::Tally;
use mapper::state::Mapping;

/// How a mapping is getting on, the worst that can be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Its daemon has died: every request fails, or soon will.
    Dead,
    /// Its daemon does not answer.
    Hung,
    /// The cluster has blocklisted its client: every request fails.
    Fenced,
    /// The device is being given up.
    Stopping(Tally),
    /// The cluster does not answer; requests wait.
    Unreachable(Tally),
    /// The monitors do not answer, but OSDs do.
    NoMonitors(Tally),
    /// OSDs do not answer, but monitors do.
    NoOsds(Tally),
    /// Another client has the image's lock; requests wait for it.
    Locked(Tally),
    /// The cluster answers questions, but not the requests.
    Stalled(Tally),
    /// All is well.
    Attached,
}

impl Condition {
    /// Asks the daemon.
    pub(super) async fn of(directory: &Path, mapping: &Mapping) -> Self {
        if !mapping.is_alive() {
            return Self::Dead;
        }
        match control::status(directory, mapping, CLUSTER_LIMIT).await {
            Ok(status) => Self::from_status(&status),
            // It may have died just now.
            Err(_) if !mapping.is_alive() => Self::Dead,
            Err(_) => Self::Hung,
        }
    }

    fn from_status(status: &Status) -> Self {
        let in_flight = status.traffic.in_flight;
        match status.cluster {
            ClusterState::Fenced => Self::Fenced,
            _ if status.is_stopping => Self::Stopping(in_flight),
            ClusterState::Silent => Self::Unreachable(in_flight),
            ClusterState::MonitorsSilent => Self::NoMonitors(in_flight),
            ClusterState::OsdsSilent => Self::NoOsds(in_flight),
            ClusterState::Locked => Self::Locked(in_flight),
            ClusterState::Answers => match status.traffic.stalled {
                Some(stalled) if stalled >= STALLED => Self::Stalled(in_flight),
                _ => Self::Attached,
            },
        }
    }

    /// A word for programs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Hung => "hung",
            Self::Fenced => "fenced",
            Self::Stopping(_) => "stopping",
            Self::Unreachable(_) => "unreachable",
            Self::NoMonitors(_) => "monitors-unreachable",
            Self::NoOsds(_) => "osds-unreachable",
            Self::Locked(_) => "locked",
            Self::Stalled(_) => "stalled",
            Self::Attached => "attached",
        }
    }
}

/// For people: with the requests that wait.
impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        match self {
            Self::Stopping(waiting)
            | Self::Unreachable(waiting)
            | Self::NoMonitors(waiting)
            | Self::NoOsds(waiting)
            | Self::Locked(waiting)
            | Self::Stalled(waiting)
                if !waiting.is_empty() =>
            {
                write!(formatter, ": {waiting} waiting")
            }
            _ => Ok(()),
        }
    }
}

/// How long the cluster may take to answer its client.
const CLUSTER_LIMIT: Duration = Duration::from_secs(2);

/// How long requests may take before something is wrong: upstream's OSDs begin to complain then.
const STALLED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use mapper::device::Traffic;

    use super::*;

    fn condition(is_stopping: bool, cluster: ClusterState, stalled_seconds: u64) -> String {
        let traffic = Traffic {
            in_flight: Tally {
                reads: 1,
                ..Tally::default()
            },
            stalled: Some(Duration::from_secs(stalled_seconds)),
            ..Traffic::default()
        };
        Condition::from_status(&Status {
            is_stopping,
            traffic,
            cluster,
        })
        .to_string()
    }

    #[test]
    fn the_worst_is_said() {
        assert_eq!(condition(false, ClusterState::Answers, 1), "attached");
        assert_eq!(
            condition(false, ClusterState::Answers, 31),
            "stalled: 1 read waiting"
        );
        assert_eq!(
            condition(false, ClusterState::Silent, 31),
            "unreachable: 1 read waiting"
        );
        assert_eq!(
            condition(false, ClusterState::MonitorsSilent, 0),
            "monitors-unreachable: 1 read waiting"
        );
        assert_eq!(
            condition(false, ClusterState::OsdsSilent, 0),
            "osds-unreachable: 1 read waiting"
        );
        assert_eq!(
            condition(false, ClusterState::Locked, 31),
            "locked: 1 read waiting"
        );
        assert_eq!(
            condition(true, ClusterState::Silent, 31),
            "stopping: 1 read waiting"
        );
        assert_eq!(condition(true, ClusterState::Fenced, 31), "fenced");
    }
}
