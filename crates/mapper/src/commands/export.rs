//! `orbd export`: copies an image to a file or to stdout.

use std::fs::{File, OpenOptions as FileOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use futures_util::stream::{self, StreamExt};
use rados::Errno;
use rbd::{Image, OpenOptions, ReadData, Segment};
use tokio::sync::mpsc;

use super::sparse::{BLOCK_BYTES, runs};
use crate::args::transfer::Export;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::progress::Progress;
use crate::session::Session;

/// Copies an image.
pub(crate) async fn run(args: Export, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.words);
    let location = locate(
        args.image,
        args.snap,
        &mut positionals,
        Wanted::IMAGE_OR_SNAP,
    )?;
    let path = args
        .path
        .or_else(|| positionals.take())
        .ok_or_else(|| Failure::invalid("path was not specified"))?;
    if args.export_format.as_deref() == Some("2") {
        return Err(Failure::plain(
            Errno::EOPNOTSUPP,
            "export error: this version writes export format 1 only",
        ));
    }
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let image = session.open(&location, options).await?;
    let target = Target::open(&path)?;
    let mut progress = Progress::new("Exporting image", args.no_progress);
    let copied = copy(&image, target, &mut progress).await;
    progress.end(copied)
}

/// Reads the image, some chunks at a time, and hands them to a thread that writes them in order.
async fn copy(image: &Image, target: Target, progress: &mut Progress) -> Outcome {
    let size = image.size_bytes();
    let chunk = image.object_size().min(MAX_CHUNK_BYTES);
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let writer = tokio::task::spawn_blocking(move || target.write_all(receiver, size));
    let mut chunks = stream::iter((0..size.div_ceil(chunk)).map(|index| index * chunk))
        .map(|offset| {
            let len = chunk.min(size - offset);
            async move { (offset, image.read(offset, len).await) }
        })
        .buffered(READS_IN_FLIGHT);
    while let Some((offset, read)) = chunks.next().await {
        let data = read.map_err(|error| Failure::rbd("export error", &error))?;
        let done = offset + data.len();
        if sender.send(data).await.is_err() {
            // The writer has failed and says why below.
            break;
        }
        if done < size {
            progress.update(done, size);
        }
    }
    drop(sender);
    let written = writer
        .await
        .map_err(|error| Failure::plain(Errno::EIO, format_args!("export error: {error}")))?;
    written.map_err(|error| Failure::io("export error", &error))
}

/// Where the bytes go.
enum Target {
    Stdout,
    File(File),
}

impl Target {
    /// `-` is stdout. Files that exist are left alone.
    fn open(path: &str) -> Outcome<Self> {
        if path == "-" {
            return Ok(Self::Stdout);
        }
        FileOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map(Self::File)
            .map_err(|error| Failure::io("export error", &error).hint(path))
    }

    fn write_all(self, mut chunks: mpsc::Receiver<ReadData>, size: u64) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                while let Some(chunk) = chunks.blocking_recv() {
                    for segment in chunk.segments {
                        match segment {
                            Segment::Data(data) => out.write_all(&data)?,
                            Segment::Zero(len) => write_zeros(&mut out, len)?,
                        }
                    }
                }
                out.flush()
            }
            Self::File(file) => {
                let mut offset = 0;
                while let Some(chunk) = chunks.blocking_recv() {
                    for segment in chunk.segments {
                        let len = segment.len();
                        if let Segment::Data(data) = segment {
                            for (start, run) in runs(&data, BLOCK_BYTES) {
                                file.write_all_at(&run, offset + start)?;
                            }
                        }
                        offset += len;
                    }
                }
                // Holes at the end have to be part of the file, too. After a failure the image does
                // not become a file that looks whole.
                if offset == size {
                    file.set_len(size)?;
                }
                file.sync_all()
            }
        }
    }
}

fn write_zeros(out: &mut impl Write, mut len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while len > 0 {
        let now = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        out.write_all(ZEROS.get(..now).unwrap_or(&ZEROS))?;
        len -= now as u64;
    }
    Ok(())
}

/// Reads larger than this gain nothing.
const MAX_CHUNK_BYTES: u64 = 4 << 20;
/// Chunks being read at a time (librbd: `rbd_concurrent_management_ops`).
const READS_IN_FLIGHT: usize = 10;
/// Chunks that wait for the disk.
const CHUNKS_WAITING: usize = 2;
