//! Cost that must not grow: of one `orbd` in a base case and where something is much larger.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use rados::Cluster;
use rados::config::Config;
use serde_json::json;

use super::cell::{Load, Order, Work};
use super::ground::{Caching, Ground, IMAGE_BYTES};
use super::sample::{Comparison, Subject};
use super::server::{Program, Server};
use super::servers::{self, Contender, Pace};
use crate::interrupt::Interrupt;

/// Measures all of them, and hands over one after the other.
pub(super) fn measure(
    orbd: &Path,
    ground: &Ground,
    pace: Pace,
    interrupt: &Interrupt,
    mut done: impl FnMut(Comparison) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let program = Program::Orbd(orbd.to_owned());
    let start = |image, load| {
        Ok::<_, anyhow::Error>(Contender {
            name: "base case".into(),
            server: Server::start(&program, ground, image, Caching::Off)?,
            load,
        })
    };
    let mut compare = |condition: &str, [grown, base]: [Contender; 2]| {
        let grown = Contender {
            name: condition.into(),
            ..grown
        };
        let pair = [grown, base];
        let mut comparison = servers::compare(pair, ground, Caching::Off, pace, interrupt)?;
        comparison.subject = Subject::Growth;
        comparison.condition = Some(condition.into());
        done(comparison)
    };

    // An OSD takes longer for objects that have been written to here and there for a while.
    ground.make_image(SMALL_IMAGE, IMAGE_BYTES, IMAGE_BYTES)?;
    ground.make_image(LARGE_IMAGE, LARGE_BYTES, IMAGE_BYTES)?;
    compare(
        "image of 1 TiB",
        [start(LARGE_IMAGE, BASE)?, start(SMALL_IMAGE, BASE)?],
    )?;

    compare(
        "depth 256",
        [start(SMALL_IMAGE, DEEP)?, start(SMALL_IMAGE, BASE)?],
    )?;

    let old = start(SMALL_IMAGE, BASE)?;
    make_epochs(ground, interrupt)?;
    compare("after 1000 map epochs", [old, start(SMALL_IMAGE, BASE)?])
}

/// Has the OSD map change so often, in a way that moves nothing.
fn make_epochs(ground: &Ground, interrupt: &Interrupt) -> anyhow::Result<()> {
    let config = Config::builder()
        .conf(ground.conf().to_string_lossy())
        .load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime
        .block_on(async {
            let cluster = Cluster::connect(config).await?;
            let before = cluster.osdmap().epoch();
            for number in 0..EPOCHS {
                interrupt.check()?;
                let prefix = if number % 2 == 0 {
                    "osd set"
                } else {
                    "osd unset"
                };
                let command = json!({"prefix": prefix, "key": "noscrub"});
                cluster.monitor_command(&command, Bytes::new()).await?;
            }
            cluster.update_osdmap().await?;
            let after = cluster.osdmap().epoch();
            cluster.shut_down();
            let made = after.0.saturating_sub(before.0);
            anyhow::ensure!(made >= EPOCHS, "{made} epochs instead of {EPOCHS}");
            Ok(())
        })
        .context("changing the OSD map")
}

const BASE: Load = Load {
    io_bytes: 4 << 10,
    order: Order::Random,
    work: Work::Mix,
    depth: 32,
};
const DEEP: Load = Load { depth: 256, ..BASE };
const SMALL_IMAGE: &str = "bench-small";
const LARGE_IMAGE: &str = "bench-large";
const LARGE_BYTES: u64 = 1 << 40;
/// How many comparisons there are.
pub(super) const GROWTH_CASES: usize = 3;
const EPOCHS: u32 = 1000;
