//! What the watchers of an image's header tell each other (ceph: src/librbd/WatchNotifyTypes.h,
//! `NotifyMessage`; krbd: `rbd_watch_cb`).
//!
//! ```text
//! version u8 | 1 u8 | length u32 | operation u32 | fields
//! ```
//! Versions since the second have only appended fields, so that everybody takes from the newest what
//! they know: all messages are encoded as version 7, which librbd has written since 16.2. Version 6
//! is that of 14.2 and 15.2, and krbd writes version 2.

mod ids;
#[cfg(test)]
mod recorded;
mod request;
mod response;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use denc::{Decode, Encode, Reader, Writer};

pub(crate) use ids::{AsyncRequestId, ClientId};
pub(crate) use request::{Maintenance, Request};
pub(crate) use response::Response;

/// What is told to everybody who watches the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// This client holds the image's lock now.
    AcquiredLock(ClientId),
    /// This client does not hold the image's lock any more.
    ReleasedLock(ClientId),
    /// The owner of the image's lock shall release it. It answers with a [`Response`].
    RequestLock {
        /// Who asks.
        client: ClientId,
        /// Whether the lock is to be released although the owner had been told to keep it.
        force: bool,
    },
    /// The header has changed.
    HeaderUpdate,
    /// How far the owner has come with what was asked for.
    AsyncProgress {
        request: AsyncRequestId,
        done: u64,
        total: u64,
    },
    /// The owner is done with what was asked for.
    AsyncComplete {
        request: AsyncRequestId,
        /// 0, or a negative errno.
        result: i32,
    },
    /// The owner of the image's lock shall do something. It answers with a [`Response`].
    Request(Request),
    /// Writing shall stop until [`Unquiesce`](Self::Unquiesce) with the same id: a snapshot is about
    /// to be made.
    Quiesce(AsyncRequestId),
    /// Writing may go on.
    Unquiesce(AsyncRequestId),
    /// Something that this version does not know.
    Unknown { operation: u32, fields: Bytes },
}

impl Message {
    /// Reads the payload of a notification.
    ///
    /// # Errors
    /// If the bytes end too early, mean nothing or are for newer readers only. The sender may have
    /// meant anything then.
    pub(crate) fn from_payload(payload: &[u8]) -> denc::Result<Self> {
        // Clients of before there were messages.
        if payload.is_empty() {
            return Ok(Self::HeaderUpdate);
        }
        Self::decode_all("notification", payload)
    }

    /// What to send.
    pub(crate) fn to_payload(&self) -> Bytes {
        Writer::encode(self)
    }
}

impl Decode for Message {
    const MIN_LEN: usize = 10;

    fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
        let message = reader.envelope("NotifyMessage", VERSION)?;
        let (version, mut fields) = (message.version, message.reader);
        let operation = fields.u32()?;
        Ok(match operation {
            ACQUIRED_LOCK => Self::AcquiredLock(client(&mut fields, version)?),
            RELEASED_LOCK => Self::ReleasedLock(client(&mut fields, version)?),
            REQUEST_LOCK => Self::RequestLock {
                client: client(&mut fields, version)?,
                force: version >= 3 && fields.bool()?,
            },
            HEADER_UPDATE => Self::HeaderUpdate,
            ASYNC_PROGRESS => Self::AsyncProgress {
                request: fields.get()?,
                done: fields.u64()?,
                total: fields.u64()?,
            },
            ASYNC_COMPLETE => Self::AsyncComplete {
                request: fields.get()?,
                result: fields.i32()?,
            },
            QUIESCE => Self::Quiesce(fields.get()?),
            UNQUIESCE => Self::Unquiesce(fields.get()?),
            _ => match Request::decode_fields(operation, version, &mut fields)? {
                Some(request) => Self::Request(request),
                None => Self::Unknown {
                    operation,
                    fields: Bytes::copy_from_slice(fields.take_rest()),
                },
            },
        })
    }
}

impl Encode for Message {
    fn encode(&self, writer: &mut Writer) {
        writer.envelope(VERSION, COMPAT, |fields| {
            match self {
                Self::AcquiredLock(client) => fields.u32(ACQUIRED_LOCK).put(client),
                Self::ReleasedLock(client) => fields.u32(RELEASED_LOCK).put(client),
                Self::RequestLock { client, force } => {
                    fields.u32(REQUEST_LOCK).put(client).bool(*force)
                }
                Self::HeaderUpdate => fields.u32(HEADER_UPDATE),
                Self::AsyncProgress {
                    request,
                    done,
                    total,
                } => fields
                    .u32(ASYNC_PROGRESS)
                    .put(request)
                    .u64(*done)
                    .u64(*total),
                Self::AsyncComplete { request, result } => {
                    fields.u32(ASYNC_COMPLETE).put(request).i32(*result)
                }
                Self::Request(request) => request.encode_fields(fields),
                Self::Quiesce(id) => fields.u32(QUIESCE).put(id),
                Self::Unquiesce(id) => fields.u32(UNQUIESCE).put(id),
                Self::Unknown {
                    operation,
                    fields: rest,
                } => fields.u32(*operation).raw(rest),
            };
        });
    }
}

/// The first version did not say who it was.
fn client(fields: &mut Reader<'_>, version: u8) -> denc::Result<ClientId> {
    if version >= 2 {
        fields.get()
    } else {
        Ok(ClientId::default())
    }
}

/// The version of messages since 16.2.
const VERSION: u8 = 7;
/// The oldest version that can read them.
const COMPAT: u8 = 1;

/// `NOTIFY_OP_*`.
const ACQUIRED_LOCK: u32 = 0;
const RELEASED_LOCK: u32 = 1;
const REQUEST_LOCK: u32 = 2;
const HEADER_UPDATE: u32 = 3;
const ASYNC_PROGRESS: u32 = 4;
const ASYNC_COMPLETE: u32 = 5;
const QUIESCE: u32 = 18;
const UNQUIESCE: u32 = 19;
