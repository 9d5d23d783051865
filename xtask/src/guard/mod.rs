//! `cargo xtask guard`: what one request costs `orbd serve`, counted and not timed, and whether that is more than it was.
//!
//! Counts hardly depend on the machine and on what else it does. `orbd` runs under valgrind; the cluster behind it and the
//! client before it ([`hot_path`]) are outside and always do the same. What a request costs is the difference between a run
//! and one with twice as many requests: what starting and stopping cost is in both.

mod callgrind;
mod cost;
mod dhat;
mod expected;
mod kind;
mod profile;
mod valgrind;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use crate::workspace;
use cost::Cost;
use expected::Expected;
use kind::Kind;

/// Counts what requests cost, and compares with what is expected.
#[derive(Default, Args)]
pub(crate) struct Task {
    /// Makes what is found what is expected from now on.
    #[arg(long, conflicts_with_all = ["profile", "kinds", "orbd"])]
    record: bool,
    /// Shows where the instructions, allocations and copies of this kind of request come from instead.
    #[arg(long, value_name = "KIND")]
    profile: Option<Kind>,
    /// Only this kind of request; may be given several times.
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// This program instead of one that is built.
    #[arg(long, value_name = "PATH")]
    orbd: Option<PathBuf>,
}

/// Fails if something costs more than it is expected to.
pub(crate) fn run(task: &Task) -> anyhow::Result<()> {
    let orbd = match &task.orbd {
        Some(orbd) => orbd.clone(),
        None => build()?,
    };
    if let Some(kind) = &task.profile {
        return profile::print(kind, &orbd);
    }
    let kinds = match task.kinds.as_slice() {
        [] => &Kind::ALL,
        kinds => kinds,
    };
    let path = workspace::root().join(EXPECTED);
    let expected = if task.record {
        Expected::default()
    } else {
        Expected::load(&path)?
    };
    let mut found = Expected::of_this_compiler()?;
    let mut failures = Vec::new();
    println!("{}", Cost::HEADINGS);
    for kind in kinds {
        let cost = Cost::measure(kind, &orbd)?;
        println!("{:<16}{cost}", kind.name);
        failures.extend(cost.copies_payload(kind));
        if !task.record {
            let was = expected.costs.get(kind.name);
            let was = was.with_context(|| format!("nothing is expected of {}", kind.name))?;
            for change in was.changes(&cost) {
                if change.is_gain {
                    failures.push(format!("{}: {change}", kind.name));
                } else {
                    println!("  less than it was, record it: {change}");
                }
            }
        }
        found.costs.insert(kind.name.to_owned(), cost);
    }
    if !failures.is_empty() && expected.compiler != found.compiler && !task.record {
        failures.push(format!(
            "the compiler is {}, what is expected was recorded with {}",
            found.compiler, expected.compiler
        ));
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    if task.record {
        found.save(&path)?;
        println!("recorded in {EXPECTED}");
    }
    Ok(())
}

/// Builds `orbd` as it is measured.
fn build() -> anyhow::Result<PathBuf> {
    workspace::build_orbd(workspace::Profile::Guard)
}

/// What is expected, below the workspace's root.
const EXPECTED: &str = "benches/hot-path/expected.json";
