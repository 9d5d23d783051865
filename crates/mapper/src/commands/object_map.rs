//! `orbd object-map`: the map that says which objects of an image exist.

use rbd::{Image, ObjectMapCheck, Snapshot, SnapshotNamespace, SnapshotSelector};

use crate::args::changes::{ObjectMap, ObjectMapTarget};
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::progress::Progress;
use crate::session::{Session, open_failure};

/// Looks after an object map.
pub(crate) async fn run(args: ObjectMap, session: &Session) -> Outcome {
    match args {
        ObjectMap::Check(target) => check(target, session).await,
        ObjectMap::Rebuild(target) => rebuild(target, session).await,
    }
}

/// Compares a map with the objects. A map that is wrong is marked so, which is no failure.
async fn check(args: ObjectMapTarget, session: &Session) -> Outcome {
    let (location, snap) = resolve(&args)?;
    let change = async |image: &Image| {
        find(image, snap.as_ref())?;
        let mut progress = Progress::new("Object Map Check", args.no_progress);
        let checked = image
            .check_object_map(snap.as_ref(), |step| {
                if step.done < step.total {
                    progress.update(step.done, step.total);
                }
            })
            .await;
        let found = progress
            .end(checked)
            .map_err(|error| Failure::rbd("checking object map failed", &error))?;
        tell(image, &found);
        Ok(())
    };
    session.change(&location, change).await
}

/// Makes a map anew, so that it can be relied on.
async fn rebuild(args: ObjectMapTarget, session: &Session) -> Outcome {
    let (location, snap) = resolve(&args)?;
    let change = async |image: &Image| {
        find(image, snap.as_ref())?;
        let mut progress = Progress::new("Object Map Rebuild", args.no_progress);
        let rebuilt = image
            .rebuild_object_map(snap.as_ref(), |step| {
                if step.done < step.total {
                    progress.update(step.done, step.total);
                }
            })
            .await;
        progress
            .end(rebuilt)
            .map_err(|error| Failure::rbd("rebuilding object map failed", &error))
    };
    session.change(&location, change).await
}

/// The image, and of which snapshot the map is. The image itself is not opened at the snapshot, because its header may have
/// to be changed.
fn resolve(args: &ObjectMapTarget) -> Outcome<(Location, Option<SnapshotSelector>)> {
    let mut positionals = Positionals::new(args.specs.clone());
    let mut location = locate(
        args.image.clone(),
        args.snap.clone(),
        &mut positionals,
        Wanted::IMAGE_OR_SNAP,
    )?;
    let snap = location.snap.take().map(SnapshotSelector::Name);
    Ok((location, snap))
}

/// Whether there is such a snapshot.
fn find(image: &Image, snap: Option<&SnapshotSelector>) -> Outcome {
    let Some(SnapshotSelector::Name(name)) = snap else {
        return Ok(());
    };
    let is_it = |snap: &Snapshot| snap.name == *name && snap.namespace == SnapshotNamespace::User;
    if image.snapshots().iter().any(is_it) {
        return Ok(());
    }
    let error = rbd::Error::NoSuchSnapshot {
        image: image.full_name().to_owned(),
        snapshot: name.clone(),
    };
    Err(open_failure(image.name(), &error))
}

fn tell(image: &Image, found: &ObjectMapCheck) {
    let name = image.full_name();
    if found.unreadable {
        eprintln!("orbd: {name}: the object map cannot be read and is marked as invalid");
    } else if found.wrong > 0 {
        let (wrong, plural) = (found.wrong, if found.wrong == 1 { "" } else { "s" });
        eprintln!(
            "orbd: {name}: the object map is wrong about {wrong} object{plural} and is marked as invalid"
        );
    }
}
