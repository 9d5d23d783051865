//! `orbd lock`: locks that people put on images, and those that clients take by themselves.

use denc::{EntityName, GlobalId};
use rados::Errno;
use rbd::{Image, LockInfo};

use super::status::address;
use crate::args::image::ImageOptions;
use crate::args::lock::{Lock, LockAdd, LockList, LockRemove};
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::output::{self, Align, Clock, Document, Report, Table, Value};
use crate::session::Session;

/// Locks an image, unlocks it, or tells who has locked it.
pub(crate) async fn run(args: Lock, session: &Session) -> Outcome {
    match args {
        Lock::Add(args) => add(args, session).await,
        Lock::List(args) => list(args, session).await,
        Lock::Remove(args) => remove(args, session).await,
    }
}

async fn add(args: LockAdd, session: &Session) -> Outcome {
    let (location, id, _) = target(args.image, args.words)?;
    // Upstream takes an empty tag for none.
    let tag = args.shared.filter(|tag| !tag.is_empty());
    let change = async |image: &Image| {
        let added = image.lock_add(&id, tag.as_deref()).await;
        added.map_err(|error| match error {
            rbd::Error::Locked { .. } => {
                let tagged = tag.as_ref().map_or("", |_| " with a different tag");
                Failure::plain(
                    Errno::EBUSY,
                    format_args!("lock is already held by someone else{tagged}: {error}"),
                )
            }
            _ => Failure::rbd("taking lock failed", &error),
        })
    };
    session.change(&location, change).await
}

async fn remove(args: LockRemove, session: &Session) -> Outcome {
    let (location, id, mut rest) = target(args.image, args.words)?;
    let locker = rest
        .take()
        .ok_or_else(|| Failure::invalid("locker was not specified"))?;
    let change = async |image: &Image| {
        let what = "releasing lock failed";
        let client = client(&locker).ok_or_else(|| Failure::errno(what, Errno::EINVAL))?;
        let removed = image.lock_remove(client, &id).await;
        removed.map_err(|error| Failure::rbd(what, &error))
    };
    session.change(&location, change).await
}

/// The image, the lock's name, and what follows them.
fn target(options: ImageOptions, words: Vec<String>) -> Outcome<(Location, String, Positionals)> {
    let mut positionals = Positionals::new(words);
    let location = locate(options, None, &mut positionals, Wanted::IMAGE)?;
    let id = positionals
        .take()
        .ok_or_else(|| Failure::invalid("lock id was not specified"))?;
    Ok((location, id, positionals))
}

/// `client.4123`.
fn client(name: &str) -> Option<EntityName> {
    let number = name.strip_prefix("client.")?.parse().ok()?;
    Some(EntityName::client(GlobalId(number)))
}

async fn list(args: LockList, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(args.image, None, &mut positionals, Wanted::IMAGE)?;
    let style = args.format.style()?;
    let image = session.open_header(&location).await?;
    let locks = image
        .lockers()
        .await
        .map_err(|error| Failure::rbd("listing locks failed", &error))?;
    output::print(&Locks(locks), style)
}

/// The locks on an image.
struct Locks(LockInfo);

impl Report for Locks {
    fn plain(&self, _: &Clock) -> String {
        let Self(info) = self;
        let count = info.lockers.len();
        let (verb, plural) = match count {
            0 => return String::new(),
            1 => ("is", ""),
            _ => ("are", "s"),
        };
        let kind = if info.shared { "shared" } else { "exclusive" };
        let mut out = format!("There {verb} {count} {kind} lock{plural} on this image.\n");
        if info.shared {
            out.push_str(&format!("Lock tag: {}\n", info.tag));
        }
        let columns = ["Locker", "ID", "Address"].map(|name| (name, Align::Left));
        let mut table = Table::new(&columns);
        for locker in &info.lockers {
            table.row(vec![
                locker.name.to_string(),
                locker.cookie.clone(),
                address(&locker.addr),
            ]);
        }
        out.push_str(&table.render());
        out
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        let locks = self.0.lockers.iter().map(|locker| {
            Value::map([
                ("id", (&locker.cookie).into()),
                ("locker", locker.name.to_string().into()),
                ("address", address(&locker.addr).into()),
            ])
        });
        Some(Document {
            name: "locks",
            value: Value::list("lock", locks),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_have_locks() {
        assert_eq!(
            client("client.4123"),
            Some(EntityName::client(GlobalId(4123)))
        );
        for odd in ["4123", "client.", "client.x", "osd.1", ""] {
            assert_eq!(client(odd), None, "{odd}");
        }
    }
}
