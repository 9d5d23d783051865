//! Giving images another name (ceph: src/librbd/operation/RenameRequest.cc).

use rados::{Errno, Operation, Pool};

use crate::spec::{check_new_name, full_name};
use crate::{Error, Result, directory, object_names};

/// Renames an image within its pool and namespace. Whoever has it open is not disturbed: nothing in the
/// header changes, so that the owner of its lock need not be asked.
///
/// # Errors
/// [`Error::NoSuchImage`]; [`Error::ImageExists`] if the new name is taken; [`Error::Format1`].
///
/// # Cancellation
/// Dropping the future may leave the image with both names; renaming again then says that the new
/// name exists. Either name opens the image.
pub async fn rename(pool: &Pool, from: &str, to: &str) -> Result<()> {
    check_new_name(to)?;
    let id = directory::image_id(pool, from).await?;
    directory::check_name_is_free(pool, to).await?;
    let new = object_names::id_object(to);
    let operation = directory::set_id(Operation::new().create_exclusive(), &id);
    pool.execute(&new, operation).await.map_err(|error| {
        if error.errno() == Errno::EEXIST {
            Error::ImageExists {
                image: full_name(pool, to),
            }
        } else {
            error.into()
        }
    })?;
    let operation = directory::dir_rename_image(Operation::new(), from, to, &id);
    if let Err(error) = pool.execute(object_names::DIRECTORY, operation).await {
        if let Err(undo) = directory::remove_object(pool, &new).await {
            tracing::warn!(%undo, object = new, "could not undo a step of renaming an image");
        }
        return Err(error.into());
    }
    directory::remove_object(pool, &object_names::id_object(from)).await
}
