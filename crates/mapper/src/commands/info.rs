//! `orbd info`: what is known about an image.

use std::fmt::Write;

use rados::{Operation, Pool};
use rbd::{Features, GroupSpec, Image, OpenOptions, Protection, SnapshotSelector};

use super::group::{group_name, group_pool};
use crate::args::image::Info;
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::output::{self, Clock, Document, Report, Timestamp, Value};
use crate::session::{Session, open_failure};
use crate::size::Bytes;

/// Prints what is known about an image.
pub(crate) async fn run(args: Info, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let by_id = args.image_id.filter(|id| !id.is_empty());
    let wanted = Wanted {
        is_image_needed: by_id.is_none(),
        ..Wanted::IMAGE_OR_SNAP
    };
    let location = locate(args.image, args.snap, &mut positionals, wanted)?;
    if by_id.is_some() && !location.image.is_empty() {
        return Err(Failure::invalid(
            "trying to access image using both name and id.",
        ));
    }
    let style = args.format.style()?;
    let image = open(session, &location, by_id.as_deref()).await?;
    let info = ImageInfo::gather(&image)
        .await
        .map_err(|error| Failure::rbd("info", &error))?;
    output::print(&info, style)
}

/// Opens an image by name or by id, to look at its header.
pub(super) async fn open(
    session: &Session,
    location: &Location,
    by_id: Option<&str>,
) -> Outcome<Image> {
    let Some(id) = by_id else {
        return session.open_header(location).await;
    };
    let pool = session.pool_of(location).await?;
    let options = OpenOptions {
        snap: location.snap.clone().map(SnapshotSelector::Name),
        header_only: true,
        ..OpenOptions::default()
    };
    Image::open_by_id(&pool, id, options)
        .await
        .map_err(|error| open_failure(&format!("with id {id}"), &error))
}

/// What is printed about an image.
#[derive(Clone, Debug, Default)]
struct ImageInfo {
    name: String,
    id: String,
    size_bytes: u64,
    objects: u64,
    order: u8,
    snapshot_count: u64,
    data_pool: Option<String>,
    block_name_prefix: String,
    features: Vec<String>,
    op_features: Vec<String>,
    flags: Vec<String>,
    group: Option<String>,
    created: Timestamp,
    accessed: Timestamp,
    modified: Timestamp,
    /// Whether the snapshot that was asked for is protected.
    is_protected: Option<bool>,
    snapshot_limit: Option<u64>,
    parent: Option<ParentInfo>,
    striping: Option<Striping>,
    /// The journal's id, if there is one.
    journal: Option<String>,
}

/// The snapshot of which an image is a clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ParentInfo {
    pub(super) pool: String,
    pub(super) namespace: String,
    pub(super) image: String,
    id: String,
    pub(super) snapshot: String,
    is_in_trash: bool,
    overlap_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Striping {
    unit_bytes: u64,
    count: u64,
}

impl ImageInfo {
    /// Everything about an open image, the names of others it has to do with included.
    async fn gather(image: &Image) -> rbd::Result<Self> {
        let header = image.info();
        let layout = image.layout();
        let words = |names: Vec<&'static str>| names.into_iter().map(String::from).collect();
        let features = image.features();
        Ok(Self {
            name: image.name().to_owned(),
            id: header.id.clone(),
            size_bytes: image.size_bytes(),
            objects: image.object_count(),
            order: layout.order(),
            snapshot_count: header.snapshots.len() as u64,
            data_pool: header
                .data_pool
                .map(|_| image.data_pool().name().to_owned()),
            block_name_prefix: image.block_name_prefix().to_owned(),
            features: words(features.names().collect()),
            op_features: words(image.op_features().names().collect()),
            flags: words(image.flags().names().collect()),
            group: match &header.group {
                Some(group) => Some(group_spec(image.pool(), group).await?),
                None => None,
            },
            created: header.created.into(),
            accessed: header.accessed.into(),
            modified: header.modified.into(),
            is_protected: image
                .snap()
                .map(|snap| snap.protection != Protection::Unprotected),
            snapshot_limit: snapshot_limit(image).await?,
            parent: ParentInfo::gather(image).await?,
            striping: features.contains(Features::STRIPING).then(|| Striping {
                unit_bytes: layout.stripe_unit(),
                count: layout.stripe_count(),
            }),
            journal: features
                .contains(Features::JOURNALING)
                .then(|| header.id.clone()),
        })
    }

