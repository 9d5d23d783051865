//! A client of an NBD server as the kernel is one: one connection, and simple replies.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::script::{Direction, Script};
use crate::{OBJECT_SIZE, pattern};

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects, and asks for the default export.
    ///
    /// # Errors
    /// If there is no server, or it refuses.
    pub fn connect(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).context("no NBD server")?;
        let mut client = Self {
            reader: BufReader::new(stream.try_clone()?),
            writer: stream,
        };
        client.negotiate()?;
        Ok(client)
    }

    fn negotiate(&mut self) -> anyhow::Result<()> {
        let greeting: [u8; 18] = self.receive()?;
        ensure!(
            greeting.starts_with(b"NBDMAGICIHAVEOPT"),
            "not an NBD server"
        );
        let mut hello = Vec::new();
        hello.extend(HANDSHAKE_FLAGS.to_be_bytes());
        hello.extend(b"IHAVEOPT");
        hello.extend(OPTION_GO.to_be_bytes());
        // An empty name, and nothing asked for.
        hello.extend([0, 0, 0, 6]);
        hello.extend([0; 6]);
        self.writer.write_all(&hello)?;
        loop {
            let head: [u8; 20] = self.receive()?;
            let kind = number(&head, 12);
            let mut rest = vec![0; usize::try_from(number(&head, 16))?];
            self.reader.read_exact(&mut rest)?;
            match kind {
                REPLY_ACK => return Ok(()),
                REPLY_INFO => {}
                kind => anyhow::bail!("the server refuses: {kind:#x}"),
            }
        }
    }

    /// Sends the requests of a script, and waits for all replies.
    ///
    /// # Errors
    /// If a request fails, or what is read is not what has to be there.
    pub fn run(&mut self, script: &Script) -> anyhow::Result<()> {
        let offsets: Vec<u64> = script.offsets().collect();
        let mut next = 0;
        for answered in 0..offsets.len() {
            while next < offsets.len() && next - answered < usize::try_from(script.depth)? {
                self.ask(script, next, offsets.get(next).copied().unwrap_or_default())?;
                next += 1;
            }
            self.take_reply(script, &offsets)?;
        }
        Ok(())
    }

    /// Sends one request, called by its number.
    fn ask(&mut self, script: &Script, number: usize, offset: u64) -> anyhow::Result<()> {
        let command = match script.direction {
            Direction::Read => COMMAND_READ,
            Direction::Write => COMMAND_WRITE,
        };
        let mut request = Vec::new();
        request.extend(REQUEST_MAGIC.to_be_bytes());
        request.extend([0, 0]);
        request.extend(command.to_be_bytes());
        request.extend(u64::try_from(number)?.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend(script.len.to_be_bytes());
        if script.direction == Direction::Write {
            request.extend(contents(offset, script.len)?);
        }
        self.writer.write_all(&request)?;
        Ok(())
    }

    fn take_reply(&mut self, script: &Script, offsets: &[u64]) -> anyhow::Result<()> {
        let head: [u8; 16] = self.receive()?;
        ensure!(number(&head, 0) == SIMPLE_REPLY_MAGIC, "not a simple reply");
        let error = number(&head, 4);
        ensure!(error == 0, "a request failed: errno {error}");
        if script.direction == Direction::Read {
            let offset = offsets.get(usize::try_from(number(&head, 12))?);
            let expected = contents(*offset.context("a reply to nothing")?, script.len)?;
            let mut found = vec![0; expected.len()];
            self.reader.read_exact(&mut found)?;
            ensure!(found == expected, "something else was read");
        }
        Ok(())
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// If the server is gone.
    pub fn disconnect(mut self) -> anyhow::Result<()> {
        let mut request = Vec::new();
        request.extend(REQUEST_MAGIC.to_be_bytes());
        request.extend([0, 0]);
        request.extend(COMMAND_DISCONNECT.to_be_bytes());
        request.extend([0; 20]);
        self.writer.write_all(&request)?;
        // The server closes the connection.
        let left = self.reader.read_to_end(&mut Vec::new())?;
        ensure!(left == 0, "the server says something to nothing");
        Ok(())
    }

    fn receive<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader
            .read_exact(&mut bytes)
            .context("from the NBD server")?;
        Ok(bytes)
    }
}

/// What the image has there.
fn contents(offset: u64, len: u32) -> anyhow::Result<&'static [u8]> {
    let start = usize::try_from(offset % OBJECT_SIZE)?;
    let range = start..start + usize::try_from(len)?;
    pattern().get(range).context("an extent of two objects")
}

/// The four bytes at `at`.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Fixed newstyle, no zeroes.
const HANDSHAKE_FLAGS: u32 = 0b11;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
