//! The progress line of long commands, on stderr.

use std::io::{self, Write};

/// `\rExporting image: 25% complete...`, rewritten whenever the percentage grows, as upstream's tool
/// does whether or not stderr is a terminal.
#[derive(Debug)]
pub(crate) struct Progress<W = io::Stderr> {
    operation: &'static str,
    out: Option<W>,
    percent: u64,
}

impl Progress {
    /// Nothing is printed if `is_quiet`.
    pub(crate) fn new(operation: &'static str, is_quiet: bool) -> Self {
        Self::to(io::stderr(), operation, is_quiet)
    }
}

impl<W: Write> Progress<W> {
    fn to(out: W, operation: &'static str, is_quiet: bool) -> Self {
        Self {
            operation,
            out: (!is_quiet).then_some(out),
            percent: 0,
        }
    }

    /// `done` of `total` is done. Upstream's tool does not say 100% before it is through.
    pub(crate) fn update(&mut self, done: u64, total: u64) {
        let percent = percentage(done, total);
        if percent > self.percent {
            self.percent = percent;
            self.print(format_args!("{percent}% complete..."));
        }
    }

    /// Ends the line: all is done.
    pub(crate) fn finish(mut self) {
        self.print(format_args!("100% complete...done.\n"));
    }

    /// Ends the line: it went wrong here.
    pub(crate) fn fail(mut self) {
        let percent = self.percent;
        self.print(format_args!("{percent}% complete...failed.\n"));
    }

    /// [`finish`](Self::finish) or [`fail`](Self::fail).
    pub(crate) fn end<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        match result {
            Ok(_) => self.finish(),
            Err(_) => self.fail(),
        }
        result
    }

    fn print(&mut self, text: std::fmt::Arguments<'_>) {
        let operation = self.operation;
        if let Some(out) = &mut self.out {
            // Whoever closed stderr does not want to know.
            let _ = write!(out, "\r{operation}: {text}").and_then(|()| out.flush());
        }
    }
}

fn percentage(done: u64, total: u64) -> u64 {
    u128::from(done)
        .checked_mul(100)
        .and_then(|scaled| scaled.checked_div(u128::from(total)))
        .map_or(0, |percent| u64::try_from(percent).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recording;

    #[test]
    fn prints_what_rbd_prints() {
        let cases = Recording::load("transfer");
        let mut out = Vec::new();
        let mut progress = Progress::to(&mut out, "Importing image", false);
        for done in [0, 1 << 20, 2 << 20, 3 << 20, 4 << 20] {
            progress.update(done, 5_000_000);
        }
        progress.finish();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            Recording::find(&cases, "import options").stderr
        );
    }

    #[test]
    fn failure_keeps_the_last_percentage() {
        let cases = Recording::load("change");
        let recorded = &Recording::find(&cases, "rm missing").stderr;
        let mut out = Vec::new();
        Progress::to(&mut out, "Removing image", false).fail();
        assert!(recorded.starts_with(std::str::from_utf8(&out).unwrap()));
        assert!(!out.is_empty());
    }

    #[test]
    fn quiet_is_quiet() {
        let mut out = Vec::new();
        let mut progress = Progress::to(&mut out, "Removing image", true);
        progress.update(1, 2);
        progress.finish();
        assert!(out.is_empty());
    }

    #[test]
    fn an_empty_total_is_no_progress() {
        assert_eq!(percentage(0, 0), 0);
        assert_eq!(percentage(u64::MAX, u64::MAX), 100);
    }
}
