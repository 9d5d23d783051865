//! What something was measured with and on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use minicluster::Release;

use super::Task;
use crate::command;
use crate::workspace;

/// The name of the one that may change within a run.
pub(super) const DATE: &str = "date";

/// By name.
pub(super) fn collect(task: &Task, orbd: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let release = task.release.map_or_else(Release::default_of_tests, Ok)?;
    let mut all = BTreeMap::new();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), value);
    add(DATE, jiff::Zoned::now().date().to_string());
    add("orbd", orbd_version(orbd));
    add("Ceph", format!("{release} ({}.2)", release.major()));
    add("librbd of qemu-nbd", first_line("rbd", "--version"));
    add("qemu-nbd", first_line("qemu-nbd", "--version"));
    add("fio", first_line("fio", "--version"));
    add("kernel", first_line("uname", "-sr"));
    add("processor", processor());
    add("memory", memory());
    let (turns, seconds) = (task.turns, task.seconds);
    add(
        "turns",
        format!("{turns} of {seconds} s for each program, alternating"),
    );
    Ok(all)
}

/// The revision that is built here, and whether it is all that was built.
fn orbd_version(orbd: &Path) -> String {
    let version = command::output(Command::new(orbd).arg("--version")).unwrap_or_default();
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]);
    git.current_dir(workspace::root());
    let revision = command::output(&mut git).unwrap_or_default();
    format!("{}, sources at {}", version.trim(), revision.trim())
}

fn first_line(program: &str, option: &str) -> String {
    let output = command::output(Command::new(program).arg(option)).unwrap_or_default();
    output.lines().next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = info
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split_once(": "))
        .map(|(_, model)| model)
        .collect();
    let model = models.first().copied().unwrap_or("unknown");
    format!("{} × {model}", models.len().max(1))
}

fn memory() -> String {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok());
    format!("{} GiB", kib.unwrap_or_default() >> 20)
}
