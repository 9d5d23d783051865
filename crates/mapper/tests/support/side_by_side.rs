//! `orbd` and upstream's `rbd` side by side.

use std::process::{Command, Output};

use minicluster::{Cluster, Release, Store};
use serde_json::Value;

/// A cluster with the pools `rbd` and `data`.
pub(crate) fn start() -> Cluster {
    let cluster = Cluster::builder()
        .mons(1)
        .osds(1)
        .mgr(false)
        .store(Store::Memstore)
        .start()
        .unwrap();
    for pool in ["rbd", "data"] {
        cluster.create_pool(pool, 8).unwrap();
    }
    cluster
}

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// `orbd`, set up as `rbd` is.
pub(crate) fn orbd_command(cluster: &Cluster) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orbd"));
    command.env("CEPH_CONF", cluster.conf_path());
    command.env("ORBD_RUN_DIR", cluster.dir().join("orbd"));
    for name in ["CEPH_ARGS", "CEPH_KEYRING", "CEPH_KEY"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn orbd(cluster: &Cluster, args: &[&str]) -> Outcome {
    orbd_command(cluster).args(args).output().unwrap().into()
}

/// Without librbd's log, which it mixes into what the command says.
pub(crate) fn rbd(cluster: &Cluster, args: &[&str]) -> Outcome {
    let mut command = cluster.command("rbd");
    command.env("CEPH_ARGS", "--log-to-stderr=false --err-to-stderr=false");
    command.args(args).output().unwrap().into()
}

/// Runs lines that must work.
pub(crate) fn all_work(cluster: &Cluster, run: fn(&Cluster, &[&str]) -> Outcome, lines: &[&str]) {
    for line in lines {
        let outcome = run(cluster, &words(line));
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.stderr);
    }
}

/// A line as a shell takes it apart, without quotes.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// What is said in a format, without its layout, and without the numbers that 14.2 leaves out where it
/// lists images.
pub(crate) fn content(text: &str, format: &str) -> Vec<String> {
    const NUMBERS: [&str; 2] = ["id", "snapshot_id"];
    if format.contains("json") && !text.is_empty() {
        let mut value: Value = serde_json::from_str(text).unwrap();
        let entries = value.as_array_mut().into_iter().flatten();
        let entries = entries.filter_map(Value::as_object_mut);
        for image in entries.filter(|entry| entry.contains_key("image")) {
            image.retain(|name, _| !NUMBERS.contains(&name.as_str()));
        }
        return vec![value.to_string()];
    }
    if format.contains("xml") {
        let is_list = text.contains("<images>");
        let name = |tag: &str| {
            tag.split('>')
                .next()
                .map(|it| it.trim_matches('/').to_owned())
        };
        return text
            .split('<')
            .map(str::trim)
            .filter(|tag| !is_list || !name(tag).is_some_and(|it| NUMBERS.contains(&it.as_str())))
            .map(str::to_owned)
            .collect();
    }
    text.lines().map(|line| words(line).join(" ")).collect()
}

/// Both print the same and end with the same status, in every format.
pub(crate) fn same_output(cluster: &Cluster, line: &str) {
    for format in [
        "",
        "--format json",
        "--format json --pretty-format",
        "--format xml",
        "--format xml --pretty-format",
    ] {
        let line = format!("{line} {format}");
        let ours = orbd(cluster, &words(&line));
        let theirs = rbd(cluster, &words(&line));
        assert_eq!(ours.code, 0, "{line}: {}", ours.stderr);
        if cluster.release() < Release::Pacific {
            let [ours, theirs] = [ours, theirs].map(|it| content(&it.stdout, format));
            assert_eq!(ours, theirs, "{line}");
        } else {
            assert_eq!(ours.stdout, theirs.stdout, "{line}");
        }
    }
}

/// Both fail with the same status; ours says one line, which begins with their words.
pub(crate) fn same_failure(cluster: &Cluster, line: &str) {
    let ours = orbd(cluster, &words(line));
    let theirs = rbd(cluster, &words(line));
    assert_ne!(ours.code, 0, "{line}");
    assert_eq!(
        ours.code, theirs.code,
        "{line}: {} / {}",
        ours.stderr, theirs.stderr
    );
    let said = ours.stderr.rsplit('\r').next().unwrap();
    let ours = said.lines().find(|line| line.starts_with("orbd: "));
    let ours = ours.unwrap().trim_start_matches("orbd: ");
    let theirs: Vec<&str> = theirs
        .stderr
        .lines()
        .map(|line| line.rsplit('\r').next().unwrap())
        .map(|line| line.trim_start_matches("rbd: "))
        .collect();
    assert!(
        theirs
            .iter()
            .any(|theirs| ours.starts_with(theirs.trim_end())),
        "{line}: {ours:?} / {theirs:?}"
    );
}
