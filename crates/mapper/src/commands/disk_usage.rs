//! `orbd du`: how much of images is stored.

use rados::{Errno, Pool};
use rbd::{DiskUsage, Features, Flags, Image, OpenOptions, SnapshotNamespace};

use crate::args;
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::output::{self, Align, Clock, Document, Report, Table, Value};
use crate::session::Session;
use crate::size::Bytes;

/// Prints what an image and its snapshots take, or all images of a pool.
pub(crate) async fn run(args: args::changes::DiskUsage, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let wanted = Wanted {
        is_image_needed: false,
        ..Wanted::IMAGE_OR_SNAP
    };
    let location = locate(args.image, args.snap, &mut positionals, wanted)?;
    let style = args.format.style()?;
    let pool = session.pool_of(&location).await?;
    let query = Query {
        from_snap: args.from_snap,
        is_exact: args.exact,
    };
    let mut usage = Usage {
        rows: Vec::new(),
        is_pool: location.image.is_empty(),
        is_snapshot: location.snap.is_some(),
        is_merged: args.merge_snapshots,
    };
    let failed = if usage.is_pool {
        query.all(&pool, &mut usage).await?
    } else {
        match query.one(&pool, &location, &mut usage).await? {
            Found::Something => None,
            // Upstream says nothing at all then.
            Found::Nothing => return Ok(()),
        }
    };
    output::print(&usage, style)?;
    failed.map_or(Ok(()), Err)
}

/// What is asked.
struct Query {
    from_snap: Option<String>,
    is_exact: bool,
}

enum Found {
    Something,
    /// The snapshot is compared with itself.
    Nothing,
}

impl Query {
    /// All images of a pool. What cannot be opened is told and left out.
    async fn all(&self, pool: &Pool, usage: &mut Usage) -> Outcome<Option<Failure>> {
        let failed = |error: rbd::Error| Failure::rbd("du failed", &error);
        let mut failure = None;
        for entry in rbd::list(pool).await.map_err(failed)? {
            let location = Location {
                image: entry.name,
                ..Location::default()
            };
            match self.one(pool, &location, usage).await {
                Ok(_) => {}
                Err(error) => {
                    if let Some(earlier) = failure.replace(error) {
                        eprintln!("orbd: {earlier}");
                    }
                }
            }
        }
        Ok(failure)
    }

    async fn one(&self, pool: &Pool, location: &Location, usage: &mut Usage) -> Outcome<Found> {
        let image = open(pool, location).await?;
        warn_of_slowness(&image);
        let (from, to) = self.between(&image, location)?;
        if from.is_some() && from == to {
            return Ok(Found::Nothing);
        }
        if to.is_some_and(|to| from.is_some_and(|from| from > to)) {
            return Err(Failure::errno("du failed", Errno::EINVAL));
        }
        let found = image
            .disk_usage(self.is_exact)
            .await
            .map_err(|error| Failure::rbd("du failed", &error))?;
        let id = image.id();
        for usage_of in found {
            let number = usage_of.snap.as_ref().map(|snap| snap.id);
            // The image itself comes after all snapshots.
            if number.is_none() || from.is_none_or(|from| number > Some(from)) {
                usage.rows.push(Row {
                    image: location.image.clone(),
                    id: id.clone(),
                    usage: usage_of,
                });
            }
        }
        Ok(Found::Something)
    }

    /// The snapshots that were named.
    fn between(
        &self,
        image: &Image,
        location: &Location,
    ) -> Outcome<(Option<denc::SnapId>, Option<denc::SnapId>)> {
        let snapshots = image.snapshots();
        let find = |name: &Option<String>| {
            let Some(name) = name else { return Ok(None) };
            snapshots
                .iter()
                .find(|snap| snap.name == *name && snap.namespace == SnapshotNamespace::User)
                .map(|snap| Some(snap.id))
                .ok_or_else(not_found)
        };
        Ok((find(&self.from_snap)?, find(&location.snap)?))
    }
}

