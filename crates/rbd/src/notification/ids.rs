//! Who sends notifications, and how requests are told from one another.

use denc::{Decode, Encode, GlobalId, Reader, Writer};

/// A client that watches a header: its global id and the cookie of the watch
/// (ceph: src/librbd/watcher/Types.h, `ClientId`; 16 bytes).
///
/// Zeros stand for nobody in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId {
    pub(crate) gid: GlobalId,
    /// The cookie of the watch, which is also in the cookie of the lock.
    pub(crate) handle: u64,
}

impl Encode for ClientId {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.gid).u64(self.handle);
    }
}

impl Decode for ClientId {
    const MIN_LEN: usize = 16;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            gid: reader.get()?,
            handle: reader.u64()?,
        })
    }
}

/// One request of one client (ceph: `AsyncRequestId`; 24 bytes).
///
/// A client that asks again for want of an answer does so under the same id, and owners remember
/// what they have done, so that nothing is done twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AsyncRequestId {
    pub(crate) client: ClientId,
    /// The number of the request among those of the client, from 1.
    pub(crate) request: u64,
}

impl AsyncRequestId {
    /// What is sent where there is none.
    pub(super) const NONE: Self = Self {
        client: ClientId {
            gid: GlobalId(0),
            handle: 0,
        },
        request: 0,
    };
}

impl Encode for AsyncRequestId {
    fn encode(&self, writer: &mut Writer) {
        writer.put(&self.client).u64(self.request);
    }
}

impl Decode for AsyncRequestId {
    const MIN_LEN: usize = ClientId::MIN_LEN + 8;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        Ok(Self {
            client: reader.get()?,
            request: reader.u64()?,
        })
    }
}
