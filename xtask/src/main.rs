//! Development tasks of orbd: `cargo xtask COMMAND`.
#![forbid(unsafe_code)]

mod bench;
mod cluster;
mod command;
mod demo;
mod fuzz;
mod guard;
mod interrupt;
mod test;
mod torture;
mod vm;
mod workspace;

use std::process::ExitCode;

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
    /// Measures orbd and what it replaces under the same load, and documents it.
    Bench(bench::Task),
    /// Starts, stops and shows a real Ceph cluster that stays until it is taken down.
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// The whole way once: from no cluster at all to a file that is read back.
    Demo(demo::Task),
    /// Runs fuzz targets, one for each processor at a time
    Fuzz(fuzz::Task),
    /// Counts what requests cost, and compares with what is expected.
    Guard(guard::Task),
    /// Everything that has to hold before a change goes in.
    Test(test::Task),
    /// Load that is checked, on a cluster that falls apart and comes back.
    Torture(torture::Task),
    #[command(hide = true)]
    TortureClient(torture::client::Task),
    #[command(hide = true)]
    TortureMap(torture::client::map::Task),
    /// Runs a command in a virtual machine with the distribution's own kernel.
    Vm(vm::Task),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Bench(task) => bench::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Cluster(task) => cluster::run(task).map(|()| ExitCode::SUCCESS),
        Task::Demo(task) => demo::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Fuzz(task) => fuzz::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Guard(task) => guard::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Test(task) => test::run(&task).map(|()| ExitCode::SUCCESS),
        Task::Torture(task) => torture::run(&task).map(|()| ExitCode::SUCCESS),
        Task::TortureClient(task) => torture::client::run(&task),
        Task::TortureMap(task) => torture::client::map::run(&task),
        Task::Vm(task) => vm::run(&task),
    };
    result.unwrap_or_else(|e| {
        eprintln!("error: {e:#}");
        ExitCode::FAILURE
    })
}
