//! `orbd status`: who has an image open.

use std::fmt::Write;

use denc::EntityAddr;

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
    let status = Status {
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
fn address(addr: &EntityAddr) -> String {
    let shown = addr.to_string();
    match shown.split_once(':') {
        Some(("v1" | "v2", rest)) => rest.to_owned(),
        _ => shown,
    }
}

/// The watchers of an image's header.
struct Status {
    watchers: Vec<WatcherInfo>,
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
        if self.watchers.is_empty() {
            return String::from("Watchers: none\n");
        }
        let mut out = String::from("Watchers:\n");
        for watcher in &self.watchers {
            let _ = writeln!(
                out,
                "\twatcher={} client.{} cookie={}",
                watcher.address, watcher.client, watcher.cookie
            );
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
        Some(Document {
            name: "status",
            value: Value::map([("watchers", Value::list("watcher", watchers))]),
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
}
