//! An image by our own library.
//!
//! With a cache, what was answered may be lost with the client before it is flushed, and so may what a
//! read has seen of it. For that there are flushes: an operation counts as answered when a flush that
//! began after it has ended. Some time goes by before, so that there is something buffered for others to
//! read, to write over, and to be in the way of.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use denc::Epoch;
use rados::Errno;
use rados::config::Config;
use rbd::{Cache, CacheOptions, Image, OpenOptions, ReadAheadOptions, Zeroes};

use super::device::Device;

/// Where the image is.
#[derive(Args)]
pub(super) struct Arguments {
    #[arg(long, default_value = "")]
    conf: String,
    #[arg(long, default_value = "")]
    pool: String,
    #[arg(long, default_value = "")]
    image: String,
    /// An OSD map that has to be known before anything is done.
    #[arg(long, default_value_t = 0)]
    epoch: u32,
    /// Open it with a cache.
    #[arg(long)]
    cached: bool,
    /// Options of the configuration, NAME=VALUE.
    #[arg(long = "option")]
    options: Vec<String>,
}

/// The open image, and the address by which the cluster can shut this client out.
pub(super) async fn open(
    arguments: &Arguments,
    is_to_write: bool,
) -> anyhow::Result<(Opened, String)> {
    let mut builder = Config::builder().conf(&arguments.conf);
    for option in &arguments.options {
        let (name, value) = option.split_once('=').context("--option NAME=VALUE")?;
        builder = builder.option(name, value);
    }
    let cluster = rados::Cluster::connect(builder.load()?).await?;
    cluster.wait_for_osdmap(Epoch(arguments.epoch)).await?;
    let pool = cluster.pool(&arguments.pool).await?;
    let cache = if arguments.cached {
        Cache::With(CacheOptions {
            writethrough_until_flush: false,
            // So small that writers wait, and reads are ahead of somebody.
            max_dirty_bytes: 2 << 20,
            target_dirty_bytes: 1 << 20,
            read_ahead: ReadAheadOptions {
                trigger_requests: 0,
                disable_after_bytes: 0,
                ..ReadAheadOptions::default()
            },
            ..CacheOptions::default()
        })
    } else {
        Cache::None
    };
    let options = OpenOptions {
        watch: true,
        cache,
        ..OpenOptions::default()
    };
    let image = Image::open(&pool, &arguments.image, options).await?;
    if is_to_write {
        image.check_writable()?;
    }
    let address = cluster.addr();
    let socket = address.socket.context("a client without an address")?;
    let opened = Opened {
        image,
        is_cached: arguments.cached,
    };
    Ok((opened, format!("{socket}/{}", address.nonce)))
}

pub(super) struct Opened {
    image: Image,
    is_cached: bool,
}

impl Opened {
    pub(super) fn into_image(self) -> Image {
        self.image
    }

    /// Makes certain of an operation.
    async fn settle(&self) -> anyhow::Result<()> {
        if self.is_cached {
            let buffered = Duration::from_millis(fastrand::u64(..LONGEST_BUFFERED));
            tokio::time::sleep(buffered).await;
            self.image.flush().await?;
        }
        Ok(())
    }
}

impl Device for Opened {
    async fn read(&self, offset: u64, len: u64) -> anyhow::Result<Vec<u8>> {
        let data = self.image.read(offset, len).await?;
        self.settle().await?;
        Ok(data.to_vec())
    }

    async fn write(&self, offset: u64, data: Bytes) -> anyhow::Result<()> {
        self.image.write(offset, data).await?;
        self.settle().await
    }

    async fn zero(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        let zeroes = Zeroes::Deallocate;
        self.image.write_zeroes(offset, len, zeroes).await?;
        self.settle().await
    }

    async fn discard(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        self.image.discard(offset, len).await?;
        self.settle().await
    }

    async fn flush(&self) -> anyhow::Result<()> {
        Ok(self.image.flush().await?)
    }

    fn is_refusal(error: &anyhow::Error) -> bool {
        let error = error.downcast_ref::<rbd::Error>();
        error.is_some_and(|error| error.errno() == Errno::ESHUTDOWN)
    }

    async fn close(&self) -> anyhow::Result<()> {
        Ok(self.image.close().await?)
    }
}

/// In milliseconds.
const LONGEST_BUFFERED: u64 = 150;
