//! How an image is cached, and the options that say so (ceph: src/common/options/rbd.yaml.in).

use std::time::Duration;

use rados::config::{OptionValue, SizeBytes};

use crate::{Image, Result};

/// Whether an image is cached.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cache {
    /// It is not: every write is on the OSDs when it is done, and every read asks them.
    #[default]
    None,
    /// As the options of the configuration and of the image say (`rbd_cache` and others). By default it
    /// is.
    Configured,
    /// In this way.
    With(CacheOptions),
}

/// How an image is cached.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheOptions {
    /// What becomes of writes (`rbd_cache_policy`).
    pub policy: CachePolicy,
    /// Whether writes wait for the OSDs until the first [`flush`](Image::flush), which shows that whoever
    /// writes knows that there are caches (`rbd_cache_writethrough_until_flush`).
    pub writethrough_until_flush: bool,
    /// The memory that the cache may take in bytes (`rbd_cache_size`): the limit of
    /// [`max_dirty_bytes`](Self::max_dirty_bytes).
    pub size_bytes: u64,
    /// The memory that what is not on the OSDs may take, in bytes (`rbd_cache_max_dirty`). Who writes
    /// more waits. With zero, all writes wait for the OSDs.
    pub max_dirty_bytes: u64,
    /// From how much on it is written out in any case, in bytes (`rbd_cache_target_dirty`).
    pub target_dirty_bytes: u64,
    /// How old it may become before it is written out (`rbd_cache_max_dirty_age`).
    pub max_dirty_age: Duration,
    /// How images are read ahead.
    pub read_ahead: ReadAheadOptions,
}

/// What becomes of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// They are done when they are buffered. What is on the OSDs is not kept.
    WriteAround,
    /// The same: nothing is gained by keeping what others cache as well.
    WriteBack,
    /// They are done when they are on the OSDs.
    WriteThrough,
}

/// How images are read ahead. Only those are that are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAheadOptions {
    /// After how many reads one behind the other (`rbd_readahead_trigger_requests`).
    pub trigger_requests: u64,
    /// How much at a time at most, in bytes; zero for nothing (`rbd_readahead_max_bytes`).
    pub max_bytes: u64,
    /// After how many bytes that were read from the image it is left to others, who may know better,
    /// such as the kernel; zero for never (`rbd_readahead_disable_after_bytes`).
    pub disable_after_bytes: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            policy: CachePolicy::WriteAround,
            writethrough_until_flush: true,
            size_bytes: 32 << 20,
            max_dirty_bytes: 24 << 20,
            target_dirty_bytes: 16 << 20,
            max_dirty_age: Duration::from_secs(1),
            read_ahead: ReadAheadOptions::default(),
        }
    }
}

impl Default for ReadAheadOptions {
    fn default() -> Self {
        Self {
            trigger_requests: 10,
            max_bytes: 512 << 10,
            disable_after_bytes: 50 << 20,
        }
    }
}

impl CacheOptions {
    /// The memory that what is not on the OSDs may take.
    pub(super) fn dirty_limit(&self) -> u64 {
        if self.policy == CachePolicy::WriteThrough {
            return 0;
        }
        self.max_dirty_bytes.min(self.size_bytes)
    }
}

impl Cache {
    /// How `image` is to be cached, if it is.
    ///
    /// # Errors
    /// If an option of the configuration is not of its type.
    pub(super) fn options(&self, image: &Image) -> Result<Option<CacheOptions>> {
        match self {
            Self::None => Ok(None),
            Self::Configured => CacheOptions::configured(image),
            Self::With(options) => Ok(Some(options.clone())),
        }
    }
}

impl CacheOptions {
    fn configured(image: &Image) -> Result<Option<Self>> {
        // All are looked at, so that what is wrong is told in any case.
        let is_wanted = image.option(&["rbd_cache"])?.unwrap_or(true);
        let default = Self::default();
        let size = |name, default| -> Result<u64> {
            let value: Option<SizeBytes> = image.option(&[name])?;
            Ok(value.map_or(default, |SizeBytes(bytes)| bytes))
        };
        let age: Option<Seconds> = image.option(&["rbd_cache_max_dirty_age"])?;
        let read_ahead = default.read_ahead;
        let options = Self {
            policy: image
                .option(&["rbd_cache_policy"])?
                .unwrap_or(default.policy),
            writethrough_until_flush: image
                .option(&["rbd_cache_writethrough_until_flush"])?
                .unwrap_or(default.writethrough_until_flush),
            size_bytes: size("rbd_cache_size", default.size_bytes)?,
            max_dirty_bytes: size("rbd_cache_max_dirty", default.max_dirty_bytes)?,
            target_dirty_bytes: size("rbd_cache_target_dirty", default.target_dirty_bytes)?,
            max_dirty_age: age.map_or(default.max_dirty_age, |Seconds(age)| age),
            read_ahead: ReadAheadOptions {
                trigger_requests: image
                    .option(&["rbd_readahead_trigger_requests"])?
                    .unwrap_or(read_ahead.trigger_requests),
                max_bytes: size("rbd_readahead_max_bytes", read_ahead.max_bytes)?,
                disable_after_bytes: size(
                    "rbd_readahead_disable_after_bytes",
                    read_ahead.disable_after_bytes,
                )?,
            },
        };
        Ok(is_wanted.then_some(options))
    }
}

impl OptionValue for CachePolicy {
    const EXPECTED: &'static str = "writethrough, writeback or writearound";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "writearound" => Some(Self::WriteAround),
            "writeback" => Some(Self::WriteBack),
            "writethrough" => Some(Self::WriteThrough),
            _ => None,
        }
    }
}

/// A number of seconds, fractions allowed.
struct Seconds(Duration);

impl OptionValue for Seconds {
    const EXPECTED: &'static str = "a number of seconds";

    fn parse(text: &str) -> Option<Self> {
        let seconds = text.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_ages_are_read_or_refused() {
        assert_eq!(
            CachePolicy::parse("writeback"),
            Some(CachePolicy::WriteBack)
        );
        assert_eq!(CachePolicy::parse("write-back"), None);
        let age = |text| Seconds::parse(text).map(|Seconds(age)| age);
        assert_eq!(age("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(age("-1"), None);
        assert_eq!(age("soon"), None);
    }

    #[test]
    fn nothing_is_buffered_without_room_or_by_policy() {
        let mut options = CacheOptions::default();
        assert_eq!(options.dirty_limit(), 24 << 20);
        options.size_bytes = 1 << 20;
        assert_eq!(options.dirty_limit(), 1 << 20);
        options.policy = CachePolicy::WriteThrough;
        assert_eq!(options.dirty_limit(), 0);
    }
}
