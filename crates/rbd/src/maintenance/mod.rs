//! Changes of an image that only the owner of its exclusive lock may make: carried out for others who
//! ask for them, and asked of the owner if that is another client
//! (ceph: src/librbd/ImageWatcher.cc, Operations.cc).
//!
//! ```text
//! requester                           owner of the lock
//!    | ---- request, with an id ---------> |
//!    | <--- answer: 0, or a failure ------ |
//!    | <--- AsyncProgress, repeatedly ---- |
//!    | <--- HeaderUpdate, to everybody --- |
//!    | <--- AsyncComplete, the result ---- |
//! ```
//! All of this are notifications, and everybody who watches the header gets them. A request without an
//! id is answered when it is done, with the result, and there is nothing else. Who is not the owner
//! answers requests with nothing.
//!
//! Whoever hears nothing for long asks again, whoever owns the lock then, with the same id: owners
//! remember what they have been asked for. That an owner does not do something is no reason to fail:
//! the requester takes the lock and does it.

mod announce;
mod ask;
mod asked;
mod perform;
mod serve;
mod served;

use std::time::Duration;

use rados::Errno;

pub(crate) use asked::Asked;
pub(crate) use serve::{Requests, serve};

/// How long watchers have to answer, as in librbd (`Notifier::NOTIFY_TIMEOUT`).
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// The lock was lost before something was done: whoever asked for it shall ask again.
const ERESTART: Errno = Errno(85);
