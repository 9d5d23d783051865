//! A daemon's admin socket, asked directly: an answer takes microseconds, where the `ceph` command
//! takes a third of a second to start.
//!
//! Source: `src/common/admin_socket.cc` (a JSON command ended by a zero byte; the answer is a
//! big-endian length and text).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Asks the daemon at `socket`; an error of the daemon's own comes back as text and thus as
/// [`io::ErrorKind::InvalidData`].
pub(crate) fn ask(socket: &Path, prefix: &str) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    let mut request = serde_json::json!({ "prefix": prefix, "format": "json" }).to_string();
    request.push('\0');
    stream.write_all(request.as_bytes())?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut text = Vec::new();
    stream
        .take(u64::from(u32::from_be_bytes(len)))
        .read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::from)
}

/// A daemon that is starting may accept before it answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
