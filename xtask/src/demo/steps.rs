//! The steps of the story, each printed with the time it took.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::interrupt::Interrupt;

/// What has been done so far.
pub(crate) struct Steps {
    interrupt: Interrupt,
    start: Instant,
    current: u32,
}

impl Steps {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self {
            interrupt,
            start: Instant::now(),
            current: 0,
        }
    }

    /// Does one step; a step that begins after an interrupt fails.
    pub(crate) fn run<T>(
        &mut self,
        what: &str,
        action: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.current += 1;
        let begin = Instant::now();
        let result = self.interrupt.check().and_then(|()| action());
        let verdict = if result.is_ok() { "" } else { ": FAILED" };
        println!("{:>9}  {what}{verdict}", seconds(begin.elapsed()));
        // What fails after an interrupt fails because of it.
        self.interrupt.check()?;
        result.with_context(|| what.to_owned())
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// The number of the last step.
    pub(crate) fn current(&self) -> u32 {
        self.current
    }

    pub(crate) fn total(&self) -> String {
        seconds(self.start.elapsed())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
