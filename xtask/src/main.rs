//! Development tasks of orbd: `cargo xtask COMMAND`.
#![forbid(unsafe_code)]

mod cluster;

use clap::{Parser, Subcommand};

/// Development tasks of orbd.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Starts, stops and shows a real Ceph cluster that stays until it is taken down.
    #[command(subcommand)]
    Cluster(cluster::Task),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Cluster(task) => cluster::run(task),
    }
}
