//! Which requests are sent.

use crate::{IMAGE_SIZE, OBJECT_SIZE};

/// Requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// Whether they read or write.
    pub direction: Direction,
    /// How many bytes each of them is about: a power of two, not more than an object has.
    pub len: u32,
    /// How many are under way at the same time.
    pub depth: u32,
    /// How many there are.
    pub count: u32,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the image.
    Read,
    /// To the image.
    Write,
}

impl Script {
    /// Where in the image each request begins: anywhere, but the same for every run.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let len = u64::from(self.len).clamp(1, OBJECT_SIZE);
        let mut random = fastrand::Rng::with_seed(2);
        (0..self.count).map(move |_| random.u64(0..IMAGE_SIZE / len) * len)
    }
}
