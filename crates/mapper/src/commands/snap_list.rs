//! `orbd snap ls`: the snapshots of an image.

use rbd::{Protection, SnapshotNamespace};

use super::info::open;
use crate::args::image::SnapList;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::output::{self, Align, Clock, Document, Report, Table, Timestamp, Value};
use crate::session::Session;
use crate::size::Bytes;

/// Prints the snapshots of an image.
pub(crate) async fn run(args: SnapList, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let by_id = args.image_id.filter(|id| !id.is_empty());
    let wanted = Wanted {
        is_image_needed: by_id.is_none(),
        ..Wanted::IMAGE
    };
    let location = locate(args.image, None, &mut positionals, wanted)?;
    if by_id.is_some() && !location.image.is_empty() {
        return Err(Failure::invalid(
            "trying to access image using both name and id.",
        ));
    }
    let style = args.format.style()?;
    let image = open(session, &location, by_id.as_deref()).await?;
    let mut snapshots = image.snapshots();
    if !args.all {
        snapshots.retain(|snapshot| snapshot.namespace == SnapshotNamespace::User);
    }
    let report = Snapshots {
        snapshots: snapshots.into_iter().map(SnapshotInfo::from).collect(),
        is_all: args.all,
    };
    output::print(&report, style)
}

/// Snapshots by number.
struct Snapshots {
    snapshots: Vec<SnapshotInfo>,
    /// Whether those of other namespaces than the user's are shown too.
    is_all: bool,
}

#[derive(Clone, Debug)]
struct SnapshotInfo {
    id: u64,
    name: String,
    size_bytes: u64,
    is_protected: bool,
    created: Timestamp,
    /// What made it: `user`, `group`, `trash`, `mirror`.
    namespace: &'static str,
}

impl From<rbd::Snapshot> for SnapshotInfo {
    fn from(snapshot: rbd::Snapshot) -> Self {
        Self {
            id: snapshot.id.0,
            name: snapshot.name,
            size_bytes: snapshot.size_bytes,
            is_protected: snapshot.protection != Protection::Unprotected,
            created: snapshot.created.into(),
            namespace: snapshot.namespace.name(),
        }
    }
}

impl Report for Snapshots {
    fn plain(&self, clock: &Clock) -> String {
        if self.snapshots.is_empty() {
            return String::new();
        }
        let mut columns = vec![
            ("SNAPID", Align::Right),
            ("NAME", Align::Left),
            ("SIZE", Align::Left),
            ("PROTECTED", Align::Left),
            ("TIMESTAMP", Align::Left),
        ];
        if self.is_all {
            columns.push(("NAMESPACE", Align::Left));
        }
        let mut table = Table::new(&columns);
        for snapshot in &self.snapshots {
            let mut cells = vec![
                snapshot.id.to_string(),
                snapshot.name.clone(),
                Bytes(snapshot.size_bytes).to_string(),
                String::from(if snapshot.is_protected { "yes" } else { "" }),
                clock.show(snapshot.created),
            ];
            if self.is_all {
                cells.push(snapshot.namespace.to_owned());
            }
            table.row(cells);
        }
        table.render()
    }

    fn document(&self, clock: &Clock) -> Option<Document> {
        let member = |snapshot: &SnapshotInfo| {
            let mut members: Vec<(&str, Value)> = vec![
                ("id", snapshot.id.into()),
                ("name", (&snapshot.name).into()),
                ("size", snapshot.size_bytes.into()),
                ("protected", Value::truth(snapshot.is_protected)),
                ("timestamp", clock.show(snapshot.created).into()),
            ];
            if self.is_all {
                let namespace = Value::map([("type", snapshot.namespace.into())]);
                members.push(("namespace", namespace));
            }
            Value::map(members)
        };
        Some(Document {
            name: "snapshots",
            value: Value::list("snapshot", self.snapshots.iter().map(member)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Style, render};
    use crate::recording::Recording;

    /// The snapshots of the recordings. Only their times are taken from what was recorded.
    fn snapshots(recording: &Recording, is_all: bool) -> Snapshots {
        let times: Vec<i64> = recording.facts["one"]["snapshots"]
            .as_array()
            .unwrap()
            .iter()
            .map(|time| time.as_i64().unwrap())
            .collect();
        let snapshot = |id, name: &str, is_protected, time| SnapshotInfo {
            id,
            name: name.to_owned(),
            size_bytes: 10 << 20,
            is_protected,
            created: Timestamp(time),
            namespace: "user",
        };
        Snapshots {
            snapshots: vec![
                snapshot(4, "snap", false, times[0]),
                snapshot(5, "snap2", true, times[1]),
            ],
            is_all,
        }
    }

    #[test]
    fn snapshots_print_as_by_rbd() {
        let cases = Recording::load("list");
        let clock = Clock::in_zone("UTC");
        for (case, is_all) in [("snap ls", false), ("snap ls all", true)] {
            for (suffix, recording) in Recording::formats(&cases, case) {
                assert_eq!(
                    render(
                        &snapshots(recording, is_all),
                        Style::recorded(suffix),
                        &clock
                    ),
                    recording.stdout,
                    "{case}{suffix}"
                );
            }
        }
        for (suffix, recording) in Recording::formats(&cases, "snap ls none") {
            let none = Snapshots {
                snapshots: Vec::new(),
                is_all: false,
            };
            assert_eq!(
                render(&none, Style::recorded(suffix), &clock),
                recording.stdout
            );
        }
    }
}