    const fn object_size_bytes(&self) -> u64 {
        match 1_u64.checked_shl(self.order as u32) {
            Some(size) => size,
            None => 0,
        }
    }

    fn times(&self) -> [(&'static str, Timestamp); 3] {
        [
            ("create_timestamp", self.created),
            ("access_timestamp", self.accessed),
            ("modify_timestamp", self.modified),
        ]
    }

    fn write_plain(&self, out: &mut String, clock: &Clock) -> std::fmt::Result {
        writeln!(out, "rbd image '{}':", self.name)?;
        writeln!(
            out,
            "\tsize {} in {} objects",
            Bytes(self.size_bytes),
            self.objects
        )?;
        writeln!(
            out,
            "\torder {} ({} objects)",
            self.order,
            Bytes(self.object_size_bytes())
        )?;
        writeln!(out, "\tsnapshot_count: {}", self.snapshot_count)?;
        writeln!(out, "\tid: {}", self.id)?;
        if let Some(pool) = &self.data_pool {
            writeln!(out, "\tdata_pool: {pool}")?;
        }
        writeln!(out, "\tblock_name_prefix: {}", self.block_name_prefix)?;
        writeln!(out, "\tformat: 2")?;
        writeln!(out, "\tfeatures: {}", self.features.join(", "))?;
        writeln!(out, "\top_features: {}", self.op_features.join(", "))?;
        writeln!(out, "\tflags: {}", self.flags.join(", "))?;
        if let Some(group) = &self.group {
            writeln!(out, "\tgroup: {group}")?;
        }
        for (name, time) in self.times() {
            if time.is_known() {
                writeln!(out, "\t{name}: {}", clock.show(time))?;
            }
        }
        if let Some(is_protected) = self.is_protected {
            let word = if is_protected { "True" } else { "False" };
            writeln!(out, "\tprotected: {word}")?;
        }
        if let Some(limit) = self.snapshot_limit {
            writeln!(out, "\tsnapshot_limit: {limit}")?;
        }
        if let Some(parent) = &self.parent {
            writeln!(out, "\tparent: {}", parent.spec())?;
            writeln!(out, "\toverlap: {}", Bytes(parent.overlap_bytes))?;
        }
        if let Some(striping) = self.striping {
            writeln!(out, "\tstripe unit: {}", Bytes(striping.unit_bytes))?;
            writeln!(out, "\tstripe count: {}", striping.count)?;
        }
        if let Some(journal) = &self.journal {
            writeln!(out, "\tjournal: {journal}")?;
        }
        Ok(())
    }
}

/// `POOL/[NAMESPACE/]GROUP`.
async fn group_spec(pool: &Pool, group: &GroupSpec) -> rbd::Result<String> {
    let home = group_pool(pool, group.pool).await?;
    let name = group_name(&home, &group.id).await?;
    Ok(match home.namespace() {
        "" => format!("{}/{name}", home.name()),
        namespace => format!("{}/{namespace}/{name}", home.name()),
    })
}

/// The most snapshots the image may have, if there is such a number.
async fn snapshot_limit(image: &Image) -> rbd::Result<Option<u64>> {
    let operation = Operation::new().call("rbd", "snapshot_get_limit", &[]);
    let header = format!("rbd_header.{}", image.id());
    let reply = image.pool().execute(&header, operation).await?;
    let limit: u64 = reply
        .decode(0, "snapshot_get_limit")
        .map_err(|source| image.pool().decode_error(&header, source))?;
    Ok((limit != u64::MAX).then_some(limit))
}

impl ParentInfo {
    /// The names behind the numbers of an image's parent.
    pub(super) async fn gather(image: &Image) -> rbd::Result<Option<Self>> {
        let Some(parent) = image.parent() else {
            return Ok(None);
        };
        let spec = parent.spec;
        let pool = image
            .pool()
            .cluster()
            .pool_by_id(spec.pool)
            .await?
            .in_namespace(&spec.namespace);
        let options = OpenOptions {
            snap: Some(SnapshotSelector::Id(spec.snap)),
            header_only: true,
            ..OpenOptions::default()
        };
        let origin = Image::open_by_id(&pool, &spec.image_id, options).await?;
        Ok(Some(Self {
            pool: pool.name().to_owned(),
            namespace: spec.namespace,
            image: origin.name().to_owned(),
            // What is in the trash is in no directory and goes by its id.
            is_in_trash: origin.name() == spec.image_id,
            id: spec.image_id,
            snapshot: origin
                .snap()
                .map(|snap| snap.name.clone())
                .unwrap_or_default(),
            overlap_bytes: parent.overlap,
        }))
    }

