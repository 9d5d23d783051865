//! The kinds of requests whose cost is counted.

use std::str::FromStr;

use anyhow::Context;
use hot_path::{Direction, Script};

/// Requests of one direction, length and depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    direction: Direction,
    /// Bytes of payload of each.
    pub(crate) len: u32,
    depth: u32,
    /// How many are enough for what one costs.
    pub(crate) count: u32,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::new("read-4k", Direction::Read, 4 << 10, 1, 1000),
        Self::new("write-4k", Direction::Write, 4 << 10, 1, 1000),
        Self::new("read-4k-deep", Direction::Read, 4 << 10, 32, 2000),
        Self::new("write-4k-deep", Direction::Write, 4 << 10, 32, 2000),
        Self::new("read-64k", Direction::Read, 64 << 10, 1, 200),
        Self::new("write-64k", Direction::Write, 64 << 10, 1, 200),
        Self::new("read-4m", Direction::Read, 4 << 20, 1, 20),
        Self::new("write-4m", Direction::Write, 4 << 20, 1, 20),
    ];

    const fn new(
        name: &'static str,
        direction: Direction,
        len: u32,
        depth: u32,
        count: u32,
    ) -> Self {
        Self {
            name,
            direction,
            len,
            depth,
            count,
        }
    }

    /// So many times the requests of this kind that are enough.
    pub(crate) const fn script(&self, times: u32) -> Script {
        Script {
            direction: self.direction,
            len: self.len,
            depth: self.depth,
            count: self.count * times,
        }
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name == name).with_context(|| {
            let names = Self::ALL.map(|kind| kind.name);
            format!("one of {}", names.join(", "))
        })
    }
}
