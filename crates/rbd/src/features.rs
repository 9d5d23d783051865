//! What an image can do and what state it is in (ceph: src/include/rbd/features.h,
//! src/cls/rbd/cls_rbd_types.h).

use std::fmt;
use std::ops::{BitAnd, BitOr};
use std::str::FromStr;

use denc::{Decode, Reader};

use crate::Error;
use crate::error::InvalidOptions;

macro_rules! bit_sets {
    ($($(#[$doc:meta])* $name:ident { $($(#[$bit_doc:meta])* $bit:ident = $value:literal, $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub u64);

        impl $name {
            $($(#[$bit_doc])* pub const $bit: Self = Self($value);)*
            /// Every bit that has a name here.
            pub const ALL: Self = Self($($value)|*);
            const NAMES: &[(Self, &str)] = &[$((Self::$bit, $text)),*];

            /// No bit.
            pub const NONE: Self = Self(0);

            /// Whether all of `other` is in this set.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether any of `other` is in this set.
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// What is in this set but not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The union, usable in constants.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// What is in both sets, usable in constants.
            #[must_use]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// Whether no bit is set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The names of the bits that have one, lowest bit first.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                Self::NAMES
                    .iter()
                    .filter(move |(bit, _)| self.contains(*bit))
                    .map(|(_, name)| *name)
            }

            /// The names, and the bits without name as a number, separated by `separator`.
            fn write(self, f: &mut fmt::Formatter<'_>, separator: &str) -> fmt::Result {
                let mut first = true;
                for name in self.names() {
                    f.write_str(if first { "" } else { separator })?;
                    f.write_str(name)?;
                    first = false;
                }
                let unknown = self.without(Self::ALL);
                if !unknown.is_empty() {
                    f.write_str(if first { "" } else { separator })?;
                    write!(f, "{:#x}", unknown.0)?;
                }
                Ok(())
            }
        }

        /// The names as upstream's tools print them; bits without name as a number.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.write(f, ", ")
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl BitOr for $name {
            type Output = Self;

            fn bitor(self, other: Self) -> Self {
                self.with(other)
            }
        }

        impl BitAnd for $name {
            type Output = Self;

            fn bitand(self, other: Self) -> Self {
                self.and(other)
            }
        }

        impl Decode for $name {
            const MIN_LEN: usize = 8;

            fn decode(reader: &mut Reader<'_>) -> denc::Result<Self> {
                reader.u64().map(Self)
            }
        }
    )*};
}

bit_sets! {
    /// Features of an image.
    Features {
        /// May be a clone.
        LAYERING = 0x1, "layering";
        /// Striped over several objects other than one after another.
        STRIPING = 0x2, "striping";
        /// Written by one client at a time, who holds a lock.
        EXCLUSIVE_LOCK = 0x4, "exclusive-lock";
        /// Keeps a map of the objects that exist.
        OBJECT_MAP = 0x8, "object-map";
        /// The object map says what changed since the last snapshot.
        FAST_DIFF = 0x10, "fast-diff";
        /// Flattening a clone flattens its snapshots too.
        DEEP_FLATTEN = 0x20, "deep-flatten";
        /// Every write goes to a journal first.
        JOURNALING = 0x40, "journaling";
        /// The data is in a pool of its own.
        DATA_POOL = 0x80, "data-pool";
        /// Takes part in something named by [`OpFeatures`].
        OPERATIONS = 0x100, "operations";
        /// Is being migrated.
        MIGRATING = 0x200, "migrating";
        /// Mirrors an image of another cluster.
        NON_PRIMARY = 0x400, "non-primary";
        /// Some of the data is in a cache on a client's disk.
        DIRTY_CACHE = 0x800, "dirty-cache";
    }

    /// What an image with [`Features::OPERATIONS`] takes part in.
    OpFeatures {
        /// Has clones that hold on to its snapshots.
        CLONE_PARENT = 0x1, "clone-parent";
        /// Is such a clone.
        CLONE_CHILD = 0x2, "clone-child";
        /// Belongs to a group.
        GROUP = 0x4, "group";
        /// Has removed snapshots that clones still need.
        SNAP_TRASH = 0x8, "snap-trash";
    }

    /// What is wrong with an image or a snapshot of it.
    Flags {
        /// The object map does not tell the truth.
        OBJECT_MAP_INVALID = 0x1, "object map invalid";
        /// The object map does not tell what changed.
        FAST_DIFF_INVALID = 0x2, "fast diff invalid";
    }
}

impl Features {
    /// What an image gets when nothing else is asked for, as in upstream.
    pub const DEFAULT: Self = Self(0x3d);
    /// What can be enabled and disabled on an existing image.
    pub const MUTABLE: Self = Self::EXCLUSIVE_LOCK
        .with(Self::OBJECT_MAP)
        .with(Self::FAST_DIFF)
        .with(Self::JOURNALING);
    /// What can only be disabled on an existing image.
    pub const DISABLE_ONLY: Self = Self::DEEP_FLATTEN;

    /// Who does not know these must not even read: the data is elsewhere than one would think.
    pub(crate) const READABLE: Self = Self::ALL.without(Self::DIRTY_CACHE);
    /// Who writes must do something for these that this version does not do. Deep-flatten is not
    /// among them: it only concerns clones, and operations is judged by [`OpFeatures`].
    pub(crate) const UNWRITABLE: Self = Self::JOURNALING
        .with(Self::MIGRATING)
        .with(Self::NON_PRIMARY)
        .with(Self::DIRTY_CACHE);

    /// The names separated by commas: what `feature enable` and `feature disable` take.
    pub fn comma_separated(self) -> String {
        self.names().collect::<Vec<_>>().join(",")
    }

    /// Checks that every feature has what it needs.
    ///
    /// # Errors
    /// The first feature that lacks something.
    pub const fn check_dependencies(self) -> Result<(), InvalidOptions> {
        let needs = [
            (Self::OBJECT_MAP, Self::EXCLUSIVE_LOCK),
            (Self::FAST_DIFF, Self::OBJECT_MAP),
            (Self::JOURNALING, Self::EXCLUSIVE_LOCK),
        ];
        let mut rest = needs.as_slice();
        while let [(feature, needs), tail @ ..] = rest {
            if self.contains(*feature) && !self.contains(*needs) {
                return Err(InvalidOptions::Dependency {
                    feature: *feature,
                    needs: *needs,
                });
            }
            rest = tail;
        }
        Ok(())
    }
}

impl OpFeatures {
    /// What does not hinder writing data or removing an image without snapshots.
    pub(crate) const WRITABLE: Self = Self::ALL;
}

/// Names separated by commas, or a number in decimal or, with `0x`, hexadecimal.
impl FromStr for Features {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        if let Ok(number) = number {
            return Ok(Self(number));
        }
        text.split(',')
            .map(str::trim)
            .try_fold(Self::NONE, |features, part| {
                Self::NAMES
                    .iter()
                    .find(|(_, name)| *name == part)
                    .map(|(bit, _)| features | *bit)
                    .ok_or_else(|| Error::InvalidFeatures {
                        text: part.to_string(),
                    })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_upstream() {
        assert_eq!(
            Features::DEFAULT.to_string(),
            "layering, exclusive-lock, object-map, fast-diff, deep-flatten"
        );
        assert_eq!(Features(0x1001).to_string(), "layering, 0x1000");
        assert_eq!(Features::ALL.0, 0xfff);
    }

    #[test]
    fn names_and_numbers_are_read() {
        let both = Features::LAYERING | Features::OBJECT_MAP;
        for text in ["layering,object-map", "object-map, layering", "9", "0x9"] {
            assert_eq!(text.parse::<Features>().unwrap(), both, "{text}");
        }
        for text in ["", "layers", "layering,", "0xg"] {
            let error = text.parse::<Features>().unwrap_err();
            assert!(matches!(error, Error::InvalidFeatures { .. }), "{text}");
        }
        assert_eq!(
            Features::DEFAULT
                .comma_separated()
                .parse::<Features>()
                .unwrap(),
            Features::DEFAULT
        );
    }

    #[test]
    fn every_feature_needs_what_it_builds_on() {
        assert_eq!(Features::DEFAULT.check_dependencies(), Ok(()));
        assert_eq!(
            (Features::LAYERING | Features::OBJECT_MAP).check_dependencies(),
            Err(InvalidOptions::Dependency {
                feature: Features::OBJECT_MAP,
                needs: Features::EXCLUSIVE_LOCK
            })
        );
        let diff = Features::EXCLUSIVE_LOCK | Features::FAST_DIFF;
        assert!(diff.check_dependencies().is_err());
        assert!(Features::JOURNALING.check_dependencies().is_err());
    }

    #[test]
    fn what_can_be_written_is_what_needs_nothing_of_the_writer() {
        let writable = Features::ALL.without(Features::UNWRITABLE);
        assert_eq!(
            writable,
            Features::LAYERING
                | Features::STRIPING
                | Features::EXCLUSIVE_LOCK
                | Features::OBJECT_MAP
                | Features::FAST_DIFF
                | Features::DEEP_FLATTEN
                | Features::DATA_POOL
                | Features::OPERATIONS
        );
    }
}
