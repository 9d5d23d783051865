//! Which images there are and who works on them, in words: `three:default:orbd+librbd`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::ValueEnum;

/// A pool with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Pool {
    /// Of three replicas.
    Three,
    /// Of two.
    Two,
    /// Of two pieces and a third of parity.
    Erasure,
}

impl Pool {
    pub(super) const ALL: [Self; 3] = [Self::Three, Self::Two, Self::Erasure];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Three => "three",
            Self::Two => "two",
            Self::Erasure => "erasure",
        }
    }

    /// Where the headers of images with data in this pool are.
    pub(super) fn header_pool(self) -> &'static str {
        match self {
            Self::Erasure => Self::Three.name(),
            Self::Three | Self::Two => self.name(),
        }
    }

    /// The pool that has to be named for the data.
    pub(super) fn data_pool(self) -> Option<&'static str> {
        (self == Self::Erasure).then(|| self.name())
    }
}

/// The features of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Features {
    /// No lock and no object map.
    Layering,
    /// A lock, and no object map.
    Lock,
    /// What upstream gives to images that nothing is said about.
    Default,
}

impl Features {
    pub(super) fn names(self) -> &'static str {
        match self {
            Self::Layering => "layering",
            Self::Lock => "layering,exclusive-lock",
            Self::Default => "layering,exclusive-lock,object-map,fast-diff,deep-flatten",
        }
    }

    pub(super) fn has_lock(self) -> bool {
        self != Self::Layering
    }

    pub(super) fn has_object_map(self) -> bool {
        self == Self::Default
    }
}

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum ClientKind {
    /// Our library.
    Orbd,
    /// Our library, with a cache.
    Cached,
    /// Upstream's, behind qemu-nbd.
    Librbd,
    /// A file in a file system on our library's block device.
    Ext4,
}

impl ClientKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Orbd => "orbd",
            Self::Cached => "cached",
            Self::Librbd => "librbd",
            Self::Ext4 => "ext4",
        }
    }
}

/// An image and those who work on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneSpec {
    pub(super) pool: Pool,
    pub(super) features: Features,
    pub(super) clients: Vec<ClientKind>,
}

impl LaneSpec {
    /// Whether the checked blocks are those of a file rather than of the image.
    pub(super) fn has_file_system(&self) -> bool {
        self.clients.contains(&ClientKind::Ext4)
    }

    /// The same, with all clients of one kind.
    pub(super) fn of(&self, kind: ClientKind) -> Self {
        Self {
            clients: vec![kind; self.clients.len()],
            ..self.clone()
        }
    }
}

impl FromStr for LaneSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().context("it is POOL:FEATURES:CLIENT[+CLIENT]");
        let spec = Self {
            pool: value(part()?)?,
            features: value(part()?)?,
            clients: part()?
                .split('+')
                .map(value)
                .collect::<anyhow::Result<_>>()?,
        };
        ensure!(
            spec.features.has_lock() || spec.clients.len() == 1,
            "without a lock there can be one client only"
        );
        ensure!(
            !spec.has_file_system() || spec.clients.len() == 1,
            "a file system can have one client only"
        );
        Ok(spec)
    }
}

impl fmt::Display for LaneSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features = match self.features {
            Features::Layering => "layering",
            Features::Lock => "lock",
            Features::Default => "default",
        };
        let clients: Vec<&str> = self.clients.iter().map(|kind| kind.name()).collect();
        write!(f, "{}:{features}:{}", self.pool.name(), clients.join("+"))
    }
}

fn value<T: ValueEnum>(word: &str) -> anyhow::Result<T> {
    T::from_str(word, false).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_what_its_words_say() {
        let text = "erasure:default:orbd+librbd";
        let spec: LaneSpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        assert_eq!(spec.clients, [ClientKind::Orbd, ClientKind::Librbd]);
        assert_eq!(spec.pool.data_pool(), Some("erasure"));
        let of = spec.of(ClientKind::Librbd).to_string();
        assert_eq!(of, "erasure:default:librbd+librbd");
        let spec: LaneSpec = "three:lock:cached+orbd".parse().unwrap();
        assert_eq!(spec.clients, [ClientKind::Cached, ClientKind::Orbd]);
        for text in [
            "",
            "three",
            "four:default:orbd",
            "two:default:",
            "two:layering:orbd+orbd",
            "two:layering:orbd:orbd",
            "two:default:orbd+ext4",
        ] {
            assert!(text.parse::<LaneSpec>().is_err(), "{text:?}");
        }
    }
}
