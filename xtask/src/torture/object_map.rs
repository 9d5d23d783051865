//! Whether an image's object map says what is there.

use std::fmt;
use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::finale;
use super::lane::{Lane, Stage};

/// What an object map says of an object (`include/rbd/object_map_types.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nonexistent,
    Exists,
    Pending,
    Clean,
}

impl State {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Nonexistent,
            1 => Self::Exists,
            2 => Self::Pending,
            _ => Self::Clean,
        }
    }

    /// Whether an object of which the map says this may turn out to be that. A client that dies between
    /// the map and the object leaves what it was about to do in the map.
    fn may_be(self, found: Self, has_crashed: bool) -> bool {
        self == found
            || has_crashed && self == Self::Pending
            || has_crashed && self == Self::Exists && found == Self::Nonexistent
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nonexistent => "nonexistent",
            Self::Exists => "existing",
            Self::Pending => "pending",
            Self::Clean => "clean",
        })
    }
}

/// Has upstream check the map, and make a new one of what is there, and says what is wrong with the old
/// one.
pub(super) fn check(lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<Vec<String>> {
    let name = lane.name();
    let command = |action| ["object-map", action, "--no-progress", &name].map(str::to_owned);
    let mut problems = Vec::new();
    let kept = read(lane, stage)?;
    // Upstream takes such a map for a wrong one.
    let is_unfinished = lane.has_crashed && kept.contains(&State::Pending);
    if !is_unfinished && let Err(e) = stage.cluster.rbd(&command("check")) {
        problems.push(e.to_string());
    }
    stage.cluster.rbd(&command("rebuild"))?;
    let made = read(lane, stage)?;
    if kept.len() != made.len() {
        let (kept, made) = (kept.len(), made.len());
        problems.push(format!(
            "the object map had {kept} objects instead of {made}"
        ));
    }
    for (object, (kept, made)) in kept.into_iter().zip(made).enumerate() {
        if !kept.may_be(made, lane.has_crashed) {
            problems.push(format!("object {object} is {made}; its map said {kept}"));
        }
    }
    Ok(problems)
}

/// The map of the image itself, not of a snapshot.
fn read(lane: &Lane, stage: &Stage<'_>) -> anyhow::Result<Vec<State>> {
    let info = finale::info(lane, stage)?;
    let id = info.get("id").and_then(Value::as_str).context("no id")?;
    let path = stage.dir.join(format!("{}.object_map", lane.number));
    let shown = path.to_str().context("a path that is no text")?;
    let object = format!("rbd_object_map.{id}");
    stage
        .cluster
        .rados(&["-p", &lane.pool, "get", &object, shown])?;
    decode(&fs::read(&path)?)
}

/// `BitVector<2>` (`common/bit_vector.hpp`): the length of a header, which is an envelope and the number
/// of objects; then two bits for each object, the first in the highest bits of its byte.
fn decode(bytes: &[u8]) -> anyhow::Result<Vec<State>> {
    let count = bytes.get(10..18).context("a short header")?;
    let count = usize::try_from(u64::from_le_bytes(count.try_into()?))?;
    let data = bytes.get(18..).unwrap_or_default();
    ensure!(data.len() >= count.div_ceil(4), "a short object map");
    let of_byte = |byte: &u8| [6, 4, 2, 0].map(|shift| State::from_bits(byte >> shift));
    Ok(data.iter().flat_map(of_byte).take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bits_of_the_map_are_an_object() {
        let mut bytes = vec![14, 0, 0, 0, 1, 1, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend([0b00_01_10_11, 0b01_00_00_00, 0xaa]);
        use State::{Clean, Exists, Nonexistent, Pending};
        let states = [Nonexistent, Exists, Pending, Clean, Exists];
        assert_eq!(decode(&bytes).unwrap(), states);
        assert!(decode(&bytes[..19]).is_err());
        assert!(decode(&bytes[..12]).is_err());
    }

    #[test]
    fn a_map_never_says_that_nothing_is_where_something_is() {
        for has_crashed in [false, true] {
            assert!(!State::Nonexistent.may_be(State::Exists, has_crashed));
            assert!(State::Exists.may_be(State::Exists, has_crashed));
            assert_eq!(
                State::Exists.may_be(State::Nonexistent, has_crashed),
                has_crashed
            );
            assert_eq!(
                State::Pending.may_be(State::Exists, has_crashed),
                has_crashed
            );
        }
    }
}
