//! The `orbd` command.
//!
//! A command line takes three steps: [what was typed](args), what it means, and carrying it out (both
//! in [commands]). How it ended is turned into a line and an exit status [in one place](exit).
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod location;
mod output;
mod progress;
#[cfg(test)]
mod recording;
mod session;
mod size;

use std::process::ExitCode;

fn main() -> ExitCode {
    let is_daemon = std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == commands::device::daemon::SUBCOMMAND);
    if is_daemon {
        return commands::device::daemon::run();
    }
    exit::report(&run())
}

fn run() -> exit::Outcome {
    match args::parse(std::env::args_os().skip(1))? {
        args::Request::Print(text) => output::print_text(&text),
        args::Request::Run(invocation) => commands::run(*invocation),
    }
}
