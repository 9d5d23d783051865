//! `orbd import`: makes an image of a file or of stdin.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, TryStreamExt};
use rados::{Errno, Pool};
use rbd::{Image, OpenOptions};
use tokio::sync::mpsc;

use super::create::{Plan, Wish, create_failure, discard_new};
use super::sparse::{BLOCK_BYTES, runs};
use crate::args::image::ImageOptions;
use crate::args::transfer::Import;
use crate::exit::{Failure, Outcome};
use crate::location::{Location, Positionals, Wanted, locate};
use crate::progress::Progress;
use crate::session::{Session, open_failure};

/// Makes an image of a file.
pub(crate) async fn run(args: Import, session: &Session) -> Outcome {
    let wanted = Wish::new(args.creation.clone())?;
    let (no_progress, sparse_bytes) = (args.no_progress, args.sparse_size);
    if args.export_format.as_deref() == Some("2") {
        return Err(Failure::plain(
            Errno::EOPNOTSUPP,
            "import failed: this version reads export format 1 only",
        ));
    }
    let (path, location) = resolve(args)?;
    let source = Source::open(&path)?;
    let pool = session.pool_of(&location).await?;
    let plan = wanted.plan(session)?;
    let mut progress = Progress::new("Importing image", no_progress);
    let import = Transfer {
        pool: &pool,
        name: &location.image,
        sparse_bytes: sparse_bytes.filter(|size| *size > 0).unwrap_or(BLOCK_BYTES),
    };
    let imported = import.run(&plan, source, &mut progress).await;
    progress.end(imported)
}

/// The file and the image. Without a name the image has that of the file.
fn resolve(args: Import) -> Outcome<(String, Location)> {
    let mut positionals = Positionals::new(args.words);
    let path = args
        .path
        .or_else(|| positionals.take())
        .ok_or_else(|| Failure::invalid("path was not specified"))?;
    let mut destination = ImageOptions {
        pool: args.dest_pool,
        namespace: args.dest_namespace,
        image: args.dest,
    };
    if args.pool.is_some() && destination.pool.is_none() {
        eprintln!("orbd: -p [ --pool ] is deprecated, use --dest-pool");
        destination.pool = args.pool;
    }
    if args.image.is_some() && destination.image.is_none() {
        eprintln!("orbd: --image is deprecated, use --dest");
        destination.image = args.image;
    }
    let wanted = Wanted {
        is_image_needed: false,
        ..Wanted::DESTINATION
    };
    let mut location = locate(destination, None, &mut positionals, wanted)?;
    if location.image.is_empty() {
        location.image = Path::new(&path)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .ok_or_else(|| Failure::invalid("destination image name was not specified"))?;
    }
    Ok((path, location))
}

/// Where the bytes come from.
struct Source {
    reader: Box<dyn Read + Send>,
    /// How many there are, if that is known.
    len: Option<u64>,
}

