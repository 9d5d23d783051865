//! The published crate `rados` and ours of that name, each in a driver of its own that is built when it
//! is needed and is no part of this workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::cell::{Load, Order, Work};
use super::ground::Ground;
use super::sample::{Io, Latency};
use super::statistics::{quantile, to_f64};
use crate::workspace;

/// Builds the drivers and returns the directory that they are in.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let target = workspace::target_dir().join("rados-crate");
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--release", "--manifest-path", MANIFEST]);
    cargo.arg("--target-dir").arg(&target);
    let status = cargo.stderr(Stdio::inherit()).status().context("cargo")?;
    ensure!(status.success(), "the drivers do not build");
    Ok(target.join("release"))
}

/// Whether the published crate can be measured on this cluster at all: it connects, writes and reads,
/// within a time.
///
/// # Errors
///
/// What it said when it cannot.
pub(super) fn try_published(drivers: &Path, ground: &Ground) -> anyhow::Result<()> {
    let mut driver = driving(&drivers.join(THEIRS), ground, TRIED, TRIED_TIME);
    driver.env("RUST_BACKTRACE", "0");
    let output = driver.output().context("the driver does not start")?;
    if output.status.code() == Some(TIMED_OUT_STATUS) {
        bail!("no answer within {} s", LIMIT.as_secs());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(())
}

/// A driver that puts load on objects for so long; no time at all is a connection and nothing else. If it
/// does not end in time, it is ended.
pub(super) fn driving(driver: &Path, ground: &Ground, load: Load, time: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.arg("--kill-after=1");
    command.arg((time + LIMIT).as_secs_f64().to_string());
    command.arg(driver);
    command.arg(match load.work {
        Work::Read | Work::Mix => "read",
        Work::Write => "write",
    });
    command.arg(load.io_bytes.to_string());
    command.arg(load.depth.to_string());
    command.arg(time.as_millis().to_string());
    ground.set_environment(&mut command);
    command.env("CEPH_KEYRING", ground.cluster.keyring_path());
    command
}

/// What drivers print.
#[derive(Deserialize)]
struct Report {
    count: u64,
    bytes: u64,
    seconds: f64,
    mean_ns: f64,
    histogram: BTreeMap<u64, u64>,
}

/// Reads what a driver printed.
pub(super) fn parse(output: &str) -> anyhow::Result<Io> {
    // Libraries may have something to say before.
    let line = output.lines().last().unwrap_or_default();
    let report: Report = serde_json::from_str(line)?;
    let at = |share| quantile(&report.histogram, share).map_or(0.0, to_f64);
    Ok(Io {
        count: report.count,
        bytes: report.bytes,
        seconds: report.seconds,
        derived_mean_ns: None,
        latency: (report.count > 0).then(|| Latency {
            mean_ns: report.mean_ns,
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            histogram: report.histogram.clone(),
        }),
    })
}

const MANIFEST: &str = "benches/rados-crate/Cargo.toml";
/// The drivers' executables.
pub(super) const OURS: &str = "ours";
pub(super) const THEIRS: &str = "theirs";
/// How long a driver may take beyond the time of its load, to connect and to fill its objects.
const LIMIT: Duration = Duration::from_secs(10);
/// What `timeout` ends with when it has ended the driver.
const TIMED_OUT_STATUS: i32 = 124;
const TRIED: Load = Load {
    io_bytes: 4 << 10,
    order: Order::Random,
    work: Work::Read,
    depth: 1,
};
const TRIED_TIME: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_drivers_are_read() {
        let report = r#"{"bytes":8192,"count":2,"histogram":{"1000":1,"3000":1},"mean_ns":2010.5,"seconds":0.5}"#;
        let io = parse(&format!("connected\n{report}\n")).unwrap();
        assert_eq!((io.count, io.bytes, io.iops()), (2, 8192, 4.0));
        let latency = io.latency.unwrap();
        assert_eq!(
            (latency.mean_ns, latency.p50_ns, latency.p99_ns),
            (2010.5, 1000.0, 3000.0)
        );
        assert!(parse("").is_err());
    }
}
