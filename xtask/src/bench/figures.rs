//! Figures that no load is needed for: how soon a server serves, how little it takes, how large it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};

use super::ground::{Caching, Ground, IMAGE};
use super::process;
use super::server::{Program, Server};
use super::statistics::{median, to_f64};
use super::targets::{BINARY, FIRST_BYTE, IDLE_RSS};
use crate::interrupt::Interrupt;
use crate::workspace;

/// Of servers that have served one sector and nothing else, each started anew for each sample.
pub(super) fn of_starts(
    orbd: &Path,
    ground: &Ground,
    interrupt: &Interrupt,
) -> anyhow::Result<BTreeMap<String, f64>> {
    let ours = Program::Orbd(orbd.to_owned());
    let theirs = Program::Qemu;
    let mut samples: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for (program, samples) in [&ours, &theirs].into_iter().zip(&mut samples) {
            interrupt.check()?;
            let server = Server::start(program, ground, IMAGE, Caching::Off)?;
            let rss = process::rss_bytes(server.pid())?;
            samples.push((server.first_byte().as_secs_f64(), to_f64(rss)));
            server.stop()?;
        }
    }
    let names = [
        (FIRST_BYTE, IDLE_RSS),
        (
            "start of qemu-nbd to first byte, seconds",
            "idle RSS of qemu-nbd, bytes",
        ),
    ];
    let mut figures = BTreeMap::new();
    for ((first_byte, rss), samples) in names.into_iter().zip(&samples) {
        let first_bytes = samples.iter().map(|(seconds, _)| *seconds);
        figures.insert(first_byte.into(), median(first_bytes).context("no start")?);
        let resident = samples.iter().map(|(_, bytes)| *bytes);
        figures.insert(rss.into(), median(resident).context("no start")?);
    }
    Ok(figures)
}

/// Of the release as one file that needs no others, built for that.
pub(super) fn of_static_binary() -> anyhow::Result<BTreeMap<String, f64>> {
    let path = build_static()?;
    let bytes = fs::metadata(&path).with_context(|| path.display().to_string())?;
    Ok([(BINARY.to_owned(), to_f64(bytes.len()))].into())
}

fn build_static() -> anyhow::Result<PathBuf> {
    let target = workspace::target_dir().join("static");
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "mapper",
        "--target",
        TRIPLE,
    ]);
    cargo.arg("--target-dir").arg(&target);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.stderr(Stdio::inherit()).status().context("cargo")?;
    ensure!(status.success(), "orbd does not build as one static file");
    Ok(target.join(TRIPLE).join("release/orbd"))
}

const STARTS: u32 = 11;
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