impl Source {
    /// `-` is stdin. Block devices have a size, too.
    fn open(path: &str) -> Outcome<Self> {
        if path == "-" {
            return Ok(Self {
                reader: Box::new(io::stdin()),
                len: None,
            });
        }
        let failed = |error: io::Error| Failure::io(format_args!("import failed: {path}"), &error);
        let mut file = File::open(path)
            .map_err(|error| Failure::io(format_args!("error opening {path}"), &error))?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::errno(
                format_args!("cannot import a directory: {path}"),
                EISDIR,
            ));
        }
        let len = if metadata.is_file() {
            Some(metadata.len())
        } else {
            // Pipes have no size; block devices end where they end.
            match file.seek(SeekFrom::End(0)) {
                Ok(len) => {
                    file.rewind().map_err(failed)?;
                    Some(len)
                }
                Err(_) => None,
            }
        };
        Ok(Self {
            reader: Box::new(file),
            len,
        })
    }

    /// Reads chunks of `chunk` bytes, the last one shorter, until the end or the known length.
    fn read_all(mut self, chunk: usize, chunks: &mpsc::Sender<io::Result<Bytes>>) {
        let mut left = self.len.unwrap_or(u64::MAX);
        while left > 0 {
            let want = usize::try_from(left).map_or(chunk, |left| left.min(chunk));
            let mut buffer = BytesMut::zeroed(want);
            let read = read_full(&mut *self.reader, &mut buffer);
            let len = match &read {
                Ok(len) => *len,
                Err(_) => 0,
            };
            buffer.truncate(len);
            let is_end = len < want;
            left -= len as u64;
            if (len > 0 || read.is_err())
                && chunks.blocking_send(read.map(|_| buffer.freeze())).is_err()
            {
                return;
            }
            if is_end {
                return;
            }
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// Bytes on their way into a new image.
struct Transfer<'a> {
    pool: &'a Pool,
    name: &'a str,
    /// Runs of zeros at least this long are not written.
    sparse_bytes: u64,
}

impl Transfer<'_> {
    /// Makes the image and fills it. When that fails, the image is removed again.
    async fn run(&self, plan: &Plan, source: Source, progress: &mut Progress) -> Outcome {
        let len = source.len;
        let size = len.unwrap_or_else(|| plan.object_size().unwrap_or(0));
        plan.create(self.pool, self.name, size)
            .await
            .map_err(|error| create_failure("image creation failed", &error))?;
        let filled = self.fill(source, len, progress).await;
        if filled.is_err() {
            discard_new(self.pool, self.name).await;
        }
        filled
    }

    async fn fill(&self, source: Source, len: Option<u64>, progress: &mut Progress) -> Outcome {
        let failed = |error: rbd::Error| Failure::rbd("import failed", &error);
        let image = Image::open(self.pool, self.name, OpenOptions::default())
            .await
            .map_err(|error| open_failure(self.name, &error))?;
        image.check_writable().map_err(failed)?;
        let chunk = usize::try_from(image.object_size().min(MAX_CHUNK_BYTES)).unwrap_or(1 << 20);
        let (sender, mut chunks) = mpsc::channel(CHUNKS_WAITING);
        let reader = tokio::task::spawn_blocking(move || source.read_all(chunk, &sender));
        let mut writes = FuturesUnordered::new();
        let mut offset = 0;
        while let Some(data) = chunks.recv().await {
            let data = data.map_err(|error| Failure::io("import failed: reading", &error))?;
            let start = offset;
            offset += data.len() as u64;
            if offset > image.size_bytes() {
                // Only where the length is not known beforehand. As upstream, twice as large.
                let size = image.size_bytes().saturating_mul(2).max(offset);
                while writes.try_next().await.map_err(failed)?.is_some() {}
                image.resize(size, false, |_| {}).await.map_err(failed)?;
            }
            while writes.len() >= WRITES_IN_FLIGHT {
                writes.try_next().await.map_err(failed)?;
            }
            writes.push(write_sparse(&image, start, data, self.sparse_bytes));
            if len.is_some_and(|len| offset < len) {
                progress.update(offset, len.unwrap_or(0));
            }
        }
        writes.try_collect::<()>().await.map_err(failed)?;
        if let Err(error) = reader.await {
            return Err(Failure::plain(
                Errno::EIO,
                format_args!("import failed: {error}"),
            ));
        }
        match len {
            Some(len) if offset < len => {
                return Err(Failure::plain(
                    Errno::EIO,
                    format_args!("import failed: the file ended after {offset} of {len} bytes"),
                ));
            }
            None if offset != image.size_bytes() => {
                image.resize(offset, true, |_| {}).await.map_err(failed)?;
            }
            _ => {}
        }
        image.close().await.map_err(failed)
    }
}

/// Writes what is not zeros.
async fn write_sparse(
    image: &Image,
    start: u64,
    data: Bytes,
    sparse_bytes: u64,
) -> rbd::Result<()> {
    for (offset, run) in runs(&data, sparse_bytes) {
        image.write(start + offset, run).await?;
    }
    Ok(())
}

/// Objects larger than this are written in parts.
const MAX_CHUNK_BYTES: u64 = 4 << 20;
/// Chunks being written at a time (librbd: `rbd_concurrent_management_ops`).
const WRITES_IN_FLIGHT: usize = 10;
/// Chunks that wait for the cluster.
const CHUNKS_WAITING: usize = 2;
/// Is a directory.
const EISDIR: Errno = Errno(21);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_full_but_for_the_last() {
        let (sender, mut receiver) = mpsc::channel(8);
        let source = Source {
            reader: Box::new(io::Cursor::new(vec![7; 10]).chain(io::Cursor::new(vec![8; 3]))),
            len: None,
        };
        source.read_all(4, &sender);
        drop(sender);
        let mut lens = Vec::new();
        while let Some(chunk) = receiver.blocking_recv() {
            lens.push(chunk.unwrap().len());
        }
        assert_eq!(lens, [4, 4, 4, 1]);
    }

    #[test]
    fn no_more_is_read_than_the_length_that_was_seen() {
        let (sender, mut receiver) = mpsc::channel(8);
        let source = Source {
            reader: Box::new(io::repeat(1)),
            len: Some(6),
        };
        source.read_all(4, &sender);
        drop(sender);
        let mut lens = Vec::new();
        while let Some(chunk) = receiver.blocking_recv() {
            lens.push(chunk.unwrap().len());
        }
        assert_eq!(lens, [4, 2]);
    }
}
