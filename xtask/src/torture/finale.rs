//! The end: everything is healed, everything is answered, and what the images hold is what they must
//! hold, to us and to upstream.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use super::lane::{Lane, Stage};
use super::object_map;
use super::stamp::{self, BLOCK, Seen};
use crate::command::checked;

/// Ends the clients and compares.
pub(super) fn check(lane: &mut Lane, stage: &Stage<'_>) -> anyhow::Result<()> {
    lane.finish(stage)?;
    lane.read_back(stage)?;
    let path = stage.dir.join(format!("{}.export", lane.number));
    let shown = path.to_str().context("a path that is no text")?;
    let export = ["export", "--no-progress", &lane.name(), shown];
    stage.cluster.rbd(&export)?;
    if lane.spec.has_file_system() {
        let result = checked(Command::new("e2fsck").arg("-fn").arg(&path));
        if let Err(problems) = result {
            let what = format!("{problems:#}");
            stage.checker.complain(lane.number, what)?;
        }
        let file = path.with_extension("file");
        let request = format!("dump data {}", file.display());
        checked(Command::new("debugfs").args(["-R", &request, shown]))?;
        fs::rename(file, &path)?;
    }
    if let Some(difference) = compare(&path, lane, stage)? {
        stage.checker.complain(lane.number, difference)?;
    }
    if lane.spec.features.has_object_map() {
        for what in object_map::check(lane, stage)? {
            stage.checker.complain(lane.number, what)?;
        }
    }
    // An object map that was found wrong is a flag by now.
    let info = info(lane, stage)?;
    let size = info.get("size").and_then(Value::as_u64);
    let flags = info.get("flags").and_then(Value::as_array).map(Vec::len);
    if size != Some(lane.size(stage)) || flags != Some(0) {
        let what = format!("`rbd info` says {info}");
        stage.checker.complain(lane.number, what)?;
    }
    Ok(())
}

pub(super) fn info(lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<Value> {
    let info = ["info", &lane.name(), "--format", "json"];
    Ok(serde_json::from_str(&stage.cluster.rbd(&info)?)?)
}

/// Holds what upstream exports against what we read last, which the model has checked.
fn compare(path: &Path, lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<Option<String>> {
    let number = u32::try_from(lane.number)?;
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    for (at, seen) in (0..).zip(stage.checker.last_seen(lane.number)?) {
        file.read_exact(&mut block)?;
        let expected = match seen {
            Some(Seen::Zeros) => vec![0; BLOCK],
            Some(Seen::Write(id)) => stamp::content(number, id, at),
            // A violation already.
            Some(Seen::Damaged) => continue,
            None => return Ok(Some(format!("block {at} was not read in the end"))),
        };
        if block != expected {
            let found = stamp::examine(number, at, &block);
            let seen = seen.map(|seen| seen.to_string()).unwrap_or_default();
            return Ok(Some(format!(
                "block {at}: we read {seen}, `rbd export` {found}"
            )));
        }
    }
    if file.read(&mut block)? != 0 {
        return Ok(Some("`rbd export` gave more than the image".to_owned()));
    }
    fs::remove_file(path)?;
    Ok(None)
}
