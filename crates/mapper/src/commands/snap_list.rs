//! `orbd snap ls`: the snapshots of an image.

use std::fmt;

use rbd::{Image, Protection, SnapshotNamespace};

use super::group::{group_name, group_pool, group_snapshot_name};
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
    let mut report = Snapshots {
        snapshots: Vec::new(),
        is_all: args.all,
    };
    for snapshot in snapshots {
        let gathered = SnapshotInfo::gather(&image, snapshot).await;
        report
            .snapshots
            .push(gathered.map_err(|error| Failure::rbd("failed to list snapshots", &error))?);
    }
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
    namespace: Namespace,
}

/// What made a snapshot: `user`, `group`, `trash`, `mirror`, and what more there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Namespace {
    name: &'static str,
    detail: Detail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Detail {
    None,
    /// The snapshot of a group of which this is a part.
    Group {
        pool: String,
        group: String,
        snapshot: String,
    },
    /// What a snapshot in the trash was called.
    Trash {
        original_name: String,
    },
}

impl Namespace {
    /// With the names behind the numbers.
    async fn gather(image: &Image, namespace: &SnapshotNamespace) -> rbd::Result<Self> {
        let detail = match namespace {
            SnapshotNamespace::Group {
                pool,
                group_id,
                group_snapshot_id,
            } => {
                let home = group_pool(image.pool(), *pool).await?;
                Detail::Group {
                    pool: home.name().to_owned(),
                    group: group_name(&home, group_id).await?,
                    snapshot: group_snapshot_name(&home, group_id, group_snapshot_id).await?,
                }
            }
            SnapshotNamespace::Trash { original_name, .. } => Detail::Trash {
                original_name: original_name.clone(),
            },
            _ => Detail::None,
        };
        Ok(Self {
            name: namespace.name(),
            detail,
        })
    }

    fn value(&self) -> Value {
        let mut members: Vec<(&str, Value)> = vec![("type", self.name.into())];
        match &self.detail {
            Detail::None => {}
            Detail::Group {
                pool,
                group,
                snapshot,
            } => {
                members.push(("pool", pool.into()));
                members.push(("group", group.into()));
                members.push(("group snap", snapshot.into()));
            }
            Detail::Trash { original_name } => {
                members.push(("original_name", original_name.into()));
            }
        }
        Value::map(members)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match &self.detail {
            Detail::None => Ok(()),
            Detail::Group {
                pool,
                group,
                snapshot,
            } => write!(f, " ({pool}/{group}@{snapshot})"),
            Detail::Trash { original_name } => write!(f, " ({original_name})"),
        }
    }
}

impl SnapshotInfo {
    async fn gather(image: &Image, snapshot: rbd::Snapshot) -> rbd::Result<Self> {
        Ok(Self {
            id: snapshot.id.0,
            size_bytes: snapshot.size_bytes,
            is_protected: snapshot.protection != Protection::Unprotected,
            created: snapshot.created.into(),
            namespace: Namespace::gather(image, &snapshot.namespace).await?,
            name: snapshot.name,
        })
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
                cells.push(snapshot.namespace.to_string());
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
                members.push(("namespace", snapshot.namespace.value()));
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
            namespace: Namespace {
                name: "user",
                detail: Detail::None,
            },
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
    fn namespaces_print_as_by_rbd() {
        let cases = Recording::load("list");
        let group = Namespace {
            name: "group",
            detail: Detail::Group {
                pool: String::from("rbd"),
                group: String::from("grp"),
                snapshot: String::from("gs"),
            },
        };
        let trash = Namespace {
            name: "trash",
            detail: Detail::Trash {
                original_name: String::from("old"),
            },
        };
        let plain = &Recording::find(&cases, "snap ls namespaces").stdout;
        let json = &Recording::find(&cases, "snap ls namespaces json").stdout;
        let listed: serde_json::Value = serde_json::from_str(json).unwrap();
        for (index, namespace) in [group, trash].into_iter().enumerate() {
            let shown = namespace.to_string();
            assert!(plain.contains(&format!("  {shown}")), "{shown}: {plain}");
            let snapshots = Snapshots {
                snapshots: vec![SnapshotInfo {
                    id: listed[index]["id"].as_u64().unwrap(),
                    name: listed[index]["name"].as_str().unwrap().to_owned(),
                    size_bytes: 10 << 20,
                    is_protected: false,
                    created: Timestamp(0),
                    namespace,
                }],
                is_all: true,
            };
            let style = Style::recorded(" json");
            let ours = render(&snapshots, style, &Clock::in_zone("UTC"));
            let mut ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
            ours[0]["timestamp"] = listed[index]["timestamp"].clone();
            assert_eq!(ours[0], listed[index]);
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
