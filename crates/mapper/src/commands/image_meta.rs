//! `orbd image-meta`: an image's metadata, pairs of keys and values.

use rbd::Image;

use crate::args::image::{ImageMeta, ImageOptions, MetaKey, MetaList, MetaSet};
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::output::{self, Align, Clock, Document, Report, Table, Value};
use crate::session::Session;

/// Reads or changes an image's metadata.
pub(crate) async fn run(args: ImageMeta, session: &Session) -> Outcome {
    match args {
        ImageMeta::Get(args) => get(args, session).await,
        ImageMeta::List(args) => list(args, session).await,
        ImageMeta::Remove(args) => remove(args, session).await,
        ImageMeta::Set(args) => set(args, session).await,
    }
}

async fn get(args: MetaKey, session: &Session) -> Outcome {
    let (location, key, _) = target(args.image, args.words)?;
    let image = session.open_header(&location).await?;
    let value = image
        .metadata_get(&key)
        .await
        .map_err(|error| Failure::rbd("getting metadata failed", &error))?;
    output::print_bytes(&[&value, b"\n"])
}

async fn list(args: MetaList, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(args.image, None, &mut positionals, Wanted::IMAGE)?;
    let style = args.format.style()?;
    let image = session.open_header(&location).await?;
    let pairs = image
        .metadata_list()
        .await
        .map_err(|error| Failure::rbd("listing metadata failed", &error))?;
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    output::print(&Pairs(pairs), style)
}

async fn remove(args: MetaKey, session: &Session) -> Outcome {
    let (location, key, _) = target(args.image, args.words)?;
    let change = async |image: &Image| {
        let removed = image.metadata_remove(&key).await;
        removed.map_err(|error| Failure::rbd("removing metadata failed", &error))
    };
    session.change(&location, change).await
}

async fn set(args: MetaSet, session: &Session) -> Outcome {
    let (location, key, mut rest) = target(args.image, args.words)?;
    let value = rest
        .take()
        .ok_or_else(|| Failure::invalid("metadata value was not specified"))?;
    let change = async |image: &Image| {
        let set = image.metadata_set(&key, value.as_bytes()).await;
        set.map_err(|error| Failure::rbd("setting metadata failed", &error))
    };
    session.change(&location, change).await
}

/// The image, the key, and what follows them.
fn target(options: ImageOptions, words: Vec<String>) -> Outcome<(Location, String, Positionals)> {
    let mut positionals = Positionals::new(words);
    let location = locate(options, None, &mut positionals, Wanted::IMAGE)?;
    let key = positionals
        .take()
        .ok_or_else(|| Failure::invalid("metadata key was not specified"))?;
    Ok((location, key, positionals))
}

/// All pairs, by key.
struct Pairs(Vec<(String, String)>);

impl Report for Pairs {
    fn plain(&self, _: &Clock) -> String {
        let count = self.0.len();
        let mut out = match count {
            1 => String::from("There is 1 metadatum on this image:\n\n"),
            0 => return String::from("There are 0 metadata on this image.\n"),
            _ => format!("There are {count} metadata on this image:\n\n"),
        };
        let mut table = Table::new(&[("Key", Align::Left), ("Value", Align::Left)]);
        for (key, value) in &self.0 {
            table.row(vec![key.clone(), value.clone()]);
        }
        out.push_str(&table.render());
        out
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        (!self.0.is_empty()).then(|| Document {
            name: "metadatas",
            value: Value::map(
                self.0
                    .iter()
                    .map(|(key, value)| (key.as_str(), Value::from(value))),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Style, render};
    use crate::recording::Recording;

    #[test]
    fn pairs_print_as_by_rbd() {
        let cases = Recording::load("change");
        let long = ("longer key", "a longer value");
        for (case, pairs) in [
            ("image-meta list none", vec![]),
            (
                "image-meta list",
                vec![("conf_rbd_cache", "false"), ("k", "v"), long, ("n", "12")],
            ),
            (
                "image-meta list one",
                vec![("conf_rbd_cache", "false"), long, ("n", "12")],
            ),
            ("image-meta list single", vec![("k", "v")]),
            (
                "image-meta list escapes",
                vec![("k", "v<&>\"'/\\\u{1}\u{7f}\t\nx")],
            ),
        ] {
            let pairs = Pairs(
                pairs
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            );
            for (suffix, recording) in Recording::formats(&cases, case) {
                assert_eq!(
                    render(&pairs, Style::recorded(suffix), &Clock::in_zone("UTC")),
                    recording.stdout,
                    "{case}{suffix}"
                );
            }
        }
    }
}
