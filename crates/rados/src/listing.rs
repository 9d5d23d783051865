//! Lists the objects of a pool, placement group by placement group
//! (ceph: src/osd/osd_types.h, `pg_nls_response_t`).

use std::collections::VecDeque;

use denc::{Decode, Reader};

use crate::op::Operation;
use crate::osdmap::HObject;
use crate::{Errno, Pool, Result};

/// How many objects are asked for at a time.
const PAGE: u64 = 1024;
/// Stands for every namespace (ceph: `LIBRADOS_ALL_NSPACES`).
const ALL_NAMESPACES: &str = "\u{1}";

/// An object found by listing a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListedObject {
    /// Its namespace, "" for the default one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key that decides where it is placed, if that is not its name.
    pub locator: String,
}

impl Decode for ListedObject {
    const MIN_LEN: usize = 12;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            namespace: reader.get()?,
            name: reader.get()?,
            locator: reader.get()?,
        })
    }
}

/// Goes through the objects of a pool, in no particular order. Objects that are created or removed
/// meanwhile may or may not be seen.
#[derive(Debug)]
pub struct Objects {
    pool: Pool,
    /// The placement group that is being listed.
    pg_seed: u32,
    cursor: HObject,
    page: VecDeque<ListedObject>,
}

impl Pool {
    /// The objects of this pool and namespace.
    pub fn objects(&self) -> Objects {
        Objects {
            pool: self.clone(),
            pg_seed: 0,
            cursor: HObject::MIN,
            page: VecDeque::new(),
        }
    }

    /// The objects of this pool in all namespaces.
    pub fn objects_of_all_namespaces(&self) -> Objects {
        self.in_namespace(ALL_NAMESPACES).objects()
    }
}

impl Objects {
    /// The next object, or none if that was all.
    ///
    /// # Errors
    /// As [`Pool::execute`].
    ///
    /// # Cancellation
    /// Safe: nothing is skipped.
    pub async fn next(&mut self) -> Result<Option<ListedObject>> {
        loop {
            if let Some(object) = self.page.pop_front() {
                return Ok(Some(object));
            }
            let osdmap = self.pool.cluster().osdmap();
            // Groups that splits have added are at the end of the range, and are seen; their objects
            // may then be seen twice.
            if osdmap
                .pool(self.pool.id())
                .is_none_or(|pool| self.pg_seed >= pool.pg_num)
            {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    /// Gets the next page.
    async fn fetch(&mut self) -> Result<()> {
        let operation = Operation::new().list_pg(PAGE, &self.cursor);
        let objecter = self.pool.cluster().objecter();
        let listing = objecter.execute_on_pg(
            self.pool.id(),
            self.pool.namespace(),
            self.pg_seed,
            operation,
        );
        let (result, reply) = listing.await?;
        let what = || format!("placement group {}.{:x}", self.pool.id(), self.pg_seed);
        Errno::check(result).map_err(|errno| self.pool.operation_error(&what(), errno))?;
        let page: Page = reply
            .decode(0, "object list")
            .map_err(|source| self.pool.decode_error(&what(), source))?;
        // The OSD says 1 at the end of the group. A cursor that stands still would be no end either.
        if result == 1 || page.next.max || page.next == self.cursor {
            self.pg_seed += 1;
            self.cursor = HObject::MIN;
        } else {
            self.cursor = page.next;
        }
        self.page = page.objects.into();
        Ok(())
    }
}

/// A part of the list of a placement group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Where the next page begins.
    pub(crate) next: HObject,
    pub(crate) objects: Vec<ListedObject>,
}

impl Decode for Page {
    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let mut fields = reader.envelope("pg_nls_response_t", 1)?.reader;
        Ok(Self {
            next: fields.get()?,
            objects: fields.get()?,
        })
    }
}
