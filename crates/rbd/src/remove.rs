//! Removing images (ceph: src/librbd/image/PreRemoveRequest.cc, RemoveRequest.cc).

use denc::SnapId;
use rados::{Errno, Operation, Pool};

use crate::lock::Locker;
use crate::spec::full_name;
use crate::{
    Error, Features, Image, ImageInfo, OpenOptions, Progress, Result, directory, object_names,
    resize, watchers,
};

/// Removes an image with all its data.
///
/// A lock that a client took by itself and that nobody watching holds is that of a dead client, which is
/// blocklisted, and does not hinder.
///
/// # Errors
/// [`Error::NoSuchImage`]; [`Error::HasSnapshots`]; [`Error::InUse`] if somebody has it open;
/// [`Error::Locked`] if somebody locked it by command; [`Error::InGroup`]; and what this version
/// cannot take apart, by name: [`Error::HasParent`], [`Error::Migrating`], [`Error::NotWritable`]
/// for journaled and mirrored images.
///
/// # Cancellation
/// Dropping the future, or a failure, may leave an image without some or all of its data. Removing
/// it again removes the rest.
pub async fn remove(pool: &Pool, name: &str, progress: impl FnMut(Progress) + Send) -> Result<()> {
    let id = match directory::image_id(pool, name).await {
        Ok(id) => id,
        Err(error @ Error::NoSuchImage { .. }) => match directory_id(pool, name).await? {
            Some(id) => id,
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let options = OpenOptions {
        header_only: true,
        ..OpenOptions::default()
    };
    match Image::open_with_id(pool, &id, name, options).await {
        Ok(image) => remove_contents(&image, progress).await?,
        // What is left of an image whose removal, or making, was interrupted.
        Err(Error::NoSuchImage { .. }) => {}
        Err(error) => return Err(error),
    }
    let object_map = object_names::object_map(&id, SnapId::HEAD);
    directory::remove_object(pool, &object_map).await?;
    remove_name(pool, name, &id).await
}

async fn remove_contents(image: &Image, progress: impl FnMut(Progress) + Send) -> Result<()> {
    let info = image.info();
    check_removable(&info, image.full_name())?;
    watchers::check_unwatched(image.pool(), image.header_object(), image.full_name()).await?;
    check_unlocked(&info, image.full_name())?;
    let removed = remove_data_and_header(image, info.size_bytes, progress).await;
    let closed = image.close().await;
    removed?;
    match closed {
        Err(error) if !error.is_not_found() => Err(error),
        // There is nothing left to unlock or to watch.
        _ => Ok(()),
    }
}

async fn remove_data_and_header(
    image: &Image,
    size_bytes: u64,
    progress: impl FnMut(Progress) + Send,
) -> Result<()> {
    // Nobody may take the image into use meanwhile, and a dead owner must not write any more.
    let _ownership = image.own_for_maintenance().await?;
    resize::trim(image, 0, size_bytes, progress).await?;
    directory::remove_object(image.pool(), image.header_object()).await
}

fn check_removable(info: &ImageInfo, image: &str) -> Result<()> {
    if !info.snapshots.is_empty() {
        return Err(Error::HasSnapshots {
            image: image.to_string(),
            count: info.snapshots.len(),
        });
    }
    if let Some(group) = &info.group {
        return Err(Error::InGroup {
            image: image.to_string(),
            pool: group.pool.0,
            group: group.id.clone(),
        });
    }
    if let Some(parent) = &info.parent {
        // The parent's list of clones would have to be kept right, overlap or not.
        return Err(Error::HasParent {
            image: image.to_string(),
            parent: parent.spec.to_string(),
        });
    }
    info.check_readable(image, None)?;
    let hindering = info
        .features
        .and(Features::JOURNALING | Features::NON_PRIMARY)
        .with(info.features.without(Features::ALL));
    if !hindering.is_empty() {
        return Err(Error::NotWritable {
            image: image.to_string(),
            features: hindering,
            remedy: String::new(),
        });
    }
    Ok(())
}

fn check_unlocked(info: &ImageInfo, image: &str) -> Result<()> {
    if info.lock.lockers.iter().all(Locker::is_automatic) {
        return Ok(());
    }
    let lockers: Vec<_> = info.lock.lockers.iter().map(Locker::to_string).collect();
    Err(Error::Locked {
        image: image.to_string(),
        lockers: lockers.join(", "),
    })
}

/// The id that the directory has for a name.
async fn directory_id(pool: &Pool, name: &str) -> Result<Option<String>> {
    let operation = directory::dir_get_id(Operation::new(), name);
    match directory::call(pool, object_names::DIRECTORY, operation).await {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn remove_name(pool: &Pool, name: &str, id: &str) -> Result<()> {
    directory::remove_object(pool, &object_names::id_object(name)).await?;
    let operation = directory::dir_remove_image(Operation::new(), name, id);
    let removed = directory::ignoring(pool, object_names::DIRECTORY, operation, Errno::ENOENT);
    removed.await?;
    tracing::debug!(image = full_name(pool, name), id, "image removed");
    Ok(())
}
