//! What test programs print: the counts in it, and which of it is shown.
//!
//! They are run with `--show-output`, for what tests that passed have to say. Of that only the lines
//! that begin with `SKIPPED: ` are shown: a test prints one when it cannot do what it is for, and
//! returns.

use std::fmt;
use std::ops::AddAssign;

/// How many tests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    skipped: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    pub(crate) const fn passed(self) -> u64 {
        self.passed
    }

    pub(crate) const fn total(self) -> u64 {
        self.passed + self.skipped + self.failed + self.ignored
    }

    /// Reads the line that ends a run: `test result: ok. 5 passed; 0 failed; 0 ignored; ...`.
    fn from_line(line: &str) -> Option<Self> {
        let (_, numbers) = line.strip_prefix(RESULT)?.split_once(". ")?;
        let number = |name: &str| {
            let mut parts = numbers.split("; ");
            parts.find_map(|part| part.strip_suffix(name)?.trim().parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            skipped: 0,
            failed: number("failed")?,
            ignored: number("ignored")?,
        })
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests passed", self.passed)?;
        for (count, what) in [
            (self.skipped, "skipped"),
            (self.failed, "FAILED"),
            (self.ignored, "ignored"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// Reads the output of one test program after the other.
#[derive(Debug, Default)]
pub(super) struct Output {
    counts: Counts,
    /// Tests of the program at hand that passed without doing what they are for.
    skipped: u64,
    /// Set while a program tells what its passed tests printed.
    passed: Option<Passed>,
}

/// A passed test whose output is being told.
#[derive(Debug, Default)]
struct Passed {
    name: String,
    is_skipped: bool,
}

impl Output {
    /// Takes a line, and gives it back as it shall be shown, if at all.
    pub(super) fn line(&mut self, line: String) -> Option<String> {
        if let Some(mut run) = Counts::from_line(&line) {
            run.skipped = std::mem::take(&mut self.skipped).min(run.passed);
            run.passed -= run.skipped;
            self.counts += run;
            self.passed = None;
            return Some(line);
        }
        if line == "successes:" {
            self.passed = Some(Passed::default());
        } else if line == "failures:" {
            self.passed = None;
        }
        let Some(test) = &mut self.passed else {
            return Some(line);
        };
        let name = line.strip_prefix("---- ");
        if let Some(name) = name.and_then(|line| line.strip_suffix(" stdout ----")) {
            *test = Passed {
                name: name.to_owned(),
                is_skipped: false,
            };
        }
        if !line.starts_with(SKIPPED) {
            return None;
        }
        if !std::mem::replace(&mut test.is_skipped, true) {
            self.skipped += 1;
        }
        Some(format!("test {} ... {line}", test.name))
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }
}

/// How the last line of a run begins.
const RESULT: &str = "test result: ";
/// How the line begins by which a test says that it has not tested anything.
const SKIPPED: &str = "SKIPPED: ";

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what is shown, and the counts.
    fn read(text: &str) -> (String, Counts) {
        let mut output = Output::default();
        let lines = text.lines().filter_map(|line| output.line(line.to_owned()));
        let shown = lines.map(|line| line + "\n").collect();
        (shown, output.counts())
    }

    #[test]
    fn the_last_line_of_a_run_is_counted() {
        let line = "test result: FAILED. 15 passed; 2 failed; 1 ignored; 0 measured; 7 filtered \
                    out; finished in 1.24s";
        let (shown, counts) = read(line);
        assert_eq!(shown.trim_end(), line);
        let expected = Counts {
            passed: 15,
            skipped: 0,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.to_string(), "15 tests passed, 2 FAILED, 1 ignored");
        for other in ["test one ... ok", "test result: ok. nothing"] {
            assert_eq!(read(other), (format!("{other}\n"), Counts::default()));
        }
    }

    /// What `cargo test -- --show-output` printed of a test each that speaks, is skipped, fails after
    /// it said so, and is silent; then of a program without any.
    #[test]
    fn passed_tests_are_silent_unless_they_were_skipped() {
        let (shown, counts) = read(include_str!("harness.txt"));
        let expected = "\
\nrunning 4 tests
test tests::fails ... FAILED
test tests::is_silent ... ok
test tests::is_skipped ... ok
test tests::speaks ... ok

test tests::is_skipped ... SKIPPED: there is nothing to test
test tests::is_skipped ... SKIPPED: nor this
failures:

---- tests::fails stdout ----
SKIPPED: not really

thread 'tests::fails' (13715) panicked at src/lib.rs:18:9:
assertion `left == right` failed
  left: 1
 right: 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    tests::fails

test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s


running 0 tests

";
        let (head, tail) = shown.split_at(expected.len().min(shown.len()));
        assert_eq!(head, expected);
        assert!(tail.starts_with("test result: ok. 0 passed;"), "{tail}");
        assert_eq!(counts.to_string(), "2 tests passed, 1 skipped, 1 FAILED");
    }
}
