//! Which images a pool or a namespace has: methods of the object class `rbd` on `rbd_directory` and
//! on the `rbd_id` objects, and what is built on them.

use std::collections::BTreeMap;

use denc::Writer;
use rados::{Errno, Operation, Pool};

use crate::error::undecodable;
use crate::header::CLASS;
use crate::spec::full_name;
use crate::{Error, Result, object_names};

/// Answered as a string.
pub(crate) fn get_id(operation: Operation) -> Operation {
    operation.call(CLASS, "get_id", &[])
}

/// Sets the id, in an `rbd_id` object that has just been created.
pub(crate) fn set_id(operation: Operation, id: &str) -> Operation {
    operation.call_mut(CLASS, "set_id", &Writer::encode(id))
}

/// Answered as a map of names to ids.
pub(crate) fn dir_list(operation: Operation, after: &str, max: u64) -> Operation {
    let mut input = Writer::new();
    input.str(after).u64(max);
    operation.call(CLASS, "dir_list", input.as_slice())
}

/// Answered as a string.
pub(crate) fn dir_get_id(operation: Operation, name: &str) -> Operation {
    operation.call(CLASS, "dir_get_id", &Writer::encode(name))
}

/// Answered as a string.
pub(crate) fn dir_get_name(operation: Operation, id: &str) -> Operation {
    operation.call(CLASS, "dir_get_name", &Writer::encode(id))
}

/// Fails with `EEXIST` if the name or the id is there, with `EBADF` if just one of them is.
pub(crate) fn dir_add_image(operation: Operation, name: &str, id: &str) -> Operation {
    operation.call_mut(CLASS, "dir_add_image", &name_and_id(name, id))
}

/// Fails with `ENOENT` unless both name and id are there and belong together.
pub(crate) fn dir_remove_image(operation: Operation, name: &str, id: &str) -> Operation {
    operation.call_mut(CLASS, "dir_remove_image", &name_and_id(name, id))
}

/// Fails with `ENOENT` or `ESTALE` unless `from` and `id` belong together.
pub(crate) fn dir_rename_image(operation: Operation, from: &str, to: &str, id: &str) -> Operation {
    let mut input = Writer::new();
    input.str(from).str(to).str(id);
    operation.call_mut(CLASS, "dir_rename_image", input.as_slice())
}

/// Fails with `ENOENT` unless images may be added to the directory of a namespace.
pub(crate) fn dir_assert_ready(operation: Operation) -> Operation {
    const READY: u8 = 0;
    operation.call_mut(CLASS, "dir_state_assert", &[READY])
}

/// Answered as [`Features`](crate::Features): all that the OSDs know.
pub(crate) fn get_all_features(operation: Operation) -> Operation {
    operation.call(CLASS, "get_all_features", &[])
}

fn name_and_id(name: &str, id: &str) -> bytes::Bytes {
    let mut input = Writer::new();
    input.str(name).str(id);
    input.freeze()
}

/// An image of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageEntry {
    /// Its name.
    pub name: String,
    /// The part of its objects' names that stays when it is renamed.
    pub id: String,
}

/// The images of a pool's namespace, ordered by name. Images of format 1 are not among them.
///
/// # Errors
/// If the pool cannot be read. A pool without images gives an empty list.
pub async fn list(pool: &Pool) -> Result<Vec<ImageEntry>> {
    let mut entries: Vec<ImageEntry> = Vec::new();
    loop {
        let after = entries.last().map_or("", |entry| entry.name.as_str());
        let operation = dir_list(Operation::new(), after, LIST_PAGE);
        let page = match call::<BTreeMap<String, String>>(pool, object_names::DIRECTORY, operation)
            .await
        {
            Ok(page) => page,
            Err(error) if error.is_not_found() => return Ok(entries),
            Err(error) => return Err(error),
        };
        let complete = (page.len() as u64) < LIST_PAGE;
        let known = entries.len();
        entries.extend(page.into_iter().map(|(name, id)| ImageEntry { name, id }));
        if complete || entries.len() == known {
            return Ok(entries);
        }
    }
}

/// How many images are listed at a time, as librbd does.
const LIST_PAGE: u64 = 1024;

/// The id of the image called `name`.
///
/// # Errors
/// [`Error::NoSuchImage`], or [`Error::Format1`] if there is an old one of this name.
pub(crate) async fn image_id(pool: &Pool, name: &str) -> Result<String> {
    match call(
        pool,
        &object_names::id_object(name),
        get_id(Operation::new()),
    )
    .await
    {
        Err(error) if error.is_not_found() => {
            let image = full_name(pool, name);
            if exists(pool, &object_names::format1_header(name)).await? {
                Err(Error::Format1 { image })
            } else {
                Err(Error::NoSuchImage { image })
            }
        }
        other => other,
    }
}

/// The name of the image with this id; `None` if the directory does not know it, as for images in
/// the trash.
pub(crate) async fn image_name(pool: &Pool, id: &str) -> Result<Option<String>> {
    let operation = dir_get_name(Operation::new(), id);
    match call(pool, object_names::DIRECTORY, operation).await {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses a name that an image of either format has.
pub(crate) async fn check_name_is_free(pool: &Pool, name: &str) -> Result<()> {
    let objects = [
        object_names::format1_header(name),
        object_names::id_object(name),
    ];
    for object in objects {
        if exists(pool, &object).await? {
            return Err(Error::ImageExists {
                image: full_name(pool, name),
            });
        }
    }
    Ok(())
}

/// Refuses a namespace that the pool does not have.
pub(crate) async fn check_namespace(pool: &Pool) -> Result<()> {
    if pool.namespace().is_empty() {
        return Ok(());
    }
    let object = object_names::NAMESPACES;
    let key = format!("name_{}", pool.namespace());
    let default = pool.in_namespace("");
    let operation = Operation::new().omap_values("", 1, &key);
    // The first key with this prefix is the key itself if it exists: it sorts before longer ones.
    let values: BTreeMap<String, bytes::Bytes> = match call(&default, object, operation).await {
        Ok(values) => values,
        Err(error) if error.is_not_found() => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    if values.contains_key(&key) {
        return Ok(());
    }
    Err(Error::NoSuchNamespace {
        pool: pool.name().to_string(),
        namespace: pool.namespace().to_string(),
    })
}

/// Whether there is an object of this name.
pub(crate) async fn exists(pool: &Pool, object: &str) -> Result<bool> {
    let (result, _) = pool.execute_raw(object, Operation::new().stat()).await?;
    match Errno::check(result) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(pool.operation_error(object, errno).into()),
    }
}

/// Removes an object, if it is there.
pub(crate) async fn remove_object(pool: &Pool, object: &str) -> Result<()> {
    ignoring(
        pool,
        object,
        Operation::new().delete().full_try(),
        Errno::ENOENT,
    )
    .await
}

/// Carries out an operation that may find that there is nothing to be done.
pub(crate) async fn ignoring(
    pool: &Pool,
    object: &str,
    operation: Operation,
    ignored: Errno,
) -> Result<()> {
    let (result, _) = pool.execute_raw(object, operation).await?;
    match Errno::check(result) {
        Ok(_) => Ok(()),
        Err(errno) if errno == ignored => Ok(()),
        Err(errno) => Err(pool.operation_error(object, errno).into()),
    }
}

/// The decoded answer to the first step of an operation.
pub(crate) async fn call<T: denc::Decode>(
    pool: &Pool,
    object: &str,
    operation: Operation,
) -> Result<T> {
    let reply = pool.execute(object, operation).await?;
    reply
        .decode(0, "rbd class reply")
        .map_err(undecodable(pool, object))
}
