//! An image by our own library.

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use denc::Epoch;
use rados::Errno;
use rados::config::Config;
use rbd::{Image, OpenOptions, Zeroes};

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
    let options = OpenOptions {
        watch: true,
        ..OpenOptions::default()
    };
    let image = Image::open(&pool, &arguments.image, options).await?;
    if is_to_write {
        image.check_writable()?;
    }
    let address = cluster.addr();
    let socket = address.socket.context("a client without an address")?;
    Ok((Opened(image), format!("{socket}/{}", address.nonce)))
}

pub(super) struct Opened(Image);

impl Opened {
    pub(super) fn into_image(self) -> Image {
        self.0
    }
}

impl Device for Opened {
    async fn read(&self, offset: u64, len: u64) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.read(offset, len).await?.to_vec())
    }

    async fn write(&self, offset: u64, data: Bytes) -> anyhow::Result<()> {
        Ok(self.0.write(offset, data).await?)
    }

    async fn zero(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        let zeroes = Zeroes::Deallocate;
        Ok(self.0.write_zeroes(offset, len, zeroes).await?)
    }

    async fn discard(&self, offset: u64, len: u64) -> anyhow::Result<()> {
        Ok(self.0.discard(offset, len).await?)
    }

    async fn flush(&self) -> anyhow::Result<()> {
        Ok(self.0.flush().await?)
    }

    fn is_refusal(error: &anyhow::Error) -> bool {
        let error = error.downcast_ref::<rbd::Error>();
        error.is_some_and(|error| error.errno() == Errno::ESHUTDOWN)
    }

    async fn close(&self) -> anyhow::Result<()> {
        Ok(self.0.close().await?)
    }
}
