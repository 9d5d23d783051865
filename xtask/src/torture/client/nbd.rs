//! An image behind an NBD server, `qemu-nbd` for one (NetworkBlockDevice/nbd, `doc/proto.md`).

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::device::Device;

/// A request under way: how long its answer is, and who waits for it.
type Waiting = (usize, oneshot::Sender<anyhow::Result<Vec<u8>>>);
type Table = Arc<Mutex<HashMap<u64, Waiting>>>;

pub(super) struct Client {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    table: Table,
    next: AtomicU64,
    /// From then on the server may close the connection.
    is_closing: Arc<AtomicBool>,
}

/// What a server says of a request that failed; the numbers are Linux's.
#[derive(Debug)]
struct Errno(u32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NBD error {}", self.0)
    }
}

impl std::error::Error for Errno {}

impl Client {
    /// The default export of the server at `socket`.
    pub(super) async fn connect(socket: &Path) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(socket).await?;
        negotiate(&mut stream).await.context("NBD negotiation")?;
        let (reader, writer) = stream.into_split();
        let table = Table::default();
        let waiting = Arc::clone(&table);
        let is_closing = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_closing);
        tokio::spawn(async move {
            let error = match receive(BufReader::new(reader), &waiting).await {
                _ if is_over.load(Ordering::Relaxed) => return,
                Ok(()) => "the server closed the connection".to_owned(),
                Err(e) => format!("{e:#}"),
            };
            // Requests without answers stay without: the server is dead, and so is its client.
            eprintln!("NBD: {error}");
            std::process::exit(1);
        });
        Ok(Self {
            writer: tokio::sync::Mutex::new(writer),
            table,
            next: AtomicU64::new(0),
            is_closing,
        })
    }

    async fn request(
        &self,
        command: u16,
        offset: u64,
        len: u64,
        data: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let cookie = self.next.fetch_add(1, Ordering::Relaxed);
        let mut header = Vec::with_capacity(28);
        header.extend(REQUEST.to_be_bytes());
        header.extend(0u16.to_be_bytes());
        header.extend(command.to_be_bytes());
        header.extend(cookie.to_be_bytes());
        header.extend(offset.to_be_bytes());
        header.extend(u32::try_from(len)?.to_be_bytes());
        let expected = if command == READ { len } else { 0 };
        let (sender, receiver) = oneshot::channel();
        let waiting = (usize::try_from(expected)?, sender);
        lock(&self.table).insert(cookie, waiting);
        {
            let mut writer = self.writer.lock().await;
            writer.write_all(&header).await?;
            writer.write_all(data).await?;
        }
        receiver.await.context("no answer")?
    }
}

impl Device for Client {
    async fn read(&self, offset: u64, len: u64) -> anyhow::Result<Vec<u8>> {
        self.request(READ, offset, len, &[]).await
    }

    async fn write(&self, offset: u64, data: Bytes) -> anyhow::Result<()> {
        let len = data.len() as u64;
        self.request(WRITE, offset, len, &data).await.map(drop)
    }

    async fn zero(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        self.request(WRITE_ZEROES, offset, len, &[]).await.map(drop)
    }

    async fn discard(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        self.request(TRIM, offset, len, &[]).await.map(drop)
    }

    async fn flush(&self) -> anyhow::Result<()> {
        self.request(FLUSH, 0, 0, &[]).await.map(drop)
    }

    fn is_refusal(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(Errno(ESHUTDOWN)))
    }

    async fn close(&self) -> anyhow::Result<()> {
        self.is_closing.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn lock(table: &Table) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(mut reader: BufReader<OwnedReadHalf>, table: &Table) -> anyhow::Result<()> {
    loop {
        let magic = match reader.read_u32().await {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            magic => magic?,
        };
        ensure!(magic == REPLY, "a reply begins with {magic:#x}");
        let error = reader.read_u32().await?;
        let cookie = reader.read_u64().await?;
        let waiting = lock(table).remove(&cookie);
        let (len, sender) = waiting.context("an answer to no request")?;
        let result = if error == 0 {
            let mut data = vec![0; len];
            reader.read_exact(&mut data).await?;
            Ok(data)
        } else {
            Err(Errno(error).into())
        };
        // Whoever asked may have been given up.
        let _ = sender.send(result);
    }
}

/// Fixed newstyle, `NBD_OPT_GO` with the empty name, no structured replies.
async fn negotiate(stream: &mut UnixStream) -> anyhow::Result<()> {
    let magics = (stream.read_u64().await?, stream.read_u64().await?);
    ensure!(magics == (INIT, OPTION), "not an NBD server");
    let _flags = stream.read_u16().await?;
    let mut hello = FIXED_NO_ZEROES.to_be_bytes().to_vec();
    hello.extend(OPTION.to_be_bytes());
    hello.extend(OPT_GO.to_be_bytes());
    // No name, and no wishes for information.
    hello.extend(6u32.to_be_bytes());
    hello.extend([0; 6]);
    stream.write_all(&hello).await?;
    loop {
        ensure!(stream.read_u64().await? == OPTION_REPLY, "not a reply");
        let _option = stream.read_u32().await?;
        let kind = stream.read_u32().await?;
        let len = stream.read_u32().await?;
        let mut data = vec![0; usize::try_from(len)?];
        stream.read_exact(&mut data).await?;
        match kind {
            ACK => return Ok(()),
            INFO => {}
            other => bail!("refused: {other:#x} {}", String::from_utf8_lossy(&data)),
        }
    }
}

const INIT: u64 = 0x4e42_444d_4147_4943;
const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const FIXED_NO_ZEROES: u32 = 3;
const OPT_GO: u32 = 7;
const ACK: u32 = 1;
const INFO: u32 = 3;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const ESHUTDOWN: u32 = 108;