    fn spec(&self) -> String {
        let mut spec = format!("{}/", self.pool);
        if !self.namespace.is_empty() {
            spec.push_str(&self.namespace);
            spec.push('/');
        }
        let _ = write!(spec, "{}@{}", self.image, self.snapshot);
        if self.is_in_trash {
            let _ = write!(spec, " (trash {})", self.id);
        }
        spec
    }
}

impl Report for ImageInfo {
    fn plain(&self, clock: &Clock) -> String {
        let mut out = String::new();
        let _ = self.write_plain(&mut out, clock);
        out
    }

    fn document(&self, clock: &Clock) -> Option<Document> {
        let mut members: Vec<(&str, Value)> = vec![
            ("name", (&self.name).into()),
            ("id", (&self.id).into()),
            ("size", self.size_bytes.into()),
            ("objects", self.objects.into()),
            ("order", u64::from(self.order).into()),
            ("object_size", self.object_size_bytes().into()),
            ("snapshot_count", self.snapshot_count.into()),
        ];
        if let Some(pool) = &self.data_pool {
            members.push(("data_pool", pool.into()));
        }
        members.push(("block_name_prefix", (&self.block_name_prefix).into()));
        members.push(("format", 2.into()));
        members.push(("features", Value::list("feature", &self.features)));
        members.push(("op_features", Value::list("op_feature", &self.op_features)));
        members.push(("flags", Value::list("flag", &self.flags)));
        if let Some(group) = &self.group {
            members.push(("group", group.into()));
        }
        for (name, time) in self.times() {
            if time.is_known() {
                members.push((name, clock.show(time).into()));
            }
        }
        if let Some(is_protected) = self.is_protected {
            members.push(("protected", Value::truth(is_protected)));
        }
        if let Some(limit) = self.snapshot_limit {
            members.push(("snapshot_limit", limit.into()));
        }
        if let Some(parent) = &self.parent {
            members.push((
                "parent",
                Value::map([
                    ("pool", (&parent.pool).into()),
                    ("pool_namespace", (&parent.namespace).into()),
                    ("image", (&parent.image).into()),
                    ("id", (&parent.id).into()),
                    ("snapshot", (&parent.snapshot).into()),
                    ("trash", parent.is_in_trash.into()),
                    ("overlap", parent.overlap_bytes.into()),
                ]),
            ));
        }
        if let Some(striping) = self.striping {
            members.push(("stripe_unit", striping.unit_bytes.into()));
            members.push(("stripe_count", striping.count.into()));
        }
        if let Some(journal) = &self.journal {
            members.push(("journal", journal.into()));
        }
        Some(Document {
            name: "image",
            value: Value::map(members),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, Style, render};
    use crate::recording::Recording;

    /// An image of 10 MiB as the recordings make it, with what the cluster stored about it.
    fn recorded(case: &Recording, name: &str) -> ImageInfo {
        let fact = |key| Timestamp(case.facts[key].as_i64().unwrap());
        let id = case.facts["id"].as_str().unwrap().to_owned();
        ImageInfo {
            name: name.to_owned(),
            block_name_prefix: format!("rbd_data.{id}"),
            id,
            size_bytes: 10 << 20,
            objects: 3,
            order: 22,
            features: vec![String::from("layering")],
            created: fact("create_timestamp"),
            accessed: fact("access_timestamp"),
            modified: fact("modify_timestamp"),
            ..ImageInfo::default()
        }
    }

    fn check(
        cases: &[Recording],
        case: &str,
        image: &str,
        change: impl Fn(&mut ImageInfo, &Recording),
    ) {
        for (suffix, recording) in Recording::formats(cases, case) {
            let mut info = recorded(recording, image);
            change(&mut info, recording);
            assert_eq!(
                render(&info, Style::recorded(suffix), &Clock::in_zone("UTC")),
                recording.stdout,
                "{case}{suffix}"
            );
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    const DEFAULT_FEATURES: &[&str] = &[
        "layering",
        "exclusive-lock",
        "object-map",
        "fast-diff",
        "deep-flatten",
    ];

    #[test]
    fn images_print_as_by_rbd() {
        let cases = Recording::load("info");
        check(&cases, "plain", "plain", |_, _| {});
        check(&cases, "namespace", "inner", |_, _| {});
        check(&cases, "default features", "all", |info, _| {
            info.size_bytes = 10 << 30;
            info.objects = 2560;
            info.features = words(DEFAULT_FEATURES);
        });
        check(&cases, "striped", "striped", |info, recording| {
            info.size_bytes = 1 << 40;
            info.objects = 262_145;
            info.features = words(&["layering", "striping", "data-pool"]);
            info.data_pool = Some(String::from("data"));
            // The number of the pool is in the name of the objects.
            let name = format!(".{}", info.id);
            let end = recording.stdout.find(&name).unwrap();
            let start = recording.stdout[..end].rfind("rbd_data").unwrap();
            info.block_name_prefix = recording.stdout[start..end].to_owned() + &name;
            info.striping = Some(Striping {
                unit_bytes: 64 << 10,
                count: 5,
            });
        });
        check(&cases, "odd", "odd", |info, _| {
            info.size_bytes = 1000;
            info.objects = 1;
            info.features.clear();
        });
        check(&cases, "odd2", "odd2", |info, _| {
            info.size_bytes = 5_000_000_000;
            info.objects = 76_294;
            info.order = 16;
        });
        check(&cases, "zero", "zero", |info, _| {
            info.size_bytes = 0;
            info.objects = 0;
        });
        check(&cases, "flags", "odd3", |info, _| {
            info.features = words(DEFAULT_FEATURES);
            info.flags = words(&["object map invalid", "fast diff invalid"]);
        });
        check(&cases, "group", "plain", |info, _| {
            info.snapshot_count = 2;
            info.features = words(&["layering", "operations"]);
            info.op_features = words(&["group"]);
            info.group = Some(String::from("rbd/grp"));
            info.snapshot_limit = Some(7);
        });
    }

    #[test]
    fn snapshots_and_clones_print_as_by_rbd() {
        let cases = Recording::load("info");
        let two_snapshots = |info: &mut ImageInfo| info.snapshot_count = 2;
        check(&cases, "with snapshots", "plain", |info, _| {
            two_snapshots(info)
        });
        check(&cases, "snapshot", "plain", |info, _| {
            two_snapshots(info);
            info.is_protected = Some(false);
        });
        check(&cases, "protected snapshot", "plain", |info, _| {
            two_snapshots(info);
            info.is_protected = Some(true);
        });
        check(&cases, "limit", "plain", |info, _| {
            two_snapshots(info);
            info.snapshot_limit = Some(7);
        });
        let parent_id = Recording::find(&cases, "plain").facts["id"]
            .as_str()
            .unwrap()
            .to_owned();
        check(&cases, "clone", "child", |info, _| {
            info.parent = Some(ParentInfo {
                pool: String::from("rbd"),
                image: String::from("plain"),
                id: parent_id.clone(),
                snapshot: String::from("s2"),
                overlap_bytes: 10 << 20,
                ..ParentInfo::default()
            });
        });
    }

    #[test]
    fn names_are_escaped_as_by_rbd() {
        let cases = Recording::load("info");
        for (format, name) in [
            (Format::Plain, "plain"),
            (Format::Json, "json"),
            (Format::Xml, "xml"),
        ] {
            let recording = Recording::find(&cases, &format!("escapes {name}"));
            let mut info = recorded(recording, "name<&>\"x");
            info.features.clear();
            let style = Style {
                format,
                is_pretty: false,
            };
            assert_eq!(
                render(&info, style, &Clock::in_zone("UTC")),
                recording.stdout
            );
        }
    }

    #[test]
    fn times_are_local() {
        let cases = Recording::load("info");
        let recording = Recording::find(&cases, "local time");
        let mut info = recorded(recording, "zero");
        info.size_bytes = 0;
        info.objects = 0;
        assert_eq!(
            render(
                &info,
                Style::recorded(""),
                &Clock::in_zone("America/New_York")
            ),
            recording.stdout
        );
    }

    #[test]
    fn an_image_asked_for_by_id_prints_its_name() {
        let cases = Recording::load("info");
        for (case, suffix) in [("by id", ""), ("by id json", " json")] {
            let recording = Recording::find(&cases, case);
            let mut info = recorded(recording, "plain");
            info.snapshot_count = 2;
            info.snapshot_limit = Some(7);
            assert_eq!(
                render(&info, Style::recorded(suffix), &Clock::in_zone("UTC")),
                recording.stdout
            );
        }
    }
}
