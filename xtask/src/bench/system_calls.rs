//! System calls, counted by `perf`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use minicluster::packages;

/// Whether this machine can count them: `perf` is no part of the system everywhere, nor allowed.
pub(super) fn is_possible() -> bool {
    if !packages::is_program_there("perf") {
        return false;
    }
    let mut probe = Command::new("perf");
    probe.args(["stat", "-x", ",", "-e", EVENT, "true"]);
    let output = probe.output();
    output.is_ok_and(|output| {
        output.status.success() && count(&String::from_utf8_lossy(&output.stderr)).is_ok()
    })
}

/// A command that runs `fio` while the system calls of a process are counted to `report`.
pub(super) fn counting(pid: u32, report: &Path) -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", EVENT, "-p", &pid.to_string(), "-o"]);
    command.arg(report).args(["--", "fio"]);
    command
}

/// A command that runs a program while its system calls are counted to `report`.
pub(super) fn counting_of(program: &Command, report: &Path) -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", EVENT, "-o"]);
    command.arg(report).arg("--").arg(program.get_program());
    command.args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// What was counted to `report`.
pub(super) fn counted(report: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(report).with_context(|| report.display().to_string())?;
    count(&text).with_context(|| text.clone())
}

fn count(report: &str) -> anyhow::Result<u64> {
    let mut lines = report.lines();
    let line = lines.find(|line| line.contains(EVENT));
    let field = line.and_then(|line| line.split(',').next());
    Ok(field.context("perf counted nothing")?.parse()?)
}

const EVENT: &str = "raw_syscalls:sys_enter";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_perf_are_read() {
        let report = "# started on Sat\n\n44014,,raw_syscalls:sys_enter,729441698,100.00,,\n";
        assert_eq!(count(report).unwrap(), 44014);
        assert!(count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n").is_err());
        assert!(count("").is_err());
    }
}
