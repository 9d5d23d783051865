//! The lines of a benchmark.

use std::collections::VecDeque;
use std::time::Duration;

use super::load::Counts;
use crate::args::transfer::IoType;
use crate::size::{Bytes, General};

impl Counts {
    const fn ops(&self) -> u64 {
        self.reads + self.writes
    }
}

/// The rates of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Ends of seconds and what had been done by then, the oldest first.
    marks: VecDeque<(Duration, u64)>,
}

impl Window {
    /// The line for the second that ends now.
    pub(super) fn line(&mut self, counts: &Counts, elapsed: Duration) -> String {
        let (since, ops_before) = self.marks.front().copied().unwrap_or_default();
        let rate = rate(counts.ops() - ops_before, elapsed.saturating_sub(since));
        self.marks.push_back((elapsed, counts.ops()));
        if self.marks.len() > SECONDS {
            self.marks.pop_front();
        }
        format!(
            "{:>5}{:>10}{:>10}{:>10}/s\n",
            elapsed.as_secs(),
            counts.ops(),
            General(rate),
            bytes_rate(rate, counts)
        )
    }
}

/// What it came to in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    counts: Counts,
    elapsed: Duration,
}

impl Summary {
    pub(super) const fn new(counts: &Counts, elapsed: Duration) -> Self {
        Self {
            counts: *counts,
            elapsed,
        }
    }

    /// A line, and for mixed I/O one for each kind.
    pub(super) fn render(&self, io_type: IoType) -> String {
        let total = self.line("", self.counts.ops());
        let mut out = format!("elapsed: {}   {total}", self.elapsed.as_secs());
        if io_type == IoType::Readwrite {
            out.push_str(&self.line("read_", self.counts.reads));
            out.push_str(&self.line("write_", self.counts.writes));
        }
        out
    }

    fn line(&self, kind: &str, ops: u64) -> String {
        let rate = rate(ops, self.elapsed);
        format!(
            "{kind}ops: {ops}   {kind}ops/sec: {}   {kind}bytes/sec: {}/s\n",
            General(rate),
            bytes_rate(rate, &self.counts)
        )
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "six significant digits are printed"
)]
fn rate(ops: u64, elapsed: Duration) -> f64 {
    ops as f64 / elapsed.as_secs_f64()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "three significant digits are printed, and rates are not negative"
)]
fn bytes_rate(ops_rate: f64, counts: &Counts) -> Bytes {
    Bytes((ops_rate * counts.io_bytes as f64) as u64)
}

/// Over so many seconds rates are averaged, as upstream does.
const SECONDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;

    /// Word `index` of a line.
    fn word(line: &str, index: usize) -> &str {
        line.split_whitespace().nth(index).unwrap()
    }

    #[test]
    fn seconds_print_as_by_rbd() {
        let cases = Recording::load("bench");
        let recorded = &Recording::find(&cases, "seconds").stdout;
        let lines: Vec<&str> = recorded.lines().skip(2).collect();
        let (summary, seconds) = lines.split_last().unwrap();
        assert!(summary.starts_with("elapsed:"));
        assert!(seconds.len() > 3);
        for line in seconds {
            // A line's rate stands for the window behind it.
            let rate: f64 = word(line, 2).parse().unwrap();
            let counts = Counts {
                reads: 0,
                writes: word(line, 1).parse().unwrap(),
                io_bytes: 256 << 10,
            };
            let second = word(line, 0).parse().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "test numbers are small")]
            let length = counts.writes as f64 / rate;
            let end = Duration::from_secs(second) + Duration::from_millis(500);
            let mut window = Window::default();
            let start = end.checked_sub(Duration::from_secs_f64(length));
            let Some(start) = start else {
                continue;
            };
            window.marks.push_back((start, 0));
            assert_eq!(window.line(&counts, end), format!("{line}\n"));
        }
    }

    #[test]
    fn windows_are_five_seconds_long() {
        let mut window = Window::default();
        let counts = |writes| Counts {
            reads: 0,
            writes,
            io_bytes: 1,
        };
        let mut lines = Vec::new();
        for (second, done) in [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50), (6, 150)] {
            lines.push(window.line(&counts(done), Duration::from_secs(second)));
        }
        assert_eq!(lines[4], "    5        50        10      10 B/s\n");
        // 140 in the last five seconds.
        assert_eq!(lines[5], "    6       150        28      28 B/s\n");
    }

    #[test]
    fn summaries_print_as_by_rbd() {
        let cases = Recording::load("bench");
        for (case, io_type, io_bytes) in [
            ("write", IoType::Write, 4 << 10),
            ("readwrite", IoType::Readwrite, 4 << 10),
            ("rw", IoType::Readwrite, 64 << 10),
            ("seconds", IoType::Write, 256 << 10),
        ] {
            let recorded = &Recording::find(&cases, case).stdout;
            let start = recorded.find("elapsed").unwrap();
            let lines: Vec<&str> = recorded[start..].lines().collect();
            let ops: u64 = word(lines[0], 3).parse().unwrap();
            let rate: f64 = word(lines[0], 5).parse().unwrap();
            let (reads, writes) = match lines.get(1..3) {
                Some([reads, writes]) => (
                    word(reads, 1).parse().unwrap(),
                    word(writes, 1).parse().unwrap(),
                ),
                _ => (0, ops),
            };
            let counts = Counts {
                reads,
                writes,
                io_bytes,
            };
            // Upstream's clock ticks in milliseconds.
            #[expect(clippy::cast_precision_loss, reason = "test numbers are small")]
            let elapsed = Duration::from_secs_f64((ops as f64 / rate * 1e3).round() / 1e3);
            assert_eq!(
                Summary::new(&counts, elapsed).render(io_type),
                recorded[start..],
                "{case}"
            );
        }
    }
}
