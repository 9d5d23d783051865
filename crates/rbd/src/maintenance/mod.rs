//! Changes of an image that others have to know of (ceph: src/librbd/ImageWatcher.cc, Operations.cc).

mod announce;

use std::time::Duration;

/// How long watchers have to answer, as in librbd (`Notifier::NOTIFY_TIMEOUT`).
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
