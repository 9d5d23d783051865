//! Load on objects: the same for every library.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde_json::json;

/// An object store under load.
pub trait Objects: Send + Sync + 'static {
    /// Replaces an object.
    fn write(&self, name: &str, data: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Reads the first so many bytes of an object.
    fn read(&self, name: &str, bytes: usize) -> impl Future<Output = anyhow::Result<Bytes>> + Send;
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    is_write: bool,
    io_bytes: usize,
    depth: usize,
    time: Duration,
}

impl Load {
    /// From the command line: `read|write BYTES DEPTH MILLISECONDS`.
    ///
    /// # Errors
    ///
    /// When it is anything else.
    pub fn from_arguments() -> anyhow::Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [work, io_bytes, depth, milliseconds] = arguments.as_slice() else {
            bail!("usage: read|write BYTES DEPTH MILLISECONDS");
        };
        Ok(Self {
            is_write: match work.as_str() {
                "read" => false,
                "write" => true,
                _ => bail!("{work}: neither read nor write"),
            },
            io_bytes: io_bytes.parse()?,
            depth: depth.parse()?,
            time: Duration::from_millis(milliseconds.parse()?),
        })
    }

    /// A variable of the environment.
    ///
    /// # Errors
    ///
    /// When it is not set.
    pub fn variable(name: &str) -> anyhow::Result<String> {
        std::env::var(name).with_context(|| name.to_owned())
    }
}

/// Writes all objects, checks one of them, and then puts load on them for as long as is wanted; a time
/// of nothing does not even write them. Prints what was done as JSON.
///
/// # Errors
///
/// When any operation fails, or an object is not as it was written.
pub async fn run(load: Load, objects: impl Objects) -> anyhow::Result<()> {
    let objects = Arc::new(objects);
    let payload = Bytes::from(vec![0x5a; load.io_bytes]);
    if !load.time.is_zero() {
        for number in 0..OBJECTS {
            objects.write(&name(number), payload.clone()).await?;
        }
        let back = objects.read(&name(0), load.io_bytes).await?;
        ensure!(back == payload, "an object is not as it was written");
    }
    let start = Instant::now();
    let workers: Vec<_> = (0..load.depth)
        .map(|_| tokio::spawn(work(load, Arc::clone(&objects), payload.clone(), start)))
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await??);
    }
    print(load, &latencies, start.elapsed());
    Ok(())
}

async fn work(
    load: Load,
    objects: Arc<impl Objects>,
    payload: Bytes,
    start: Instant,
) -> anyhow::Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while start.elapsed() < load.time {
        let name = name(fastrand::usize(..OBJECTS));
        let begin = Instant::now();
        if load.is_write {
            objects.write(&name, payload.clone()).await?;
        } else {
            let data = objects.read(&name, load.io_bytes).await?;
            ensure!(data.len() == load.io_bytes, "{name} is too short");
        }
        latencies.push(u64::try_from(begin.elapsed().as_nanos())?);
    }
    Ok(latencies)
}

fn print(load: Load, latencies: &[u64], time: Duration) {
    let mut histogram = BTreeMap::<u64, u64>::new();
    for latency in latencies {
        // Six bits of it are as fine as fio's.
        let shift = latency
            .checked_ilog2()
            .unwrap_or_default()
            .saturating_sub(6);
        *histogram.entry(latency >> shift << shift).or_default() += 1;
    }
    let sum: u64 = latencies.iter().sum();
    let report = json!({
        "count": latencies.len(),
        "bytes": latencies.len() * load.io_bytes,
        "seconds": time.as_secs_f64(),
        "mean_ns": sum as f64 / latencies.len().max(1) as f64,
        "histogram": histogram,
    });
    println!("{report}");
}

fn name(number: usize) -> String {
    format!("bench-{number}")
}

/// The pool that objects are in.
pub const POOL: &str = "rbd";
/// So many objects are there.
const OBJECTS: usize = 64;
