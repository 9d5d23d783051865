//! Which objects changed between two snapshots, by the maps of the snapshots between them
//! (ceph: src/librbd/object_map/DiffRequest.cc).

use denc::SnapId;
use rados::Pool;

use super::listed::BEGINNING;
use crate::object_map::{self, BitVector, ObjectState};
use crate::{Features, Flags, ImageInfo, Result};

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiffState {
    /// It did not exist and does not.
    Hole,
    /// It exists and has not changed.
    Data,
    /// It does not exist any more.
    HoleUpdated,
    /// It was written.
    DataUpdated,
}

/// What became of every object between the snapshots `from` and `to`. `None` where the maps do not
/// tell.
pub(super) async fn object_states(
    pool: &Pool,
    info: &ImageInfo,
    from: SnapId,
    to: SnapId,
) -> Result<Option<Vec<DiffState>>> {
    if !info.features.contains(Features::FAST_DIFF) {
        return Ok(None);
    }
    let mut states = Vec::new();
    for snap in versions(info, from, to) {
        let Some((size, flags)) = info.version(snap) else {
            return Ok(None);
        };
        if flags.contains(Flags::FAST_DIFF_INVALID) {
            return Ok(None);
        }
        let Some(map) = object_map::load(pool, &info.id, snap).await? else {
            return Ok(None);
        };
        let objects = info.layout.object_count(size);
        if map.len() < objects {
            return Ok(None);
        }
        advance(&mut states, &map, objects, snap == from, snap == to);
    }
    Ok(Some(states))
}

/// The versions of the image that must be looked at: from the beginning, only what is there in the
/// end counts.
fn versions(info: &ImageInfo, from: SnapId, to: SnapId) -> Vec<SnapId> {
    let snapshots = info.snapshots.iter().map(|snap| snap.id);
    let between = snapshots.filter(|snap| from != BEGINNING && (from..to).contains(snap));
    between.chain([to]).collect()
}

/// Takes in the map of the next version, which has `objects` objects.
fn advance(
    states: &mut Vec<DiffState>,
    map: &BitVector,
    objects: u64,
    is_start: bool,
    is_end: bool,
) {
    let objects = usize::try_from(objects).unwrap_or(usize::MAX);
    let known = states.len();
    // Objects that were cut off are kept: they are known not to exist any more.
    states.resize(known.max(objects), DiffState::Hole);
    let mapped = map.states().take(objects);
    let mut mapped = mapped.chain(std::iter::repeat(ObjectState::Nonexistent));
    let (old, new) = states.split_at_mut(known);
    for (state, object) in old.iter_mut().zip(&mut mapped) {
        *state = next(*state, object, is_end);
    }
    for (state, object) in new.iter_mut().zip(mapped) {
        *state = if is_start {
            first(object)
        } else {
            next(DiffState::Hole, object, is_end)
        };
    }
}

/// The state at the start.
const fn first(object: ObjectState) -> DiffState {
    match object {
        ObjectState::Nonexistent => DiffState::Hole,
        // It may be gone in the next version without being marked there.
        ObjectState::Pending => DiffState::DataUpdated,
        ObjectState::Exists | ObjectState::ExistsClean => DiffState::Data,
    }
}

/// The state after another version.
const fn next(state: DiffState, object: ObjectState, is_end: bool) -> DiffState {
    match (state, object) {
        (DiffState::Hole, ObjectState::Nonexistent) => DiffState::Hole,
        // For what started as a hole, only the end counts.
        (DiffState::Hole, _) if !is_end => DiffState::Hole,
        (DiffState::Data, ObjectState::ExistsClean) => DiffState::Data,
        (_, ObjectState::Nonexistent) => DiffState::HoleUpdated,
        _ => DiffState::DataUpdated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// States of objects, `.` for one that does not exist, `x`, `p` and `c`.
    fn map(text: &str) -> BitVector {
        let mut map = BitVector::new(text.len() as u64, ObjectState::Nonexistent);
        for (object_no, letter) in (0..).zip(text.chars()) {
            map.set(
                object_no,
                match letter {
                    'x' => ObjectState::Exists,
                    'p' => ObjectState::Pending,
                    'c' => ObjectState::ExistsClean,
                    _ => ObjectState::Nonexistent,
                },
            );
        }
        map
    }

    fn diff(maps: &[&str], from_beginning: bool) -> String {
        let mut states = Vec::new();
        for (index, text) in maps.iter().enumerate() {
            let is_start = index == 0 && !from_beginning;
            let is_end = index + 1 == maps.len();
            advance(&mut states, &map(text), text.len() as u64, is_start, is_end);
        }
        let letter = |state: &DiffState| match state {
            DiffState::Hole => '.',
            DiffState::Data => 'd',
            DiffState::HoleUpdated => 'H',
            DiffState::DataUpdated => 'D',
        };
        states.iter().map(letter).collect()
    }

    #[test]
    fn from_the_beginning_what_exists_is_new() {
        assert_eq!(diff(&[".xpc"], true), ".DDD");
    }

    #[test]
    fn between_two_snapshots_what_is_marked_changed() {
        assert_eq!(diff(&["....", ".xpc"], false), ".DDD");
        assert_eq!(diff(&["xxxx", ".xpc"], false), "HDDd");
        assert_eq!(diff(&["pppp", ".xpc"], false), "HDDD");
        assert_eq!(diff(&["cccc", ".xpc"], false), "HDDd");
    }

    #[test]
    fn snapshots_in_between_count() {
        assert_eq!(diff(&["cccc", "xxxx", ".xpc"], false), "HDDD");
        assert_eq!(diff(&["cccc", "....", ".xpc"], false), "HDDD");
        assert_eq!(diff(&["....", "xxxx", ".xpc"], false), ".DDD");
    }

    #[test]
    fn what_was_cut_off_is_gone_even_if_the_image_grew_again() {
        assert_eq!(diff(&["ccc", "c", "c.x"], false), "dHD");
        assert_eq!(diff(&["c", "c.x"], false), "d.D");
        assert_eq!(diff(&["ccc", "c"], false), "dHH");
    }
}
