//! Pools: where objects live.

use std::sync::Arc;

use bytes::Bytes;
use denc::{DecodeError, PoolId};

use crate::{Cluster, Errno, Error, Operation, Reply, Result, Stat};

/// A pool, or one namespace of it, of a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    cluster: Cluster,
    id: PoolId,
    name: Arc<str>,
    namespace: Arc<str>,
}

impl Pool {
    pub(crate) fn new(cluster: Cluster, id: PoolId, name: &str) -> Self {
        Self {
            cluster,
            id,
            name: name.into(),
            namespace: "".into(),
        }
    }

    /// The same pool in another namespace; "" is the default one.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            ..self.clone()
        }
    }

    /// The cluster it belongs to.
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its number.
    pub const fn id(&self) -> PoolId {
        self.id
    }

    /// Its name when it was opened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace, "" for the default one.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Carries out an operation on an object and waits for the answer, however long map changes and
    /// failures of OSDs take.
    ///
    /// Operations on one object are carried out in the order in which they were submitted, which
    /// happens at the first poll.
    ///
    /// # Errors
    /// [`Error::Operation`] with the errno of the first step that failed; see [`Error`] for the
    /// rest.
    ///
    /// # Cancellation
    /// Dropping the future gives up waiting. Once submitted the operation may or may not be carried
    /// out.
    pub async fn execute(&self, object: &str, operation: Operation) -> Result<Reply> {
        let (result, reply) = self.execute_raw(object, operation).await?;
        match Errno::check(result) {
            Ok(_) => Ok(reply),
            Err(errno) => Err(self.operation_error(object, errno)),
        }
    }

    /// As [`execute`](Self::execute), but gives the overall result as it is, negative for an errno,
    /// together with what each step gave.
    ///
    /// # Errors
    /// If no answer could be had. See [`Error`].
    ///
    /// # Cancellation
    /// As [`execute`](Self::execute).
    pub fn execute_raw(
        &self,
        object: &str,
        operation: Operation,
    ) -> impl Future<Output = Result<(i32, Reply)>> + Send + use<'_> {
        self.cluster
            .objecter()
            .execute(self.id, &self.namespace, object, operation)
    }

    /// Reads `len` bytes at `offset` of an object's data; fewer where it ends before.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn read(&self, object: &str, offset: u64, len: u64) -> Result<Bytes> {
        Ok(self
            .execute(object, Operation::new().read(offset, len))
            .await?
            .data(0))
    }

    /// Makes `data` the whole contents of an object.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn write_full(&self, object: &str, data: impl Into<Bytes>) -> Result<()> {
        self.execute(object, Operation::new().write_full(data))
            .await
            .map(drop)
    }

    /// Size and modification time of an object.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn stat(&self, object: &str) -> Result<Stat> {
        let reply = self.execute(object, Operation::new().stat()).await?;
        reply
            .decode(0, "stat")
            .map_err(|source| self.decode_error(object, source))
    }

    /// Removes an object.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `ENOENT` if there is none.
    pub async fn remove(&self, object: &str) -> Result<()> {
        self.execute(object, Operation::new().delete())
            .await
            .map(drop)
    }

    /// The error for an object whose contents or answers make no sense.
    pub fn decode_error(&self, object: &str, source: DecodeError) -> Error {
        Error::Decode {
            from: self.full_name(object),
            source,
        }
    }

    /// The error for an operation on an object that failed with `errno`.
    pub fn operation_error(&self, object: &str, errno: Errno) -> Error {
        let pool = match &*self.namespace {
            "" => self.name.to_string(),
            namespace => format!("{}/{namespace}", self.name),
        };
        Error::Operation {
            pool,
            object: object.to_string(),
            errno,
        }
    }

    fn full_name(&self, object: &str) -> String {
        match &*self.namespace {
            "" => format!("{}/{object}", self.name),
            namespace => format!("{}/{namespace}/{object}", self.name),
        }
    }
}
