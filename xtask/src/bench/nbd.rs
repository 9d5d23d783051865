//! The least NBD client there is: enough to see that a server serves, and when it began to.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Connects, asks for the default export, reads its first sector and takes leave.
pub(super) fn read_first_sector(socket: &Path) -> anyhow::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting)?;
    ensure!(greeting.starts_with(b"NBDMAGICIHAVEOPT"), "no NBD server");
    let mut ask = Vec::new();
    ask.extend(CLIENT_FLAGS.to_be_bytes());
    ask.extend(b"IHAVEOPT");
    ask.extend(OPTION_EXPORT_NAME.to_be_bytes());
    ask.extend(0_u32.to_be_bytes());
    stream.write_all(&ask)?;
    let mut export = [0; 10];
    stream
        .read_exact(&mut export)
        .context("there is no default export")?;
    stream.write_all(&request(COMMAND_READ, SECTOR))?;
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let is_good = head.starts_with(&REPLY_MAGIC.to_be_bytes()) && head.get(4..8) == Some(&[0; 4]);
    ensure!(is_good, "reading failed: {head:02x?}");
    let mut sector = vec![0; usize::try_from(SECTOR)?];
    stream.read_exact(&mut sector)?;
    stream.write_all(&request(COMMAND_DISCONNECT, 0))?;
    Ok(sector)
}

fn request(command: u16, length: u32) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(REQUEST_MAGIC.to_be_bytes());
    request.extend(0_u16.to_be_bytes());
    request.extend(command.to_be_bytes());
    // The cookie and the offset.
    request.extend([0; 16]);
    request.extend(length.to_be_bytes());
    request
}

/// Fixed newstyle, and no zeroes after the answer.
const CLIENT_FLAGS: u32 = 3;
const OPTION_EXPORT_NAME: u32 = 1;
const COMMAND_READ: u16 = 0;
const COMMAND_DISCONNECT: u16 = 2;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const SECTOR: u32 = 512;
/// Longer than any server takes that will answer at all.
const LIMIT: Duration = Duration::from_secs(60);
