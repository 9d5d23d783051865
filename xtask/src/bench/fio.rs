//! fio: load, and what it says of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::cell::{Load, Order, Work};
use super::sample::{Io, Latency};
use super::statistics::{quantile, to_f64};
use crate::command;

/// What load is put on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim<'a> {
    /// An NBD server at a Unix socket.
    Nbd(&'a Path),
    /// An image, through librbd within fio.
    Librbd { pool: &'a str, image: &'a str },
}

/// The options of one run; those that say how long are missing.
fn options(victim: Victim<'_>, load: Load, span_bytes: u64) -> Vec<String> {
    let mut options = vec!["--name=bench".to_owned()];
    match victim {
        Victim::Nbd(socket) => {
            options.push("--ioengine=nbd".into());
            options.push(format!("--uri=nbd+unix:///?socket={}", socket.display()));
        }
        Victim::Librbd { pool, image } => {
            options.push("--ioengine=rbd".into());
            options.push("--clientname=admin".into());
            options.push(format!("--pool={pool}"));
            options.push(format!("--rbdname={image}"));
        }
    }
    options.push(format!("--rw={}", load.name()));
    options.push(format!("--rwmixread={READS_OF_MIX}"));
    options.push(format!("--bs={}", load.io_bytes));
    options.push(format!("--iodepth={}", load.depth));
    options.push(format!("--size={span_bytes}"));
    // Of the whole way of an I/O, submission included: engines differ in what they call that.
    options.push("--lat_percentiles=1".into());
    options.push("--clat_percentiles=0".into());
    options.push("--output-format=json+".into());
    options
}

/// Load for so long on the first so many bytes.
pub(super) fn timed(
    victim: Victim<'_>,
    load: Load,
    span_bytes: u64,
    time: Duration,
) -> Vec<String> {
    let mut options = options(victim, load, span_bytes);
    options.push("--time_based".into());
    options.push(format!("--runtime={}ms", time.as_millis()));
    options
}

/// Load on the first so many bytes, once.
pub(super) fn once(victim: Victim<'_>, load: Load, span_bytes: u64) -> Vec<String> {
    options(victim, load, span_bytes)
}

/// Writing every byte of the span once.
pub(super) fn filling(victim: Victim<'_>, span_bytes: u64) -> Vec<String> {
    let load = Load {
        io_bytes: 4 << 20,
        order: Order::Sequential,
        work: Work::Write,
        depth: 8,
    };
    let mut options = options(victim, load, span_bytes);
    options.push("--end_fsync=1".into());
    options
}

/// Writing like the load does, or reading and writing if it does both, and reading everything back,
/// with checksums in all that is written.
pub(super) fn verifying(victim: Victim<'_>, load: Load, span_bytes: u64) -> Vec<String> {
    let writing = Load {
        work: match load.work {
            Work::Read | Work::Write => Work::Write,
            Work::Mix => Work::Mix,
        },
        ..load
    };
    let mut options = options(victim, writing, span_bytes);
    for option in [
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_fatal=1",
        "--verify_state_save=0",
    ] {
        options.push(option.into());
    }
    options
}

/// Runs it to its end; `configure` may set its environment.
///
/// # Errors
///
/// When it fails, or when any of its I/Os did.
pub(super) fn run(
    mut fio: Command,
    options: &[String],
    configure: impl FnOnce(&mut Command),
) -> anyhow::Result<Io> {
    fio.args(options);
    configure(&mut fio);
    let output = command::output(&mut fio)?;
    parse(&output).with_context(|| command::shown(&fio))
}

/// Reads what fio prints, which may begin with lines of its engine.
pub(super) fn parse(output: &str) -> anyhow::Result<Io> {
    let start = output.find('{').context("fio printed no JSON")?;
    let (_, json) = output.split_at(start);
    let report: Value = serde_json::from_str(json)?;
    let job = report.pointer("/jobs/0").context("fio had no job")?;
    let error = number(job, "/error")?;
    ensure!(error == 0, "I/Os failed with error {error}");
    let mut io = Io {
        seconds: to_f64(number(job, "/job_runtime")?) / 1e3,
        ..Io::default()
    };
    let mut nanoseconds = 0.0;
    let mut histogram = BTreeMap::new();
    for direction in ["/read", "/write"] {
        let part = job.pointer(direction).context("half of fio's job")?;
        let count = number(part, "/total_ios")?;
        io.count += count;
        io.bytes += number(part, "/io_bytes")?;
        let Some(latency) = part.pointer("/lat_ns").filter(|_| count > 0) else {
            continue;
        };
        let mean = latency.pointer("/mean").and_then(Value::as_f64);
        nanoseconds += mean.context("a latency without mean")? * to_f64(number(latency, "/N")?);
        let bins = latency.pointer("/bins").and_then(Value::as_object);
        for (value, count) in bins.context("a latency without bins")? {
            let count = count.as_u64().context("an odd bin")?;
            *histogram.entry(value.parse()?).or_default() += count;
        }
    }
    let measured: u64 = histogram.values().sum();
    if measured > 0 {
        let at = |share| quantile(&histogram, share).map_or(0.0, to_f64);
        io.latency = Some(Latency {
            mean_ns: nanoseconds / to_f64(measured),
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            histogram,
        });
    }
    Ok(io)
}

fn number(value: &Value, pointer: &str) -> anyhow::Result<u64> {
    let number = value.pointer(pointer).and_then(Value::as_u64);
    number.with_context(|| format!("no number {pointer} in fio's report"))
}

/// Of a hundred I/Os of a mix.
pub(super) const READS_OF_MIX: u32 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    /// fio 3.33, on `orbd serve`: `--rw=randrw --rwmixread=70 --bs=4k --iodepth=4 --runtime=50ms`.
    const MIX: &str = include_str!("testdata/fio-mix.json");

    #[test]
    fn reports_of_fio_are_read() {
        let io = parse(MIX).unwrap();
        assert_eq!(io.count, 82 + 36);
        assert_eq!(io.bytes, (82 + 36) * 4096);
        assert_eq!(io.seconds, 0.05);
        let latency = io.latency.unwrap();
        let mean = (82.0 * 1_504_506.731_707 + 36.0 * 2_179_870.166_667) / 118.0;
        assert!((latency.mean_ns - mean).abs() < 1.0);
        assert_eq!(latency.histogram.values().sum::<u64>(), 118);
        assert!(latency.p50_ns < latency.p99_ns && latency.p99_ns <= latency.p999_ns);
    }

    #[test]
    fn quantiles_of_one_direction_are_those_fio_prints() {
        let mut report: Value = serde_json::from_str(&MIX[MIX.find('{').unwrap()..]).unwrap();
        let write = report.pointer_mut("/jobs/0/write/total_ios").unwrap();
        *write = 0.into();
        let latency = parse(&report.to_string()).unwrap().latency.unwrap();
        assert_eq!(latency.p50_ns, 1_138_688.0);
        assert_eq!(latency.p99_ns, 7_438_336.0);
        assert_eq!(latency.p999_ns, 7_438_336.0);
    }

    #[test]
    fn failed_and_broken_reports_are_errors() {
        assert!(parse("").is_err());
        assert!(parse("{}").is_err());
        let failed = MIX.replacen(r#""error" : 0"#, r#""error" : 5"#, 1);
        assert!(parse(&failed).unwrap_err().to_string().contains("error 5"));
        assert!(parse(&MIX[..MIX.len() / 2]).is_err());
    }
}
