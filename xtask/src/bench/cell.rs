//! What is measured: how large the I/Os are, where they go, what they do and how many are under way.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

/// One kind of load, on one kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) place: Place,
    pub(super) load: Load,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Load {
    /// Bytes of each I/O.
    pub(super) io_bytes: u64,
    pub(super) order: Order,
    pub(super) work: Work,
    /// I/Os under way at a time.
    pub(super) depth: u32,
}

/// Where I/Os go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Order {
    Sequential,
    Random,
}

/// What I/Os do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Work {
    Read,
    Write,
    /// Seven reads for three writes.
    Mix,
}

/// The kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) store: Store,
    pub(super) protection: Protection,
}

/// What the OSD keeps its objects in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
pub(super) enum Store {
    Memstore,
    Bluestore,
}

/// What protects the frames of messenger v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Protection {
    Crc,
    Secure,
}

/// What cells have to be like: parts of `SIZE:LOAD:DEPTH`, where a part that is left out or `*`
/// stands for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    io_bytes: Option<u64>,
    load: Option<(Order, Work)>,
    depth: Option<u32>,
}

impl Load {
    /// All combinations that are of interest.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for io_bytes in SIZES {
            for (_, order, work) in NAMES {
                for depth in DEPTHS {
                    all.push(Self {
                        io_bytes,
                        order,
                        work,
                        depth,
                    });
                }
            }
        }
        all
    }

    /// What fio and the names of cells call it: `randread`, say.
    pub(super) fn name(self) -> &'static str {
        let mut names = NAMES.iter();
        let is_it = |(_, order, work): &&(_, _, _)| (*order, *work) == (self.order, self.work);
        // The list has all combinations.
        names.find(is_it).map_or("", |(name, _, _)| name)
    }

    /// A load from its name, `4k:randread:32`, in full.
    #[cfg(test)]
    pub(super) fn of(name: &str) -> Self {
        let filter: Filter = name.parse().unwrap();
        let (order, work) = filter.load.unwrap();
        Self {
            io_bytes: filter.io_bytes.unwrap(),
            order,
            work,
            depth: filter.depth.unwrap(),
        }
    }
}

impl Filter {
    pub(super) fn admits(&self, load: Load) -> bool {
        self.io_bytes.is_none_or(|bytes| bytes == load.io_bytes)
            && self.load.is_none_or(|it| it == (load.order, load.work))
            && self.depth.is_none_or(|depth| depth == load.depth)
    }

    /// The loads that it stands for. A size or depth that is not among the usual ones is one of them
    /// when it is named.
    pub(super) fn loads(&self) -> Vec<Load> {
        let mut loads = Load::all();
        for load in &mut loads {
            load.io_bytes = self.io_bytes.unwrap_or(load.io_bytes);
            load.depth = self.depth.unwrap_or(load.depth);
        }
        loads.retain(|load| self.admits(*load));
        loads.sort_unstable();
        loads.dedup();
        loads
    }
}

impl FromStr for Filter {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(':');
        let mut part = || parts.next().filter(|part| !matches!(*part, "" | "*"));
        let filter = Self {
            io_bytes: part().map(parse_size).transpose()?,
            load: part().map(parse_load).transpose()?,
            depth: part()
                .map(|part| part.parse().with_context(|| format!("depth {part}")))
                .transpose()?,
        };
        ensure!(parts.next().is_none(), "{text}: more than SIZE:LOAD:DEPTH");
        ensure!(filter.depth != Some(0), "{text}: a depth of nothing");
        Ok(filter)
    }
}

fn parse_size(text: &str) -> anyhow::Result<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match (lower.strip_suffix('k'), lower.strip_suffix('m')) {
        (Some(digits), _) => (digits, 10),
        (_, Some(digits)) => (digits, 20),
        _ => (lower.as_str(), 0),
    };
    let number: u64 = digits.parse().with_context(|| format!("size {text}"))?;
    let bytes = number.checked_mul(1 << shift).unwrap_or_default();
    ensure!(
        bytes > 0 && bytes.is_multiple_of(512) && bytes <= 32 << 20,
        "size {text}: not a number of sectors up to 32M"
    );
    Ok(bytes)
}

fn parse_load(text: &str) -> anyhow::Result<(Order, Work)> {
    match NAMES.iter().find(|(name, _, _)| *name == text) {
        Some((_, order, work)) => Ok((*order, *work)),
        None => bail!(
            "{text}: none of {}",
            NAMES.map(|(name, _, _)| name).join(", ")
        ),
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.io_bytes {
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}m", bytes >> 20)?,
            bytes if bytes % (1 << 10) == 0 => write!(f, "{}k", bytes >> 10)?,
            bytes => write!(f, "{bytes}")?,
        }
        write!(f, ":{}:{}", self.name(), self.depth)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.store {
            Store::Memstore => "memstore",
            Store::Bluestore => "bluestore",
        })?;
        f.write_str(match self.protection {
            Protection::Crc => ", crc",
            Protection::Secure => ", secure",
        })
    }
}

pub(super) const SIZES: [u64; 3] = [4 << 10, 64 << 10, 4 << 20];
pub(super) const DEPTHS: [u32; 4] = [1, 4, 32, 128];
/// The names are fio's.
pub(super) const NAMES: [(&str, Order, Work); 6] = [
    ("read", Order::Sequential, Work::Read),
    ("write", Order::Sequential, Work::Write),
    ("rw", Order::Sequential, Work::Mix),
    ("randread", Order::Random, Work::Read),
    ("randwrite", Order::Random, Work::Write),
    ("randrw", Order::Random, Work::Mix),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_name_cells_in_part_or_in_full() {
        let loads = |text: &str| text.parse::<Filter>().unwrap().loads();
        assert_eq!(loads("4k:randread:32"), [Load::of("4k:randread:32")]);
        assert_eq!(loads("4k:randread:32")[0].to_string(), "4k:randread:32");
        assert_eq!(loads("*:randwrite:1").len(), SIZES.len());
        assert_eq!(loads("4M").len(), NAMES.len() * DEPTHS.len());
        assert_eq!(loads("::").len(), Load::all().len());
        assert_eq!(loads("4k:randread:256")[0].depth, 256);
        assert_eq!(loads("1536:rw:7")[0].to_string(), "1536:rw:7");
    }

    #[test]
    fn filters_that_mean_nothing_are_refused() {
        for text in [
            "4x",
            "0",
            "4k:walk",
            "4k:read:x",
            "4k:read:0",
            "4k:read:1:1",
            "7",
            "33m",
        ] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
