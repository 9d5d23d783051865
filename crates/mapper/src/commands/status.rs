//! `orbd status`: who has an image open.

use std::fmt::Write;

use denc::EntityAddr;
use rbd::Locker;

use crate::args;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::output::{self, Clock, Document, Report, Value};
use crate::session::Session;

/// Prints who has an image open.
pub(crate) async fn run(args: args::image::Status, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(args.image, None, &mut positionals, Wanted::IMAGE)?;
    let style = args.format.style()?;
    let image = session.open_header(&location).await?;
    let watchers = image
        .watchers()
        .await
        .map_err(|error| Failure::rbd("show status failed", &error))?;
    let locks = image
        .lockers()
        .await
        .map_err(|error| Failure::rbd("show status failed", &error))?;
    let owner = locks.lockers.into_iter().find(Locker::is_automatic);
    let status = Status {
        owner: owner.map(|owner| (owner.name.to_string(), address(&owner.addr))),
        watchers: watchers
            .into_iter()
            .map(|watcher| WatcherInfo {
                address: address(&watcher.addr),
                client: u64::try_from(watcher.name.num).unwrap_or_default(),
                cookie: watcher.cookie,
            })
            .collect(),
    };
    output::print(&status, style)
}

/// An address as upstream prints it here: without its type.
pub(super) fn address(addr: &EntityAddr) -> String {
    let shown = addr.to_string();
    match shown.split_once(':') {
        Some(("v1" | "v2", rest)) => rest.to_owned(),
        _ => shown,
    }
}

/// The watchers of an image's header, and which of them has the lock.
struct Status {
    watchers: Vec<WatcherInfo>,
    /// The client that may write, and its address. Upstream does not tell.
    owner: Option<(String, String)>,
}

#[derive(Clone, Debug)]
struct WatcherInfo {
    /// Address and nonce, `127.0.0.1:0/2085998396`.
    address: String,
    client: u64,
    cookie: u64,
}

impl Report for Status {
    fn plain(&self, _: &Clock) -> String {
        let mut out = String::from(if self.watchers.is_empty() {
            "Watchers: none\n"
        } else {
            "Watchers:\n"
        });
        for watcher in &self.watchers {
            let _ = writeln!(
                out,
                "\twatcher={} client.{} cookie={}",
                watcher.address, watcher.client, watcher.cookie
            );
        }
        if let Some((client, address)) = &self.owner {
            let _ = writeln!(out, "Lock owner: {client} at {address}");
        }
        out
    }

    fn document(&self, _: &Clock) -> Option<Document> {
        let watchers = self.watchers.iter().map(|watcher| {
            Value::map([
                ("address", (&watcher.address).into()),
                ("client", watcher.client.into()),
                ("cookie", watcher.cookie.into()),
            ])
        });
        let mut members = vec![("watchers", Value::list("watcher", watchers))];
        if let Some((client, address)) = &self.owner {
            let owner = [("client", client.into()), ("address", address.into())];
            members.push(("lock_owner", Value::map(owner)));
        }
        Some(Document {
            name: "status",
            value: Value::map(members),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Style, render};
    use crate::recording::Recording;

    /// From `watcher=127.0.0.1:0/2085998396 client.5416 cookie=93928232957040`, as `rados` lists it.
    fn watchers(listed: &str) -> Vec<WatcherInfo> {
        listed
            .lines()
            .map(|line| {
                let mut words = line.split(' ').map(|word| {
                    ["watcher=", "client.", "cookie="]
                        .iter()
                        .find_map(|prefix| word.strip_prefix(prefix))
                        .unwrap()
                });
                WatcherInfo {
                    address: words.next().unwrap().to_owned(),
                    client: words.next().unwrap().parse().unwrap(),
                    cookie: words.next().unwrap().parse().unwrap(),
                }
            })
            .collect()
    }

    #[test]
    fn watchers_print_as_by_rbd() {
        let cases = Recording::load("change");
        for (case, is_watched) in [("status", false), ("status watched", true)] {
            for (suffix, recording) in Recording::formats(&cases, case) {
                let status = Status {
                    owner: None,
                    watchers: if is_watched {
                        watchers(recording.facts["watchers"].as_str().unwrap())
                    } else {
                        Vec::new()
                    },
                };
                assert_eq!(
                    render(&status, Style::recorded(suffix), &Clock::in_zone("UTC")),
                    recording.stdout,
                    "{case}{suffix}"
                );
            }
        }
    }

    #[test]
    fn the_owner_of_the_lock_comes_last() {
        let status = Status {
            watchers: Vec::new(),
            owner: Some((String::from("client.4123"), String::from("[::1]:0/7"))),
        };
        let clock = Clock::in_zone("UTC");
        assert_eq!(
            render(&status, Style::recorded(""), &clock),
            "Watchers: none\nLock owner: client.4123 at [::1]:0/7\n"
        );
        assert_eq!(
            render(&status, Style::recorded(" json"), &clock).trim_end(),
            r#"{"watchers":[],"lock_owner":{"client":"client.4123","address":"[::1]:0/7"}}"#
        );
    }
}
