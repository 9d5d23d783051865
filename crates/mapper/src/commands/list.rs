//! `orbd ls`: the images of a pool.

use futures_util::stream::{self, StreamExt};
use rados::Pool;
use rbd::{Image, ImageEntry, LockInfo, OpenOptions, Protection, SnapshotNamespace};

use super::info::ParentInfo;
use crate::args::image::List;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, locate_pool};
use crate::output::{self, Align, Clock, Document, Report, Table, Value};
use crate::session::Session;
use crate::size::Bytes;

/// Prints the images of a pool.
pub(crate) async fn run(args: List, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let (pool, namespace) = locate_pool(args.pool, args.namespace, &mut positionals)?;
    let style = args.format.style()?;
    let pool = session.pool(pool.as_deref(), &namespace).await?;
    let images = rbd::list(&pool)
        .await
        .map_err(|error| Failure::rbd("listing images failed", &error))?;
    if args.long {
        output::print(&LongList::gather(&pool, images).await, style)
    } else {
        let names = images.into_iter().map(|image| image.name).collect();
        output::print(&Names(names), style)
    }
}

/// The names alone.
struct Names(Vec<String>);

impl Report for Names {
    fn plain(&self, _: &Clock) -> String {
        self.0.iter().map(|name| format!("{name}\n")).collect()
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        Some(Document {
            name: "images",
            value: Value::list("name", &self.0),
        })
    }
}

/// Images and their snapshots, in the order in which they are printed.
struct LongList(Vec<Entry>);

impl LongList {
    /// Opens the images, some at a time. Those that are removed meanwhile or cannot be opened are
    /// left out, with a line on stderr, as upstream does.
    async fn gather(pool: &Pool, images: Vec<ImageEntry>) -> Self {
        let mut entries = Vec::new();
        let mut opened = stream::iter(images)
            .map(|image| async move { (Entry::gather(pool, &image.name).await, image.name) })
            .buffered(IMAGES_IN_FLIGHT);
        while let Some((gathered, name)) = opened.next().await {
            match gathered {
                Ok(gathered) => entries.extend(gathered),
                Err(error) => {
                    let what = format!("error opening {name}");
                    eprintln!("orbd: {}", Failure::rbd(what, &error));
                }
            }
        }
        Self(entries)
    }
}

/// Images opened at the same time (librbd: `rbd_concurrent_management_ops`).
const IMAGES_IN_FLIGHT: usize = 10;

/// An image, or one of its snapshots.
#[derive(Clone, Debug, Default)]
struct Entry {
    image: String,
    id: String,
    size_bytes: u64,
    parent: Option<Parent>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Image {
        /// Whether a lock is held, and whether it is exclusive.
        lock: Option<LockType>,
    },
    Snapshot {
        name: String,
        id: u64,
        is_protected: bool,
    },
}

