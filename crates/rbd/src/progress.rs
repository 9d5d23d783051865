//! How far a long operation has come.

/// Steps done of steps to be done, usually objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Done so far.
    pub done: u64,
    /// Done in the end; does not change in the course of an operation.
    pub total: u64,
}

/// Counts steps and tells about each.
pub(crate) struct Counter<F> {
    progress: Progress,
    report: F,
}

impl<F: FnMut(Progress)> Counter<F> {
    pub(crate) fn new(total: u64, report: F) -> Self {
        Self {
            progress: Progress { done: 0, total },
            report,
        }
    }

    pub(crate) fn step(&mut self) {
        self.progress.done += 1;
        (self.report)(self.progress);
    }
}

/// Objects changed at the same time by operations that go through all objects of an image (librbd:
/// `rbd_concurrent_management_ops`).
pub(crate) const OBJECTS_IN_FLIGHT: usize = 10;