fn not_found() -> Failure {
    Failure::plain(Errno::ENOENT, "specified snapshot is not found.")
}

async fn open(pool: &Pool, location: &Location) -> Outcome<Image> {
    let options = OpenOptions {
        snap: location.snap.clone().map(rbd::SnapshotSelector::Name),
        read_only: true,
        ..OpenOptions::default()
    };
    let name = &location.image;
    let opened = Image::open(pool, name, options).await;
    opened.map_err(|error| match error {
        rbd::Error::NoSuchImage { .. } => Failure::plain(
            Errno::ENOENT,
            format_args!("specified image {name} is not found."),
        ),
        rbd::Error::NoSuchSnapshot { .. } => not_found(),
        _ => Failure::rbd(format_args!("error opening {name}"), &error),
    })
}

fn warn_of_slowness(image: &Image) {
    let name = image.name();
    if !image.features().contains(Features::FAST_DIFF) {
        eprintln!("warning: fast-diff map is not enabled for {name}. operation may be slow.");
    } else if image.flags().contains(Flags::FAST_DIFF_INVALID) {
        eprintln!("warning: fast-diff map is invalid for {name}. operation may be slow.");
    }
}

/// What images and snapshots take.
struct Usage {
    rows: Vec<Row>,
    is_pool: bool,
    /// Whether it ends with a snapshot.
    is_snapshot: bool,
    /// Whether an image's snapshots count with it.
    is_merged: bool,
}

struct Row {
    image: String,
    id: String,
    usage: DiskUsage,
}

impl Usage {
    /// Rows as they are shown: the image, with its snapshot, and what it takes.
    fn shown(&self) -> Vec<(&Row, u64)> {
        let mut shown = Vec::new();
        let mut merged = 0;
        for row in &self.rows {
            merged += row.usage.used_bytes;
            if !self.is_merged {
                shown.push((row, row.usage.used_bytes));
            } else if row.usage.snap.is_none() {
                shown.push((row, std::mem::take(&mut merged)));
            }
        }
        shown
    }

    /// What could be used in total: snapshots of an image do not add to it.
    fn provisioned_bytes(&self) -> u64 {
        self.rows
            .iter()
            .filter(|row| self.is_snapshot || row.usage.snap.is_none())
            .map(|row| row.usage.provisioned_bytes)
            .sum()
    }

    fn used_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.usage.used_bytes).sum()
    }
}

impl Report for Usage {
    fn plain(&self, _: &Clock) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let columns = [
            ("NAME", Align::Left),
            ("PROVISIONED", Align::Right),
            ("USED", Align::Right),
        ];
        let mut table = Table::new(&columns);
        let mut row = |name: String, provisioned: u64, used: u64| {
            table.row(vec![
                name,
                Bytes(provisioned).to_string(),
                Bytes(used).to_string(),
            ]);
        };
        for (shown, used) in self.shown() {
            let name = match &shown.usage.snap {
                Some(snap) => format!("{}@{}", shown.image, snap.name),
                None => shown.image.clone(),
            };
            row(name, shown.usage.provisioned_bytes, used);
        }
        if self.rows.len() > 1 {
            let total = String::from("<TOTAL>");
            row(total, self.provisioned_bytes(), self.used_bytes());
        }
        table.render()
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        let images = self.shown().into_iter().map(|(row, used)| {
            let mut members = vec![("name", (&row.image).into()), ("id", (&row.id).into())];
            if let Some(snap) = &row.usage.snap {
                members.push(("snapshot", (&snap.name).into()));
                members.push(("snapshot_id", snap.id.0.into()));
            }
            members.push(("provisioned_size", row.usage.provisioned_bytes.into()));
            members.push(("used_size", used.into()));
            Value::map(members)
        });
        let mut members = vec![("images", Value::list("image", images))];
        if self.is_pool {
            members.push(("total_provisioned_size", self.provisioned_bytes().into()));
            members.push(("total_used_size", self.used_bytes().into()));
        }
        Some(Document {
            name: "stats",
            value: Value::map(members),
        })
    }
}
