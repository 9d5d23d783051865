//! Whether pools can hold images, as far as the OSD map says.

use denc::PoolId;
use rados::Pool;
use rados::osdmap::{OsdMap, PoolFlags};

use crate::{Error, Result};

/// What a pool of an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The header and the directory, which are keys and values.
    Header,
    /// The data.
    Data,
}

/// Refuses pools that cannot hold the header, or the data, of an image.
///
/// # Errors
/// [`Error::UnsuitablePool`].
pub(crate) async fn check(header: &Pool, data: Option<&Pool>) -> Result<()> {
    let cluster = header.cluster();
    let roles = [(header, Role::Header), (data.unwrap_or(header), Role::Data)];
    let all_fit = |map: &OsdMap| {
        roles
            .iter()
            .all(|(pool, role)| fits_by_map(map, pool.id(), *role).is_ok())
    };
    if !all_fit(&cluster.osdmap()) {
        // What is missing may have been set just now.
        cluster.update_osdmap().await?;
    }
    let map = cluster.osdmap();
    for (pool, role) in roles {
        fits_by_map(&map, pool.id(), role).map_err(|reason| Error::UnsuitablePool {
            pool: pool.name().to_string(),
            what: match role {
                Role::Header => "the header of an image",
                Role::Data => "the data of an image",
            },
            reason,
        })?;
    }
    Ok(())
}

fn fits_by_map(map: &OsdMap, pool: PoolId, role: Role) -> Result<(), &'static str> {
    match map.pool(pool) {
        Some(pool) => fits(pool.is_erasure(), pool.flags, role),
        None => Err("it does not exist any more"),
    }
}

fn fits(is_erasure: bool, flags: PoolFlags, role: Role) -> Result<(), &'static str> {
    let overwrites = flags.contains(PoolFlags::EC_OVERWRITES);
    match role {
        Role::Header if is_erasure => {
            Err("it is erasure-coded; name it as the data pool and another one for the header")
        }
        Role::Data if is_erasure && !overwrites => Err(
            "it is erasure-coded without overwrites; allow them with: ceph osd pool set POOL allow_ec_overwrites true",
        ),
        Role::Data if flags.contains(PoolFlags::POOL_SNAPS) => {
            Err("it has snapshots of the whole pool, which exclude those of images")
        }
        Role::Header | Role::Data => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erasure_coded_pools_hold_data_if_they_can_be_overwritten() {
        let plain = PoolFlags::HASHPSPOOL;
        let overwritable = plain | PoolFlags::EC_OVERWRITES;
        assert_eq!(fits(true, overwritable, Role::Data), Ok(()));
        assert!(fits(true, plain, Role::Data).is_err());
        assert!(fits(true, overwritable, Role::Header).is_err());
        assert_eq!(fits(false, plain, Role::Data), Ok(()));
        assert_eq!(fits(false, plain, Role::Header), Ok(()));
    }

    #[test]
    fn snapshots_of_the_pool_exclude_those_of_images() {
        let flags = PoolFlags::HASHPSPOOL | PoolFlags::POOL_SNAPS;
        assert!(fits(false, flags, Role::Data).is_err());
        assert_eq!(fits(false, flags, Role::Header), Ok(()));
    }
}
