//! A subject: some measurements, and what is printed of them when all are done.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

/// Measurements that are printed together.
pub(crate) struct Subject<'c> {
    name: &'static str,
    group: BenchmarkGroup<'c, WallTime>,
    table: String,
}

/// What one time of something takes: in the fastest of all samples, because whatever else the machine
/// has to do only adds. `None` if it was not chosen to be measured.
pub(crate) type Cost = Option<Nanoseconds>;

/// Nanoseconds, and parts of one.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Nanoseconds(f64);

impl<'c> Subject<'c> {
    pub(crate) fn new(criterion: &'c mut Criterion, name: &'static str) -> Self {
        Self {
            name,
            group: criterion.benchmark_group(name),
            table: String::new(),
        }
    }

    /// Measures something that needs no preparation. `bytes` is how many it works on, if that matters.
    pub(crate) fn cost<T>(
        &mut self,
        name: &str,
        bytes: Option<usize>,
        mut run: impl FnMut() -> T,
    ) -> Cost {
        self.custom(name, bytes, |times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(run());
            }
            start.elapsed()
        })
    }

    /// Measures `run` on what `prepare` makes, up to `at_once` at a time; making it, and dropping what
    /// `run` gives, does not count.
    pub(crate) fn prepared_cost<S, T>(
        &mut self,
        name: &str,
        bytes: Option<usize>,
        at_once: u64,
        mut prepare: impl FnMut(u64) -> S,
        mut run: impl FnMut(S) -> T,
    ) -> Cost {
        self.custom(name, bytes, |times| {
            let mut left = times;
            let mut taken = Duration::ZERO;
            while left > 0 {
                let now = left.min(at_once);
                left -= now;
                let prepared = black_box(prepare(now));
                let start = Instant::now();
                let made = black_box(run(prepared));
                taken += start.elapsed();
                drop(made);
            }
            taken
        })
    }

    /// Measures by a clock of its own: `run` says what so many times took.
    pub(crate) fn custom(
        &mut self,
        name: &str,
        bytes: Option<usize>,
        mut run: impl FnMut(u64) -> Duration,
    ) -> Cost {
        let mut fastest: Cost = None;
        if let Some(bytes) = bytes {
            self.group.throughput(Throughput::Bytes(bytes as u64));
        } else {
            self.group.throughput(Throughput::Elements(1));
        }
        self.group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let taken = run(times);
                let each = Nanoseconds(taken.as_secs_f64() * 1e9 / times as f64);
                if fastest.is_none_or(|fastest| each < fastest) {
                    fastest = Some(each);
                }
                taken
            });
        });
        fastest
    }

    /// Adds a line to the table: what something costs, beside what it could cost at least.
    pub(crate) fn beside(&mut self, name: &str, cost: Cost, limit_name: &str, limit: Cost) {
        if let (Some(cost), Some(limit)) = (cost, limit) {
            let _ = writeln!(
                self.table,
                "{name:<38} {:>11} {:>11}  x{:<6.2} {limit_name}",
                cost.to_string(),
                limit.to_string(),
                cost.0 / limit.0,
            );
        }
    }

    /// Adds a line to the table: what something costs that there is no limit to.
    pub(crate) fn alone(&mut self, name: &str, cost: Cost) {
        if let Some(cost) = cost {
            let _ = writeln!(self.table, "{name:<38} {:>11}", cost.to_string());
        }
    }

    /// Ends the measurements and prints the table.
    pub(crate) fn finish(self) {
        self.group.finish();
        if !self.table.is_empty() {
            println!(
                "{:<38} {:>11} {:>11}  ratio   limit",
                self.name, "cost", "limit"
            );
            println!("{}", self.table);
        }
    }
}

impl std::fmt::Display for Nanoseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            short if short < 1e3 => write!(f, "{short:.1} ns"),
            middle if middle < 1e6 => write!(f, "{:.2} us", middle / 1e3),
            long => write!(f, "{:.3} ms", long / 1e6),
        }
    }
}

/// The lengths of what is sent: one block, one image of a kernel's request, one object.
pub(crate) const LENGTHS: [(usize, &str); 3] =
    [(4 << 10, "4 KiB"), (64 << 10, "64 KiB"), (4 << 20, "4 MiB")];

/// Bytes that no compressor, and no shortcut for zeroes, makes anything of.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}