impl Default for Kind {
    fn default() -> Self {
        Self::Image { lock: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LockType {
    Exclusive,
    Shared,
}

impl LockType {
    const fn of(lock: &LockInfo) -> Option<Self> {
        match (lock.lockers.is_empty(), lock.shared) {
            (true, _) => None,
            (false, true) => Some(Self::Shared),
            (false, false) => Some(Self::Exclusive),
        }
    }
}

/// The snapshot of which an image is a clone.
#[derive(Clone, Debug)]
struct Parent {
    pool: String,
    namespace: String,
    image: String,
    snapshot: String,
}

impl Parent {
    fn spec(&self) -> String {
        let namespace = match self.namespace.as_str() {
            "" => String::new(),
            namespace => format!("{namespace}/"),
        };
        format!("{}/{namespace}{}@{}", self.pool, self.image, self.snapshot)
    }

    fn value(&self) -> Value {
        Value::map([
            ("pool", (&self.pool).into()),
            ("pool_namespace", (&self.namespace).into()),
            ("image", (&self.image).into()),
            ("snapshot", (&self.snapshot).into()),
        ])
    }
}

impl Entry {
    /// An image and its snapshots.
    async fn gather(pool: &Pool, name: &str) -> rbd::Result<Vec<Self>> {
        let options = OpenOptions {
            header_only: true,
            ..OpenOptions::default()
        };
        let image = Image::open(pool, name, options).await?;
        let info = image.info();
        let parent = ParentInfo::gather(&image).await?.map(|parent| Parent {
            pool: parent.pool,
            namespace: parent.namespace,
            image: parent.image,
            snapshot: parent.snapshot,
        });
        let mut entries = vec![Self {
            image: name.to_owned(),
            id: info.id.clone(),
            size_bytes: info.size_bytes,
            parent: parent.clone(),
            kind: Kind::Image {
                lock: LockType::of(&info.lock),
            },
        }];
        let users = info
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.namespace == SnapshotNamespace::User);
        entries.extend(users.map(|snapshot| Self {
            image: name.to_owned(),
            id: info.id.clone(),
            size_bytes: snapshot.size_bytes,
            parent: snapshot.parent_overlap.and_then(|_| parent.clone()),
            kind: Kind::Snapshot {
                name: snapshot.name.clone(),
                id: snapshot.id.0,
                is_protected: snapshot.protection != Protection::Unprotected,
            },
        }));
        Ok(entries)
    }

    fn row(&self) -> Vec<String> {
        let (name, protection, lock) = match &self.kind {
            Kind::Image { lock } => (
                self.image.clone(),
                "",
                match lock {
                    Some(LockType::Exclusive) => "excl",
                    Some(LockType::Shared) => "shr",
                    None => "",
                },
            ),
            Kind::Snapshot {
                name, is_protected, ..
            } => (
                format!("{}@{name}", self.image),
                if *is_protected { "yes" } else { "" },
                "",
            ),
        };
        vec![
            name,
            Bytes(self.size_bytes).to_string(),
            self.parent.as_ref().map(Parent::spec).unwrap_or_default(),
            String::from("2"),
            protection.to_owned(),
            lock.to_owned(),
        ]
    }

    fn member(&self) -> (String, Value) {
        let mut members: Vec<(&str, Value)> =
            vec![("image", (&self.image).into()), ("id", (&self.id).into())];
        if let Kind::Snapshot { name, id, .. } = &self.kind {
            members.push(("snapshot", name.into()));
            members.push(("snapshot_id", (*id).into()));
        }
        members.push(("size", self.size_bytes.into()));
        if let Some(parent) = &self.parent {
            members.push(("parent", parent.value()));
        }
        members.push(("format", 2.into()));
        let name = match &self.kind {
            Kind::Image { lock } => {
                if let Some(lock) = lock {
                    let word = match lock {
                        LockType::Exclusive => "exclusive",
                        LockType::Shared => "shared",
                    };
                    members.push(("lock_type", word.into()));
                }
                "image"
            }
            Kind::Snapshot { is_protected, .. } => {
                members.push(("protected", Value::truth(*is_protected)));
                "snapshot"
            }
        };
        (name.to_owned(), Value::map(members))
    }
}

impl Report for LongList {
    fn plain(&self, _: &Clock) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("PARENT", Align::Left),
            ("FMT", Align::Right),
            ("PROT", Align::Left),
            ("LOCK", Align::Left),
        ]);
        for entry in &self.0 {
            table.row(entry.row());
        }
        table.render()
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        Some(Document {
            name: "images",
            value: Value::List(self.0.iter().map(Entry::member).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Style, render};
    use crate::recording::Recording;

    fn check(
        cases: &[Recording],
        case: &str,
        report: impl Fn(&Recording) -> Box<dyn ReportObject>,
    ) {
        for (suffix, recording) in Recording::formats(cases, case) {
            let rendered = report(recording).render(Style::recorded(suffix));
            assert_eq!(rendered, recording.stdout, "{case}{suffix}");
        }
    }

    trait ReportObject {
        fn render(&self, style: Style) -> String;
    }

    impl<R: Report> ReportObject for R {
        fn render(&self, style: Style) -> String {
            render(self, style, &Clock::in_zone("UTC"))
        }
    }

    fn entry(recording: &Recording, image: &str, size_bytes: u64) -> Entry {
        Entry {
            image: image.to_owned(),
            id: recording.facts[image]["id"].as_str().unwrap().to_owned(),
            size_bytes,
            ..Entry::default()
        }
    }

    #[test]
    fn names_print_as_by_rbd() {
        let cases = Recording::load("list");
        check(&cases, "empty", |_| Box::new(Names(Vec::new())));
        check(&cases, "short", |_| {
            Box::new(Names(
                ["four", "one", "three3three", "two"]
                    .map(String::from)
                    .to_vec(),
            ))
        });
    }

    #[test]
    fn the_long_form_prints_as_by_rbd() {
        let cases = Recording::load("list");
        check(&cases, "empty long", |_| Box::new(LongList(Vec::new())));
        check(&cases, "long namespace", |recording| {
            Box::new(LongList(vec![entry(recording, "in", 1 << 20)]))
        });
        check(&cases, "long", |recording| {
            let snapshot = |name: &str, id, is_protected| Entry {
                kind: Kind::Snapshot {
                    name: name.to_owned(),
                    id,
                    is_protected,
                },
                ..entry(recording, "one", 10 << 20)
            };
            let locked = |image, size, lock| Entry {
                kind: Kind::Image { lock: Some(lock) },
                ..entry(recording, image, size)
            };
            Box::new(LongList(vec![
                Entry {
                    parent: Some(Parent {
                        pool: String::from("rbd"),
                        namespace: String::new(),
                        image: String::from("one"),
                        snapshot: String::from("snap2"),
                    }),
                    ..entry(recording, "four", 10 << 20)
                },
                locked("one", 10 << 20, LockType::Exclusive),
                snapshot("snap", 4, false),
                snapshot("snap2", 5, true),
                entry(recording, "three3three", 1536 << 20),
                locked("two", 10 << 30, LockType::Shared),
            ]))
        });
    }
}
