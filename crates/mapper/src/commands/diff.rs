//! `orbd diff`: what of an image is stored, or has changed since a snapshot.

use rbd::{DiffExtent, DiffOptions, OpenOptions, SnapshotSelector};

use crate::args::changes::Diff;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::output::{self, Align, Clock, Document, Report, Table, Value};
use crate::session::Session;

/// Prints what has changed.
pub(crate) async fn run(args: Diff, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(
        args.image,
        args.snap,
        &mut positionals,
        Wanted::IMAGE_OR_SNAP,
    )?;
    let style = args.format.style()?;
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let image = session.open(&location, options).await?;
    let options = DiffOptions {
        from: args.from_snap.map(SnapshotSelector::Name),
        whole_object: args.whole_object,
    };
    let mut extents = Vec::new();
    image
        .diff(&options, |extent| extents.push(extent))
        .await
        .map_err(|error| Failure::rbd("diff error", &error))?;
    output::print(&Extents(extents), style)
}

struct Extents(Vec<DiffExtent>);

impl Report for Extents {
    fn plain(&self, _: &Clock) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let columns = ["Offset", "Length", "Type"].map(|name| (name, Align::Left));
        let mut table = Table::new(&columns);
        for extent in &self.0 {
            table.row(vec![
                extent.offset.to_string(),
                extent.len.to_string(),
                String::from(if extent.exists { "data" } else { "zero" }),
            ]);
        }
        table.render()
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        let extents = self.0.iter().map(|extent| {
            Value::map([
                ("offset", extent.offset.into()),
                ("length", extent.len.into()),
                ("exists", Value::truth(extent.exists)),
            ])
        });
        Some(Document {
            name: "extents",
            value: Value::list("extent", extents),
        })
    }
}
