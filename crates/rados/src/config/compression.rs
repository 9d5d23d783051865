//! Whether messages to OSDs are to be compressed (`ms_osd_compress_mode` and its companions, which
//! Ceph has from 17 on).
//!
//! The client asks and the OSD decides. What the OSDs of Ceph 17 to 20 are configured with only
//! matters among them: they agree to compress with each other and refuse clients
//! (ceph: `CompressorRegistry::get_mode`).

use msgr2::{CompressionMethod, CompressionOptions};

use super::option::words;
use super::{Config, ConfigError, OptionValue, SizeBytes};

impl Config {
    /// What to ask OSDs for; nothing unless `ms_osd_compress_mode` is `force`.
    ///
    /// Methods that are not known here are passed over, as they are by Ceph.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if an option is not of its type.
    pub(crate) fn osd_compression(&self) -> Result<Option<CompressionOptions>, ConfigError> {
        if self.parsed("ms_osd_compress_mode", Mode::None)? == Mode::None {
            return Ok(None);
        }
        let methods = self.value("ms_osd_compression_algorithm");
        let methods = methods.as_ref().map_or("snappy", |value| &value.text);
        let mut known = Vec::new();
        // Ceph's own list may also have equals signs in it.
        for name in words(methods).flat_map(|word| word.split('=')) {
            match CompressionMethod::from_name(name) {
                Some(method) if !known.contains(&method) => known.push(method),
                None if !name.is_empty() => tracing::warn!(name, "unknown compression method"),
                _ => {}
            }
        }
        let SizeBytes(min_bytes) = self.parsed("ms_osd_compress_min_size", SizeBytes(1024))?;
        Ok(Some(CompressionOptions {
            methods: known,
            min_bytes: usize::try_from(min_bytes).unwrap_or(usize::MAX),
            in_secure_mode: self.parsed("ms_compress_secure", false)?,
        }))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    None,
    Force,
}

impl OptionValue for Mode {
    const EXPECTED: &'static str = "none or force";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "force" => Some(Self::Force),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compression(options: &[(&str, &str)]) -> Result<Option<CompressionOptions>, ConfigError> {
        let builder = Config::builder().without_file();
        let builder = options.iter().fold(builder, |builder, (name, value)| {
            builder.option(name, *value)
        });
        builder.load().unwrap().osd_compression()
    }

    #[test]
    fn nothing_is_asked_for_unless_forced() {
        assert_eq!(compression(&[]).unwrap(), None);
        let methods = ("ms_osd_compression_algorithm", "zstd");
        assert_eq!(compression(&[methods]).unwrap(), None);
        let mode = ("ms_osd_compress_mode", "none");
        assert_eq!(compression(&[mode, methods]).unwrap(), None);
        let mode = ("ms_osd_compress_mode", "sometimes");
        assert!(matches!(
            compression(&[mode]),
            Err(ConfigError::Value { .. })
        ));
    }

    #[test]
    fn the_defaults_are_those_of_ceph() {
        let force = ("ms_osd_compress_mode", "force");
        let expected = CompressionOptions {
            methods: vec![CompressionMethod::Snappy],
            min_bytes: 1024,
            in_secure_mode: false,
        };
        assert_eq!(compression(&[force]).unwrap(), Some(expected));
    }

    #[test]
    fn what_is_configured_is_asked_for() {
        let found = compression(&[
            ("ms_osd_compress_mode", "force"),
            (
                "ms_osd_compression_algorithm",
                "zstd;brotli, lz4 zstd=zlib\tsnappy",
            ),
            ("ms_osd_compress_min_size", "4K"),
            ("ms_compress_secure", "true"),
        ]);
        let expected = CompressionOptions {
            methods: ["zstd", "lz4", "zlib", "snappy"]
                .map(|name| CompressionMethod::from_name(name).unwrap())
                .to_vec(),
            min_bytes: 4096,
            in_secure_mode: true,
        };
        assert_eq!(found.unwrap(), Some(expected));
        let found = compression(&[
            ("ms_osd_compress_mode", "force"),
            ("ms_osd_compression_algorithm", "brotli"),
        ]);
        assert!(found.unwrap().unwrap().methods.is_empty());
    }
}
